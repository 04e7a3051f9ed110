"""What an instrument's page shows beside its readings: runs, events, and its newest vectors drawn small."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.utils.translation import gettext as _

from devices import numbers
from devices.models import Channel, Instrument, Run
from telemetry.models import AnyVector, Event, VectorReading

CURRENT = ("pending", "running", "paused")
EVENTS = 10
RUNS = 5
FIELDS = 16  # of a run, as far as they are shown
BARS_MOST = 200  # of more values a line is drawn
HEIGHT = 100.0

_CURRENT_RUNS = """
SELECT DISTINCT ON (instrument_id) instrument_id::text, coalesce(nullif(title, ''), key), state, progress
FROM devices_run WHERE state IN ('pending', 'running', 'paused')
"""
CURRENT_RUNS = f"{_CURRENT_RUNS} ORDER BY instrument_id, told_at DESC, id DESC"
CURRENT_RUNS_OF = f"{_CURRENT_RUNS} AND instrument_id = ANY(%s) ORDER BY instrument_id, told_at DESC, id DESC"


class Course(NamedTuple):
    """How an instrument's current run stands, in a line; standing.js shows the same."""

    words: str
    percent: int | None


def word(state: str) -> str:
    """A run's state for people."""
    words = {
        "pending": _("Waiting"),
        "running": _("Running"),
        "paused": _("Paused"),
        "completed": _("Completed"),
        "failed": _("Failed"),
        "aborted": _("Stopped early"),
        "lost": _("Lost sight of"),
    }
    return words.get(state, _("State unknown"))


def course(title: str, state: str, progress: float | None) -> Course:
    """The line of a run."""
    return Course(f"{word(state)} · {title}", None if progress is None else round(100 * progress))


def courses(instruments: Iterable[Instrument]) -> dict[str, Course]:
    """Those of all current runs of these instruments, in one question."""
    with connection.cursor() as cursor:
        cursor.execute(CURRENT_RUNS_OF, [[instrument.pk for instrument in instruments]])
        return {instrument: course(*run) for instrument, *run in cursor.fetchall()}


@dataclass(frozen=True)
class RunShown:
    """A run in the words of the page."""

    run: Run
    now: datetime
    is_current: bool

    @property
    def title(self) -> str:
        return str(self.run)

    @property
    def word(self) -> str:
        """One that another has followed cannot go on: nobody saw its end."""
        is_left = self.run.state in CURRENT and not self.is_current
        return word("lost" if is_left else self.run.state)

    @property
    def percent(self) -> int | None:
        return course("", "", self.run.progress).percent

    @property
    def when(self) -> str:
        """When it began and how long it took, or takes until now."""
        start, end = self.run.start, self.run.end
        if start is None:
            return numbers.age(end or self.run.told_at, self.now)
        until = end or (self.now if self.is_current else self.run.told_at)
        lasted = numbers.duration((until - start).total_seconds())
        return _("%(when)s, for %(lasted)s") % {"when": numbers.age(start, self.now), "lasted": lasted}

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Stage, cycle, step, metrics and whatever else it tells; what is in groups by its own name."""
        shown: dict[str, str] = {}
        for name, text in _said(self.run.fields):
            shown.setdefault(name, text)
        return list(shown.items())[:FIELDS]


def _said(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            yield from _said(value)
        elif isinstance(value, bool):
            yield label, _("yes") if value else _("no")
        elif isinstance(value, int | float):
            yield label, numbers.number(value)
        elif isinstance(value, str) and value:
            yield label, value
        elif isinstance(value, list) and value and not isinstance(value[0], list | Mapping):
            yield label, ", ".join(map(str, value[:8])) + (" …" if len(value) > 8 else "")


@dataclass(frozen=True)
class EventShown:
    """An event in the words of the page."""

    event: Event
    now: datetime

    @property
    def kind(self) -> str:
        return self.event.kind.replace("_", " ")

    @property
    def age(self) -> str:
        return numbers.age(self.event.time, self.now)


@dataclass(frozen=True)
class VectorShown:
    """The newest vector of a channel as a row of bars, or a line where there are many."""

    channel: Channel
    vector: VectorReading
    now: datetime

    @property
    def unit(self) -> str:
        return numbers.unit(self.channel.unit)

    @property
    def age(self) -> str:
        return numbers.age(self.vector.time, self.now)

    @property
    def is_bars(self) -> bool:
        return len(self.vector.values) <= BARS_MOST

    @property
    def width(self) -> int:
        return max(1, len(self.vector.values))

    @property
    def summary(self) -> str:
        """How many there are, from which to which, and where the greatest is."""
        found = [value for value in self.vector.values if value is not None]
        if not found:
            return _("no values")
        place = self.vector.values.index(max(found))
        words = {
            "count": len(self.vector.values),
            "low": numbers.number(min(found), self.channel.digits),
            "high": numbers.number(max(found), self.channel.digits),
            "where": self.vector.labels[place] if self.vector.labels else str(place + 1),
        }
        return _("%(count)d values, %(low)s to %(high)s, greatest at %(where)s") % words

    @property
    def path(self) -> str:
        """In a box of a unit for each value and a hundred high, zero within it."""
        found = [value for value in self.vector.values if value is not None]
        low, high = min([0.0, *found]), max([0.0, *found])
        scale = HEIGHT / (high - low or 1.0)
        level = HEIGHT + low * scale  # of zero
        ys = [None if value is None else HEIGHT - (value - low) * scale for value in self.vector.values]
        return _bars(ys, level) if self.is_bars else _line(ys)


def _bars(ys: list[float | None], level: float) -> str:
    return "".join(
        f"M{x + 0.1:.1f} {level:.1f}V{y:.1f}h.8V{level:.1f}z" for x, y in enumerate(ys) if y is not None
    )


def _line(ys: list[float | None]) -> str:
    """Broken where a value is missing."""
    pieces, pen = [], "M"
    for x, y in enumerate(ys):
        if y is not None:
            pieces.append(f"{pen}{x + 0.5:g} {y:.1f}")
        pen = "M" if y is None else "L"
    return "".join(pieces)


@dataclass(frozen=True)
class Beside:
    """All of it, newest first."""

    instrument: Instrument
    now: datetime

    @property
    def runs(self) -> list[RunShown]:
        found = list(self.instrument.runs.order_by("-told_at", "-id")[:RUNS])
        current = next((run.pk for run in found if run.state in CURRENT), None)
        shown = [RunShown(run, self.now, run.pk == current) for run in found]
        return sorted(shown, key=lambda each: not each.is_current)

    @property
    def events(self) -> list[EventShown]:
        return [EventShown(event, self.now) for event in self.instrument.events.order_by("-time")[:EVENTS]]

    @property
    def vectors(self) -> list[VectorShown]:
        channels = (
            self.instrument.channels.filter(kind="vector").exclude(latest=None).select_related("latest")
        )
        return [shown for channel in channels if (shown := _newest(channel, self.now))]


def _newest(channel: Channel, now: datetime) -> VectorShown | None:
    """Its latest reading says when that was; a stored one may have moved by a few µs."""
    at = channel.latest.time
    stored = AnyVector.objects.filter(
        channel_id=channel.pk, time__gte=at, time__lt=at + timedelta(milliseconds=1)
    )
    vector = stored.order_by("-time").first()
    return None if vector is None else VectorShown(channel, vector, now)
