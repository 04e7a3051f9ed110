"""Who may ask what through the API."""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from devices.models import AccessToken


class ReadOrStaff(BasePermission):
    """Everyone with a login reads; staff writes; a token does no more than its scope allows.

    A view that takes pushed readings says `takes_readings = True`: the only one for the scope `push`.
    """

    reading_only = _("This token may only read.")
    pushing_only = _("This token may only push readings.")
    staff_only = _("Only staff may change anything.")

    def has_permission(self, request: Request, view: Any) -> bool:
        if not (request.user and request.user.is_authenticated):
            return False
        reads = request.method in SAFE_METHODS
        scope = request.auth.scope if isinstance(request.auth, AccessToken) else ""
        takes_readings = getattr(view, "takes_readings", False)
        if scope == AccessToken.Scope.PUSH and not takes_readings:
            return self.refuse(self.pushing_only)
        if scope == AccessToken.Scope.READ and not reads:
            return self.refuse(self.reading_only)
        if takes_readings and scope == AccessToken.Scope.PUSH:
            return True
        return self.may(request, view, reads=reads)

    def may(self, request: Request, view: Any, *, reads: bool) -> bool:  # noqa: ARG002 - for others to ask
        """Whether this person may, apart from the token's scope."""
        return reads or bool(request.user.is_staff) or self.refuse(self.staff_only)

    def refuse(self, reason: Promise | str) -> bool:
        """Say why in the answer (DRF reads `message` of this instance, which serves one request)."""
        self.message = reason
        return False
