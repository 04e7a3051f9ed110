"""What clocks do to alarms."""

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection

from alerts import services
from alerts.judging.timers import Timers
from alerts.lifecycle import Event, State
from alerts.models import Alarm, AlarmEvent, Override, Rule, RuleKind, Source
from devices.errors import Refused
from devices.models import PUSH_EDGE, Channel, Edge, Instrument, Latest, Run
from devices.services import OPERATOR
from tests.alerts import factories
from tests.alerts.bench import Bench
from tests.alerts.factories import rule
from tests.telemetry.factories import NOW, at, batch, instrument, moment

pytestmark = pytest.mark.django_db


@pytest.fixture
def bench() -> Bench:
    return Bench()


def look(seconds: float = 0.0, listening: float | None = -3600.0) -> None:
    """One round of the timers, at so many seconds from NOW."""
    since = None if listening is None else moment(listening)
    Timers().round(moment(seconds), since)


# ---- delays


def test_a_delay_runs_out_when_the_edges_readings_have_come_so_far(bench: Bench) -> None:
    rule(key="a", high=30.0, on_delay=5.0)
    bench.read((-9, 31.0))
    look(60)
    assert Alarm.objects.get().state == State.NORMAL
    bench.read((-5, 1.0), key="b")
    look()
    assert Alarm.objects.get().state == State.NORMAL
    bench.read((-3, 1.0), key="b")
    look()
    alarm = Alarm.objects.get()
    assert (alarm.state, alarm.raised_at) == (State.UNACKNOWLEDGED, moment(-4))


def test_nothing_runs_out_while_batches_before_are_missing(bench: Bench) -> None:
    rule(key="a", high=30.0, on_delay=5.0)
    bench.read((-30, 31.0))
    bench.next += 5  # in the backlog
    bench.read((-3, 1.0), key="b")
    look()
    assert Alarm.objects.get().state == State.NORMAL


def test_a_value_nobody_knows_any_more_lets_no_delay_run_out(bench: Bench) -> None:
    rule(key="a", high=30.0, on_delay=5.0)
    bench.read((-9, 31.0), (-8, None))
    bench.read((-1, 1.0), key="b")
    look()
    assert Alarm.objects.get().state == State.NORMAL


# ---- people's clocks


