"""Who is told what, and when."""

from datetime import time
from typing import Any

import pytest
from django.utils import timezone

from alerts.lifecycle import State
from alerts.models import Alarm, AlarmEvent, Contact, Notice, NoticeState, Priority, RuleKind, Source
from alerts.notices import delivery, routing
from alerts.services import acknowledge, shelve
from devices.models import Instrument
from devices.services import OPERATOR
from tests.alerts import factories
from tests.alerts.factories import NOW
from tests.alerts.notices.kit import titles, told, waiting
from tests.telemetry.factories import instrument, moment

pytestmark = pytest.mark.django_db


def channel(of: Instrument, key: str = "a") -> Any:
    return of.channels.get(key=key)


def acknowledged(alarm: Alarm) -> None:
    acknowledge(alarm, OPERATOR, Source.PAGE)


# ---- who


@pytest.mark.parametrize(
    ("route", "is_told"),
    [
        ({}, True),
        ({"enabled": False}, False),
        ({"alarms": False, "happenings": ["run.started"]}, False),
        ({"least_priority": Priority.HIGH}, True),
        ({"least_priority": Priority.CRITICAL}, False),
        ({"tags": ["room 214"]}, True),
        ({"tags": ["cellar", "room 214"]}, True),
        ({"tags": ["cellar"]}, False),
    ],
    ids=str,
)
def test_a_route_names_what_it_is_about(bath: Instrument, route: dict[str, Any], is_told: bool) -> None:
    bath.tags = ["room 214", "qpcr"]
    bath.save()
    factories.route(factories.contact(), **route)
    factories.alarm(channel(bath), priority=Priority.HIGH)
    assert bool(told()) is is_told
    assert not AlarmEvent.objects.filter(told_at=None).exists()


def test_an_edges_alarm_has_the_tags_of_its_instruments(bath: Instrument) -> None:
    bath.tags = ["room 214"]
    bath.save()
    factories.route(factories.contact("near"), name="near", tags=["room 214"])
    factories.route(factories.contact("far"), name="far", tags=["cellar"])
    silent = factories.alarm(bath, factories.rule(RuleKind.EDGE_SILENT))
    Alarm.objects.filter(pk=silent.pk).update(instrument=None)
    told()
    assert [notice.contact.name for notice in Notice.objects.all()] == ["near"]


def test_a_contact_that_is_switched_off_is_not_told(bath: Instrument) -> None:
    factories.route(factories.contact("off", enabled=False), factories.contact("on"), every=0)
    factories.alarm(channel(bath))
    told()
    assert [notice.contact.name for notice in Notice.objects.all()] == ["on"]


def test_who_is_on_two_routes_is_told_once_by_the_one_that_repeats(bath: Instrument) -> None:
    both = factories.contact()
    factories.route(both, name="a")
    again = factories.route(both, name="b", repeat=600)
    factories.alarm(channel(bath))
    assert len(told()) == 1
    assert Notice.objects.get(state=NoticeState.SENT).route == again


# ---- groups and windows


def test_what_shares_an_instrument_or_a_rule_is_one_notice(bath: Instrument) -> None:
    other = instrument(bath.edge, "oven")
    third = instrument(bath.edge, "ups")
    factories.route(factories.contact())
    rule = factories.rule()
    for each in (channel(bath), channel(other)):
        factories.alarm(each, rule)
    factories.alarm(channel(bath, "b"))
    factories.alarm(channel(third), at=-30)
    assert sorted(titles()) == ["◆ 3 medium · bath a above 30 + 2 more", "◆ 3 medium · ups a above 30"]


