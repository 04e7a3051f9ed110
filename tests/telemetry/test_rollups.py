"""Minutes and hours: what they say, when they are computed, and what of them stands for ever."""

import math
from collections.abc import Sequence
from datetime import date

import pytest

from devices.models import Channel, Instrument
from labsite import pipeline
from telemetry import partitions, rollups, tasks
from telemetry.models import (
    DirtyBucket,
    DropMark,
    FormerClass,
    Rollup,
    RollupHour,
    RollupMark,
    RollupMinute,
    Sample,
)
from telemetry.partitions import Partition
from telemetry.rollups import buckets, rounds
from tests.telemetry.factories import NOW, edge, instrument, moment, parcel
from tests.telemetry.rolled import Rolled, Told, batch_of, check_published

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = -7200.0  # seconds from now at which the minute of these tests begins
GONE = -40 * 86_400.0  # a time of which raw readings are no longer kept


@pytest.fixture
def bath(monkeypatch: pytest.MonkeyPatch) -> Instrument:
    monkeypatch.setattr(rounds, "STEP_US", 10 * rounds.DAY_US)
    return instrument(edge())


def deliver(of: Instrument, *told: Told, first: int = 1) -> None:
    pipeline.ingest(of.edge, parcel(batch_of(of, told), first=first), NOW)


def row(of: Rolled = RollupMinute, seconds: float = MINUTE, key: str = "a") -> Rollup | None:
    channel = Channel.objects.get(key=key)
    return of.objects.filter(channel_id=channel.pk, bucket=moment(seconds)).first()


def numbers(found: Rollup | None) -> Sequence[float | None]:
    assert found is not None
    return (found.n, found.bad, found.min, found.max, found.sum, found.last)


# ---- what they say


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([(1.0, 0), (4.0, 0), (2.0, 0)], (3, 0, 1.0, 4.0, 7.0, 2.0)),
        ([(1.0, 0), (4.0, 1), (99.0, 2), (None, 2)], (2, 2, 1.0, 4.0, 5.0, 4.0)),
        ([(None, 2)], (0, 1, None, None, None, None)),
        ([(-1.0, 0), (None, 0)], (1, 0, -1.0, -1.0, -1.0, -1.0)),
        ([(1e308, 0), (1e308, 0), (3.0, 0)], (3, 0, 3.0, 1e308, 2e300, 3.0)),
    ],
    ids=["good", "uncertain and bad", "only bad", "no number", "a sum beyond all numbers"],
)
def test_what_a_minute_says_of_numbers(
    bath: Instrument, told: Sequence[tuple[float | None, int]], said: Sequence[float | None]
) -> None:
    deliver(bath, *[Told("a", MINUTE + n, value, quality) for n, (value, quality) in enumerate(told)])
    rollups.roll_up(NOW)
    assert numbers(row()) == said
    assert numbers(row(RollupHour)) == said


def test_an_infinity_is_no_number(bath: Instrument) -> None:
    deliver(bath, Told("a", MINUTE, 1.0), Told("b", MINUTE, 1.0))
    Sample.objects.filter(channel_id=bath.channels.get(key="b").pk).update(value=math.inf)
    Sample.objects.create(channel_id=bath.channels.get(key="a").pk, time=moment(MINUTE + 1), value=-math.inf)
    rollups.roll_up(NOW)
    assert numbers(row()) == (1, 0, 1.0, 1.0, 1.0, 1.0)
    assert row(key="b") is None


def test_of_texts_the_last_one_is_said_and_of_vectors_how_many_there_were(bath: Instrument) -> None:
    bath.channels.filter(key="a").update(kind="text")
    words = [("idle", 0), ("running", 0), ("broken pipe", 2)]
    deliver(
        bath,
        *[Told("a", MINUTE + n, word, quality) for n, (word, quality) in enumerate(words)],
        Told("wells", MINUTE, [1.0, None]),
        Told("wells", MINUTE + 1, [2.0], 2),
    )
    rollups.roll_up(NOW)
    for width in (RollupMinute, RollupHour):
        told = row(width)
        assert told is not None
        assert (told.text, *numbers(told)) == ("running", 2, 1, None, None, None, None)
        assert numbers(row(width, key="wells")) == (1, 1, None, None, None, None)


