"""What channels said over a time, as so many points as a chart can show: never a peak or a fault lost."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from devices.models import Channel
from telemetry import partitions
from telemetry.families import ALL_SAMPLES, ALL_VECTORS, NUMBERS as FAMILY_NUMBERS, SAMPLES
from telemetry.series import statements
from telemetry.series.choice import RAW_MOST, Choice, Kept, Resolution, choose, step
from telemetry.series.gaps import Period, periods
from telemetry.series.statements import Asked, Form, Published

__all__ = ["Answer", "Choice", "Period", "Resolution", "Series", "TooMany", "ask"]

POINTS = 1200
POINTS_LEAST, POINTS_MOST = 10, 10_000
CHANNELS_MOST = 50
VALUES_MOST = 200_000  # points of all channels
VECTORS_MOST = 20_000  # of one channel, of which one element is asked for
LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)

FORMS = {"bool": statements.STATES, "text": statements.TEXTS, "vector": statements.VECTORS}


class TooMany(Exception):
    """More vectors than can be looked through for one element of each."""


@dataclass
class Series:
    """What one channel said, a column for each thing told of a bucket; `time`: ms of UTC since 1970."""

    channel: Channel
    form: Form
    time: list[float] = field(default_factory=list)
    n: list[int] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    mean: list[float | None] = field(default_factory=list)
    last: list[float | None] = field(default_factory=list)
    text: list[str | None] = field(default_factory=list)
    newest: datetime | None = None  # of a vector channel: when the last one was read
    gaps: list[Period] = field(default_factory=list)

    def take(self, buckets: Sequence[tuple[Any, ...]]) -> None:
        """Rows of statements.told, in order of time."""
        columns = [list(column) for column in zip(*buckets, strict=True)]
        self.time, self.n, self.bad, self.low, self.high, self.mean, self.last, self.text = columns
        self.time = [round(time, 3) for time in self.time]  # to the µs

    @property
    def tells_numbers(self) -> bool:
        return self.form.number != Form.number

    @property
    def changes(self) -> tuple[list[float], list[str]]:
        """When a text channel began to say something else, and what."""
        times: list[float] = []
        texts: list[str] = []
        for time, text in zip(self.time, self.text, strict=True):
            if text is not None and (not texts or texts[-1] != text):
                times.append(time)
                texts.append(text)
        return times, texts


@dataclass(frozen=True)
class Answer:
    """Series of channels, made from what; `start` and `end` as they were widened to whole buckets."""

    start: datetime
    end: datetime
    choice: Choice
    series: list[Series]


def ask(
    channels: Sequence[Channel],
    start: datetime,
    end: datetime,
    now: datetime,
    points: int = POINTS,
    element: int | str | None = None,
    *,
    with_gaps: bool = True,
) -> Answer:
    """Series of these channels from `start` until before `end`, as at most so many points.

    `element`: of vectors the number at this place, from 0, or of this label. Raises TooMany.
    """
    forms = {channel.pk: _form(channel, element) for channel in channels}
    choice, published = chosen(channels, start, end, now, points)
    if element is not None:
        choice = _of_elements(channels, start, end, points)
    first, last = choice.around(start, end)
    asked = Asked([each.pk for each in channels], first, last, choice.resolution, choice.width, published)
    series = {channel.pk: Series(channel, forms[channel.pk]) for channel in channels}
    _fill(series, asked)
    if with_gaps:
        for number, found in periods(channels, first, last, (end - start) / points, now).items():
            series[number].gaps = found
    return Answer(first, last, choice, list(series.values()))


def chosen(
    channels: Sequence[Channel], start: datetime, end: datetime, now: datetime, points: int
) -> tuple[Choice, Published]:
    """What series of these channels are made from, and how far there are roll-ups."""
    kept, published = standing(channels, now)
    expected = partial(_expected, channels, start, end, published.minutes)
    return choose(start, end, points, len(channels), kept, expected), published


def _form(channel: Channel, element: int | str | None) -> Form:
    if element is not None:
        return statements.element(element)
    return FORMS.get(channel.kind, statements.NUMBERS)


def standing(channels: Sequence[Channel], now: datetime) -> tuple[Kept, Published]:
    """Since when readings and minutes are there without a hole, and how far the roll-ups are."""
    today = now.astimezone(UTC).date()
    tables = partitions.tables()
    since = [
        partitions.midnight(today - timedelta(days=tables[SAMPLES[FAMILY_NUMBERS[channel.retention]]].days))
        for channel in channels
    ]
    minutes = partitions.midnight(today - timedelta(days=settings.MINUTE_RETENTION_DAYS))
    published = Published(LONG_AGO, LONG_AGO)
    with connection.cursor() as cursor:
        cursor.execute(statements.standing([channel.pk for channel in channels]))
        for _, gone, minutes_published, hours_published in cursor.fetchall():
            since.append(gone or LONG_AGO)
            published = Published(minutes_published or LONG_AGO, hours_published or LONG_AGO)
    return Kept(max(since), minutes), published


def _expected(
    channels: Sequence[Channel], start: datetime, end: datetime, minutes: datetime, most: int = RAW_MOST
) -> list[int]:
    """About how many readings each has, by no more than a look at roll-ups and what is newer."""
    found: list[int] = []
    for table, chosen in (
        (ALL_SAMPLES, [channel.pk for channel in channels if channel.kind != "vector"]),
        (ALL_VECTORS, [channel.pk for channel in channels if channel.kind == "vector"]),
    ):
        if chosen:
            with connection.cursor() as cursor:
                cursor.execute(statements.expected(chosen, start, end, minutes, table, most + 1))
                found += [int(count) for (count,) in cursor.fetchall()]
    return found


def _of_elements(channels: Sequence[Channel], start: datetime, end: datetime, points: int) -> Choice:
    """There are no roll-ups of single elements. Raises TooMany."""
    counts = _expected(channels, start, end, start, VECTORS_MOST)
    if max(counts) > VECTORS_MOST:
        raise TooMany(f"More than {VECTORS_MOST} vectors are in this time: ask for less of it.")
    if max(counts) <= points:
        return Choice(Resolution.RAW, None)
    return Choice(Resolution.RAW, step(end - start, points))


def _fill(series: dict[int, Series], asked: Asked) -> None:
    """One question for all channels of a form."""
    by_form: dict[Form, list[int]] = defaultdict(list)
    for number, each in series.items():
        by_form[each.form].append(number)
    for form, numbers in by_form.items():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL jit = off")  # many tables look worth compiling; that takes longer
            cursor.execute(statements.told(replace(asked, channels=numbers), form))
            rows: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
            for number, *bucket in cursor.fetchall():
                rows[number].append(tuple(bucket))
        for number, buckets in rows.items():
            series[number].take(buckets)
        if form is statements.VECTORS:
            _note_newest(series, numbers, asked)


def _note_newest(series: dict[int, Series], numbers: list[int], asked: Asked) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements.newest(numbers, asked.start, asked.end))
        for number, time in cursor.fetchall():
            series[number].newest = time
