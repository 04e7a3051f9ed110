"""What a series is made of (readings, minutes or hours), and how wide its buckets are; arithmetic only."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

ORIGIN = datetime(2001, 1, 1, tzinfo=UTC)  # a Monday: buckets begin at whole minutes, hours, days, weeks
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

# What a person reads with ease, each a multiple of what it is made of.
STEPS = tuple(
    timedelta(milliseconds=step)
    for step in (
        *(1, 2, 5, 10, 20, 50, 100, 200, 500),
        *(1_000 * seconds for seconds in (1, 2, 5, 10, 15, 20, 30)),
        *(60_000 * minutes for minutes in (1, 2, 3, 5, 10, 15, 20, 30)),
        *(3_600_000 * hours for hours in (1, 2, 3, 4, 6, 8, 12, 24, 48)),
        *(7 * 86_400_000 * weeks for weeks in (1, 2, 4, 13, 26, 52)),
    )
)
RAW_MOST = 60_000  # readings of one channel that are looked at for one answer
RAW_MOST_OF_ALL = 400_000  # and of all channels
MINUTES_MOST = 600_000


class Resolution(StrEnum):
    """Which of the stored a series is made from; what is newer than that, or came late, from readings."""

    RAW = "raw"
    MINUTE = "minute"
    HOUR = "hour"


@dataclass(frozen=True)
class Choice:
    """What a series is made of. No `width`: its points are the readings, one by one."""

    resolution: Resolution
    width: timedelta | None

    def around(self, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """From when to when there are whole buckets that hold this time."""
        if self.width is None or start >= end:
            return start, end
        return _floor(start, self.width), _floor(end - ORIGIN.resolution, self.width) + self.width


def _floor(moment: datetime, width: timedelta) -> datetime:
    return ORIGIN + (moment - ORIGIN) // width * width


def step(span: timedelta, points: int) -> timedelta:
    """The smallest width by which so much time, with a part of a bucket at both ends, has no more buckets."""
    least = span / (points - 2)
    weeks = STEPS[-1]
    return next((width for width in STEPS if width >= least), -(-least // weeks) * weeks)


@dataclass(frozen=True)
class Kept:
    """Since when what a series may be made from is there without a hole."""

    raw: datetime
    minutes: datetime


def choose(
    start: datetime, end: datetime, points: int, channels: int, kept: Kept, expected: Callable[[], list[int]]
) -> Choice:
    """What to make the series of some channels from, so that neither time nor memory grows with the span.

    `expected`: how many readings each channel has in that time; it is asked only where it matters.
    """
    width = step(end - start, points)
    if width < MINUTE:
        rows = expected() if start >= kept.raw else [RAW_MOST + 1]
        if max(rows, default=0) <= points:
            return Choice(Resolution.RAW, None)
        if max(rows) <= RAW_MOST and sum(rows) <= RAW_MOST_OF_ALL:
            return Choice(Resolution.RAW, width)
        width = MINUTE
    bearable = (end - start) / MINUTE * channels <= MINUTES_MOST
    if width < HOUR and bearable and start >= kept.minutes:
        return Choice(Resolution.MINUTE, width)
    return Choice(Resolution.HOUR, max(width, HOUR))
