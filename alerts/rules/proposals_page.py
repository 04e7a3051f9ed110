"""The admin's page of the rules that drivers propose: which there are, and those chosen are added."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _, ngettext

from alerts.models import Rule
from alerts.rules import proposals
from devices.errors import Refused
from devices.models import Instrument


@dataclass(frozen=True, slots=True)
class Row:
    """A rule that is proposed, and what its alarms would be called."""

    rule: Rule
    alarms: list[str]


@dataclass(frozen=True, slots=True)
class Of:
    """One instrument of a driver that proposes something."""

    instrument: Instrument
    rows: list[Row]


def page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Of `?instrument=`, or of one instrument of each driver in use. `context` is the admin's."""
    asked = _instrument(request.GET.get("instrument", ""))
    if request.method == "POST" and asked:
        _accept(request, asked)
        return HttpResponseRedirect(request.get_full_path())
    shown = {
        **context,
        "title": _("Rules that drivers propose"),
        "instrument": asked,
        "found": _found([asked] if asked else _one_of_each_driver()),
    }
    return render(request, "alerts/proposals.html", shown)


def _instrument(pk: str) -> Instrument | None:
    if not pk:
        return None
    try:
        return Instrument.objects.get(pk=UUID(pk), retired_at=None)
    except (ValueError, Instrument.DoesNotExist):
        raise Http404(_("There is no such instrument.")) from None


def _one_of_each_driver() -> list[Instrument]:
    standing = Instrument.objects.filter(retired_at=None)
    return list(standing.order_by("driver", "name").distinct("driver"))


def _found(instruments: list[Instrument]) -> list[Of]:
    found = []
    for instrument in instruments:
        rules = proposals.proposed(instrument)
        rows = [Row(rule, proposals.alarms_of(rule, instrument)) for rule in rules]
        if rows:
            found.append(Of(instrument, rows))
    return found


def _accept(request: HttpRequest, instrument: Instrument) -> None:
    try:
        added = proposals.accept(instrument, request.POST.getlist("names"), by=request.user)
    except (ValidationError, Refused) as error:
        words = error.messages if isinstance(error, ValidationError) else [str(error)]
        messages.error(request, "; ".join(words))
        return
    told = ngettext("%(count)d rule is in force now.", "%(count)d rules are in force now.", len(added))
    level = messages.SUCCESS if added else messages.WARNING
    messages.add_message(request, level, told % {"count": len(added)})
