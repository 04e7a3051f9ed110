"""What a sink is told of at once: readings, vectors, events and runs as they are stored."""

import re
import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import numpy as np

from devices.readings import Flag
from telemetry import outbox, store
from telemetry.beside import StoredEvent, StoredVector
from telemetry.columns import Columns

_LABEL = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class RunNamed(NamedTuple):
    """A run of which there was a word."""

    instrument: UUID
    key: str


class Told(NamedTuple):
    """None of these is of a time that cannot be right."""

    columns: Columns
    vectors: Sequence[StoredVector]
    events: Sequence[StoredEvent]
    runs: Sequence[RunNamed]


def of_payload(payload: bytes, stored_at: datetime) -> Told:
    """What a row of the outbox holds."""
    columns, vectors, events, runs = outbox.taken(payload)
    oldest, newest = store.near(stored_at)
    return Told(
        near(columns),
        [vector for vector in vectors if not vector.quality & Flag.FAR],
        [event for event in events if oldest <= event.time <= newest],
        [RunNamed(UUID(run.instrument), run.key) for run in runs],
    )


def near(columns: Columns) -> Columns:
    """Without readings whose time cannot be right."""
    far = (columns.quality & Flag.FAR).astype(np.bool_)
    return columns.take(~far) if far.any() else columns


def values_of(vector: StoredVector) -> list[float | None]:
    """The numbers of an array as PostgreSQL writes it."""
    inside = vector.values[1:-1]
    return [None if word == "NULL" else float(word) for word in inside.split(",")] if inside else []


def labels_of(vector: StoredVector) -> list[str]:
    """What each value is of; their numbers from 0 if nothing says it."""
    if vector.labels is None:
        return [str(number) for number in range(vector.length)]
    return _words(vector.labels)


def _words(array: str) -> list[str]:
    """The texts of an array, as `beside.words` or PostgreSQL itself writes it: quoted where it must be."""
    found = []
    place = 1
    while place < len(array) - 1:
        quoted = _LABEL.match(array, place)
        if quoted:
            found.append(_ESCAPED.sub(r"\1", quoted[1]))
            place = quoted.end() + 1
        else:
            end = array.find(",", place)
            end = len(array) - 1 if end < 0 else end
            found.append(array[place:end])
            place = end + 1
    return found


def apart(text: str) -> int:
    """0 to 999 ns by which things of one microsecond are told apart: the same for the same text."""
    return zlib.crc32(text.encode()) % 1000
