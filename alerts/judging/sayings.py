"""What readings say of the conditions of all rules that watch their channels: limits, texts, rates."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from alerts.judging import conditions, rulebook
from alerts.judging.conditions import Bools, Int64s, Truths
from alerts.judging.rulebook import Book
from devices.readings import QUALITY_MASK, Quality
from telemetry.columns import Columns
from telemetry.families import SAMPLES
from telemetry.times import moment


@dataclass(frozen=True, slots=True, eq=False)
class Sayings:
    """What readings say of conditions: one row for each reading and each rule that watches its channel."""

    watch: Int64s
    reading: Int64s
    truth: Truths

    def of(self, wanted: Bools) -> "Sayings":
        """Those of the wanted watches, put together by watch in the order of arrival."""
        chosen = np.flatnonzero(wanted[self.watch])
        order = chosen[np.argsort(self.watch[chosen], kind="stable")]
        return Sayings(self.watch[order], self.reading[order], self.truth[order])

    def by_watch(self) -> Iterator[tuple[int, Int64s, Truths]]:
        """After `of`: each watch, its readings and what they say."""
        numbers, starts = np.unique(self.watch, return_index=True)
        ends = [*starts[1:], len(self.watch)]
        for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True):
            yield number, self.reading[start:end], self.truth[start:end]


def of(book: Book, columns: Columns) -> Sayings:
    """What readings, which are stored already, say of all rules that watch their channels."""
    base, first, count = book.first
    place = columns.channel.astype(np.int64) - base
    place[(place < 0) | (place >= len(count))] = len(count) - 1
    counts = count[place]
    reading = np.repeat(np.arange(len(columns)), counts)
    before = np.cumsum(counts) - counts
    watch = np.repeat(first[place] - before, counts) + np.arange(len(reading))
    good = (columns.quality & QUALITY_MASK) == Quality.GOOD
    value = columns.value
    truth = conditions.truths(book.limits.take(watch), value[reading], good[reading])
    stale = book.is_stale[watch]
    truth[stale] = conditions.stale(columns.quality, value, columns.has_text)[reading[stale]]
    _judge_texts(book, columns, good, Sayings(watch, reading, truth))
    _judge_rates(book, columns, good, Sayings(watch, reading, truth))
    return Sayings(watch, reading, truth)


def _judge_texts(book: Book, columns: Columns, good: Bools, sayings: Sayings) -> None:
    """What channels of text say, put into `sayings`."""
    for row in np.flatnonzero(book.is_text[sayings.watch]).tolist():
        reading, watch = sayings.reading[row], book.watches[sayings.watch[row]]
        text = None if columns.text is None else columns.text[reading]
        sayings.truth[row] = rulebook.text_truth(watch, text, good=bool(good[reading]))


def _judge_rates(book: Book, columns: Columns, good: Bools, sayings: Sayings) -> None:
    """What rates of change say, put into `sayings`; what was read before is asked for in one question."""
    rows = np.flatnonzero(book.is_rate[sayings.watch])
    if not len(rows):
        return
    watches = [book.watches[number] for number in np.unique(sayings.watch[rows]).tolist()]
    longest = max(watch.window for watch in watches)
    of = columns.take(sayings.reading[rows])
    known = _series(np.unique(of.channel), int(of.time.min()) - longest, int(of.time.max()), of)
    for number in np.unique(sayings.watch[rows]).tolist():
        mine = rows[sayings.watch[rows] == number]
        watch = book.watches[number]
        time, value = known.get(watch.place.id, (np.empty(0, np.int64), np.empty(0)))
        rate = conditions.rates(time, value, watch.window)
        at = np.searchsorted(time, columns.time[sayings.reading[mine]], side="right") - 1
        found = np.where(at >= 0, rate[at], np.nan) if len(rate) else np.full(len(mine), np.nan)
        limits = book.limits.take(np.full(len(mine), number))
        sayings.truth[mine] = conditions.truths(limits, found, good[sayings.reading[mine]])


def _series(
    channels: NDArray[np.int32], start: int, end: int, of: Columns
) -> dict[int, tuple[Int64s, NDArray[np.float64]]]:
    """The good readings of channels in a time, as stored."""
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    with connection.cursor() as cursor:
        for table in np.unique(of.family).tolist():
            cursor.execute(
                "SELECT channel_id, (extract(epoch FROM time) * 1000000)::int8, value"  # noqa: S608
                f" FROM {SAMPLES[table]} WHERE channel_id = ANY(%s) AND time BETWEEN %s AND %s"
                " AND quality & 3 = 0 AND value IS NOT NULL ORDER BY channel_id, time",
                [channels.tolist(), moment(max(start, 0)), moment(end)],
            )
            for channel, time, value in cursor.fetchall():
                found[channel].append((time, value))
    return {
        channel: (np.array([t for t, _ in rows], np.int64), np.array([v for _, v in rows], np.float64))
        for channel, rows in found.items()
    }
