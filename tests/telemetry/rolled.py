"""What roll-ups must say, computed from readings without any SQL; and readings to try it with."""

import math
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from devices.models import Instrument
from devices.wire import Batch, VectorRow
from telemetry.models import AnySample, AnyVector, DirtyBucket, RollupHour, RollupMark, RollupMinute
from tests.telemetry.factories import at, moment

Rolled = type[RollupMinute] | type[RollupHour]
WIDTHS: dict[Rolled, timedelta] = {RollupMinute: timedelta(minutes=1), RollupHour: timedelta(hours=1)}
EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")
BAD = 2


class Told(NamedTuple):
    """A reading: of which key, when (seconds from now), and a number, a text or many numbers."""

    key: str
    seconds: float
    value: float | str | list[float | None] | None
    quality: int = 0


class Said(NamedTuple):
    """A stored reading as it counts; `number` and `text` None for what it is not."""

    channel: int
    time: datetime
    bad: bool
    number: float | None
    text: str | None
    vector: bool


class Row(NamedTuple):
    n: int
    bad: int
    min: float | None
    max: float | None
    sum: float | None
    last: float | None
    text: str | None


Rows = dict[tuple[int, datetime], Row]


def batch_of(of: Instrument, told: Sequence[Told]) -> Batch:
    """In this order, each reading a row of its own."""
    keys = sorted({each.key for each in told})
    plain = [each for each in told if not isinstance(each.value, list)]
    rows, before = [], 0
    for each in plain:
        rows += [0, keys.index(each.key), at(each.seconds) - before]
        before = at(each.seconds)
    return Batch(
        [str(of.pk)],
        [[key] for key in keys],
        rows,
        [each.value if isinstance(each.value, float) else None for each in plain],
        [each.quality for each in plain],
        {str(place): each.value for place, each in enumerate(plain) if isinstance(each.value, str)},
        vectors=[
            VectorRow(0, each.key, at(each.seconds), each.value, -1, each.quality)
            for each in told
            if isinstance(each.value, list)
        ],
    )


def some_told(chance: random.Random, seconds: float) -> list[Told]:
    """What an instrument with a channel of each form says at one time. Sums are exact: quarters only."""
    quality = chance.choice([0, 0, 0, 1, BAD])
    number = None if quality == BAD and chance.random() < 0.5 else chance.randrange(-400, 400) / 4
    found = [Told("number", seconds, number, quality)]
    if chance.random() < 0.3:
        found.append(Told("word", seconds, chance.choice(["idle", "running", "ended"]), quality))
    if chance.random() < 0.3:
        found.append(Told("wells", seconds, [chance.randrange(9) / 4, None], quality))
    if chance.random() < 0.05:
        found.append(Told("seldom", seconds, chance.randrange(9) / 4, chance.choice([0, BAD])))
    return found


def said(told: Iterable[Told], of: Instrument) -> list[Said]:
    """What these readings are once they are stored."""
    numbers = dict(of.channels.values_list("key", "pk"))
    return [
        Said(
            numbers[each.key],
            moment(each.seconds),
            each.quality & 3 == BAD,
            each.value if isinstance(each.value, float) else None,
            each.value if isinstance(each.value, str) else None,
            isinstance(each.value, list),
        )
        for each in told
    ]


def stored() -> list[Said]:
    """All stored readings."""
    plain = [
        Said(row.channel_id, row.time, row.quality & 3 == BAD, row.value, row.text, vector=False)
        for row in AnySample.objects.all()
    ]
    return plain + [
        Said(row.channel_id, row.time, row.quality & 3 == BAD, None, None, vector=True)
        for row in AnyVector.objects.all()
    ]


def expected(readings: Iterable[Said], width: timedelta) -> Rows:
    """The rows of all buckets."""
    buckets: dict[tuple[int, datetime], list[Said]] = {}
    for reading in sorted(readings, key=lambda reading: reading.time):
        start = EPOCH + (reading.time - EPOCH) // width * width
        buckets.setdefault((reading.channel, start), []).append(reading)
    rows = {key: row_of(bucket) for key, bucket in buckets.items()}
    return {key: row for key, row in rows.items() if row.n + row.bad}


def row_of(bucket: Sequence[Said]) -> Row:
    """`bucket` in order of time."""
    good = [each for each in bucket if not each.bad]
    numbers = [each.number for each in good if each.number is not None and math.isfinite(each.number)]
    texts = [each.text for each in good if each.text is not None]
    heard = [each for each in good if each.vector or each.text is not None]
    return Row(
        len(numbers) + len(heard),
        len(bucket) - len(good),
        min(numbers, default=None),
        max(numbers, default=None),
        math.fsum(numbers) if numbers else None,
        numbers[-1] if numbers else None,
        texts[-1] if texts else None,
    )


def found(model: Rolled) -> Rows:
    """The rows that are there."""
    return {
        (row.channel_id, row.bucket): Row(row.n, row.bad, row.min, row.max, row.sum, row.last, row.text)
        for row in model.objects.all()
    }


def check_published() -> None:
    """All that is published and not marked is as the stored readings say, and nothing else is there."""
    readings = stored()
    marks = {mark.width: mark.published for mark in RollupMark.objects.all()}
    dirty = set(DirtyBucket.objects.values_list("channel_id", "bucket"))
    for model, width in WIDTHS.items():
        published = marks.get(model.__name__.removeprefix("Rollup").lower(), EPOCH)
        marked = {(channel, EPOCH + (bucket - EPOCH) // width * width) for channel, bucket in dirty}
        exact = {
            key: row
            for key, row in expected(readings, width).items()
            if key[1] < published and key not in marked
        }
        assert {key: row for key, row in found(model).items() if key not in marked} == exact


def check_all(readings: Iterable[Said], until: datetime) -> None:
    """Nothing is marked, and all buckets up to a time are as these readings say."""
    readings = list(readings)
    assert not DirtyBucket.objects.exists()
    for model, width in WIDTHS.items():
        end = EPOCH + (until - EPOCH) // width * width
        rows = expected(readings, width)
        assert found(model) == {key: row for key, row in rows.items() if key[1] < end}