def test_what_joins_a_group_waits_for_the_end_of_its_window(bath: Instrument) -> None:
    factories.route(factories.contact(), window=10)
    factories.alarm(channel(bath), at=0)
    assert titles(0.5) == ["◆ 3 medium · bath a above 30"]
    factories.alarm(channel(bath, "b"), at=2)
    assert titles(2.5) == []
    late = factories.alarm(bath, at=5, text="bath is not connected")
    assert titles(5.5) == []
    factories.alarm(channel(instrument(bath.edge, "oven")), at=6, text="oven is hot")
    assert titles(6) == ["◆ 3 medium · oven is hot"]
    assert titles(10.4) == []
    assert titles(10.6) == ["◆ 3 medium · bath b above 30 + 1 more"]
    factories.cleared(late, at=14)
    assert titles(14) == []
    assert titles(21) == ["✓ bath is not connected: returned to normal"]
    factories.cleared(factories.alarm(channel(bath), factories.rule(name="x"), at=60), at=60.5)
    assert titles(61) == ["✓ bath a above 30: returned to normal"]


def test_each_contact_of_the_first_step_is_told(bath: Instrument) -> None:
    factories.route(factories.contact("one"), factories.contact("two"), every=0)
    factories.alarm(channel(bath))
    assert len(told()) == 2


# ---- recoveries


def test_a_recovery_is_told_to_those_who_were_told_of_the_trouble(bath: Instrument) -> None:
    factories.route(factories.contact("low"), name="low")
    factories.route(factories.contact("high"), name="high", least_priority=Priority.HIGH)
    factories.route(factories.contact("once"), name="once", recoveries=False)
    alarm = factories.alarm(channel(bath))
    assert len(told()) == 2
    factories.cleared(alarm, at=60)
    (recovery,) = told(60)
    assert recovery.kind == "recovery"
    assert recovery.title == "✓ bath a above 30: returned to normal"
    assert recovery.lines[0] == "raised 11:59 UTC, returned to normal 12:01 UTC (after 2 min), value 31.5"


def test_raised_and_over_before_anybody_was_told_is_one_notice(bath: Instrument) -> None:
    factories.route(factories.contact())
    factories.cleared(factories.alarm(channel(bath)))
    (message,) = told()
    assert message.title == "✓ bath a above 30: returned to normal"
    assert told(60) == []


def test_what_is_over_and_old_is_told_to_nobody(bath: Instrument) -> None:
    factories.route(factories.contact())
    factories.cleared(factories.alarm(channel(bath), at=-3600), at=-3000)
    assert told() == []
    assert Notice.objects.get().state == NoticeState.DROPPED


def test_what_is_old_and_stands_is_told(bath: Instrument) -> None:
    factories.route(factories.contact())
    factories.alarm(channel(bath), at=-86_400)
    assert titles() == ["◆ 3 medium · bath a above 30"]


def test_an_old_trouble_that_was_dropped_has_no_recovery(bath: Instrument) -> None:
    factories.route(factories.contact())
    alarm = factories.cleared(factories.alarm(channel(bath), at=-3600), at=-3000)
    assert told() == []
    factories.alarm(channel(bath, "b"), alarm.rule, at=1)
    assert titles(1) == ["◆ 3 medium · bath b above 30"]


def test_who_heard_of_a_trouble_that_ended_while_suppressed_hears_that_it_is_over(bath: Instrument) -> None:
    factories.route(factories.contact())
    alarm = factories.alarm(channel(bath))
    told()
    factories.moved(alarm, "suppress", at=10)
    assert told(10) == []
    factories.moved(alarm, "unsuppress", at=60)
    assert titles(60) == ["✓ bath a above 30: returned to normal"]


# ---- what is aside, past or an event


def test_what_was_put_aside_before_it_could_be_told_is_not(bath: Instrument) -> None:
    factories.route(factories.contact())
    alarm = factories.alarm(channel(bath))
    routing.dispatch(NOW)
    shelve(alarm, OPERATOR, Source.PAGE, timezone.now() + factories.HOUR, "maintenance")
    assert told() == []


