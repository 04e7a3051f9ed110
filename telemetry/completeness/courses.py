"""How complete channels are, hour by hour."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache

from devices.edges import microseconds
from devices.models import Channel
from telemetry.completeness.due import Span
from telemetry.completeness.holes import Hole
from telemetry.times import moment

HOUR = timedelta(hours=1)


class By(StrEnum):
    """What a channel's completeness is counted in."""

    POLLS = "polls"
    TIME = "time"  # seconds


@dataclass
class Cell:
    """One channel in one time. due = received + missing + unexplained, in polls or in seconds.

    `unexplained` may be a poll more or less than none: one that came on the other side of an hour's edge. Of
    it `lost` are sure.
    """

    start: datetime
    due: int = 0
    received: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    lost: int = 0

    @property
    def unexplained(self) -> int:
        return self.due - self.received - sum(self.missing.values())

    @property
    def share(self) -> float | None:
        """Received of due; None if nothing was due. A reading too many hides none that is missing."""
        return min(self.received / self.due, 1.0) if self.due > 0 else None

    def add(self, other: "Cell") -> None:
        self.due += other.due
        self.received += other.received
        self.lost += other.lost
        for reason, count in other.missing.items():
            self.missing[reason] = self.missing.get(reason, 0) + count


@dataclass
class Course:
    """One channel over the time asked for. `by` None: nothing is ever due of it."""

    channel: Channel
    by: By | None
    cells: list[Cell]
    holes: list[Hole] = field(default_factory=list)

    @cached_property
    def total(self) -> Cell:
        """All of it; asked once all of it is known."""
        found = Cell(self.cells[0].start if self.cells else datetime.min.replace(tzinfo=UTC))
        for cell in self.cells:
            found.add(cell)
        return found

    def hours(self, until: int) -> list[tuple[datetime, Span]]:
        """What the cells are of; the last one ends with `until`."""
        return hours_of(Span(microseconds(self.cells[0].start), until)) if self.cells else []

    def by_day(self) -> "Course":
        """The same in days of UTC."""
        days: dict[datetime, Cell] = {}
        for cell in self.cells:
            day = cell.start.replace(hour=0)
            days.setdefault(day, Cell(day)).add(cell)
        return Course(self.channel, self.by, list(days.values()), self.holes)


@lru_cache(16)
def hours_of(span: Span) -> list[tuple[datetime, Span]]:
    step = HOUR // timedelta(microseconds=1)
    starts = range(span.start, span.end, step)
    return [(moment(start), Span(start, min(start + step, span.end))) for start in starts]
