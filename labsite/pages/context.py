"""What every page's template is given."""

import time
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _, ngettext

from labsite.pages.tally import Tally


def for_scripts(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001
    """The server's clock, alarms for the bar, and the words that the page's scripts put on the screen."""
    return {
        "tally": SimpleLazyObject(Tally.now),  # asked by the pages that have a bar
        "clock": time.time_ns() // 1_000_000,
        "words": {
            "yes": _("yes"),
            "no": _("no"),
            "ago": _("%(duration)s ago"),
            "never": _("never"),
            "Normal": _("Normal"),
            "Out of service": _("Out of service"),
            "No reading yet": _("No reading yet"),
            "Not connected": _("Not connected"),
            "Silent": _("Silent"),
            "Outside normal": _("Outside normal"),
            "one missing": ngettext("%(count)d value missing", "%(count)d values missing", 1),
            "many missing": ngettext("%(count)d value missing", "%(count)d values missing", 2),
            "no reading": _("no reading"),
            "no value": _("no value"),
            "not valid": _("not valid"),
            "Live": _("Live"),
            "Connecting": _("Connecting"),
            "Lost": _("No connection for %(duration)s"),
            "Signed out": _("Signed out"),
            "no data": _("no data %(duration)s"),
            "chart failed": _("The last hour cannot be read now; trying again."),
            "one new alarm": ngettext("%(count)d new alarm", "%(count)d new alarms", 1),
            "many new alarms": ngettext("%(count)d new alarm", "%(count)d new alarms", 2),
            "alarms changed": _("Alarms have changed."),
            "one unacknowledged": ngettext("%(count)d unacknowledged", "%(count)d unacknowledged", 1),
            "many unacknowledged": ngettext("%(count)d unacknowledged", "%(count)d unacknowledged", 2),
            "not done": _(
                "This was not done: the page is too old, or your account lacks the right. Load it again."
            ),
            "most": _("At most four channels at once"),
        },
    }