def test_words_instead_of_a_number_do_not_count_among_numbers(bath: Instrument) -> None:
    deliver(bath, Told("a", MINUTE, 4.0), Told("a", MINUTE + 1, "warming up", 1))
    rollups.roll_up(NOW)
    assert numbers(row(RollupMinute)) == (1, 0, 4.0, 4.0, 4.0, 4.0)


# ---- when


def test_a_minute_is_computed_ten_seconds_after_its_end_and_an_hour_with_its_last_minute(
    bath: Instrument,
) -> None:
    deliver(bath, Told("a", MINUTE - 1, 1.0), Told("a", -61, 2.0), Told("a", -1, 3.0))
    rollups.roll_up(moment(9))
    assert (row(seconds=-120) is not None, row(seconds=-60)) == (True, None)
    rollups.roll_up(moment(10))
    assert (row(seconds=-60) is not None, row(seconds=0)) == (True, None)
    assert numbers(row(RollupHour, -3600)) == (2, 0, 2.0, 3.0, 5.0, 3.0)
    marks = {mark.width: (mark.closing, mark.published) for mark in RollupMark.objects.all()}
    assert marks == {"minute": (NOW, NOW), "hour": (NOW, NOW)}


def test_what_comes_late_is_computed_again_and_what_was_in_time_is_not_marked(bath: Instrument) -> None:
    deliver(bath, Told("a", MINUTE, 1.0))
    rollups.roll_up(NOW)
    deliver(bath, Told("a", MINUTE + 1, 2.0), Told("a", MINUTE + 2, 3.0), Told("a", -30, 4.0), first=2)
    assert list(DirtyBucket.objects.values_list("bucket", flat=True)) == [moment(MINUTE)]
    rollups.roll_up(NOW)
    assert numbers(row()) == (3, 0, 1.0, 3.0, 6.0, 3.0)
    assert numbers(row(RollupHour, MINUTE)) == (3, 0, 1.0, 3.0, 6.0, 3.0)
    assert not DirtyBucket.objects.exists()


def test_a_reading_of_a_time_that_cannot_be_right_marks_nothing(bath: Instrument) -> None:
    deliver(bath, Told("a", MINUTE, 1.0))
    rollups.roll_up(NOW)
    deliver(bath, Told("a", -500 * 86_400, 1.0), first=2)
    assert not DirtyBucket.objects.exists()


def test_a_minute_whose_readings_are_gone_has_no_row_any_more(bath: Instrument) -> None:
    deliver(bath, Told("a", MINUTE, 1.0), Told("a", MINUTE + 60, 2.0))
    rollups.roll_up(NOW)
    Sample.objects.filter(time=moment(MINUTE)).delete()
    DirtyBucket.objects.create(channel_id=bath.channels.get(key="a").pk, bucket=moment(MINUTE))
    rollups.roll_up(NOW)
    assert row() is None
    assert numbers(row(RollupHour, MINUTE)) == (1, 0, 2.0, 2.0, 2.0, 2.0)
    check_published()


