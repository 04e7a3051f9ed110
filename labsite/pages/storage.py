"""The page of what room is taken."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_GET

from labsite.pages.tally import Tally
from telemetry import storage


@require_GET
@gzip_page
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """What is stored, how fast it grows, and when the disk will be full: for staff."""
    if not request.user.is_staff:
        raise PermissionDenied
    shown = {"storage": storage.now(timezone.now()), "tally": Tally.now(), "here": "storage"}
    return render(request, "labsite/storage.html", shown)
