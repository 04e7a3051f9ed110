"""The pages as the server draws them, before any script."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from devices import numbers
from devices.models import Channel, Edge, Instrument, Latest, Run
from devices.readings import Quality
from labsite.pages.beside import VectorShown
from labsite.pages.cards import natural
from labsite.pages.standing import Standing, state
from telemetry import partitions
from telemetry.models import Event, Gap, Sample, VectorSample
from tests import factories
from tests.web import store

THIN = numbers.THIN_SPACE
T0 = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def user(db: None) -> User:
    person = factories.person("viewer", staff=False)
    person.set_password("a long password")
    person.save()
    return person


@pytest.fixture
def page(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def text(page: Client, url: str = "/") -> str:
    reply = page.get(url)
    assert reply.status_code == 200
    return reply.content.decode()


def lone(name: str = "Bath 1", **channel: object) -> Channel:
    """An instrument with one channel."""
    instrument = factories.instrument(name)
    instrument.channels.all().delete()
    fields = {"key": "bath", "label": "Bath", "unit": "Cel", "low": 10, "high": 20, "digits": 2}
    return Channel.objects.create(instrument=instrument, **{**fields, **channel})


# ---- who may see what


@pytest.mark.parametrize("url", ["/", "/instruments/{id}/", "/?find=x", "/admin/", "/nowhere/"])
def test_a_login_is_asked_for(client: Client, db: None, url: str) -> None:
    reply = client.get(url.format(id=uuid4()), follow=True)
    assert b'name="password"' in reply.content or reply.status_code == 404
    assert b"Bath" not in reply.content


def test_the_chart_is_for_those_who_are_signed_in(client: Client, db: None) -> None:
    assert client.get(reverse("chart", args=[uuid4()])).status_code == 401


def test_signing_in_leads_back(client: Client, user: User) -> None:
    reply = client.post("/login/?next=/?find=x", {"username": "viewer", "password": "a long password"})
    assert (reply.status_code, reply["location"]) == (302, "/?find=x")


def test_signing_in_leads_to_no_other_site(client: Client, user: User) -> None:
    sent = {"username": "viewer", "password": "a long password", "next": "https://example.org/"}
    assert client.post("/login/", sent)["location"] == "/"


def test_a_wrong_password_is_said(client: Client, user: User) -> None:
    reply = client.post("/login/", {"username": "viewer", "password": "wrong"})
    assert reply.status_code == 200
    assert 'role="alert"' in reply.content.decode()
    assert "correct username and password" in reply.content.decode()


def test_the_admin_has_the_same_login(client: Client, db: None) -> None:
    chain = client.get("/admin/devices/instrument/", follow=True).redirect_chain
    assert chain[-1][0].startswith("/login/?next=")


def test_who_may_not_open_the_admin_is_told_so(page: Client) -> None:
    shown = page.get("/admin/", follow=True).content.decode()
    assert "You are signed in as viewer, who may not open that page" in shown
    assert reverse("admin:index") not in text(page).replace("next", "")


def test_signing_out_takes_a_post(page: Client) -> None:
    assert page.get("/logout/").status_code == 405
    assert page.post("/logout/")["location"] == "/login/"
    assert page.get("/").status_code == 302


# ---- what is shown


def test_values_are_shown_with_unit_and_age(page: Client) -> None:
    store(lone(), -1234.567)
    shown = text(page)
    assert f"−1{THIN}234.57" in shown
    assert "°C" in shown
    assert re.search(r"\d\.\d s ago", shown)


@pytest.mark.parametrize(
    ("reading", "word"),
    [
        ({"value": 15.0}, "Normal"),
        ({"value": 25.0}, "Outside normal"),
        ({"value": None, "quality": Quality.BAD, "text": "connection refused"}, "connection refused"),
        ({"value": 15.0, "seen_at": timezone.now() - timedelta(minutes=4)}, "Silent"),
        (None, "No reading yet"),
    ],
    ids=["normal", "outside", "not connected", "silent", "new"],
)
def test_an_instrument_says_how_it_stands(page: Client, reading: dict[str, Any] | None, word: str) -> None:
    channel = lone()
    if reading is not None:
        store(channel, **reading)
    shown = text(page)
    assert word in shown
    assert ("Needs a look" in shown) == (word not in ("Normal", "No reading yet"))


def test_an_instrument_that_never_spoke_is_to_be_looked_at(page: Client) -> None:
    lone()
    Instrument.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    assert "Needs a look" in text(page)


def test_out_of_service_is_nothing_to_look_at(page: Client) -> None:
    channel = lone()
    store(channel, 1.0, seen_at=timezone.now() - timedelta(days=1))
    Instrument.objects.update(in_service=False)
    shown = text(page)
    assert "Out of service" in shown
    assert "Needs a look" not in shown


def test_a_retired_instrument_is_gone_from_the_overview(page: Client) -> None:
    lone("Bath 1")
    Instrument.objects.update(retired_at=timezone.now())
    assert "Bath 1" not in text(page)


def test_names_and_texts_are_never_html(page: Client) -> None:
    evil = "<script>alert(1)</script>\" onload='x"
    channel = lone(evil, label=evil, unit="<b>", kind="text")
    store(channel, None, text=evil, quality=Quality.BAD)
    Edge.objects.update(name="<i>")
    for url in ("/", reverse("instrument", args=[channel.instrument_id]), "/?find=" + "%3Cscript%3E"):
        shown = page.get(url, follow=True).content.decode()
        assert "<script>alert" not in shown
        assert "onload='x" not in shown
        assert "<b>" not in shown.replace("<b><span data-count", "")
        assert "<i>" not in shown


def test_what_needs_a_look_comes_first_and_the_rest_by_name(page: Client) -> None:
    for name in ("Bath 10", "Bath 2", "Zeolite"):
        store(lone(name), 15.0)
    store(lone("Yttrium"), 99.0)
    shown = text(page)
    places = [shown.index(f">{name}</a>") for name in ("Yttrium", "Bath 2", "Bath 10", "Zeolite")]
    assert places == sorted(places)
    assert natural("Bath 2") < natural("bath 10") < natural("Bath 10b")


def test_an_edge_has_a_section_of_its_own(page: Client) -> None:
    factories.edge("bench-1")
    for channel in Channel.objects.all():
        store(channel, channel.low or 0.0)
    shown = text(page)
    assert "<h2>Edges</h2>" in shown
    assert "<h2>All is well</h2>" not in shown


def test_an_empty_lab_says_what_to_do(client: Client, db: None, page: Client) -> None:
    assert "Ask an administrator" in text(page)
    client.force_login(factories.person(superuser=True))
    shown = text(client)
    assert "Add an instrument" in shown
    assert reverse("admin:devices_instrument_add") in shown


def test_finding_one_leads_to_it(page: Client) -> None:
    channel = lone("Bath 1")
    lone("Chiller")
    assert page.get("/?find=bath")["location"] == reverse("instrument", args=[channel.instrument_id])
    assert "is called like “nothing”" in text(page, "/?find=nothing")


def test_an_instrument_shows_all_its_channels(page: Client) -> None:
    instrument = factories.instrument()
    shown = text(page, reverse("instrument", args=[instrument.pk]))
    for channel in instrument.channels.all():
        assert f'data-channel="{channel.pk}"' in shown


def test_the_overview_costs_few_questions(
    page: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    bench = factories.edge()
    instruments = Instrument.objects.bulk_create(
        Instrument(name=f"Bath {n}", driver="thermostat", edge=bench, address=factories.ADDRESS)
        for n in range(200)
    )
    channels = Channel.objects.bulk_create(
        Channel(instrument=each, key=f"c{n}", label=f"Channel {n}") for each in instruments for n in range(26)
    )
    now = timezone.now()
    Latest.objects.bulk_create(
        Latest(channel=each, time=now, value=1.0, seen_at=now, stored_at=now) for each in channels
    )
    with django_assert_max_num_queries(7):
        shown = text(page)
    assert shown.count("<article") == 201


def test_the_last_value_stays_readable_and_is_not_live(page: Client) -> None:
    channel = lone()
    then = timezone.now() - timedelta(minutes=4)
    store(channel, 15.0, time=then, seen_at=then, quality=Quality.BAD)
    shown = text(page)
    for wanted in (">15.00<", "Not connected", "4 min 00 s ago", "not valid", 'class="row stale none"'):
        assert wanted in shown
    assert "card look stale" in shown


def test_the_last_text_stays_readable(page: Client) -> None:
    store(lone(kind="text"), None, text="idle", quality=Quality.BAD)
    shown = text(page)
    assert ">idle<" in shown
    assert "not valid" in shown
    assert "data-reason></p>" in shown


def test_what_an_instrument_that_answers_did_not_tell_anew_is_as_it_was(page: Client) -> None:
    channel = lone(key="mode", label="Mode", kind="text", low=None, high=None)
    then = timezone.now() - timedelta(minutes=4)
    store(channel, None, text="Exploit", time=then, seen_at=then)
    other = Channel.objects.create(instrument=channel.instrument, key="psi", label="Psi", position=1)
    store(other, 0.5)
    assert 'class="row stale' not in text(page)
    Latest.objects.update(seen_at=then)
    assert text(page).count('class="row stale') == 2


def test_a_channel_without_any_value_says_why(page: Client) -> None:
    store(lone(), None, quality=Quality.BAD)
    shown = text(page)
    assert ">–<" in shown
    assert "no reading" in shown


# ---- the chart


def test_the_chart_gets_series_and_gaps(page: Client) -> None:
    channel = lone()
    now = timezone.now()
    partitions.make_ahead(now)
    times = [now - timedelta(minutes=minutes) for minutes in (70, 30, 20, 10)]
    Sample.objects.bulk_create(
        Sample(time=at, channel_id=channel.pk, value=value)
        for at, value in zip(times, (0, 1, None, 3), strict=True)
    )
    Gap.objects.create(
        edge=channel.instrument.edge,
        instrument=channel.instrument,
        start=times[1],
        end=times[2],
        reason="overrun",
    )
    url = reverse("chart", args=[channel.instrument_id])
    found = page.get(f"{url}?channels={channel.pk},999999&minutes=60").json()
    [series] = found["channels"]
    assert (series["id"], series["values"]) == (channel.pk, [1.0, None, 3.0])
    assert series["times"] == [round(at.timestamp() * 1000) for at in times[1:]]
    [gap] = found["gaps"]
    assert (gap["start"], gap["reason"], gap["channel"]) == (series["times"][0], "overrun", None)


@pytest.mark.parametrize(
    "query", ["channels=x", "minutes=x", "minutes=0", "minutes=9999", "channels=1,2,3,4,5,6,7,8,9"]
)
def test_a_malformed_question_of_the_chart_is_refused(page: Client, query: str) -> None:
    assert page.get(f"{reverse('chart', args=[lone().instrument_id])}?{query}").status_code == 400


# ---- what is neither number nor reading: words, vectors, runs, events


@pytest.mark.parametrize(
    ("kind", "reading", "shown", "drawn"),
    [
        ("text", {"text": "mains mode"}, ">mains mode<", False),
        ("bool", {"value": 1.0}, ">yes<", True),
        ("bool", {"value": 0.0}, ">no<", True),
        ("int", {"value": 7.0}, ">7<", True),
        ("vector", {"text": "96 values"}, ">96 values<", False),
    ],
)
def test_each_kind_is_shown_in_its_own_words(
    page: Client, kind: str, reading: dict[str, Any], shown: str, drawn: bool
) -> None:
    channel = lone(kind=kind, unit="", low=None, high=None)
    store(channel, reading.get("value"), text=reading.get("text"))
    url = reverse("instrument", args=[channel.instrument_id])
    for each in (text(page), text(page, url)):
        assert shown in each
        assert ">Normal<" in each
        assert "no value" not in each.replace('"no value"', "")
    assert (f'data-choose="{channel.pk}"' in text(page, url)) is drawn


def vector(*values: float | None, labels: list[str] | None = None) -> Channel:
    """A channel with a vector."""
    channel = lone(kind="vector", unit="{counts}", digits=1)
    partitions.make_ahead(timezone.now())
    at = timezone.now()
    VectorSample.objects.create(channel_id=channel.pk, time=at, values=list(values), labels=labels)
    store(channel, None, text=f"{len(values)} values", time=at)
    return channel


def test_the_newest_vector_is_drawn_small_with_a_summary(page: Client) -> None:
    channel = vector(1.0, None, 4.0, labels=["A1", "A2", "A3"])
    for url in (
        reverse("instrument", args=[channel.instrument_id]),
        reverse("beside", args=[channel.instrument_id]),
    ):
        shown = text(page, url)
        assert "3 values, 1.0 to 4.0, greatest at A3" in shown
        assert 'd="M0.1 100.0V75.0h.8V100.0zM2.1 100.0V0.0h.8V100.0z"' in shown


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([], ""),
        ([None], ""),
        ([0.0], "M0.1 100.0V100.0h.8V100.0z"),
        ([-1.0, 1.0], "M0.1 50.0V100.0h.8V50.0zM1.1 50.0V0.0h.8V50.0z"),
        ([1.0, 2.0, None, 2.0] * 60, "M0.5 50.0L1.5 0.0M3.5 0.0L4.5 50.0"),
    ],
)
def test_a_vector_is_bars_about_zero_or_a_line_broken_where_it_has_none(
    db: None, values: list[float | None], path: str
) -> None:
    stored = VectorSample(values=values, labels=None, time=T0)
    assert VectorShown(Channel(), stored, T0).path.startswith(path)


def test_a_run_under_way_is_on_the_card_and_on_the_page(page: Client) -> None:
    channel = lone()
    now = timezone.now()
    fields = {"stage": "PCR", "cycle": 12, "metrics": {"mean_error": 0.0123}, "is_hot": True}
    run = {"kind": "qpcr", "title": "Plate <7>", "told_at": now, "fields": fields}
    Run.objects.create(
        instrument=channel.instrument,
        key="r2",
        state="running",
        progress=0.304,
        start=now - timedelta(minutes=4),
        **run,
    )
    Run.objects.create(
        instrument=channel.instrument,
        key="other-run",
        state="failed",
        **(run | {"title": "", "fields": {}}),
    )
    card = text(page)
    assert "Running · Plate &lt;7&gt;" in card
    assert 'max="100" value="30"' in card
    assert "other-run" not in card
    shown = text(page, reverse("instrument", args=[channel.instrument_id]))
    for wanted in ("Plate &lt;7&gt;", ">30 %<", "for 4 min 00 s", ">cycle<", ">12<", ">mean error<"):
        assert wanted in shown
    assert ">Failed<" in shown
    Run.objects.filter(key="other-run").update(state="running", told_at=now - timedelta(hours=1))
    assert ">Lost sight of<" in text(page, reverse("beside", args=[channel.instrument_id]))
    assert shown.index("Plate &lt;7&gt;") < shown.index("<b>other-run</b>")


def test_the_latest_ten_events_are_shown(page: Client) -> None:
    channel = lone()
    now = timezone.now()
    for number in range(12):
        Event.objects.create(
            instrument=channel.instrument,
            time=now - timedelta(minutes=number),
            kind="run_action",
            text=f"<step {number}>",
        )
    shown = text(page, reverse("beside", args=[channel.instrument_id]))
    assert [number for number in range(12) if f"&lt;step {number}&gt;" in shown] == list(range(10))
    assert "run action" in shown


def test_what_stands_beside_is_for_those_who_are_signed_in(client: Client, db: None) -> None:
    assert client.get(reverse("beside", args=[uuid4()])).status_code == 401


# ---- the look of all of them


def test_every_page_brings_the_strict_policy(page: Client) -> None:
    for url in ("/", "/login/", "/nowhere/"):
        policy = page.get(url)["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy


def test_errors_have_the_look_of_all_pages(page: Client) -> None:
    shown = page.get("/nowhere/")
    assert shown.status_code == 404
    assert b"There is no such page" in shown.content
    assert b"labsite.css" in shown.content


def test_a_form_from_elsewhere_is_refused_in_words(user: User) -> None:
    reply = Client(enforce_csrf_checks=True).post("/login/", {"username": "viewer", "password": "x"})
    assert reply.status_code == 403
    assert b"The form could not be taken" in reply.content


def test_a_fault_of_the_server_is_told_without_details(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labsite.pages.cards.overview", None)
    page.raise_request_exception = False
    reply = page.get("/")
    assert reply.status_code == 500
    assert b"Something went wrong here" in reply.content
    assert b"NoneType" not in reply.content


def test_the_licence_lies_beside_the_vendored_chart() -> None:
    assert finders.find("vendor/uplot/uPlot.esm.js")
    assert finders.find("vendor/uplot/LICENSE")


# ---- numbers


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (25.0031, 3, "25.003"),
        (1013.25, 1, f"1{THIN}013.2"),
        (-0.0004, 2, "0.00"),
        (-1.5, 1, "−1.5"),
        (1234567.0, 0, f"1{THIN}234{THIN}567"),
        (0.1 + 0.2, None, "0.3"),
        (12345.678, None, f"12{THIN}345.7"),
        (0.00001234, None, "1.234e−5"),
        (1e12, None, "1e12"),
        (0.0, None, "0"),
        (float("nan"), 2, "–"),
        (None, 2, "–"),
    ],
)
def test_numbers(value: float | None, digits: int | None, shown: str) -> None:
    assert numbers.number(value, digits) == shown


@pytest.mark.parametrize(
    ("ucum", "shown"),
    [("Cel", "°C"), ("mV", "mV"), ("kOhm", "kΩ"), ("uA", "µA"), ("m3/h", "m³/h"), ("{readings}", "readings"),
     ("1", ""), ("", ""), ("%", "%"), ("MBy", "MB"), ("A.h", "A·h"), ("s-1", "s⁻¹"), ("L/min", "L/min")],
)  # fmt: skip
def test_units(ucum: str, shown: str) -> None:
    assert numbers.unit(ucum) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (252, "4 min 12 s"),
        (7500, "2 h 05 min"),
        (266_400, "3 d 2 h"),
        (-3, "0.0 s"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert numbers.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(252, "4 min 12 s ago"), (3599, "59 min 59 s ago"), (7200, "2026-11-21 10:00 UTC")],
)
def test_ages(seconds: float, shown: str) -> None:
    assert numbers.age(T0 - timedelta(seconds=seconds), T0) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.5, "0.5 s"), (1, "1 s"), (90, "1 min 30 s"), (86_400, "24 h")]
)
def test_intervals(seconds: float, shown: str) -> None:
    assert numbers.interval(seconds) == shown


@pytest.mark.parametrize(
    ("interval", "age", "key"),
    [(1, 3.9, "normal"), (1, 4.1, "silent"), (10, 24.9, "normal"), (10, 25.1, "silent")],
)
def test_stale_is_past_two_and_a_half_intervals(interval: float, age: float, key: str) -> None:
    standing = Standing(read=2, seen=0)
    assert state(standing, in_service=True, interval=interval, age=0, now=int(1000 * age)).key == key