def test_shelving_ends_by_itself_and_what_still_holds_is_raised_anew(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.read((-9, 31.0))
    alarm = Alarm.objects.get()
    until = datetime.now(tz=NOW.tzinfo) + timedelta(minutes=10)
    services.shelve(alarm, OPERATOR, Source.API, until, "new pump")
    Timers().round(until - timedelta(seconds=1), None)
    assert Alarm.objects.get().state == State.SHELVED
    Timers().round(until, None)
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED
    events = AlarmEvent.objects.order_by("id").values_list("event", flat=True)
    assert list(events) == [Event.RAISE, Event.SHELVE, Event.UNSHELVE, Event.RAISE]


def test_what_ended_while_it_was_shelved_comes_back_as_normal(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.read((-9, 31.0))
    until = datetime.now(tz=NOW.tzinfo) + timedelta(minutes=10)
    services.shelve(Alarm.objects.get(), OPERATOR, Source.API, until, "new pump")
    bench.read((-8, 20.0))
    Timers().round(until, None)
    assert Alarm.objects.get().state == State.NORMAL
    assert not AlarmEvent.objects.filter(event=Event.CLEAR, told_at=None).exists()


@pytest.mark.parametrize(
    ("hours", "reason", "words"),
    [(1, "x", "reason"), (-1, "new pump", "over already"), (24 * 8, "new pump", "at most 7 days")],
)
def test_shelving_needs_a_reason_and_a_limit(bench: Bench, hours: int, reason: str, words: str) -> None:
    alarm = factories.alarm(bench.bath.channels.get(key="a"))
    until = datetime.now(tz=NOW.tzinfo) + timedelta(hours=hours)
    with pytest.raises(Refused, match=words):
        services.shelve(alarm, OPERATOR, Source.API, until, reason)


def test_only_the_first_acknowledge_counts(bench: Bench) -> None:
    alarm = factories.alarm(bench.bath.channels.get(key="a"))
    person = User.objects.create_user("ada", is_staff=True)
    services.acknowledge(alarm, person, Source.API, "I see it")
    with pytest.raises(Refused, match="nothing to acknowledge"):
        services.acknowledge(alarm, person, Source.API)
    row = AlarmEvent.objects.get(event=Event.ACKNOWLEDGE)
    assert (row.by, row.comment, Alarm.objects.get().acknowledged_by) == (person, "I see it", person)


# ---- suppression


def suppressed(rule_of: Rule) -> Alarm:
    return Alarm.objects.get(rule=rule_of)


def test_one_alarm_suppresses_another_while_it_stands(bench: Bench) -> None:
    mains = rule(key="a", high=30.0)
    low = rule(key="b", high=5.0, suppressed_by=mains)
    bench.read((-9, 31.0))
    bench.read((-8, 6.0), key="b")
    assert suppressed(low).state == State.SUPPRESSED
    assert suppressed(low).cause == suppressed(mains)
    bench.read((-7, 20.0))
    look()
    assert suppressed(mains).state == State.RETURNED  # nobody has seen it, but it is over
    assert suppressed(low).state == State.UNACKNOWLEDGED


def test_what_stands_is_suppressed_when_its_cause_comes_later(bench: Bench) -> None:
    mains = rule(key="a", high=30.0)
    low = rule(key="b", high=5.0, suppressed_by=mains)
    bench.read((-9, 6.0), key="b")
    assert suppressed(low).state == State.UNACKNOWLEDGED
    bench.read((-8, 31.0))
    look()
    assert suppressed(low).state == State.SUPPRESSED


def test_a_rule_may_be_suppressed_during_runs(bench: Bench) -> None:
    hot = rule(key="a", high=30.0, suppressed_in=["running"])
    run = Run.objects.create(
        instrument=bench.bath, key="r", kind="qpcr", state="running", told_at=moment(-60)
    )
    bench.read((-9, 31.0))
    assert suppressed(hot).state == State.SUPPRESSED
    look()
    assert suppressed(hot).state == State.SUPPRESSED
    run.state = "completed"
    run.save()
    look()
    assert suppressed(hot).state == State.UNACKNOWLEDGED


def test_an_instrument_out_of_service_has_no_alarms_and_old_ones_do_not_come_back(bench: Bench) -> None:
    hot = rule(key="a", high=30.0)
    bench.read((-9, 31.0))
    Instrument.objects.update(in_service=False)
    look()
    assert suppressed(hot).state == State.SUPPRESSED
    Instrument.objects.update(in_service=True)
    look()
    assert suppressed(hot).state == State.NORMAL
    bench.read((-1, 31.0))
    assert suppressed(hot).state == State.UNACKNOWLEDGED


def test_a_rule_that_is_switched_off_lets_its_alarms_go(bench: Bench) -> None:
    hot = rule(key="a", high=30.0)
    bench.read((-9, 31.0))
    Rule.objects.filter(pk=hot.pk).update(enabled=False)
    look()
    assert suppressed(hot).state == State.RETURNED


@pytest.mark.parametrize("how", ["key", "override", "tag"])
def test_a_rule_that_no_longer_watches_a_channel_lets_its_alarm_go(bench: Bench, how: str) -> None:
    hot = rule(key="a", high=30.0)
    bench.read((-9, 31.0))
    timers = Timers()
    timers.round(NOW, None)
    assert suppressed(hot).state == State.UNACKNOWLEDGED
    if how == "override":
        Override.objects.create(rule=hot, channel=bench.bath.channels.get(key="a"), enabled=False)
    else:
        Rule.objects.filter(pk=hot.pk).update(**{how: "b"})
    timers.round(NOW, None)
    assert (suppressed(hot).state, suppressed(hot).held) == (State.RETURNED, False)


# ---- silence


def test_an_edge_that_is_not_heard_is_silent_once_the_centre_has_listened(bench: Bench) -> None:
    Edge.objects.update(heard_at=moment(-31))
    look(0, listening=None)
    look(0, listening=-29)
    assert not Alarm.objects.exists()
    look(0, listening=-31)
    alarm = Alarm.objects.get()
    assert (alarm.text, alarm.state) == ("Edge bench is silent", State.UNACKNOWLEDGED)
    Edge.objects.update(heard_at=moment(1))
    look(2)
    assert Alarm.objects.get().state == State.RETURNED
    assert AlarmEvent.objects.count() == 2


def test_the_edge_of_pushed_instruments_is_never_silent() -> None:
    Edge.objects.create(name=PUSH_EDGE, heard_at=moment(-3600), created_at=moment(-7200))
    look()
    assert not Alarm.objects.exists()


def ordered(seconds: float) -> None:
    """All instruments are as they are since then; the trigger that notes it is left out."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        Instrument.objects.update(ordered_at=moment(seconds))
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def test_an_instrument_of_which_its_edge_tells_nothing_is_not_connected(bench: Bench) -> None:
    other = instrument(bench.edge, "other")
    ordered(-600)
    bench.bring(batch(other, "a", (at(-100), 1.0)))
    Alarm.objects.all().delete()
    bench.read((-90, 1.0))
    look()
    assert not Alarm.objects.exists()
    bench.read((-1, 1.0))
    look()
    alarm = Alarm.objects.get()
    assert (alarm.text, alarm.reason) == ("other is not connected", "last heard 1 min 40 s ago")
    assert alarm.pending_at == moment(-1)
    bench.bring(batch(other, "a", (at(0), 1.0)))
    assert not Alarm.objects.get().held


def test_one_just_put_into_service_is_given_time(bench: Bench) -> None:
    other = instrument(bench.edge, "other")
    bench.bring(batch(other, "a", (at(-100), 1.0)))
    ordered(-10)
    bench.read((-1, 1.0))
    look()
    assert not Alarm.objects.exists()


def test_a_channel_may_have_a_limit_of_its_own(bench: Bench) -> None:
    stale = Rule.objects.get(kind=RuleKind.STALE)
    Override.objects.create(rule=stale, channel=bench.bath.channels.get(key="a"), seconds=30.0, on_delay=0.0)
    bench.read((-60, 1.0))
    bench.read((-1, 1.0), key="b")
    look()
    assert [each.text for each in Alarm.objects.standing()] == ["bath a is missing or not valid"]
    bench.read((0, 1.0))
    assert Alarm.objects.get(channel__key="a").state == State.RETURNED


def test_pushed_channels_are_stale_only_where_a_rule_says_after_how_long() -> None:
    pushed = Edge.objects.create(name=PUSH_EDGE)
    bath = instrument(pushed, "logger")
    channel = Channel.objects.get(instrument=bath, key="a")
    Latest.objects.create(
        channel=channel, time=moment(-300), value=1.0, seen_at=moment(-300), stored_at=moment(-300)
    )
    look()
    assert not Alarm.objects.exists()
    rule(RuleKind.STALE, "logger stale", key="a", seconds=120.0)
    look()
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED


# ---- runs


def progress(run: Run, value: float, seconds: float) -> None:
    run.progress, run.told_at = value, moment(seconds)
    run.save()


def test_a_run_that_does_not_get_on_is_told_once_until_it_moves(bench: Bench) -> None:
    rule(RuleKind.NO_PROGRESS, seconds=60.0)
    run = Run.objects.create(
        instrument=bench.bath, key="r", kind="qpcr", title="plate 7", state="running", progress=0.2,
        told_at=moment(-200),
    )  # fmt: skip
    bench.read((-190, 1.0), key="b")
    look(-190)
    bench.read((-150, 1.0), key="b")
    look(-150)
    assert not Alarm.objects.standing().exists()
    bench.read((-130, 1.0), key="b")
    look(-130)
    (alarm,) = Alarm.objects.standing()
    assert alarm.text == "bath makes no progress: plate 7"
    progress(run, 0.3, -120)
    look(-119)
    assert Alarm.objects.get(rule__kind=RuleKind.NO_PROGRESS).state == State.RETURNED
    run.state = "completed"
    run.save()
    look(0)
    assert AlarmEvent.objects.filter(event=Event.RAISE).count() == 1


def test_waiting_for_readings_is_no_lack_of_progress(bench: Bench) -> None:
    rule(RuleKind.NO_PROGRESS, seconds=60.0)
    Run.objects.create(
        instrument=bench.bath, key="r", kind="qpcr", state="running", progress=0.2, told_at=moment(-200)
    )
    bench.read((-190, 1.0), key="b")
    look(-190)
    look(0)
    assert not Alarm.objects.standing().exists()
