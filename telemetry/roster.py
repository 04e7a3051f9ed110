"""Which channels an edge may bring readings of, and for what times; what is computed from them, and which are
stored: looked up once per revision of the edge and of what is defined of channels."""

import threading
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from devices.models import Assignment, Channel, Instrument
from telemetry.columns import Bools, Int64s
from telemetry.computing import computed
from telemetry.computing.computed import Computation
from telemetry.families import NUMBERS
from telemetry.thinning import policies
from telemetry.thinning.policies import Policy
from telemetry.times import microseconds

CHANNELS_MAX = 500  # of one instrument, so that a driver gone wrong cannot fill the tables
KEY_LENGTH_MAX = 100
HANDOVER_US = 10_000_000  # at a move the clocks of two edges may differ
FOR_EVER = 1 << 62
KEYSETS_MAX = 100_000  # remembered; more were made up

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What the keys of a row are: channel numbers (0: refused), and of which families."""

    channel: NDArray[np.int32]
    family: NDArray[np.int8]


@dataclass(slots=True)
class Known:
    """One instrument, as far as ingest needs it. `periods`: µs of UTC in which it was this edge's."""

    demo: bool
    periods: list[tuple[int, int]]
    assigned: bool  # to this edge now
    channels: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def always(self) -> bool:
        """This edge was its only one."""
        return any(since <= 0 and until >= FOR_EVER for since, until in self.periods)

    def refuse(self, channels: Collection[int]) -> None:
        """These are computed: nobody brings readings of them."""
        self.channels.update(
            {key: (0, 0) for key, (number, _) in self.channels.items() if number in channels}
        )

    def holds(self, time: int, *, unsure: bool) -> bool:
        """Whether it was this edge's at this time; of an edge of unsure clock, whether it is so now."""
        return any(since <= time < until for since, until in self.periods) or (unsure and self.assigned)

    def held(self, time: Int64s) -> Bools:
        """Whether it was this edge's at these times."""
        held = np.zeros(len(time), np.bool_)
        for since, until in self.periods:
            held |= (time >= since) & (time < until)
        return held


class Roster:
    """The instruments of one edge at one revision, filled as batches name them."""

    def __init__(self, edge_id: int, revision: tuple[int, int]) -> None:
        self.edge_id = edge_id
        self.revision = revision
        self.computation = Computation()
        self.policies: dict[int, Policy] = {}  # by channel
        self._instruments: dict[str, Known | None] = {}
        self._taken: dict[tuple[str, Keys], Taken] = {}

    def meet(self, instruments: Iterable[str]) -> None:
        """Look up all of these that are not known yet: a few queries, however many."""
        new = {text: number for text in set(instruments) - set(self._instruments) if (number := _uuid(text))}
        if new:
            found = _look_up(self.edge_id, new.values())
            self._instruments.update({text: found.get(number) for text, number in new.items()})
            self.policies |= policies.of_instruments(found)
            for instrument, steps in computed.of_instruments(found).items():
                self.computation.add(steps)
                found[instrument].refuse({step.channel for step in steps})

    def known(self, instrument: str) -> Known | None:
        """An instrument that was met; None for one that never was this edge's."""
        return self._instruments.get(instrument)

    def taken(self, instrument: str, keys: Keys) -> Taken:
        """The channels of these keys of an instrument that was met; those it does not have yet are made."""
        taken = self._taken.get((instrument, keys))
        if taken is None:
            if len(self._taken) > KEYSETS_MAX:
                self._taken.clear()
            taken = self._taken[instrument, keys] = self._find(instrument, keys)
        return taken

    def make(self, instrument: str, keys: Iterable[str], kind: str = "float") -> None:
        """Make those of these channels that an instrument, which was met, does not have yet."""
        known = self.known(instrument)
        if known and (missing := [key for key in sorted(set(keys) - set(known.channels)) if usable(key)]):
            _make_channels(instrument, known, missing, kind)

    def channel(self, instrument: str, key: str, kind: str) -> tuple[int, int]:
        """One channel's number (0: refused) and its family; if it is new, it is made."""
        self.make(instrument, [key], kind)
        known = self.known(instrument)
        return known.channels.get(key, (0, 0)) if known else (0, 0)

    def _find(self, instrument: str, keys: Keys) -> Taken:
        self.make(instrument, keys)
        known = self.known(instrument)
        found = [known.channels.get(key, (0, 0)) if known else (0, 0) for key in keys]
        return Taken(
            np.array([number for number, _ in found], np.int32),
            np.array([family for _, family in found], np.int8),
        )


class _Rosters(threading.local):
    """Of one thread, as its connection is: what a transaction made that is rolled back, no other sees."""

    def __init__(self) -> None:
        self.by_edge: dict[int, Roster] = {}


_rosters = _Rosters()


def of_edge(edge_id: int, revision: tuple[int, int]) -> Roster:
    """The roster of an edge at the revision that the current transaction sees."""
    roster = _rosters.by_edge.get(edge_id)
    if roster is None or roster.revision != revision:
        roster = _rosters.by_edge[edge_id] = Roster(edge_id, revision)
    return roster


def forget(edge_id: int) -> None:
    """After a rollback: it may hold channels that were not made after all."""
    _rosters.by_edge.pop(edge_id, None)


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def usable(key: str) -> bool:
    """Whether a channel can be called so."""
    return 0 < len(key) <= KEY_LENGTH_MAX and key.isprintable()


def _look_up(edge_id: int, instruments: Collection[uuid.UUID]) -> dict[uuid.UUID, Known]:
    """Those of these instruments that this edge ever had."""
    held = Assignment.objects.filter(instrument__in=instruments, edge=edge_id).order_by("instrument", "since")
    demo = dict(Instrument.objects.filter(pk__in=instruments).values_list("pk", "demo"))
    found = {}
    for instrument, rows in groupby(held.values_list("instrument", "since", "until"), itemgetter(0)):
        periods = [(since, until) for _, since, until in rows]
        found[instrument] = Known(
            demo[instrument],
            [
                (microseconds(since) - HANDOVER_US, microseconds(until) if until else FOR_EVER)
                for since, until in periods
            ],
            assigned=periods[-1][1] is None,
        )
    channels = Channel.objects.filter(instrument__in=found)
    for instrument, key, number, retention in channels.values_list("instrument", "key", "pk", "retention"):
        found[instrument].channels[key] = (number, NUMBERS[retention])
    return found


def _make_channels(instrument: str, known: Known, keys: list[str], kind: str) -> None:
    """Rows for keys that the driver did not declare; somebody else may have made them first."""
    retention = "demo" if known.demo else "standard"
    room = max(CHANNELS_MAX - len(known.channels), 0)
    Channel.objects.bulk_create(
        [
            Channel(instrument_id=instrument, key=key, label=key, kind=kind, retention=retention)
            for key in keys[:room]
        ],
        ignore_conflicts=True,
    )
    found = Channel.objects.filter(instrument_id=instrument, key__in=keys)
    for key, number, kept in found.values_list("key", "pk", "retention"):
        known.channels[key] = (number, NUMBERS[kept])
