"""What a batch brings beside its readings: vectors, events and runs, held against its edge's roster.

A batch that contradicts itself is Malformed; of what cannot be stored, only that itself is refused.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from math import isfinite
from typing import Any, NamedTuple, TypeVar

from devices.readings import RUN_STATES, Flag
from devices.wire import Batch, EventRow, Malformed, RunRow, VectorRow
from telemetry.columns import QUALITY_MAX
from telemetry.roster import Known, Roster
from telemetry.times import TIME_MAX, moment

VALUES_MAX = 100_000  # of a vector
LABEL_MAX = 200
TEXT_MAX = 4_000
KIND_MAX = 60
TITLE_MAX = 300
RUN_KEY_MAX = 200
FIELDS_MAX = 64_000  # characters of JSON
FIELDS_DEPTH_MAX = 50


Stored = TypeVar("Stored")


class StoredVector(NamedTuple):
    """A vector as it is stored. `values`, `labels`: as PostgreSQL writes arrays; `time`: µs of UTC."""

    channel: int
    time: int
    quality: int
    values: str
    labels: str | None
    length: int
    family: int


class StoredEvent(NamedTuple):
    """An event as it is stored. `fields`: JSON."""

    instrument: str
    time: int
    kind: str
    text: str
    fields: str
    flags: int


class StoredRun(NamedTuple):
    """A word on a run as it is stored."""

    instrument: str
    key: str
    kind: str
    title: str
    state: str
    progress: float | None
    start: datetime | None
    end: datetime | None
    fields: str
    time: int
    flags: int


class Refusal(NamedTuple):
    """One of the batch's vectors, events or runs, by its number there, and why it cannot be stored."""

    what: str
    number: int
    reason: str


class Unfit(Exception):
    """This one cannot be stored; the message says why."""


@dataclass(slots=True)
class Beside:
    """What may be stored of a batch beside its readings, and what of it was refused."""

    vectors: list[StoredVector] = field(default_factory=list)
    events: list[StoredEvent] = field(default_factory=list)
    runs: list[StoredRun] = field(default_factory=list)
    unfit: list[Refusal] = field(default_factory=list)

    def take(self, what: str, number: int, into: list[Stored], stored: Callable[[], Stored]) -> None:
        """Add one; or note why it cannot be stored."""
        try:
            into.append(stored())
        except Unfit as reason:
            self.unfit.append(Refusal(what, number, str(reason)))

    @property
    def refusals(self) -> list[str]:
        """How many were refused for which reason."""
        reasons = Counter((each.what, each.reason) for each in self.unfit)
        return [f"{count} {what} refused, {reason}" for (what, reason), count in reasons.items()]


NOTHING = Beside()


def beside(batch: Batch, shift: int, roster: Roster) -> Beside:
    """Raises Malformed. The batch's instruments were met."""
    if not (batch.vectors or batch.events or batch.runs):
        return NOTHING
    found = Beside()
    for number, vector in enumerate(batch.vectors):
        found.take("vectors", number, found.vectors, partial(_vector, vector, batch, shift, roster))
    for number, event in enumerate(batch.events):
        found.take("events", number, found.events, partial(_event, event, batch, shift, roster))
    for number, run in enumerate(batch.runs):
        found.take("runs", number, found.runs, partial(_run, run, batch, shift, roster))
    return found


def _vector(row: VectorRow, batch: Batch, shift: int, roster: Roster) -> StoredVector:
    _within(row.quality, QUALITY_MAX + 1, "quality")
    _within(row.labels + 1, len(batch.labels) + 1, "labels")
    instrument = _instrument(row, batch)
    time = _time(row.time, shift, row.quality, _known(instrument, roster))
    labels = batch.labels[row.labels] if row.labels >= 0 else []
    if len(row.values) > VALUES_MAX or (labels and len(labels) != len(row.values)):
        raise Unfit(f"of {len(row.values)} values with {len(labels)} labels")
    channel, family = roster.channel(instrument, row.key, "vector")
    if not channel:
        raise Unfit(f"of instrument {instrument}, which has no channel {row.key[:60]!r}")
    quality = row.quality & ~Flag.FAR
    return StoredVector(channel, time, quality, numbers(row.values), words(labels), len(row.values), family)


