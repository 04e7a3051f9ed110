"""The doors of the pages: overview, one instrument, its chart's series, the live stream, login."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib import import_module
from uuid import UUID

import msgspec
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LoginView
from django.db import connections
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_GET

from devices.models import Instrument
from labsite.pages import alarms, cards, series
from labsite.pages.beside import Beside
from labsite.pages.live import event, hub

CHANNELS_MAX = 8
MINUTES_MAX = 180
RETRY = b"retry: 2000\n\n"
SESSION_CHECK_EVERY = 30.0  # seconds between looks at whether the person is still signed in


class Login(LoginView):
    """The way in; says so when the person is signed in but the page asked for needs other rights."""

    template_name = "labsite/login.html"


@login_not_required
def admin_login(request: HttpRequest) -> HttpResponseBase:
    """The admin has no login of its own."""
    after = request.GET.get("next", "/admin/")
    return HttpResponseRedirect(f"{reverse('login')}?{urlencode({'next': after})}")


@login_not_required
@require_GET
def favicon(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """For pages of libraries, which name no icon of their own."""
    return redirect(static("labsite/icon.svg"))


@require_GET
@gzip_page
@never_cache
def overview(request: HttpRequest) -> HttpResponse:
    """All instruments; a search that one of them matches leads to it."""
    find = request.GET.get("find", "").strip()
    now = timezone.now()
    page = cards.overview(now, find)
    if find and len(page.everything) == 1:
        return redirect(page.everything[0].url)
    listing = alarms.first_few(request.user, now)
    shown = {"page": page, "find": find, "here": "overview", "listing": listing, "tally": listing.tally}
    return render(request, "labsite/overview.html", shown)


@require_GET
@gzip_page
@never_cache
def instrument(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One instrument: all its channels now, and the last hour as a chart."""
    found = get_object_or_404(Instrument.objects.select_related("edge"), pk=pk)
    now = timezone.now()
    listing = alarms.of_instrument(found, request.user, now)
    shown = {"card": cards.one(found, now), "beside": Beside(found, now)}
    shown |= {"listing": listing, "tally": listing.tally}
    return render(request, "labsite/instrument.html", shown)


@login_not_required
@require_GET
@gzip_page
@never_cache
def beside(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Runs, events and vectors of an instrument as they are now: a part of its page; 401 without a login."""
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    found = get_object_or_404(Instrument, pk=pk)
    return render(request, "labsite/_beside.html", {"beside": Beside(found, timezone.now())})


@login_not_required
@require_GET
async def live(request: HttpRequest) -> HttpResponseBase:
    """Server-sent events: `snapshot`, then `readings`, `changed`, `alarms`, `beat`.

    `?instrument=` asks for all channels of one instrument, `?only=alarms` for those of standing alarms;
    without either come those shown on the overview. `signed-out` is the last one, when the session ends.
    """
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponse(status=401)
    wanted = request.GET.get("instrument")
    only = request.GET.get("only")
    if (wanted is not None and not _is_uuid(wanted)) or only not in (None, "alarms"):
        return HttpResponse(status=400)
    # The stream reads through the listener: it must not hold a connection of its own for hours.
    await sync_to_async(connections.close_all)()
    reply = StreamingHttpResponse(
        events(request, wanted, only_alarms=only is not None), content_type="text/event-stream"
    )
    reply["Cache-Control"] = "no-store"
    reply["X-Accel-Buffering"] = "no"
    return reply


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


async def events(
    request: HttpRequest, instrument: str | None, *, only_alarms: bool = False
) -> AsyncIterator[bytes]:
    client = hub.join(instrument, only_alarms=only_alarms)
    loop = asyncio.get_running_loop()
    checked = loop.time()
    try:
        yield RETRY
        while events := await client.take():
            if loop.time() - checked > SESSION_CHECK_EVERY:
                checked = loop.time()
                if not await sync_to_async(_still_signed_in)(request):
                    yield event("signed-out", {})
                    return
            yield events
    finally:
        hub.leave(client)


def _still_signed_in(request: HttpRequest) -> bool:
    """Look again, as at a new request: expired, signed out, deactivated, password changed."""
    try:
        again = HttpRequest()
        again.session = import_module(settings.SESSION_ENGINE).SessionStore(request.session.session_key)
        return bool(get_user(again).is_authenticated)
    finally:
        connections.close_all()


@login_not_required
@require_GET
@gzip_page
@never_cache
def chart(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The series of `?channels=1,2` over the last `?minutes=` as JSON; 401 without a login.

    `channels`: for each its id, times in ms of UTC and values; `apart`: ms that thinning may leave between
    two points; `gaps`: start, end, reason and channel, null for all.
    """
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    found = get_object_or_404(Instrument, pk=pk)
    try:
        wanted = {int(number) for number in request.GET.get("channels", "").split(",") if number}
        minutes = int(request.GET.get("minutes", "60"))
    except ValueError:
        return HttpResponseBadRequest()
    if len(wanted) > CHANNELS_MAX or not 0 < minutes <= MINUTES_MAX:
        return HttpResponseBadRequest()
    now = timezone.now()
    since = now - timedelta(minutes=minutes)
    # msgspec writes what is no number as null; JSON has no other word for it.
    content = msgspec.json.encode(series.content(found, wanted, since, now))
    return HttpResponse(content, content_type="application/json")
