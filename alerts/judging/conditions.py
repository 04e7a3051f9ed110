"""When a condition holds: limits and dead-bands, values, rates of change; and for how long. Arithmetic only.

Live readings, late ones and the back-test all go through these functions. Times are µs of UTC. What is
missing, bad or uncertain is a third truth value: it makes no condition hold and none end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from devices.readings import QUALITY_MASK, Quality

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Truths = NDArray[np.int8]

SECOND = 1_000_000
RATE_LEAST = 0.5  # of its window must lie between two readings before a rate is told of them


class Truth(IntEnum):
    """What one reading says of a condition."""

    FALSE = 0
    TRUE = 1
    BAND = 2  # within the dead-band: it is as it was
    UNKNOWN = 3  # no good reading


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Of many conditions, one a row. Where there is none `high` is inf, `low` -inf, `equal`, `differ` NaN."""

    high: Floats
    low: Floats
    band: Floats
    equal: Floats
    differ: Floats

    def take(self, index: NDArray[np.intp] | Int64s) -> "Limits":
        return Limits(
            self.high[index], self.low[index], self.band[index], self.equal[index], self.differ[index]
        )


def truths(limits: Limits, value: Floats, good: Bools) -> Truths:
    """What each value (NaN: none) says of its condition; a limit itself is still inside it."""
    with np.errstate(invalid="ignore"):
        holds = (value > limits.high) | (value < limits.low) | (value == limits.equal)
        holds |= ~np.isnan(limits.differ) & (value != limits.differ)
        is_clear = (value <= limits.high - limits.band) & (value >= limits.low + limits.band)
    found = np.where(
        holds, np.int8(Truth.TRUE), np.where(is_clear, np.int8(Truth.FALSE), np.int8(Truth.BAND))
    )
    return np.where(good & ~np.isnan(value), found, np.int8(Truth.UNKNOWN))


def stale(quality: NDArray[np.int16], value: Floats, has_text: Bools) -> Truths:
    """What readings say of a channel that should have a good value.

    An uncertain one that has none at all is an instrument's word that there is none to be had now: no fault.
    """
    grade = quality & QUALITY_MASK
    is_absent = (grade == Quality.UNCERTAIN) & np.isnan(value) & ~has_text
    return np.where((grade == Quality.GOOD) | is_absent, np.int8(Truth.FALSE), np.int8(Truth.TRUE))


def rates(time: Int64s, value: Floats, window: int) -> Floats:
    """How fast a channel changed up to each of its good readings, in order: per minute, over the window.

    NaN where they do not reach back far enough.
    """
    first = np.searchsorted(time, time - window, side="left")
    spent = (time - time[first]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (value - value[first]) / spent * 60 * SECOND
    return np.where(spent >= RATE_LEAST * window, np.abs(rate), np.nan)


class Delays(NamedTuple):
    """How long a condition must hold before it counts, and be over before that counts, in µs.

    `hold`: how long a value stands when nothing newer is known.
    """

    on: int = 0
    off: int = 0
    hold: int = 1 << 62


class Turn(NamedTuple):
    """From when on a condition counted, or no longer did."""

    at: int
    active: bool


@dataclass(slots=True)
class Memory:
    """What is remembered of a condition from reading to reading."""

    active: bool = False  # it counts: delays are over
    held: bool = False  # by the last good reading
    unknown: bool = False  # the newest reading was no good one
    pending: int | None = None  # since when `held` differs from `active`
    judged: int | None = None  # the newest reading

    def due(self, delays: Delays) -> int | None:
        """When `held` will count, if nothing else is said by then."""
        if self.pending is None or self.unknown:
            return None
        return self.pending + (delays.on if self.held else delays.off)


def walk(memory: Memory, delays: Delays, points: Iterable[tuple[int, int]]) -> list[Turn]:
    """Take readings (time, truth) in their order; when the condition began and ceased to count.

    A value stands until the next reading, at most for `delays.hold`. What was not known meanwhile neither
    begins a delay anew nor lets it run out: the next good reading decides.
    """
    turns: list[Turn] = []
    for time, truth in points:
        if memory.judged is not None:
            if time - memory.judged > delays.hold:
                memory.unknown = True
            elif time < memory.judged and memory.pending is not None:
                memory.pending = min(memory.pending, time)  # the clock was set back
        expire(memory, delays, time, turns)
        memory.judged = time
        _take(memory, truth, time)
        due = memory.due(delays)
        if due is not None and due <= time:
            _turn(memory, time, turns)
    return turns


def walk_all(memory: Memory, delays: Delays, time: Int64s, truth: Truths) -> list[Turn]:
    """The same for all readings of one channel, in order."""
    needed = telling(time, truth, delays.hold)
    return walk(memory, delays, zip(time[needed].tolist(), truth[needed].tolist(), strict=True))


def expire(memory: Memory, delays: Delays, until: int, turns: list[Turn]) -> None:
    """Let a delay run out, if nothing else was said up to this time."""
    due = memory.due(delays)
    if due is not None and due <= until:
        _turn(memory, due, turns)


def _take(memory: Memory, truth: int, time: int) -> None:
    if truth == Truth.UNKNOWN:
        memory.unknown = True
        return
    memory.unknown = False
    holds = memory.held if truth == Truth.BAND else truth == Truth.TRUE
    if holds != memory.held:
        memory.held = holds
        memory.pending = None if holds == memory.active else time


def _turn(memory: Memory, at: int, turns: list[Turn]) -> None:
    memory.active, memory.pending = memory.held, None
    turns.append(Turn(at, memory.active))


def telling(time: Int64s, truth: Truths, hold: int) -> NDArray[np.intp]:
    """Which readings of a channel, in order, are enough for `walk`: where something changes, and the last.

    Also some between, so that it sees no gap where there is none.
    """
    if len(time) < 3:
        return np.arange(len(time))
    span = time // max(hold // 2, 1)
    is_edge = (truth[1:] != truth[:-1]) | (span[1:] != span[:-1])
    keep = np.ones(len(time), np.bool_)
    keep[1:-1] = is_edge[1:] | is_edge[:-1]
    return np.flatnonzero(keep)