def test_the_past_is_told_only_if_it_latched_and_once(bath: Instrument) -> None:
    factories.route(factories.contact())
    plain = factories.rule(name="plain")
    latching = factories.rule(name="latching", latch=True)
    factories.past(channel(bath), plain, at=-7200, until=-7000)
    factories.past(channel(bath, "b"), latching, at=-7200, until=-7000)
    (message,) = told()
    assert message.title == "◆ 3 medium · bath b above 30: returned to normal, latched"
    assert "learnt late" in message.text
    assert told(60) == []


def test_what_a_rule_of_events_raises_stands_until_it_is_acknowledged(bath: Instrument) -> None:
    contact, later = factories.contact(), factories.contact("later")
    factories.route(contact, later, every=600)
    rule = factories.rule(RuleKind.EVENT, event_kind="run.failed", priority=Priority.HIGH)
    alarm = factories.alarm(bath, rule, at=-30, text="bath: run failed")
    factories.cleared(alarm, at=-30)
    (message,) = told()
    assert message.title == "▲ 2 high · bath: run failed"
    assert message.lines[0] == "happened 11:59 UTC"
    (escalated,) = told(570)
    assert escalated.title == "Not acknowledged for 10 min: ▲ 2 high · bath: run failed"


# ---- steps, repeats


def test_later_steps_are_told_if_nobody_has_acknowledged(bath: Instrument) -> None:
    factories.route(factories.contact("first"), factories.contact("second"), factories.contact("third"))
    alarm = factories.alarm(channel(bath), at=0)
    assert titles(1) == ["◆ 3 medium · bath a above 30"]
    assert waiting() == [("escalation", "second", 600), ("escalation", "third", 1200)]
    assert titles(599) == []
    assert titles(600) == ["Not acknowledged for 10 min: ◆ 3 medium · bath a above 30"]
    acknowledged(alarm)
    assert titles(1200) == []
    assert not waiting()


@pytest.mark.parametrize("how", ["acknowledged", "cleared", "raised anew"])
def test_an_escalation_is_of_the_trouble_that_it_is_about(bath: Instrument, how: str) -> None:
    factories.route(factories.contact("first"), factories.contact("second"), window=0)
    alarm = factories.alarm(channel(bath), at=0)
    told(1)
    if how == "acknowledged":
        acknowledged(alarm)
    else:
        factories.cleared(alarm, at=300)
        told(300)
    if how == "raised anew":
        factories.moved(alarm, "raise", at=400)
        assert len(told(400)) == 1
    assert titles(600) == []
    assert titles(1000) == (
        ["Not acknowledged for 10 min: ◆ 3 medium · bath a above 30"] if how == "raised anew" else []
    )


def test_it_is_repeated_until_somebody_acknowledges(bath: Instrument) -> None:
    factories.route(factories.contact(), repeat=600)
    alarm = factories.alarm(channel(bath), at=0)
    assert titles(0) == ["◆ 3 medium · bath a above 30"]
    assert titles(599) == []
    assert titles(600) == ["Reminder: ◆ 3 medium · bath a above 30"]
    assert titles(1199) == []
    assert titles(1200) == ["Reminder: ◆ 3 medium · bath a above 30"]
    acknowledged(alarm)
    assert titles(1800) == []
    assert not waiting()


def test_reminders_of_one_route_are_one_message(bath: Instrument) -> None:
    factories.route(factories.contact(), repeat=600)
    for number, name in enumerate(("oven", "ups", "pump")):
        factories.alarm(channel(instrument(bath.edge, name)), at=100 * number)
        assert len(told(100 * number)) == 1
    (reminder,) = told(600)
    assert reminder.title == "Reminder: ◆ 3 medium · oven a above 30 + 2 more"
    assert len(waiting()) == 1


def test_what_is_over_is_not_repeated(bath: Instrument) -> None:
    factories.route(factories.contact(), repeat=600)
    alarm = factories.alarm(channel(bath), at=0)
    told(0)
    factories.cleared(alarm, at=300)
    told(300)
    assert told(600) == []


# ---- schedules

AT_WORK: dict[str, Any] = {"start": time(13), "end": time(18), "zone": "UTC"}  # NOW is 12:00


