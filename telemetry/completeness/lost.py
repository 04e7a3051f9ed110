"""What was lost: readings that are missing where nothing explains it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from telemetry import partitions
from telemetry.completeness import holes
from telemetry.completeness.courses import By, Cell, Course
from telemetry.completeness.due import Period, Span
from telemetry.completeness.explained import Explained
from telemetry.completeness.facts import Facts
from telemetry.completeness.holes import Hole, Place
from telemetry.families import NUMBERS, SAMPLES

PLACES_MAX = 500  # hours of channels of which the readings are looked at, one by one


def find(courses: Sequence[Course], facts: Facts, now: datetime, until: int) -> None:
    """Look for holes where more may be missing than is explained, where that is most first."""
    suspects = [
        suspect
        for course in courses
        if course.by is By.POLLS
        for suspect in _suspects(course, facts, now, until)
    ]
    suspects.sort(key=lambda suspect: -suspect.cell.unexplained)
    looked_at = [suspect for suspect in suspects if suspect.can_be_looked_at][:PLACES_MAX]
    found = holes.of(
        [suspect.place for suspect in looked_at],
        [suspect.explained.spans(suspect.place.interval) for suspect in looked_at],
        until,
    )
    for suspect, some in zip(looked_at, found, strict=True):
        suspect.take(some)
    for suspect in suspects:
        suspect.settle()
    for course in courses:
        course.holes = holes.merged(course.holes)


@dataclass
class Suspect:
    """An hour of a channel in which readings may have been lost; counting alone may be wrong by one."""

    course: Course
    cell: Cell
    place: Place
    explained: Explained
    doubt: int
    can_be_looked_at: bool  # each reading was stored, and is still there
    is_settled: bool = False

    def take(self, found: list[Hole]) -> None:
        """What was found between the readings."""
        self.cell.lost = max(min(self.cell.unexplained + self.doubt, sum(hole.missed for hole in found)), 0)
        if self.cell.lost:
            self.course.holes += found
        self.is_settled = True

    def settle(self) -> None:
        """Where nobody looked, what is beyond all doubt is lost."""
        if not self.is_settled and self.cell.unexplained > self.doubt + 1:
            self.cell.lost = self.cell.unexplained


def _suspects(course: Course, facts: Facts, now: datetime, until: int) -> Iterator[Suspect]:
    channel = course.channel
    kept = now - timedelta(days=partitions.tables()[SAMPLES[NUMBERS[channel.retention]]].days)
    explained = facts.explained(channel)
    for cell, (_, hour) in zip(course.cells, course.hours(until), strict=True):
        if not cell.missing and cell.unexplained <= 0:
            continue
        doubt = explained.hour(hour).doubt
        if cell.unexplained + doubt > 0:
            interval = _interval(facts.periods[channel.instrument_id], hour)
            is_there = cell.start >= kept and channel.pk not in facts.policies and interval > 0
            yield Suspect(course, cell, Place(channel.pk, hour, interval), explained, doubt, is_there)


def _interval(of: Iterable[Period], hour: Span) -> float:
    """The longest there was in the hour; 0 if there was none."""
    return max((each.interval for each in of if each.is_due and each.span.within(hour).length), default=0.0)
