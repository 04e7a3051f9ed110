"""Storage policies: which readings of a channel are stored. Alarms and the latest reading see every one.

A reading is held back while it says what the last stored one says: the same quality and text, and a number
no further from it than the dead-band (on change: the same number), within the heartbeat. When one is stored
because it differs, the one held back just before it is stored too, so that a line from reading to reading is
true. So the stored readings, each standing until the next, are never further from a reading than the
dead-band; as a line never further than twice that, and on change never at all.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from math import isnan
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from devices.readings import Flag
from telemetry.families import NUMBERS
from telemetry.models import StoragePolicy

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
        if self.quality != other.quality or self.text != other.text:
            return False
        if isnan(self.value) or isnan(other.value):
            return isnan(self.value) and isnan(other.value)
        return abs(self.value - other.value) <= band


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

    def walk(self, points: Iterable[Point]) -> None:
        """In the order of their times."""
        band, heartbeat = self.policy.band, self.policy.heartbeat
        stand = self.stand
        for point in points:
            last = stand.last
            if point.quality & Flag.FAR:
                self.stored.append(point)
            elif last is not None and point.says(last, band) and point.time - last.time < heartbeat:
                self._hold(point)
            else:
                if stand.held and not (last and point.says(last, band)):
                    self.release()
                self.stored.append(point)
                stand.last, stand.held = point, None

    def _hold(self, point: Point) -> None:
        before = self.stand.held or self.stand.last
        if before and point.time == before.time and point.says(before, 0.0):
            return  # the same reading once more
        self.stand.held = point
        self.stand.counted = not (point.quality & Flag.INSTRUMENT_TIME and point.time <= self.told_until)
        self._count(point, 1)

    def release(self) -> None:
        """Store what was held back last."""
        if self.stand.held:
            self.stored.append(self.stand.held)
            self._count(self.stand.held, -1)
            self.stand.held = None

    def _count(self, point: Point, by: int) -> None:
        if self.stand.counted:
            hour = point.time - point.time % HOUR
            self.counts[hour] = self.counts.get(hour, 0) + by

    def begin_anew(self) -> None:
        """What was held back is stored, and so is whatever comes next."""
        newest = self.stand.newest
        self.release()
        self.told_until = max(self.told_until, newest)
        self.stand = Stand()
