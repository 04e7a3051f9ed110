"""Old readings into an instrument's channels: each once, however often they are imported.

Some ten thousand at a time, each lot in a transaction of its own: whoever breaks off keeps what was taken,
and the next import knows it. Nothing is judged, so nobody is paged; roll-ups and sinks hear of them as of all
that comes late, and what a channel shows changes only if an imported reading is newer.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from django.db import transaction

from devices import drivers
from devices.edges import microseconds
from devices.errors import ConfigurationError
from devices.models import Channel, Instrument, Latest
from telemetry import deliveries, latest, outbox, partitions, rollups, store
from telemetry.columns import Columns
from telemetry.families import NUMBERS, SAMPLES
from telemetry.imports.base import Point, Refusal, Source, Unreadable, Value
from telemetry.roster import CHANNELS_MAX, usable
from telemetry.times import TIME_MAX, moment

AT_ONCE = 50_000  # readings in one transaction
FIRST = 3  # of what is refused for one reason, as examples
TEXT_MAX = 4_000
AHEAD = timedelta(minutes=2)

CONFLICT = "another value is stored at its time"
FUTURE = "of a time that has not come yet"
NO_KEY = "a channel cannot be called so"
TOO_MANY = f"an instrument has no more than {CHANNELS_MAX} channels"
OTHER_KIND = "text for a channel of numbers"
VECTORS = "a number for a channel of vectors"
TOO_LONG = f"a text of more than {TEXT_MAX} characters"


@dataclass
class Refused:
    """How often for one reason, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """What came of an import."""

    taken: int = 0
    known: int = 0
    outside: int = 0  # of a time that was not asked for
    refused: dict[str, Refused] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)  # channels
    kept_longer: list[str] = field(default_factory=list)
    start: datetime | None = None  # of what was taken
    end: datetime | None = None

    def refuse(self, reason: str, example: str) -> None:
        refused = self.refused.setdefault(reason, Refused())
        refused.count += 1
        if len(refused.first) < FIRST:
            refused.first.append(example)

    def took(self, columns: Columns) -> None:
        self.taken += len(columns)
        if len(columns):
            first, last = moment(int(columns.time.min())), moment(int(columns.time.max()))
            self.start = min(first, self.start or first)
            self.end = max(last, self.end or last)


class Place(NamedTuple):
    """Where readings of a key go. `number` below 0: to a channel that would have to be made first."""

    number: int
    kind: str
    retention: str