def _event(row: EventRow, batch: Batch, shift: int, roster: Roster) -> StoredEvent:
    _within(row.flags, QUALITY_MAX + 1, "flags")
    instrument = _instrument(row, batch)
    time = _time(row.time, shift, row.flags, _known(instrument, roster))
    flags = row.flags & ~Flag.FAR
    return StoredEvent(
        instrument, time, _text(row.kind, KIND_MAX), _text(row.text, TEXT_MAX), json_text(row.fields), flags
    )


def _run(row: RunRow, batch: Batch, shift: int, roster: Roster) -> StoredRun:
    instrument = _instrument(row, batch)
    flags = (Flag.INSTRUMENT_TIME if row.own_time else 0) | (Flag.CLOCK_UNSURE if row.unsure else 0)
    time = _time(row.time, shift, flags, _known(instrument, roster))
    if not 0 < len(row.id) <= RUN_KEY_MAX:
        raise Unfit(f"of an id of {len(row.id)} characters")
    shift = 0 if row.own_time else shift
    return StoredRun(
        instrument,
        _text(row.id, RUN_KEY_MAX),
        _text(row.kind, KIND_MAX),
        _text(row.title, TITLE_MAX),
        row.state if row.state in RUN_STATES else "unknown",
        None if row.progress is None or not isfinite(row.progress) else min(max(row.progress, 0.0), 1.0),
        _moment_or_none(row.start, shift),
        _moment_or_none(row.end, shift),
        json_text(row.fields),
        time,
        flags,
    )


def _instrument(row: VectorRow | EventRow | RunRow, batch: Batch) -> str:
    _within(row.instrument, len(batch.instruments), "instrument")
    return batch.instruments[row.instrument]


def _known(instrument: str, roster: Roster) -> Known:
    known = roster.known(instrument)
    if known is None:
        raise Unfit(f"of instrument {instrument[:60]}, which never was this edge's")
    return known


def _time(time: int, shift: int, flags: int, known: Known) -> int:
    """What is learnt of the edge's clock does not move what the instrument stamped itself."""
    if not flags & Flag.INSTRUMENT_TIME:
        time += shift
    if not 0 <= time < TIME_MAX:
        raise Unfit("of a time that there is not")
    if not known.holds(time, unsure=bool(flags & Flag.CLOCK_UNSURE)):
        raise Unfit("of a time at which their instrument was not this edge's")
    return time


def _moment_or_none(time: int | None, shift: int) -> datetime | None:
    return moment(time + shift) if time is not None and 0 <= time + shift < TIME_MAX else None


def _within(number: int, limit: int, what: str) -> None:
    if not 0 <= number < limit:
        raise Malformed(f"{what} {number} of {limit}")


# ---- as PostgreSQL takes it


def numbers(values: Sequence[float | None]) -> str:
    """An array of float8; what is no number is NULL."""
    return "{%s}" % ",".join("NULL" if value is None else repr(float(value)) for value in values)  # noqa: UP031


def words(labels: Sequence[str]) -> str | None:
    """An array of text; None for none."""
    if not labels:
        return None
    quoted = (_text(label, LABEL_MAX).replace("\\", r"\\").replace('"', r"\"") for label in labels)
    return '{"%s"}' % '","'.join(quoted)  # noqa: UP031


def json_text(fields: Mapping[str, Any]) -> str:
    """Raises Unfit."""
    try:
        text = json.dumps(_plain(fields, 0), allow_nan=False)
    except ValueError as error:
        raise Unfit(f"of fields that are no JSON ({error})") from None
    if len(text) > FIELDS_MAX:
        raise Unfit(f"of fields of more than {FIELDS_MAX} characters")
    return text


def _plain(value: Any, depth: int) -> Any:
    if depth > FIELDS_DEPTH_MAX:
        raise ValueError("nested too deep")
    if isinstance(value, Mapping):
        return {_stored(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    return _stored(value) if isinstance(value, str) else value


def _text(text: str, length: int) -> str:
    return _stored(text[:length])


def _stored(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL stores no NUL
