"""Storage policies: which readings of a channel are stored. Alarms and the latest reading see every one.

A reading is held back while it says what the last stored one says: the same quality and text, and a number
no further from it than the dead-band (on change: the same number), within the heartbeat. When one is stored
because it differs, the one held back just before it is stored too, so that a line from reading to reading is
true. So the stored readings, each standing until the next, are never further from a reading than the
dead-band; as a line never further than twice that, and on change never at all.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isnan
from typing import Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from devices.readings import Flag
from telemetry.families import NUMBERS
from telemetry.models import StoragePolicy, Unstored

FAR, OWN_TIME = int(Flag.FAR), int(Flag.INSTRUMENT_TIME)  # an enum's own arithmetic takes ten times as long
SECOND: Final = 1_000_000
HOUR: Final = 3600 * SECOND


class Policy(NamedTuple):
    """A channel's policy. `band`: 0 on change; `heartbeat`: µs; `family`: of the channel's readings."""

    band: float
    heartbeat: int
    family: int
    vector: bool = False


def of_instruments(instruments: Collection[UUID]) -> dict[int, Policy]:
    """The policies of the channels of these instruments."""
    return _found(StoragePolicy.objects.filter(channel__instrument__in=instruments))


def of_channels(channels: Collection[int]) -> dict[int, Policy]:
    """The policies of those of these channels that have one."""
    return _found(StoragePolicy.objects.filter(channel__in=channels))


def _found(rows: QuerySet[StoragePolicy]) -> dict[int, Policy]:
    return {
        channel: Policy(
            band if mode == StoragePolicy.Mode.DEAD_BAND else 0.0,
            round(heartbeat * SECOND),
            NUMBERS[retention],
            kind == "vector",
        )
        for channel, mode, band, heartbeat, retention, kind in rows.values_list(
            "channel", "mode", "dead_band", "heartbeat", "channel__retention", "channel__kind"
        )
    }


def ruled(edge: int) -> list[str]:
    """The instruments that this edge ever had and that have channels with a policy."""
    rows = StoragePolicy.objects.filter(channel__instrument__assignments__edge=edge)
    return [str(instrument) for instrument in rows.values_list("channel__instrument", flat=True).distinct()]


def forget_old(now: datetime) -> None:
    """Counts of hours whose roll-ups are gone."""
    Unstored.objects.filter(bucket__lt=now - timedelta(days=settings.HOUR_RETENTION_DAYS)).delete()


# ---- the arithmetic


class Point(NamedTuple):
    """A reading as a policy sees it. `place`: among those of the parcel; -1: it came before."""

    time: int
    value: float
    quality: int
    text: str | None
    place: int = -1

    def says(self, other: "Point", band: float) -> bool:
        """Whether it says what the other one says."""
        is_near = abs(self.value - other.value) <= band or (isnan(self.value) and isnan(other.value))
        return self.quality == other.quality and self.text == other.text and is_near


class Readings(NamedTuple):
    """Readings of one channel in the order of their times, as lists; `places`: those of their points."""

    times: Sequence[int]
    values: Sequence[float]
    qualities: Sequence[int]
    texts: Sequence[str | None]
    places: Sequence[int]

    def point(self, index: int) -> Point:
        times, values, qualities, texts, places = self
        return Point(times[index], values[index], qualities[index], texts[index], places[index])

    def part(self, rows: slice) -> "Readings":
        times, values, qualities, texts, places = self
        return Readings(times[rows], values[rows], qualities[rows], texts[rows], places[rows])


@dataclass(slots=True)
class Stand:
    """Where a channel stands: its last stored reading, and the newest one that was held back after it.

    `counted`: that one was; not if an instrument told it again.
    """

    last: Point | None = None
    held: Point | None = None
    counted: bool = True

    @property
    def newest(self) -> int:
        """The time of the last that was seen, in µs of UTC."""
        newest = self.held or self.last
        return newest.time if newest else -1


@dataclass(slots=True)
class Sieve:
    """One channel's readings on their way through its policy. `counts`: by hour, those that stay unstored."""

    policy: Policy
    stand: Stand
    stored: list[Point] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    told_until: int = -1  # what an instrument stamped itself up to here may have been told and counted before

    def walk(self, readings: Readings) -> None:
        """What says the same is passed over as a whole: most does."""
        index, count = 0, len(readings.times)
        while index < count:
            end = self._same(readings, index)
            if end > index:
                self._hold(readings, index, end)
            if end < count:
                self._put(readings.point(end))
            index = end + 1

    def _same(self, readings: Readings, index: int) -> int:
        """The first from there on that is to be stored."""
        last = self.stand.last
        if last is None:
            return index
        times, values, qualities, texts, _ = readings
        until, band = last.time + self.policy.heartbeat, self.policy.band
        _, value, quality, text, _ = last
        is_absent = isnan(value)
        while (
            index < len(times)
            and times[index] < until
            and qualities[index] == quality
            and texts[index] == text
            and (abs(values[index] - value) <= band or (is_absent and isnan(values[index])))
        ):
            index += 1
        return index

    def _hold(self, readings: Readings, start: int, end: int) -> None:
        """But not the same reading once more."""
        stand = self.stand
        before = stand.held or stand.last
        newest = -1
        for index in range(start, end):
            time = readings.times[index]
            if before and time == before.time and readings.point(index).says(before, 0.0):
                continue
            newest, before = index, None
            stand.counted = not (readings.qualities[index] & OWN_TIME and time <= self.told_until)
            self._count(time, 1)
        if newest >= 0:
            stand.held = readings.point(newest)

    def _put(self, point: Point) -> None:
        if not point.quality & FAR:
            last = self.stand.last
            if self.stand.held and not (last and point.says(last, self.policy.band)):
                self.release()
            self.stand.last, self.stand.held = point, None
        self.stored.append(point)

    def release(self) -> None:
        """Store what was held back last."""
        if self.stand.held:
            self.stored.append(self.stand.held)
            self._count(self.stand.held.time, -1)
            self.stand.held = None

    def _count(self, time: int, by: int) -> None:
        if self.stand.counted:
            hour = time - time % HOUR
            self.counts[hour] = self.counts.get(hour, 0) + by

    def begin_anew(self) -> None:
        """What was held back is stored, and so is whatever comes next."""
        newest = self.stand.newest
        self.release()
        self.told_until = max(self.told_until, newest)
        self.stand = Stand()