def test_outside_its_hours_a_route_tells_when_they_begin_what_still_stands(bath: Instrument) -> None:
    factories.route(factories.contact(), **AT_WORK)
    factories.alarm(channel(bath), at=0)
    acknowledged(factories.alarm(channel(bath, "b"), at=10))
    factories.cleared(factories.alarm(channel(instrument(bath.edge, "oven")), at=20), at=3590)
    factories.alarm(channel(instrument(bath.edge, "ups")), at=30, priority=Priority.HIGH)
    assert told(60) == []
    assert waiting() == [("alarm", "room", 3600)]
    (message,) = told(3600)
    assert message.title == "▲ 2 high · ups a above 30 + 1 more"
    assert told(3700) == []


def test_outside_its_hours_a_recovery_waits_too(bath: Instrument) -> None:
    route = factories.route(factories.contact(), start=time(11), end=time(12, 1))
    alarm = factories.alarm(channel(bath), at=0)
    assert len(told(0)) == 1
    factories.cleared(alarm, at=120)
    assert told(120) == []
    assert titles(23 * 3600) == ["✓ bath a above 30: returned to normal"]
    assert route.steps.count() == 1


def test_escalations_and_reminders_keep_to_the_hours(bath: Instrument) -> None:
    factories.route(
        factories.contact("first"), factories.contact("second"), start=time(11), end=time(12, 5), repeat=600
    )
    factories.alarm(channel(bath), at=0)
    told(0)
    assert sorted(waiting()) == [("escalation", "second", 23 * 3600), ("repeat", "first", 23 * 3600)]


# ---- chatter


def chattering(bath: Instrument, times: int, every: float = 30.0, start: float = 0.0) -> Alarm:
    """An alarm that goes up and down so many times; each change is looked at as it comes."""
    alarm = factories.alarm(channel(bath), factories.rule(chatter_changes=3, chatter_seconds=600), at=start)
    for number in range(1, times):
        at = start + number * every
        factories.cleared(alarm, at=at - every / 2)
        factories.moved(alarm, "raise", at=at)
    return alarm


def test_chatter_is_told_once_and_once_when_it_calms_down(bath: Instrument) -> None:
    factories.route(factories.contact(), window=0)
    alarm = factories.alarm(channel(bath), factories.rule(chatter_changes=3, chatter_seconds=600), at=0)
    said = titles(0)
    for at in range(30, 300, 30):
        factories.cleared(alarm, at=at - 15)
        said += titles(at - 15)
        factories.moved(alarm, "raise", at=at)
        said += titles(at)
    raised, normal = "◆ 3 medium · bath a above 30", "✓ bath a above 30: returned to normal"
    assert said == [raised, normal, raised, normal, raised, normal, f"{raised}: chatters"]
    assert told(800) == []  # raised at 210, 240 and 270 within the ten minutes before
    assert titles(860) == [f"{raised}: has calmed down, stands"]
    assert told(900) == []
    factories.cleared(alarm, at=1000)
    assert titles(1000) == [normal]


def test_what_chatters_within_one_round_is_damped_too(bath: Instrument) -> None:
    factories.route(factories.contact(), window=10)
    chattering(bath, 20, every=10)
    said = sorted(titles(200)) + titles(211) + titles(222)
    assert said == ["◆ 3 medium · bath a above 30", "◆ 3 medium · bath a above 30: chatters"]


def test_what_chatters_is_escalated_if_nobody_acknowledges(bath: Instrument) -> None:
    factories.route(factories.contact("first"), factories.contact("second"))
    alarm = chattering(bath, 17, every=10)
    told(160)
    for at in (710, 730):
        factories.cleared(alarm, at=at - 5)
        factories.moved(alarm, "raise", at=at)
    assert titles(759) == []
    assert titles(760) == ["Not acknowledged for 30 s: ◆ 3 medium · bath a above 30"]


# ---- happenings


