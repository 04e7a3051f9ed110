"""Series are exact: what joins roll-ups with readings says the same as all readings do."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection

from devices.models import Assignment, Channel, Instrument
from telemetry import partitions, rollups, series
from telemetry.models import DirtyBucket, DropMark, Gap, RollupHour
from telemetry.series.choice import HOUR, MINUTE
from tests.telemetry.factories import NOW, edge, instrument, moment
from tests.telemetry.readings import DAY, Readings, rolled_up

pytestmark = pytest.mark.django_db


@pytest.fixture
def readings() -> Readings:
    return rolled_up()


def columns(each: series.Series) -> list[tuple[Any, ...]]:
    """The buckets of a series, one after the other."""
    return list(
        zip(each.time, each.n, each.bad, each.low, each.high, each.mean, each.last, each.text, strict=True)
    )


def nearly(buckets: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same, but for the last digits of means: numbers are added up in another order."""
    return [(*bucket[:5], pytest.approx(bucket[5]), *bucket[6:]) for bucket in buckets]


@pytest.mark.parametrize(
    ("span", "points", "resolution"),
    [
        (HOUR, 30, "minute"),
        (3 * HOUR, 1000, "raw"),
        (6 * HOUR, 90, "minute"),
        (DAY + 17 * MINUTE, 60, "minute"),
        (2 * DAY, 40, "hour"),
        (2 * DAY, 10, "hour"),
        (timedelta(days=300), 1000, "hour"),
    ],
    ids=str,
)
def test_a_series_says_what_all_readings_say(
    readings: Readings, span: timedelta, points: int, resolution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "_expected", lambda channels, *_: [1001] * len(channels))
    answer = series.ask(readings.channels, NOW - span, NOW, NOW, points)
    assert answer.choice.resolution == resolution
    assert answer.choice.width is not None
    assert answer.start <= NOW - span < NOW <= answer.end
    for each in answer.series:
        said = readings.said(each.channel, answer.start, answer.end, answer.choice.width)
        assert len(said) <= points
        assert columns(each) == nearly(said)


@pytest.mark.django_db(transaction=True)
def test_it_is_so_beside_the_task_that_rolls_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "_expected", lambda channels, *_: [1001] * len(channels))
    made = Readings()
    made.add(300, NOW - 2 * DAY, NOW)
    for late in (0, 40, 40):
        made.late(late, NOW - 2 * DAY, NOW - HOUR)
        for rolled in (False, True):
            for span, points in ((HOUR, 30), (6 * HOUR, 90), (2 * DAY, 40)):
                answer = series.ask(made.channels, NOW - span, NOW, NOW, points)
                width = answer.choice.width or MINUTE
                for each in answer.series:
                    said = made.said(each.channel, answer.start, answer.end, width)
                    assert columns(each) == nearly(said)
            if not rolled:
                rollups.roll_up(NOW)
    assert RollupHour.objects.count() > 100
    assert not DirtyBucket.objects.exists()


def test_few_readings_are_told_one_by_one(readings: Readings) -> None:
    answer = series.ask(readings.channels, NOW - HOUR, NOW, NOW, 1000)
    assert (answer.choice.resolution, answer.choice.width) == ("raw", None)
    for each in answer.series:
        said = readings.said(each.channel, NOW - HOUR, NOW, timedelta(microseconds=1))
        assert [(round(at, 3), *told) for at, *told in said] == nearly(columns(each))
        assert set(each.n) | set(each.bad) == {0, 1}


def test_words_are_told_where_they_change(readings: Readings) -> None:
    (each,) = series.ask([readings.words], NOW - HOUR, NOW, NOW, 1000).series
    times, texts = each.changes
    said = [(time, text) for time, text in zip(each.time, each.text, strict=True) if text]
    assert texts[:2] in (["idle", "heating"], ["heating", "idle"])
    assert all(before != after for before, after in pairwise(texts))
    assert set(zip(times, texts, strict=True)) < set(said)


def test_where_readings_were_dropped_roll_ups_stand(readings: Readings) -> None:
    """Late readings of a time whose others are gone take nothing away from what is known of it."""
    before = series.ask(readings.channels, NOW - 2 * DAY, NOW - DAY, NOW, 20)
    DirtyBucket.objects.all().delete()
    clean = series.ask(readings.channels, NOW - 2 * DAY, NOW - DAY, NOW, 20)
    assert [columns(each) for each in clean.series] != [columns(each) for each in before.series]
    readings.late(20, NOW - 2 * DAY, NOW - DAY)
    DirtyBucket.objects.exclude(bucket__in=_rolled_minutes()).delete()  # those roll-ups will be made
    DropMark.objects.create(table_name="sample", through=NOW)
    after = series.ask(readings.channels, NOW - 2 * DAY, NOW - DAY, NOW, 20)
    assert [columns(each) for each in after.series] == [columns(each) for each in clean.series]


