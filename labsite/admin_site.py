"""The admin's site: unfold's, under the one security policy that its scripts can work with."""

from collections.abc import Callable
from typing import Any

from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from unfold.sites import UnfoldAdminSite

from alerts.rules import proposals_page

# unfold's pages are driven by Alpine, which evaluates expressions out of attributes, and carry inline styles.
relaxed = csp_update(
    {
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
    }
)


class LabsiteAdminSite(UnfoldAdminSite):
    site_header = site_title = "Labsite"

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        return relaxed(super().admin_view(view, cacheable))

    def extra_urls(self) -> list[URLPattern]:
        """Pages of its own; they come before those of the models."""
        return [path("alerts/rule/proposed/", self.admin_view(self.proposed_rules), name="proposed_rules")]

    def proposed_rules(self, request: HttpRequest) -> HttpResponse:
        return proposals_page.page(request, self.each_context(request))

    @method_decorator(relaxed)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().login(request, extra_context)  # type: ignore[no-any-return]
