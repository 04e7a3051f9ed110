"""When an instrument was to be polled, and how often in a time; arithmetic only. Times: µs of UTC."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor
from typing import NamedTuple

SECOND = 1_000_000
SETTLED = 5 * SECOND  # after a change of its order an edge polls by it


class Span(NamedTuple):
    """From when to when."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return max(self.end - self.start, 0)

    def within(self, other: "Span") -> "Span":
        start = max(self.start, other.start)
        return Span(start, max(min(self.end, other.end), start))


@dataclass(frozen=True, slots=True)
class Period:
    """A time in which an instrument was polled in one way, by one edge. `interval`: µs.

    `began`: since when it was so, which may be before.
    """

    span: Span
    began: int
    interval: float
    edge: int
    is_due: bool  # in service, and polled

    def ticks(self, span: Span) -> int:
        """Polls due in a part of it: what adds up, however the time is cut."""
        part = span.within(self.span)
        return self._before(part.end) - self._before(part.start) if self.is_due and part.length else 0

    def _before(self, time: int) -> int:
        """Ticks are due in the middle of an interval: where in it an edge polls, nobody else knows."""
        return floor((time - self.began) / self.interval + 0.5)


class Noted(NamedTuple):
    """A row of devices.Cadence."""

    since: int
    interval: float  # seconds
    edge: int
    in_service: bool
    polled: bool


def periods(noted: Sequence[Noted], span: Span) -> list[Period]:
    """What was noted, in order, as far as it concerns a time."""
    ends = [*(each.since for each in noted[1:]), span.end][: len(noted)]
    found = []
    for each, end in zip(noted, ends, strict=True):
        part = Span(each.since, end).within(span)
        if part.length:
            is_due = each.in_service and each.polled
            found.append(Period(part, each.since, each.interval * SECOND, each.edge, is_due))
    return found


def ticks(of: Iterable[Period], span: Span) -> int:
    """Polls due in a time."""
    return sum(period.ticks(span) for period in of)


def in_service(of: Iterable[Period], spans: Iterable[Span]) -> int:
    """So much of these times, which do not overlap, an instrument was in service."""
    parts = list(of)
    return sum(span.within(period.span).length for span in spans for period in parts if period.is_due)


def united(spans: Iterable[Span]) -> list[Span]:
    """The same time, in spans that do not overlap, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def without(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """What is left of spans beside others; both in order and without overlap."""
    left: list[Span] = []
    for span in spans:
        start = span.start
        for other in others:
            if other.end <= start or other.start >= span.end:
                continue
            if other.start > start:
                left.append(Span(start, other.start))
            start = max(start, other.end)
        if start < span.end:
            left.append(Span(start, span.end))
    return left
