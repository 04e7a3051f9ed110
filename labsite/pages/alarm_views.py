"""The doors of alarms: the page of those that stand, one alarm, parts for the scripts, what people do."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_GET

from alerts import services
from alerts.models import Alarm, Source
from devices.errors import Refused
from devices.models import Instrument
from devices.services import Person
from labsite.pages import alarms

MINUTES_MOST = 90 * 24 * 60

Act = Callable[[Alarm, Person, HttpRequest], Alarm]
View = Callable[..., HttpResponse]


def part(view: View) -> View:
    """A part of a page, fetched anew by its script: 401 without a login, where a page leads to it."""

    @login_not_required
    @require_GET
    @gzip_page
    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if not request.user.is_authenticated:
            return HttpResponse(status=401)
        return view(request, *args, **kwargs)

    return guarded


@require_GET
@gzip_page
@never_cache
def standing(request: HttpRequest) -> HttpResponse:
    """What stands, and what is put aside."""
    listing = _listing(request)
    shown = {"listing": listing, "tally": listing.tally, "here": "alarms"}
    return render(request, "labsite/alarms.html", shown)


@part
def standing_list(request: HttpRequest) -> HttpResponse:
    """The list of that page."""
    return render(request, "labsite/_alarms.html", {"listing": _listing(request)})


@part
def few(request: HttpRequest) -> HttpResponse:
    """The list on the overview."""
    listing = alarms.first_few(request.user, timezone.now())
    return render(request, "labsite/_alarms_first.html", {"listing": listing})


@part
def of_instrument(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The list on an instrument's page."""
    listing = alarms.of_instrument(get_object_or_404(Instrument, pk=pk), request.user, timezone.now())
    return render(request, "labsite/_alarms_first.html", {"listing": listing})


@require_GET
@gzip_page
@never_cache
def one(request: HttpRequest, pk: int) -> HttpResponse:
    """One alarm: the same facts, its rule and its whole journal."""
    single = _single(request, pk)
    return render(request, "labsite/alarm.html", {"single": single, "tally": single.tally, "here": "alarms"})


@part
def facts(request: HttpRequest, pk: int) -> HttpResponse:
    """The content of that page."""
    return render(request, "labsite/_alarm_facts.html", {"single": _single(request, pk)})


def act(request: HttpRequest, pk: int, what: str) -> HttpResponse:
    """Do something with an alarm, then lead back to where the person was. A script is told in JSON.

    409 with `said` for a refusal; without a script that is shown on the page led back to.
    """
    if request.method != "POST":  # the way back from a login that had run out
        return redirect("alarm", pk)
    alarm = get_object_or_404(Alarm, pk=pk)
    if what not in ACTS:
        raise Http404
    try:
        changed = ACTS[what](alarm, request.user, request)
    except Refused as refusal:
        return _told(request, alarm, str(refusal), is_refused=True)
    except ValueError:
        return HttpResponseBadRequest()
    words = {"text": changed.text, "state": changed.get_state_display()}
    return _told(request, alarm, _("%(text)s: %(state)s") % words, is_refused=False)


def _told(request: HttpRequest, alarm: Alarm, said: str, *, is_refused: bool) -> HttpResponse:
    if not request.accepts("text/html"):
        return JsonResponse({"said": said}, status=409 if is_refused else 200)
    messages.add_message(request, messages.ERROR if is_refused else messages.SUCCESS, said)
    back = request.POST.get("back", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure()):
        back = reverse("alarms")
    return redirect(f"{back}#alarm-{alarm.pk}")


def _shelve(alarm: Alarm, by: Person, request: HttpRequest) -> Alarm:
    until, reason = timezone.now() + _span(request), request.POST.get("reason", "")
    return services.shelve(alarm, by, Source.PAGE, until, reason)


def _remove(alarm: Alarm, by: Person, request: HttpRequest) -> Alarm:
    until, reason = timezone.now() + _span(request), request.POST.get("reason", "")
    return services.remove(alarm, by, Source.PAGE, until, reason)


def _span(request: HttpRequest) -> timedelta:
    """How long it is to be put aside; the services know how long that may be. Raises ValueError."""
    return timedelta(minutes=min(int(request.POST.get("minutes", "")), MINUTES_MOST + 60))


ACTS: dict[str, Act] = {
    "acknowledge": lambda alarm, by, request: services.acknowledge(
        alarm, by, Source.PAGE, request.POST.get("comment", "").strip()
    ),
    "reset": lambda alarm, by, request: services.reset(
        alarm, by, Source.PAGE, request.POST.get("comment", "").strip()
    ),
    "comment": lambda alarm, by, request: services.comment(
        alarm, by, Source.PAGE, request.POST.get("comment", "").strip()
    ),
    "shelve": _shelve,
    "unshelve": lambda alarm, by, _request: services.unshelve(alarm, by, Source.PAGE),
    "remove": _remove,
    "put-back": lambda alarm, by, _request: services.put_back(alarm, by, Source.PAGE),
}


def _listing(request: HttpRequest) -> alarms.Listing:
    page = request.GET.get("page", "1")
    return alarms.listing(request.user, timezone.now(), int(page) if page.isdecimal() else 1)


def _single(request: HttpRequest, pk: int) -> alarms.Single:
    asked = (request.GET.get("page", ""), request.GET.get("more", ""))
    try:
        return alarms.one(pk, request.user, timezone.now(), *asked)
    except Alarm.DoesNotExist:
        raise Http404 from None