def _rolled_minutes() -> list[datetime]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT bucket FROM rollup_minute GROUP BY bucket HAVING count(*) = 3")
        return [bucket for (bucket,) in cursor.fetchall()]


def test_without_any_roll_ups_readings_say_it_all() -> None:
    made = Readings()
    made.add(300, NOW - DAY, NOW)
    answer = series.ask(made.channels, NOW - DAY, NOW, NOW, 30)
    assert answer.choice.resolution == "hour"
    for each in answer.series:
        said = made.said(each.channel, answer.start, answer.end, HOUR)
        assert columns(each) == nearly(said)


def test_a_mean_of_whatever_numbers_there_are_is_a_number() -> None:
    channel = instrument(edge(), keys=("a",)).channels.select_related("instrument").get()
    partitions.ensure([partitions.holding("sample", NOW.date())])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sample (time, value, channel_id, quality)"
            " SELECT %s - n * interval '1 s', 1.7e308, %s, 0 FROM generate_series(1, 60) AS n",
            [NOW, channel.pk],
        )
    (each,) = series.ask([channel], NOW - MINUTE, NOW, NOW, 10).series
    assert each.high == [1.7e308] * 6
    assert all(mean is not None and mean > 1e299 for mean in each.mean)


# ---- vectors


@pytest.fixture
def wells() -> Channel:
    """A channel with a vector each second for ten minutes before now, a bad one among them."""
    found = instrument(edge(), "qPCR", ()).channels.create(key="wells", label="wells", kind="vector")
    partitions.ensure([partitions.holding("vector_sample", NOW.date())])
    with connection.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO vector_sample (time, channel_id, quality, "values", labels)'
            " VALUES (%s, %s, %s, %s, %s)",
            [
                (
                    moment(second - 600),
                    found.pk,
                    2 * (second == 7),
                    [float(second), None, 0.5],
                    ["A1", "A2", "it's {3}%"],
                )
                for second in range(600)
            ],
        )
    return found


def test_of_vectors_there_is_told_how_many(wells: Channel) -> None:
    (each,) = series.ask([wells], moment(-600), NOW, NOW, 20).series
    assert (sum(each.n), sum(each.bad), each.newest) == (599, 1, moment(-1))
    assert set(each.low) == {None}


@pytest.mark.parametrize(
    ("element", "expected"),
    [(0, 599.0), ("A1", 599.0), (1, None), (2, 0.5), ("it's {3}%", 0.5), (3, None), ("x", None)],
)
def test_one_element_of_vectors_is_a_series(
    wells: Channel, element: int | str, expected: float | None
) -> None:
    answer = series.ask([wells], moment(-600), NOW, NOW, 100, element)
    (each,) = answer.series
    assert answer.choice.width == timedelta(seconds=10)
    assert max((high for high in each.high if high is not None), default=None) == expected
    assert sum(each.bad) == 1


def test_an_element_of_too_many_vectors_is_not_looked_for(
    wells: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "VECTORS_MOST", 500)
    with pytest.raises(series.TooMany, match="500"):
        series.ask([wells], moment(-600), NOW, NOW, 100, 0)


# ---- gaps


def test_gaps_are_told_for_each_channel_and_those_that_touch_are_one() -> None:
    bench = edge()
    bath, other = instrument(bench, "bath"), instrument(bench, "other")
    Instrument.objects.update(created_at=moment(-20_000))
    Assignment.objects.update(since=moment(-20_000))
    for start, end, fields in (
        (-900, -800, {"instrument": bath, "reason": "overrun"}),
        (-799, -700, {"instrument": bath, "reason": "not connected"}),
        (-850, -780, {"instrument": bath, "reason": "overrun", "key": "a"}),
        (-500, 100, {"instrument": bath, "reason": "in use", "key": "b"}),
        (-4000, -3500, {"reason": "edge silent"}),
        (-10_000, -9_000, {"reason": "edge silent"}),
        (-300, -290, {"instrument": other, "reason": "overrun"}),
    ):
        Gap.objects.create(edge=bench, start=moment(start), end=moment(end), **fields)
    channels = list(Channel.objects.select_related("instrument").filter(instrument=bath).order_by("key"))
    answer = series.ask(channels, NOW - HOUR, NOW, NOW, 3600)
    told = [[(each.start, each.end, sorted(each.reasons)) for each in one.gaps] for one in answer.series]
    whole = (NOW - HOUR, moment(-3500), ["edge silent"])
    both = (moment(-900), moment(-700), ["not connected", "overrun"])
    assert told == [[whole, both], [whole, both, (moment(-500), NOW, ["in use"])]]
