"""Readings in, alarms out, through the pipeline."""

from typing import Any

import pytest

from alerts.lifecycle import Event, State
from alerts.models import Alarm, AlarmEvent, Rule, RuleKind
from devices.readings import Flag, Quality
from devices.wire import Batch, Gap
from labsite import pipeline
from tests.alerts.bench import Bench
from tests.alerts.factories import rule
from tests.telemetry.factories import NOW, at, batch, moment, parcel

pytestmark = pytest.mark.django_db


@pytest.fixture
def bench() -> Bench:
    return Bench()


def journal(**of: Any) -> list[tuple[str, float]]:
    """Events and their times, in seconds from NOW."""
    rows = AlarmEvent.objects.filter(**of).order_by("id")
    return [(row.event, (row.at - NOW).total_seconds()) for row in rows]


# ---- limits


def test_a_reading_above_the_limit_raises_and_one_below_clears(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.read((-9, 20.0), (-8, 31.0), (-7, 32.0))
    alarm = Alarm.objects.get()
    assert (alarm.state, alarm.raised_at, alarm.value) == (State.UNACKNOWLEDGED, moment(-8), 32.0)
    assert alarm.text == "bath a above 30"
    bench.read((-6, 29.0))
    assert Alarm.objects.get().state == State.RETURNED
    assert journal() == [(Event.RAISE, -8), (Event.CLEAR, -6)]


@pytest.mark.parametrize(
    ("kind", "fields", "calm", "wrong"),
    [
        (RuleKind.HIGH, {"high": 30.0}, 30.0, 30.001),
        (RuleKind.LOW, {"low": 180.0}, 180.0, 179.9),
        (RuleKind.OUTSIDE, {"low": 1.0, "high": 2.0}, 1.0, 0.9),
        (RuleKind.EQUALS, {"value": "true"}, 0.0, 1.0),
        (RuleKind.EQUALS, {"value": "3"}, 4.0, 3.0),
        (RuleKind.DIFFERS, {"value": "3"}, 3.0, 4.0),
    ],
)
def test_each_kind_of_limit(
    bench: Bench, kind: str, fields: dict[str, Any], calm: float, wrong: float
) -> None:
    rule(kind, key="a", **fields)
    bench.read((-9, calm))
    assert not Alarm.objects.exists()
    bench.read((-8, wrong))
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED


def test_text_is_compared_as_words(bench: Bench) -> None:
    bench.bath.channels.filter(key="a").update(kind="text")
    rule(RuleKind.EQUALS, key="a", value="Error")
    told = Batch([str(bench.bath.pk)], [["a"]], [0, 0, at(-3)], [None], texts={"0": "error"})
    bench.bring(told)
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED


def test_what_is_within_the_dead_band_stays_as_it_is(bench: Bench) -> None:
    rule(key="a", high=30.0, deadband=2.0)
    bench.read((-9, 29.0), (-8, 31.0), (-7, 28.5))
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED
    bench.read((-6, 28.0))
    assert Alarm.objects.get().state == State.RETURNED


def test_a_delay_runs_in_the_time_of_the_readings(bench: Bench) -> None:
    rule(key="a", high=30.0, on_delay=3.0, off_delay=2.0)
    bench.read((-9, 31.0), (-8, 31.0))
    assert not AlarmEvent.objects.exists()
    bench.read((-7, 29.0), (-6.5, 31.0), (-5, 31.0), (-4, 31.0), (-3, 31.0))
    assert journal() == [(Event.RAISE, -3.5)]
    bench.read((-2, 1.0), (-1, 1.0), (0, 1.0))
    assert journal() == [(Event.RAISE, -3.5), (Event.CLEAR, 0)]


def test_missing_data_neither_raises_nor_clears(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.read((-9, 31.0), (-8, None), (-7, None))
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED
    assert Alarm.objects.get().unknown
    assert journal() == [(Event.RAISE, -9)]


def test_a_rate_is_told_over_its_window(bench: Bench) -> None:
    rule(RuleKind.RATE, key="a", high=60.0, seconds=4.0)  # more than 1 a second
    bench.read(*((second - 20, 20.0 + second * 0.5) for second in range(8)))
    assert not Alarm.objects.exists()
    bench.read((-12, 26.0), (-11, 29.0), (-10, 32.0))
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED
    bench.read((-9, 32.0), (-8, 32.0), (-7, 32.0), (-6, 32.0), (-5, 32.0))
    assert Alarm.objects.get().state == State.RETURNED


# ---- late data


def test_the_backlog_is_history_and_pages_nobody(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.read((-1, 20.0))
    bench.read((-60, 31.0), (-59, 32.0), (-58, 20.0), track="backlog")
    alarm = Alarm.objects.get()
    assert alarm.state == State.NORMAL
    assert journal(past=True) == [(Event.RAISE, -60), (Event.CLEAR, -58)]
    assert not AlarmEvent.objects.filter(told_at=None).exists()


def test_an_excursion_over_several_parcels_of_the_backlog_is_one(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.read((-60, 31.0), track="backlog")
    bench.read((-59, 32.0), track="backlog")
    bench.read((-58, 20.0), track="backlog")
    assert journal() == [(Event.RAISE, -60), (Event.CLEAR, -58)]


def test_the_backlog_of_what_stood_already_says_nothing_new(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.read((-50, 31.0))
    bench.read((-1, 31.0))
    bench.read((-40, 31.0), (-30, 31.0), track="backlog")
    assert journal() == [(Event.RAISE, -50)]


def test_a_rule_that_latches_does_so_for_the_past_once_and_as_past(bench: Bench) -> None:
    rule(key="a", high=30.0, latch=True)
    bench.read((-60, 31.0), (-58, 20.0), (-57, 31.0), (-56, 20.0), track="backlog")
    alarm = Alarm.objects.get()
    assert alarm.state == State.LATCHED
    untold = AlarmEvent.objects.filter(told_at=None)
    assert [(row.event, row.past) for row in untold] == [(Event.LATCH, True)]


def test_what_the_edge_stamped_long_ago_is_no_news_though_it_comes_live(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.bring(batch(bench.bath, "a", (at(-7200), 31.0)))
    assert journal(past=True) == [(Event.RAISE, -7200)]
    assert Alarm.objects.get().state == State.NORMAL


def test_what_an_instrument_tells_again_changes_nothing(bench: Bench) -> None:
    rule(key="a", high=30.0)

    def told(*readings: tuple[float, float]) -> None:
        sent = batch(bench.bath, "a", *((at(seconds), value) for seconds, value in readings))
        bench.bring(
            Batch(
                sent.instruments, sent.keysets, sent.rows, sent.values, [Flag.INSTRUMENT_TIME] * len(readings)
            )
        )

    told((-30, 31.0), (-29, 20.0))
    before = journal()
    told((-30, 31.0), (-29, 20.0))
    assert journal() == before == [(Event.RAISE, -30), (Event.CLEAR, -29)]


def test_a_clock_that_was_set_back_does_not_blind_anybody(bench: Bench) -> None:
    rule(key="a", high=30.0)
    bench.read((0, 20.0))
    bench.read((-40, 31.0))
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED


def test_a_parcel_delivered_twice_changes_nothing_more(bench: Bench) -> None:
    rule(key="a", high=30.0)
    sent = parcel(batch(bench.bath, "a", (at(-9), 31.0)), spool=bench.spool)
    pipeline.ingest(bench.edge, sent, NOW)
    pipeline.ingest(bench.edge, sent, NOW)
    assert journal() == [(Event.RAISE, -9)]


# ---- causes


def lost(bench: Bench, seconds: float) -> None:
    """What an edge brings when an instrument is gone: bad readings and a gap."""
    keys = list(bench.bath.channels.values_list("key", flat=True))
    bench.bring(
        Batch(
            instruments=[str(bench.bath.pk)],
            keysets=[keys],
            rows=[0, 0, at(seconds)],
            values=[None] * len(keys),
            qualities=[Quality.BAD] * len(keys),
            gaps=[Gap(str(bench.bath.pk), "", at(seconds - 0.1), at(seconds), "not connected", 1)],
        )
    )


def prompt(*kinds: str) -> None:
    """These built-in rules without their delays."""
    Rule.objects.filter(kind__in=kinds).update(on_delay=0.0)


def test_an_instrument_that_is_gone_gives_one_alarm_with_its_consequences_under_it(bench: Bench) -> None:
    prompt(RuleKind.NOT_CONNECTED, RuleKind.STALE)
    bench.bring(Batch([str(bench.bath.pk)], [["a", "b"]], [0, 0, at(-9)], [1.0, 2.0]))
    lost(bench, -5)
    (alarm,) = Alarm.objects.standing()
    assert (alarm.text, alarm.state) == ("bath is not connected", State.UNACKNOWLEDGED)
    assert {each.text for each in alarm.consequences.all()} == {
        "bath a is missing or not valid",
        "bath b is missing or not valid",
    }
    assert set(alarm.consequences.values_list("state", flat=True)) == {State.SUPPRESSED}
    assert AlarmEvent.objects.filter(told_at=None, event=Event.RAISE).count() == 1
    bench.bring(Batch([str(bench.bath.pk)], [["a", "b"]], [0, 0, at(-1)], [1.0, 2.0]))
    assert set(Alarm.objects.values_list("state", flat=True)) == {State.RETURNED, State.NORMAL}


def test_a_sensor_that_fails_alone_is_not_a_lost_instrument(bench: Bench) -> None:
    prompt(RuleKind.NOT_CONNECTED, RuleKind.STALE)
    bench.bring(Batch([str(bench.bath.pk)], [["a", "b"]], [0, 0, at(-9)], [1.0, 2.0]))
    bench.bring(
        Batch([str(bench.bath.pk)], [["a", "b"]], [0, 0, at(-8)], [1.0, None], [Quality.GOOD, Quality.BAD])
    )
    (alarm,) = Alarm.objects.standing()
    assert alarm.text == "bath b is missing or not valid"


def test_a_sensor_that_never_was_there_is_not_missing(bench: Bench) -> None:
    prompt(RuleKind.STALE)
    for seconds in (-9, -8):
        bench.bring(
            Batch(
                [str(bench.bath.pk)],
                [["a", "b"]],
                [0, 0, at(seconds)],
                [1.0, None],
                [Quality.GOOD, Quality.BAD],
            )
        )
    assert not Alarm.objects.exists()


def test_an_instrument_whose_answers_are_of_no_use_is_as_good_as_gone(bench: Bench) -> None:
    prompt(RuleKind.NOT_CONNECTED, RuleKind.STALE)
    bench.bring(Batch([str(bench.bath.pk)], [["a", "b"]], [0, 0, at(-9)], [1.0, 2.0]))
    bench.bring(Batch([str(bench.bath.pk)], [["a", "b"]], [0, 0, at(-8)], [None] * 2, [Quality.BAD] * 2))
    assert [alarm.text for alarm in Alarm.objects.standing()] == ["bath is not connected"]


def test_a_poll_that_brings_nothing_new_says_that_the_instrument_is_there(bench: Bench) -> None:
    prompt(RuleKind.NOT_CONNECTED)
    lost(bench, -5)
    bench.bring(Batch([str(bench.bath.pk)], [], [], [], seen=[0, at(-2)]))
    assert Alarm.objects.get(rule__kind=RuleKind.NOT_CONNECTED).state == State.RETURNED