def happening(of: Instrument, kind: str = "run.completed", at: float = 0.0, late: float = 1.0) -> None:
    factories.happening(of, kind, at, late)


@pytest.mark.parametrize(
    ("route", "late", "is_told"),
    [
        ({"happenings": ["run.completed"]}, 1, True),
        ({"happenings": ["run.*"]}, 1, True),
        ({"happenings": ["run.started"]}, 1, False),
        ({"happenings": ["run.completed"], "alarms": False}, 1, True),
        ({"happenings": ["run.completed"], "tags": ["cellar"]}, 1, False),
        ({"happenings": ["run.completed"]}, 901, False),
        ({"happenings": ["run.completed"], **AT_WORK}, 1, False),
        ({}, 1, False),
    ],
    ids=str,
)
def test_happenings_are_told_to_those_who_asked(
    bath: Instrument, route: dict[str, Any], late: float, is_told: bool
) -> None:
    factories.route(factories.contact(), **route)
    happening(bath, late=late)
    assert titles(1) == (["bath: run completed: plate 7"] if is_told else [])
    assert told(7200) == []


def test_happenings_of_an_instrument_are_grouped(bath: Instrument) -> None:
    factories.route(factories.contact(), happenings=["run.*"])
    happening(bath, "run.started", at=0)
    assert titles(1) == ["bath: run started: plate 7"]
    happening(bath, "run.paused", at=3)
    happening(bath, "run.completed", at=5)
    assert titles(6) == []
    assert titles(11) == ["bath: run paused: plate 7 + 1 more"]


# ---- the daily word


def test_the_daily_word_comes_once_a_day(bath: Instrument) -> None:
    factories.route(factories.contact(), daily=time(14), zone="Europe/Berlin", created_at=moment(-60))
    assert titles(3599) == []
    assert titles(3600) == ["All is well: no alarm stands (14:00 CET)"]
    assert titles(3700) == []
    factories.alarm(channel(bath), at=50_000)
    told(50_000)
    (message,) = told(3600 + 86_400 + 300)
    assert message.title == "1 alarm stands (14:05 CET)"
    assert "◆ 3 medium · bath a above 30" in message.lines
    assert told(3600 + 86_400 + 3600) == []


def test_after_some_days_away_one_word_comes(bath: Instrument) -> None:
    route = factories.route(factories.contact(), daily=time(11), created_at=moment(-30 * 86_400))
    route.daily_told_at = moment(-5 * 86_400)
    route.save()
    assert len(told(0)) == 1
    assert told(1) == []


def test_a_word_whose_hour_was_put_off_is_not_told_twice_a_day(bath: Instrument) -> None:
    route = factories.route(factories.contact(), daily=time(12), created_at=moment(-86_400))
    assert len(told(0)) == 1
    type(route).objects.update(daily=time(13))
    assert told(3600) == []
    assert len(told(3600 + 86_400)) == 1


def test_a_route_made_after_the_hour_begins_the_next_day(bath: Instrument) -> None:
    factories.route(factories.contact(), daily=time(11), created_at=NOW)
    assert told(60) == []
    assert len(told(23 * 3600)) == 1


# ---- cost and turns


def test_a_round_with_nothing_to_do_is_cheap(bath: Instrument, django_assert_max_num_queries: Any) -> None:
    factories.route(
        factories.contact("a"), factories.contact("b"), repeat=600, daily=time(11), created_at=NOW
    )
    factories.alarm(channel(bath))
    told()
    with django_assert_max_num_queries(7):  # two of them are a savepoint, which is a transaction in real life
        routing.dispatch(moment(10))
    with django_assert_max_num_queries(1):
        assert delivery.due(("webhook",), moment(10)) == []


def test_without_routes_nothing_is_kept_for_later(bath: Instrument) -> None:
    factories.alarm(channel(bath))
    assert routing.dispatch(NOW) == 0
    factories.route(factories.contact())
    assert told(60) == []
    assert Contact.objects.count() == 1
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED
