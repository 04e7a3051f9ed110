"""The pages of alarms as the server draws them, and what people do on them."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from alerts import services
from alerts.changes import Changes
from alerts.lifecycle import Event, State
from alerts.models import Alarm, AlarmEvent, Override, Priority, RuleKind, Source
from devices.models import Channel, Edge, Instrument
from devices.services import OPERATOR
from labsite.pages import alarms
from labsite.pages.tally import Tally
from tests import factories
from tests.alerts.factories import NOW, alarm, cleared, rule
from tests.web import store

pytestmark = pytest.mark.django_db

EVIL = "<script>alert(1)</script>\" onload='x"


@pytest.fixture
def user() -> User:
    """Somebody who may see, and do nothing."""
    return factories.person("viewer", staff=False)


@pytest.fixture
def page(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


@pytest.fixture
def operator(client: Client) -> Client:
    """Somebody who may do everything with alarms, and is no staff."""
    person = factories.person("ada", staff=False)
    names = ("acknowledge_alarm", "shelve_alarm", "remove_alarm")
    person.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(person)
    return client


@pytest.fixture
def channel() -> Channel:
    return bath()


def bath(name: str = "Bath 1", **fields: Any) -> Channel:
    """An instrument with one channel."""
    instrument = factories.instrument(name)
    instrument.channels.all().delete()
    fields = {"key": "bath", "label": "Bath", "unit": "Cel", "digits": 2, **fields}
    return Channel.objects.create(instrument=instrument, **fields)


def text(page: Client, url: str = "/alarms/", **headers: str) -> str:
    reply = page.get(url, headers=headers)
    assert reply.status_code == 200
    return reply.content.decode()


def act(page: Client, of: Alarm, what: str, **sent: str) -> Any:
    return page.post(reverse("alarm-act", args=[of.pk, what]), sent)


def suppressed(of: Channel | Instrument, cause: Alarm | None = None, **fields: Any) -> Alarm:
    """An alarm that is there, and told to nobody."""
    made = alarm(of, **fields)
    Alarm.objects.filter(pk=made.pk).update(state=State.SUPPRESSED, cause=cause)
    made.refresh_from_db()
    return made


def state(of: Alarm) -> str:
    return Alarm.objects.get(pk=of.pk).state


# ---- who may see what


@pytest.mark.parametrize("url", ["/alarms/", "/alarms/1/", "/alarms/1/acknowledge/"])
def test_a_login_is_asked_for(client: Client, url: str) -> None:
    assert client.get(url)["location"].startswith("/login/?next=/alarms/")


def test_a_part_of_a_page_is_for_those_who_are_signed_in(client: Client, channel: Channel) -> None:
    made = alarm(channel)
    for url in (
        reverse("alarms-list"),
        reverse("alarms-few"),
        reverse("instrument-alarms", args=[channel.instrument_id]),
        reverse("alarm-facts", args=[made.pk]),
    ):
        assert client.get(url).status_code == 401


def test_what_is_not_there_is_said(page: Client) -> None:
    for url in ("/alarms/999/", "/alarms/999/facts/", f"/instruments/{uuid4()}/alarms/"):
        assert page.get(url).status_code == 404
    assert page.post("/alarms/999/acknowledge/").status_code == 404


def test_buttons_are_for_those_who_may(page: Client, channel: Channel) -> None:
    made = alarm(channel)
    urls = (
        "/alarms/",
        "/",
        reverse("alarm", args=[made.pk]),
        reverse("instrument", args=[channel.instrument_id]),
    )
    for url in urls:
        assert "data-act" not in text(page, url)
    page.force_login(factories.person("staff"))
    for url in urls:
        shown = text(page, url)
        assert reverse("alarm-act", args=[made.pk, "acknowledge"]) in shown
        assert reverse("alarm-act", args=[made.pk, "shelve"]) in shown
    assert "Take out of service" in text(page, reverse("alarm", args=[made.pk]))


def test_each_button_has_its_own_right(page: Client, user: User, channel: Channel) -> None:
    made = alarm(channel)
    user.user_permissions.add(Permission.objects.get(codename="shelve_alarm"))
    shown = text(page)
    assert "Shelve" in shown
    assert "Acknowledge" not in shown
    assert act(page, made, "acknowledge").status_code == 403
    assert act(page, made, "shelve", minutes="30", reason="on it").status_code == 302


# ---- what is shown


def test_a_row_has_all_that_a_person_needs_to_know(page: Client, channel: Channel) -> None:
    guided = rule(key="bath", guidance="Look at the pump.")
    made = alarm(
        channel,
        guided,
        at=0,
        priority=Priority.HIGH,
        text="Bath 1 temperature above 30 °C",
        reason="it is hot",
    )
    Alarm.objects.update(raised_at=timezone.now() - timedelta(minutes=4, seconds=12))
    store(channel, 31.5)
    shown = text(page)
    for wanted in (
        '<span aria-hidden="true">▲</span> 2 <span class="level">high</span>',
        "<b>Bath 1</b> temperature above 30 °C</a>",
        ">unacknowledged",
        "4 min 12 s ago",
        ">31.50<",
        "°C",
        " s ago</span>",
        "Look at the pump.",
        "it is hot",
        "nobody yet",
        reverse("alarm", args=[made.pk]),
        "<b>raised</b> at 31.50 °C",
        "1 standing, 1 not acknowledged",
    ):
        assert wanted in shown, wanted


def test_what_is_long_ago_has_a_date_and_a_zone(page: Client, channel: Channel) -> None:
    alarm(channel)
    Alarm.objects.update(raised_at=timezone.now() - timedelta(hours=2))
    assert " UTC</time>" in text(page)


def test_unacknowledged_ones_come_first_then_by_priority_then_the_oldest(page: Client) -> None:
    wanted = []
    for place, (priority, seen, at) in enumerate(
        [(1, False, -10), (3, False, -90), (3, False, -20), (1, True, -99), (4, True, -99)]
    ):
        made = alarm(bath(f"Bath {place}"), at=at, priority=priority, text=f"alarm {place}")
        if seen:
            services.acknowledge(made, OPERATOR, Source.API)
        wanted.append(f"alarm {place}")
    shown = text(page)
    places = [shown.index(f">{each}<") for each in wanted]
    assert places == sorted(places)


def test_who_acknowledged_it_is_told_with_the_words(page: Client, channel: Channel) -> None:
    made = alarm(channel)
    services.acknowledge(made, factories.person("grace"), Source.API, "restarting it")
    shown = text(page)
    assert "grace, “restarting it”" in shown
    assert "grace, API" in shown
    assert ">acknowledged" in shown


def test_one_that_returned_says_when(page: Client, channel: Channel) -> None:
    cleared(alarm(channel))
    shown = text(page)
    assert "returned, unacknowledged" in shown
    assert 'data-age="' in shown


def test_what_is_latched_waits_for_a_reset(operator: Client, channel: Channel) -> None:
    made = cleared(alarm(channel, rule(key="bath", latch=True)))
    assert "Reset" not in text(operator)
    act(operator, made, "acknowledge")
    shown = text(operator)
    assert "latched, acknowledged" in shown
    assert "Reset" in shown
    assert "Shelve" not in shown
    act(operator, made, "reset")
    assert state(made) == State.NORMAL


def test_nothing_stands_is_said_calmly(page: Client, channel: Channel) -> None:
    shown = text(page)
    assert "Nothing stands" in shown
    assert "There has been no alarm yet." in shown
    services.acknowledge(cleared(alarm(channel)), OPERATOR, Source.API)
    shown = text(page)
    assert "The last alarm was" in shown
    assert f"{channel} above 30" in shown


def test_a_cause_shows_its_consequences(page: Client) -> None:
    instrument = factories.instrument("Bath 1")
    cause = alarm(instrument, text="Bath 1 not connected")
    stale = rule(RuleKind.STALE)
    for each in instrument.channels.all():
        suppressed(each, cause, by=stale, text=f"{each.label} is stale")
    count = instrument.channels.count()
    shown = text(page)
    assert f"{count} consequences, suppressed" in shown
    assert f"and {count - alarms.LISTED} more" in shown
    assert f"{count} are consequences of" in shown
    assert shown.count("is stale") == alarms.LISTED
    one = text(page, reverse("alarm", args=[cause.pk]))
    assert one.count("is stale") == count


def test_what_is_suppressed_without_another_alarm_says_why(page: Client) -> None:
    for name, states in (("Bath 1", []), ("Bath 2", ["running"])):
        suppressed(bath(name), by=rule(key="bath", suppressed_in=states))
    Instrument.objects.filter(name="Bath 1").update(in_service=False)
    shown = text(page)
    assert "while its instrument is out of service" in shown
    assert "while a run is under way" in shown


@pytest.mark.parametrize("what", ["shelve", "remove"])
def test_what_is_set_aside_says_who_why_and_until_when(operator: Client, channel: Channel, what: str) -> None:
    made = alarm(channel)
    act(operator, made, what, minutes="30", reason="pump is being changed")
    shown = text(operator)
    assert "Nothing stands" in shown
    assert "Set aside" in shown
    assert "pump is being changed" in shown
    assert "ada, until " in shown
    act(operator, made, "unshelve" if what == "shelve" else "put-back")
    assert state(made) == State.UNACKNOWLEDGED
    assert "Set aside" not in text(operator)


def test_texts_are_never_html(operator: Client) -> None:
    channel = bath(EVIL[:80], label=EVIL, unit="<b>", kind="text")
    store(channel, None, text=EVIL)
    guided = rule(name=EVIL, key="bath", guidance=EVIL)
    made = alarm(channel, guided, text=f"{channel.instrument.name} {EVIL}", reason=EVIL)
    child = suppressed(bath("Bath 2"), made, text=EVIL)
    act(operator, made, "comment", comment=EVIL)
    act(operator, made, "acknowledge", comment=EVIL)
    other = alarm(bath("Bath 3"), text=EVIL)
    act(operator, other, "shelve", minutes="60", reason=EVIL)
    Edge.objects.update(name="<i>")
    for url in (
        "/alarms/",
        "/",
        reverse("alarm", args=[made.pk]),
        reverse("alarm", args=[child.pk]),
        reverse("instrument", args=[channel.instrument_id]),
    ):
        shown = text(operator, url)
        assert "<script>alert" not in shown, url
        assert "onload='x" not in shown, url
        assert "<i>" not in shown, url


def test_five_hundred_alarms_cost_few_questions(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    instrument = factories.instrument("Bath 1")
    many = Channel.objects.bulk_create(
        Channel(instrument=instrument, key=f"c{n}", label=f"Channel {n}") for n in range(520)
    )
    by = rule()
    changes = Changes(NOW, Source.INGEST)
    for place, each in enumerate(many):
        made = Alarm(
            rule=by, edge_id=instrument.edge_id, instrument=instrument, channel=each, since=NOW,
            text=f"alarm {place:03}", active=True, priority=1 + place % 4,
        )  # fmt: skip
        assert changes.move(made, Event.RAISE if place < 500 else Event.SUPPRESS, NOW)
    changes.save()
    with django_assert_max_num_queries(10):
        shown = text(operator)
    assert shown.count("<article") == alarms.ROWS
    assert "500 standing, 500 not acknowledged" in shown
    assert "page 1 of 5" in shown
    assert text(operator, "/alarms/?page=5").count("<article") == alarms.ROWS
    assert text(operator, "/alarms/?page=99").count("<article") == alarms.ROWS
    assert text(operator, "/alarms/?page=x").count("<article") == alarms.ROWS
    with django_assert_max_num_queries(9):
        assert text(operator, "/").count("data-alarm=") == alarms.FEW
    with django_assert_max_num_queries(16):
        text(operator, reverse("instrument", args=[instrument.pk]))


# ---- the bar, the overview, the instrument


def test_the_bar_counts_what_nobody_has_acknowledged(page: Client, channel: Channel) -> None:
    assert 'data-priority="0" hidden' in text(page)
    made = alarm(channel, priority=Priority.MEDIUM)
    alarm(bath("Bath 2"), priority=Priority.LOW)
    shown = text(page, "/?find=nothing")
    assert 'data-tally data-priority="3">' in shown
    assert "<span data-tally-count>2</span>" in shown
    services.acknowledge(made, OPERATOR, Source.API)
    assert 'data-tally data-priority="4">' in text(page)


def test_the_overview_begins_with_the_first_few(page: Client) -> None:
    for place in range(alarms.FEW + 2):
        alarm(bath(f"Bath {place}"), text=f"alarm {place}", at=place)
    shown = text(page, "/")
    assert "7 standing alarms" in shown
    assert "All 7 alarms" in shown
    assert shown.count("data-alarm=") == alarms.FEW
    assert shown.index("alarm 0") < shown.index('class="counts"')


def test_a_quiet_overview_says_nothing_of_alarms(page: Client, channel: Channel) -> None:
    assert "standing alarm" not in text(page, "/")


def test_an_instrument_begins_with_its_own(page: Client, channel: Channel) -> None:
    alarm(channel, text="of this one")
    alarm(bath("Bath 2"), text="of another")
    silent = alarm(channel.instrument, rule(RuleKind.EDGE_SILENT), text="edge silent")
    Alarm.objects.filter(pk=silent.pk).update(instrument=None)
    for url in ("instrument", "instrument-alarms"):
        shown = text(page, reverse(url, args=[channel.instrument_id]))
        assert "of this one" in shown
        assert "edge silent" in shown
        assert "of another" not in shown


# ---- one alarm


def test_one_alarm_has_its_rule_and_its_journal(operator: Client, channel: Channel) -> None:
    by = rule(
        RuleKind.OUTSIDE, name="Bath in range", key="bath", low=10.0, high=30.0, deadband=0.5,
        on_delay=90.0, latch=True, suppressed_in=["running"], guidance="Look at the pump.",
    )  # fmt: skip
    Override.objects.create(rule=by, channel=channel, high=40.0)
    made = alarm(channel, by)
    assert act(operator, made, "comment", comment="I see it").status_code == 302
    shown = text(operator, reverse("alarm", args=[made.pk]))
    for wanted in (
        "Look at the pump.",
        "Bath in range",
        "outside a range",
        "40 °C",
        "10 °C",
        "0.5 °C",
        "1 min 30 s",
        "stands until it is reset",
        "this channel has limits of its own",
        reverse("instrument", args=[channel.instrument_id]),
        "<b>comment</b>: “I see it”",
        "<b>raised</b>",
    ):
        assert wanted in shown, wanted
    assert "30 °C" not in shown


def test_a_long_journal_is_on_pages(page: Client, channel: Channel) -> None:
    made = alarm(channel)
    AlarmEvent.objects.bulk_create(
        AlarmEvent(
            alarm=made, event=Event.COMMENT, before=made.state, after=made.state, priority=3,
            at=NOW + timedelta(seconds=n), stored_at=NOW, comment=f"line {n}.",
        )
        for n in range(alarms.LINES + 10)
    )  # fmt: skip
    url = reverse("alarm", args=[made.pk])
    shown = text(page, url)
    assert "page 1 of 2" in shown
    assert f"line {alarms.LINES + 9}." in shown
    assert "line 3." not in shown
    assert "line 3." in text(page, f"{url}?page=2")
    assert "<article" in text(page, f"{url}?page=nothing&more=-1")


def test_what_was_learnt_late_says_so(page: Client, channel: Channel) -> None:
    made = alarm(channel)
    changes = Changes(timezone.now(), Source.INGEST)
    changes.note_past(made, Event.RAISE, NOW - timedelta(days=1))
    changes.save()
    assert "(learnt late, " in text(page, reverse("alarm", args=[made.pk]))


OF_NO_INSTRUMENT = (RuleKind.EDGE_SILENT, RuleKind.UNDELIVERED, RuleKind.SINK_NOT_FED)


@pytest.mark.parametrize("kind", [*OF_NO_INSTRUMENT, RuleKind.RATE, RuleKind.STALE])
def test_each_kind_of_alarm_has_a_page(page: Client, channel: Channel, kind: str) -> None:
    made = alarm(channel, rule(kind, seconds=30.0, high=2.0))
    if kind in OF_NO_INSTRUMENT:
        Alarm.objects.update(channel=None, instrument=None)
    shown = text(page, reverse("alarm", args=[made.pk]))
    assert "30 s" in shown
    assert ("2 °C per minute" in shown) == (kind == RuleKind.RATE)


# ---- what people do


def test_acknowledging_leads_back_to_where_one_was(operator: Client, channel: Channel) -> None:
    made = alarm(channel)
    reply = act(operator, made, "acknowledge", back="/alarms/?page=1")
    assert (reply.status_code, reply["location"]) == (302, f"/alarms/?page=1#alarm-{made.pk}")
    assert f"{made.text}: acknowledged" in text(operator)
    event = AlarmEvent.objects.get(event=Event.ACKNOWLEDGE)
    assert (event.source, event.by.get_username() if event.by else "") == (Source.PAGE, "ada")


@pytest.mark.parametrize("back", ["https://example.org/", "//example.org", "", "javascript:alert(1)"])
def test_the_way_back_leads_to_no_other_site(operator: Client, channel: Channel, back: str) -> None:
    made = alarm(channel)
    assert act(operator, made, "acknowledge", back=back)["location"] == f"/alarms/#alarm-{made.pk}"


def test_who_was_slower_is_told_in_words(operator: Client, channel: Channel) -> None:
    made = alarm(channel)
    services.acknowledge(made, factories.person("grace"), Source.MATRIX)
    reply = operator.post(reverse("alarm-act", args=[made.pk, "acknowledge"]), {"back": "/"}, follow=True)
    shown = reply.content.decode()
    assert "there is nothing to acknowledge" in shown
    assert 'class="error"' in shown
    assert AlarmEvent.objects.filter(event=Event.ACKNOWLEDGE).count() == 1


def test_a_script_is_told_in_json(operator: Client, channel: Channel) -> None:
    made = alarm(channel)
    url = reverse("alarm-act", args=[made.pk, "acknowledge"])
    reply = operator.post(url, headers={"accept": "application/json"})
    assert (reply.status_code, reply.json()) == (200, {"said": f"{made.text}: acknowledged"})
    reply = operator.post(url, headers={"accept": "application/json"})
    assert reply.status_code == 409
    assert "there is nothing to acknowledge" in reply.json()["said"]
    assert "nothing to acknowledge" not in text(operator)


@pytest.mark.parametrize(
    ("what", "sent", "code"),
    [
        ("shelve", {"minutes": "30", "reason": ""}, 302),
        ("shelve", {"minutes": "-5", "reason": "a reason"}, 302),
        ("shelve", {"minutes": "9999999999", "reason": "a reason"}, 302),
        ("shelve", {"minutes": "x", "reason": "a reason"}, 400),
        ("shelve", {"reason": "a reason"}, 400),
        ("remove", {"minutes": "60", "reason": "  "}, 302),
        ("comment", {"comment": "  "}, 302),
        ("unshelve", {}, 302),
        ("put-back", {}, 302),
        ("reset", {}, 302),
        ("dance", {}, 404),
    ],
)
def test_what_cannot_be_is_refused(
    operator: Client, channel: Channel, what: str, sent: dict[str, str], code: int
) -> None:
    made = alarm(channel)
    before = Alarm.objects.get(pk=made.pk).version
    assert act(operator, made, what, **sent).status_code == code
    assert Alarm.objects.get(pk=made.pk).version == before
    assert ('class="error"' in text(operator)) == (code == 302)


def test_a_form_from_elsewhere_is_refused(channel: Channel) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(factories.person("staff"))
    assert act(strict, alarm(channel), "acknowledge").status_code == 403


def test_who_had_to_sign_in_first_is_led_to_the_alarm(operator: Client, channel: Channel) -> None:
    made = alarm(channel)
    url = reverse("alarm-act", args=[made.pk, "acknowledge"])
    assert operator.get(url)["location"] == reverse("alarm", args=[made.pk])
    assert state(made) == State.UNACKNOWLEDGED


def test_a_login_that_is_over_is_noticed_by_a_script(client: Client, channel: Channel) -> None:
    made = alarm(channel)
    reply = client.post(
        reverse("alarm-act", args=[made.pk, "acknowledge"]), headers={"accept": "application/json"}
    )
    assert (reply.status_code, state(made)) == (302, State.UNACKNOWLEDGED)


# ---- the tally


def test_the_revision_changes_with_what_there_is_to_see(channel: Channel) -> None:
    seen = [Tally.now()]
    made = alarm(channel)
    seen.append(Tally.now())
    services.comment(made, OPERATOR, Source.API, "I see it")
    seen.append(Tally.now())
    services.shelve(made, OPERATOR, Source.API, timezone.now() + timedelta(hours=1), "a reason")
    seen.append(Tally.now())
    services.shelve(made, OPERATOR, Source.API, timezone.now() + timedelta(hours=2), "a reason")
    seen.append(Tally.now())
    assert len({each.revision for each in seen}) == len(seen)
    assert all(0 <= each.revision < 2**53 for each in seen)
    assert Tally.now() == Tally.now()
    assert [each.unacknowledged for each in seen] == [0, 1, 1, 0, 0]
    assert seen[1].channels == [channel.pk]
