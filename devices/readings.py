"""What an instrument says: readings (one channel at one time, and how far to trust it), events and runs."""

import math
from collections.abc import Iterable, Mapping
from enum import IntEnum, IntFlag, StrEnum
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

QUALITY_MASK = 3  # the class of a stored quality; above it are flags
INT_MAX = 2**53  # what a sample holds exactly


class Quality(IntEnum):
    """How far a reading can be trusted (OPC UA's three classes); the low two bits of a stored quality."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Flag(IntFlag):
    """What else is known of a stored reading; added to its quality."""

    INSTRUMENT_TIME = 16  # stamped by the instrument itself, not by the edge
    CLOCK_UNSURE = 32  # the edge's clock had not been compared with the centre's, or disagreed with it
    FAR = 64  # beyond the centre's present by more than two minutes


class GapReason(StrEnum):
    """Why readings are missing, as gaps carry it.

    Edges tell the first of them; those of COMPUTED follow from what the centre knows, when it is asked.
    """

    NOT_CONNECTED = "not connected"
    IN_USE = "in use"
    OVERRUN = "overrun"
    NOT_RUNNING = "not running"
    UNSAVED = "unsaved"
    OVERFLOW = "overflow"
    TORN = "torn"
    OUT_OF_SERVICE = "out of service"
    EDGE_SILENT = "edge silent"
    ON_ITS_WAY = "on its way"

    @property
    def means(self) -> str:
        """A sentence for people."""
        return MEANINGS[self]


MEANINGS = {
    GapReason.NOT_CONNECTED: "the instrument could not be reached, or gave no answer",
    GapReason.IN_USE: "another program or person has the instrument, or its port, to itself",
    GapReason.OVERRUN: "a poll was due while the one before was under way, or the machine stood still",
    GapReason.NOT_RUNNING: "the edge was not running: from its last commit before to its first reading",
    GapReason.UNSAVED: "read in the last seconds before the edge was killed or lost power, not saved yet",
    GapReason.OVERFLOW: "the edge's spool was full of what the centre did not take: the oldest went",
    GapReason.TORN: "the edge's spool, or a part of it, could not be read any more",
    GapReason.OUT_OF_SERVICE: "it was taken out of service: nobody polled it",
    GapReason.EDGE_SILENT: "the edge is not heard; what it reads meanwhile comes later",
    GapReason.ON_ITS_WAY: "the edge has readings of this time that the centre does not have yet",
}
AWAY = (GapReason.NOT_CONNECTED, GapReason.IN_USE)  # the instrument cannot be had
COMPUTED = (GapReason.OUT_OF_SERVICE, GapReason.EDGE_SILENT, GapReason.ON_ITS_WAY)


class Vector(NamedTuple):
    """Many numbers of one time, such as the fluorescence of each well. `labels`: what each is of; or none."""

    values: tuple[float | None, ...]
    labels: tuple[str, ...] = ()


Value = float | int | bool | str | Vector | None


class Reading(NamedTuple):
    """One channel's value. `time` is the instrument's own stamp in µs of UTC; None: the edge stamps it."""

    key: str
    value: Value
    quality: Quality = Quality.GOOD
    time: int | None = None


class Event(NamedTuple):
    """Something that happened. The same kind, text and time again is the same event, told twice.

    `kind` is a word like `run_action`; `fields` is JSON; `time` as a reading's.
    """

    kind: str
    text: str
    fields: Mapping[str, Any] = {}
    time: int | None = None


class Run(NamedTuple):
    """How a run (a qPCR run, a calibration) stands now; told again, whole, at each change.

    `id` is the instrument's own name of it, or made up by the driver so that it is the same after a
    reconnect. `start`, `end`: µs of UTC; None while not known. `progress`: 0 to 1. `fields`: JSON, such as
    stage, cycle, step and metrics. `time` as a reading's: of two words on one run the later one counts.
    """

    id: str
    kind: str
    state: str  # one of RUN_STATES
    title: str = ""
    progress: float | None = None
    start: int | None = None
    end: int | None = None
    fields: Mapping[str, Any] = {}
    time: int | None = None


RUN_STATES = ("pending", "running", "paused", "completed", "failed", "aborted", "lost", "unknown")
RUN_ENDED = ("completed", "failed", "aborted", "lost")  # states a run does not leave by itself

Said = Reading | Event | Run

_reading = partial(tuple.__new__, Reading)  # a third of the time that calling the class takes


def good(keys: Iterable[str], values: Iterable[Value]) -> list[Reading]:
    """A good reading for each key and value, stamped by the edge: what nearly every poll brings."""
    return list(map(_reading, zip(keys, values, repeat(Quality.GOOD), repeat(None))))


def finite(given: object) -> float | None:
    """A number from elsewhere, as readings have them; None for what is none, yes and no among that."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        try:
            number = float(given)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return None
