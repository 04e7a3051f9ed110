"""Completeness: how many readings of those that were due are there, and what explains those that are not.

What was due is counted by how the instrument was to be polled (devices.Cadence), what is there by roll-ups
and readings, hour by hour; what is missing is explained by gaps. What no gap explains was lost, if there is a
hole between two readings; else it is on the other side of an hour's edge. A channel that tells only what has
changed is judged by time: in service, without a gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from devices.edges import microseconds
from devices.models import Channel
from telemetry.completeness import counts, facts, lost
from telemetry.completeness.counts import Count, Counts
from telemetry.completeness.courses import HOUR, By, Cell, Course, hours_of
from telemetry.completeness.due import Period, Span, in_service
from telemetry.completeness.explained import Explained, allocated
from telemetry.completeness.facts import Facts

__all__ = ["Answer", "By", "Cell", "Course", "ask"]

SETTLED = timedelta(seconds=10)  # a reading of before that is here, if its edge is heard
NOTHING = Count(0, 0)


@dataclass(frozen=True)
class Answer:
    """Whole hours from `start` to `until`, the last one as far as it has passed."""

    start: datetime
    until: datetime
    courses: list[Course]


def ask(channels: Sequence[Channel], start: datetime, end: datetime, now: datetime) -> Answer:
    """The completeness of channels (with their instruments), hour by hour."""
    start = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    whole = end.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    until = max(min(end if whole == end else whole + HOUR, now - SETTLED), start)
    span = Span(microseconds(start), microseconds(until))
    if not channels or not span.length:
        return Answer(start, until, [Course(channel, None, []) for channel in channels])
    known = facts.of(channels, start, until, now)
    found = counts.of([channel.pk for channel in channels], start, until)
    courses = [_course(channel, known, found, span) for channel in channels]
    lost.find(courses, known, now, span.end)
    return Answer(start, until, courses)


# ---- hour by hour


def _course(channel: Channel, known: Facts, found: Counts, span: Span) -> Course:
    by = facts.by(channel, known)
    hours = hours_of(span)
    told = [found.get((channel.pk, start), NOTHING) for start, _ in hours]
    if channel.pk not in known.heard and not any(count.received or count.bad for count in told):
        by = None  # it never said anything: not each instrument has all that its driver knows
    cell = {By.POLLS: _polls, By.TIME: _time, None: _nothing}[by]
    explained = known.explained(channel)
    of = known.periods[channel.instrument_id]
    cells = [
        cell(start, hour, of, explained, count) for (start, hour), count in zip(hours, told, strict=True)
    ]
    return Course(channel, by, cells)


def _polls(start: datetime, hour: Span, of: list[Period], explained: Explained, count: Count) -> Cell:  # noqa: ARG001
    due = explained.due(hour)
    missing = due - count.received
    if missing <= 0:
        return Cell(start, due, count.received)
    return Cell(start, due, count.received, allocated(missing, explained.hour(hour), count.bad))


def _time(start: datetime, hour: Span, of: list[Period], explained: Explained, count: Count) -> Cell:  # noqa: ARG001
    due = round(in_service(of, [hour]) / 1e6)
    missing = {reason: round(time / 1e6) for reason, time in explained.seconds(hour).items()}
    return Cell(start, due, due - sum(missing.values()), missing)


def _nothing(start: datetime, hour: Span, of: list[Period], explained: Explained, count: Count) -> Cell:  # noqa: ARG001
    return Cell(start, 0, 0)