class Taker:
    """Takes what a source brings for one instrument. `retention`: the class its channels shall have; "": as
    they are. `dry`: only count."""

    def __init__(self, instrument: Instrument, retention: str = "", *, dry: bool = False) -> None:
        self.tally = Tally()
        self._instrument, self._retention, self._dry = instrument, retention, dry
        self._places: dict[str, Place | None] = {}
        self._declared = _declared(instrument)
        self._count = instrument.channels.count()

    def take(self, source: Source, now: datetime, start: datetime | None, end: datetime | None) -> None:
        """All of it, or what is between two times. Raises Unreadable; what was read before is taken."""
        since = microseconds(start) if start else -TIME_MAX
        until = microseconds(end) if end else TIME_MAX
        lot: list[Point] = []
        try:
            for point in self._wanted(source, since, until):
                lot.append(point)
                if len(lot) == AT_ONCE:
                    self._take(lot, source.place, now)
                    lot = []
        except Unreadable:
            self._take(lot, source.place, now)
            raise
        self._take(lot, source.place, now)

    def _wanted(self, source: Source, since: int, until: int) -> Iterator[Point]:
        for told in source.points():
            if isinstance(told, Refusal):
                self.tally.refuse(told.reason, f"{source.place} {told.place}: {told.what!r:.100}")
            elif since <= told.time < until:
                yield told
            else:
                self.tally.outside += 1

    def _take(self, lot: Sequence[Point], place: str, now: datetime) -> None:
        if not lot:
            return
        with transaction.atomic():
            turn = deliveries.turn_of_sources(self._instrument.edge_id, [self._instrument.pk])
            fit = list(self._fit(lot, place, now))
            columns = _columns(fit)
            fate, _ = store.standing(columns)
            for index in np.flatnonzero(fate == store.CONFLICT).tolist():
                self._refuse(CONFLICT, fit[index][0], place)
            self.tally.known += int((fate == store.KNOWN).sum())
            fresh = columns.take(fate == store.NEW)
            self.tally.took(fresh)
            if self._dry or not len(fresh):
                return
            stored = store.store(fresh)
            rollups.mark(stored, turn.closing)
            if turn.feeds:
                outbox.put(stored, [], [], [], now)
            self._show(stored, now)

    def _show(self, stored: Columns, now: datetime) -> None:
        """What is newer than what a channel shows; one that never showed anything stays as it is, as it would
        be called stale at once."""
        shown = Latest.objects.filter(channel__instrument=self._instrument).values_list("channel", flat=True)
        known = stored.take(np.isin(stored.channel, np.array(list(shown), np.int32)))
        newer = latest.not_older(known.by_time())
        if len(newer):
            latest.show(newer, now)

    # ---- what is fit to be stored

    def _fit(self, lot: Iterable[Point], place: str, now: datetime) -> Iterator[tuple[Point, Place]]:
        ahead = microseconds(now + AHEAD)
        oldest = {name: microseconds(now - timedelta(days=_days(name))) for name in NUMBERS}
        for point in lot:
            to = self._place(point)
            reason = self._unfit(point, to, ahead, oldest)
            if reason:
                self._refuse(reason, point, place)
            elif to is not None:
                yield point, to

    def _unfit(self, point: Point, to: Place | None, ahead: int, oldest: dict[str, int]) -> str:
        if to is None:
            return TOO_MANY if usable(point.key) else NO_KEY
        if point.time > ahead:
            return FUTURE
        if point.time < oldest[to.retention]:
            return too_old(to.retention)
        if isinstance(point.value, str):
            if to.kind != "text":
                return VECTORS if to.kind == "vector" else OTHER_KIND
            return TOO_LONG if len(point.value) > TEXT_MAX else ""
        return VECTORS if to.kind == "vector" else ""

    def _refuse(self, reason: str, point: Point, place: str) -> None:
        example = f"{place} {point.place}: {point.key} {point.value!r:.60} at {_clock(point.time)}"
        self.tally.refuse(reason, example)

    # ---- channels

    def _place(self, point: Point) -> Place | None:
        """None for a key that can have no channel."""
        if point.key not in self._places:
            self._places[point.key] = self._find(point.key, point.value)
        return self._places[point.key]

    def _find(self, key: str, value: Value) -> Place | None:
        channel = Channel.objects.filter(instrument=self._instrument, key=key).first()
        if channel is None:
            return self._make(key, value)
        if self._retention and channel.retention != self._retention:
            self.tally.kept_longer.append(key)
            if not self._dry:
                Channel.objects.filter(pk=channel.pk).update(retention=self._retention)
        return Place(channel.pk, channel.kind, self._retention or channel.retention)

    def _make(self, key: str, value: Value) -> Place | None:
        if not usable(key) or self._count >= CHANNELS_MAX:
            return None
        self._count += 1
        self.tally.made.append(key)
        declared = self._declared.get(key)
        usual = "demo" if self._instrument.demo else "standard"
        channel = Channel(
            instrument=self._instrument,
            key=key,
            label=declared.label if declared else key,
            unit=declared.unit if declared else "",
            kind=declared.kind if declared else _kind(value),
            low=declared.low if declared else None,
            high=declared.high if declared else None,
            digits=declared.digits if declared else None,
            position=list(self._declared).index(key) if declared else len(self._declared),
            retention=self._retention or usual,
        )
        if not self._dry:
            channel.save()
        return Place(channel.pk or -len(self.tally.made), channel.kind, channel.retention)


def too_old(retention: str) -> str:
    """Why a reading is not taken that would be dropped at once; what to do."""
    days = _days(retention)
    reason = f'older than the {days} days that readings of class "{retention}" are kept'
    return reason if retention == "long" else f"{reason}; --retention long keeps {_days('long')} days"


def _days(retention: str) -> int:
    return partitions.tables()[SAMPLES[NUMBERS[retention]]].days


def _columns(fit: Sequence[tuple[Point, Place]]) -> Columns:
    texts = [
        str(point.value).replace("\0", "\N{REPLACEMENT CHARACTER}") if to.kind == "text" else None
        for point, to in fit
    ]
    some = any(text is not None for text in texts)
    return Columns(
        np.array([point.time for point, _ in fit], np.int64),
        np.array([np.nan if to.kind == "text" else float(point.value) for point, to in fit], np.float64),
        np.array([to.number for _, to in fit], np.int32),
        np.array([point.quality for point, _ in fit], np.int16),
        np.array([NUMBERS[to.retention] for _, to in fit], np.int8),
        np.array(texts, dtype=object) if some else None,
    )


def _kind(value: Value) -> str:
    return "text" if isinstance(value, str) else "bool" if isinstance(value, bool) else "float"


def _declared(instrument: Instrument) -> dict[str, drivers.base.Channel]:
    """What the driver says of its channels, by key; nothing of a driver that is not here."""
    try:
        driver = drivers.load(instrument.driver)
        return {each.key: each for each in driver.channels_for(driver.checked_options(instrument.options))}
    except ConfigurationError:
        return {}


def _clock(time: int) -> str:
    return moment(time).isoformat() if 0 <= time < TIME_MAX else str(time)