def test_the_first_round_begins_with_the_oldest_readings_and_goes_step_by_step(
    bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(bath, Told("a", -30 * 3600, 1.0), Told("a", -20 * 3600, 2.0), Told("a", MINUTE, 3.0))
    partitions.ensure([Partition("sample", date(2026, 11, 1))])  # empty
    monkeypatch.setattr(rounds, "STEP_US", 6 * buckets.HOUR_US)
    monkeypatch.setattr(rounds, "LONGEST_S", 0.0)
    rollups.roll_up(NOW)
    mark = RollupMark.objects.get(width="minute")
    assert (mark.closing, mark.published) == (moment(-60), moment(-30 * 3600))
    assert not RollupMinute.objects.exists()
    monkeypatch.undo()
    rollups.roll_up(NOW)
    assert RollupMinute.objects.count() == RollupHour.objects.count() == 3
    check_published()


def test_without_any_reading_it_begins_now() -> None:
    rollups.roll_up(NOW)
    assert RollupMark.objects.get(width="minute").published == moment(-60)
    assert RollupMark.objects.get(width="hour").published == moment(-3600)


def test_the_task_rolls_up() -> None:
    tasks.roll_up()
    tasks.roll_up()
    assert RollupMark.objects.count() == 2


# ---- raw readings go, roll-ups stay


def test_raw_readings_are_dropped_only_once_they_are_rolled_up(bath: Instrument) -> None:
    deliver(bath, Told("a", GONE, 1.0))
    (partition,) = [kept for kept in partitions.existing("sample") if not partitions.is_empty(kept)]
    assert partitions.drop_expired(NOW) == [partition]
    rollups.roll_up(NOW)
    deliver(bath, Told("a", GONE + 1, 1.0), first=2)
    assert partitions.drop_expired(NOW) == [partition]
    rollups.roll_up(NOW)
    assert partitions.drop_expired(NOW) == []
    assert not Sample.objects.exists()
    assert numbers(row(seconds=GONE)) == (2, 0, 1.0, 1.0, 2.0, 1.0)
    assert DropMark.objects.get(table_name="sample").through == partitions.midnight(partition.end)


def test_roll_ups_of_dropped_readings_stand_whatever_comes_late(bath: Instrument) -> None:
    deliver(bath, Told("a", GONE, 1.0), Told("a", GONE + 1, 2.0))
    rollups.roll_up(NOW)
    assert partitions.drop_expired(NOW) == []
    deliver(bath, Told("a", GONE + 2, 99.0), Told("a", GONE + 60, 5.0), first=2)
    rollups.roll_up(NOW)
    assert numbers(row(seconds=GONE)) == (2, 0, 1.0, 2.0, 3.0, 2.0)
    assert numbers(row(seconds=GONE + 60)) == (1, 0, 5.0, 5.0, 5.0, 5.0)
    assert numbers(row(RollupHour, GONE)) == (3, 0, 1.0, 5.0, 8.0, 5.0)


def test_hours_stand_when_their_minutes_are_gone(bath: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "STEP_US", 100 * rounds.DAY_US)
    Channel.objects.filter(key="a").update(retention="long")
    gone = GONE * 11
    deliver(bath, Told("a", gone, 1.0))
    rollups.roll_up(NOW)
    assert partitions.drop_expired(NOW) == []
    assert not RollupMinute.objects.exists()
    deliver(bath, Told("a", gone + 1, 99.0), first=2)
    rollups.roll_up(NOW)
    assert numbers(row(RollupHour, gone)) == (1, 0, 1.0, 1.0, 1.0, 1.0)


def test_what_was_of_another_class_and_is_dropped_stands_too(bath: Instrument) -> None:
    deliver(bath, Told("a", GONE, 1.0), Told("a", GONE + 60, 1.0))
    rollups.roll_up(NOW)
    assert partitions.drop_expired(NOW) == []
    Channel.objects.filter(key="a").update(retention="long")
    FormerClass.objects.filter(retention="standard").update(until=moment(GONE + 60))
    deliver(bath, Told("a", GONE + 1, 99.0), Told("a", GONE + 61, 99.0), first=2)
    rollups.roll_up(NOW)
    assert numbers(row(seconds=GONE)) == (1, 0, 1.0, 1.0, 1.0, 1.0)
    assert numbers(row(seconds=GONE + 60)) == (1, 0, 99.0, 99.0, 99.0, 99.0)


def test_of_a_channel_of_another_class_now_all_readings_count(bath: Instrument) -> None:
    deliver(bath, Told("a", MINUTE, 1.0))
    Channel.objects.filter(key="a").update(retention="long")
    deliver(bath, Told("a", MINUTE + 1, 3.0), first=2)
    rollups.roll_up(NOW)
    assert numbers(row()) == (2, 0, 1.0, 3.0, 4.0, 3.0)
