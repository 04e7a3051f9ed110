"""Who may do what with alarms through the API."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request

from alerts import services
from devices.permissions import ReadOrStaff


class ReadOrRight(ReadOrStaff):
    """Everyone with a login reads; the rest is for staff and for people with the right for it.

    `rights` of a view names the permission that each of its actions needs, also of those that read.
    """

    right_needed = _("You may not do this: it needs the permission %(right)s.")

    def may(self, request: Request, view: Any, *, reads: bool) -> bool:
        right = getattr(view, "rights", {}).get(view.action)
        if right is None:
            return super().may(request, view, reads=reads)
        return services.may(request.user, right) or self.refuse(self.right_needed % {"right": right})
