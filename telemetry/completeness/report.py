"""Completeness for people: instruments, the worst first, with what explains what is missing of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby

from django.utils.translation import gettext as _

from devices import numbers
from devices.models import Channel, Instrument
from telemetry import completeness
from telemetry.completeness.courses import By, Cell, Course
from telemetry.completeness.holes import Hole
from telemetry.times import moment

CHANNELS_AT_ONCE = 1000
HOLES_SHOWN = 5
NARROW = 24  # of a column of names


@dataclass(frozen=True)
class Row:
    """One instrument: its channels, and the least complete of them, which stands for it."""

    instrument: Instrument
    courses: Sequence[Course]

    @cached_property
    def worst(self) -> Course:
        return min(self.courses, key=_badness)

    @property
    def total(self) -> Cell:
        return self.worst.total

    @cached_property
    def lost(self) -> int:
        """Readings of all channels."""
        return sum(course.total.lost for course in self.courses)

    @property
    def is_counted(self) -> bool:
        return self.worst.by is not None

    @property
    def share(self) -> float | None:
        return self.total.share

    @property
    def hours(self) -> list[Cell]:
        """Of each hour that of its least complete channel."""
        columns = zip(*(course.cells for course in self.courses if course.by), strict=True)
        return [min(cells, key=_cell_badness) for cells in columns]

    @property
    def holes(self) -> list[tuple[Channel, Hole]]:
        """Where readings were lost, of the channels that lost any."""
        return [(course.channel, hole) for course in self.courses for hole in course.holes]


@dataclass(frozen=True)
class Report:
    """All instruments that were asked for, the worst first."""

    start: datetime
    until: datetime
    rows: list[Row]

    @property
    def lost(self) -> int:
        return sum(row.lost for row in self.rows)


def _badness(course: Course) -> tuple[bool, float, int]:
    """Those that lost most come first; those of which nothing is due last."""
    total = course.total
    return course.by is None, 2.0 if total.share is None else total.share, -total.lost


def _cell_badness(cell: Cell) -> tuple[float, int]:
    return 2.0 if cell.share is None else cell.share, -cell.lost


def make(instruments: Iterable[Instrument], start: datetime, end: datetime, now: datetime) -> Report:
    """Look at all channels of these instruments, some at a time."""
    rows: list[Row] = []
    until = start
    for channels in _in_parts(instruments):
        answer = completeness.ask(channels, start, end, now)
        start_of, until = answer.start, answer.until
        rows += [
            Row(instrument, list(courses))
            for instrument, courses in groupby(answer.courses, lambda course: course.channel.instrument)
        ]
        start = start_of
    rows.sort(key=lambda row: (-row.lost, *_badness(row.worst)[:2], row.instrument.name))
    return Report(start, until, rows)


def _in_parts(instruments: Iterable[Instrument]) -> Iterator[list[Channel]]:
    """The channels, those of one instrument together."""
    found = Channel.objects.filter(instrument__in=[each.pk for each in instruments])
    ordered = found.select_related("instrument__edge").order_by("instrument", "position", "id")
    part: list[Channel] = []
    for _pk, channels in groupby(ordered, lambda channel: channel.instrument_id):
        some = list(channels)
        if part and len(part) + len(some) > CHANNELS_AT_ONCE:
            yield part
            part = []
        part += some
    if part:
        yield part


# ---- as text


def lines(report: Report) -> Iterator[str]:
    """A table, and below it where readings were lost."""
    lasted = numbers.duration((report.until - report.start).total_seconds())
    yield f"Completeness from {_clock(report.start)} to {_clock(report.until)} UTC, {lasted}"
    counted = [row for row in report.rows if row.is_counted]
    if not counted:
        yield "Nothing was due of these instruments in that time."
        return
    yield ""
    yield f"{'instrument':<{NARROW}} {'complete':>10} {'due':>9} {'missing':>9} {'lost':>7}  explained by"
    for row in counted:
        total, worst = row.total, row.worst
        due, missing = amount(worst, total.due), amount(worst, total.due - total.received)
        yield (
            f"{_cut(row.instrument.name):<{NARROW}} {percent(row.share):>10} {due:>9} {missing:>9}"
            f" {row.lost or '-':>7}  {reasons(worst, total)}"
        )
    if silent := [row.instrument.name for row in report.rows if not row.is_counted]:
        yield ""
        yield f"Nothing was due of {', '.join(sorted(silent))}."
    yield ""
    yield from _lost_lines(report)


def _lost_lines(report: Report) -> Iterator[str]:
    if not report.lost:
        yield "No reading was lost: gaps explain all that is missing."
        return
    yield f"{report.lost} readings are missing and nothing explains it:"
    for row in report.rows:
        for channel, hole in row.holes[:HOLES_SHOWN]:
            yield f"  {channel.instrument.name}, {hole_words(channel, hole)}"
        if len(row.holes) > HOLES_SHOWN:
            yield f"  {row.instrument.name}: and {len(row.holes) - HOLES_SHOWN} more"
        elif row.lost and not row.holes:
            yield f"  {row.instrument.name}: {row.lost}, by their number; the readings are not kept any more"


def hole_words(channel: Channel, hole: Hole) -> str:
    """How many readings of a channel were lost, and where."""
    return f"{channel.key}: {hole.missed} between {_second(hole.span.start)} and {_second(hole.span.end)}"


def percent(share: float | None) -> str:
    """To two decimals, and never rounded up to all of it."""
    if share is None:
        return numbers.NOTHING
    return f"{int(share * 10_000) / 100:.2f} %" if share < 1 else "100 %"


def reasons(course: Course, cell: Cell) -> str:
    """What explains what is missing, the most first."""
    found = sorted(cell.missing.items(), key=lambda each: -each[1])
    told = [f"{reason} {amount(course, count)}" for reason, count in found]
    if cell.lost:
        told.append(_("not explained %d") % cell.lost)
    return ", ".join(told) or numbers.NOTHING


def amount(course: Course, count: int) -> str:
    """Polls, or how long."""
    count = max(count, 0)
    return numbers.duration(count) if course.by is By.TIME else str(count)


def _cut(name: str) -> str:
    return name if len(name) <= NARROW else name[: NARROW - 1] + "…"


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _second(time: int) -> str:
    return f"{moment(time) + timedelta(milliseconds=500):%m-%d %H:%M:%S}"
