"""Points of a Metatron server's history: what they are, which of them are new, which are made up."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from devices.drivers import json_values
from devices.readings import Event, Quality, Reading

HISTORY_MAX = 1_000  # points that the server keeps
RAMP_POINTS = 50  # that it makes up at its start, all within a moment
RAMP_WITHIN = 1_000_000  # µs
SAME_WITHIN = 1_000  # µs between the stamps that status and history give to one update
ALONE_MAX = 50


class Point(NamedTuple):
    """The three figures at one time (µs of UTC)."""

    time: int
    psi: float | None
    rho: float | None
    omega: float | None
    algorithm: str | None
    is_made_up: bool = False

    @property
    def figures(self) -> tuple[float | None, ...]:
        return self.psi, self.rho, self.omega

    def is_same(self, other: "Point") -> bool:
        """Whether both tell of one update."""
        return abs(self.time - other.time) <= SAME_WITHIN and self.figures == other.figures

    def readings(self, *, stamped: bool = True) -> list[Reading]:
        time = self.time if stamped else None
        names = ("psi", "rho", "omega")
        readings = [self._reading(name, value, time) for name, value in zip(names, self.figures, strict=True)]
        if self.psi is not None and self.rho is not None and self.omega is not None:
            resonance = json_values.number(self.psi * self.rho * self.omega)
            worst = max(reading.quality for reading in readings)
            readings.append(Reading("resonance", resonance, worst, time))
        else:
            readings.append(Reading("resonance", None, Quality.BAD, time))
        if self.algorithm is not None:
            readings.append(Reading("algorithm", self.algorithm, self._quality, time))
        return readings

    @property
    def _quality(self) -> Quality:
        return Quality.UNCERTAIN if self.is_made_up else Quality.GOOD

    def _reading(self, key: str, value: float | None, time: int | None) -> Reading:
        if value is None:
            return Reading(key, None, Quality.BAD, time)
        return Reading(key, value, self._quality if 0 <= value <= 1 else Quality.UNCERTAIN, time)


class Past:
    """What was taken of a server's history; it outlives a connection."""

    def __init__(self) -> None:
        self.last: Point | None = None
        self._alone: deque[Point] = deque(maxlen=ALONE_MAX)  # which only the status told

    def is_followed_by(self, page: Sequence[Point]) -> bool:
        """Whether nothing was missed between what was taken and these newest points."""
        return self._place(page) is not None

    def take(self, page: Sequence[Point], now: Point, *, again: bool) -> tuple[list[Point], list[Event]]:
        """What of `page`, the newest points, and of the status is new; `again`: the last one, too.

        A point stands for the status if both tell of one update: only its stamp will be found again later.
        """
        place = self._place(page)
        if place is not None:
            new, events = list(page[place + (not again) :]), list[Event]()
        else:
            new, events = self._without_a_place(page, now)
        new = [each for each in new if not any(each.is_same(known) for known in self._alone)]
        if not any(each.is_same(now) for each in page):
            if now not in self._alone:
                self._alone.append(now)
            new.append(now)
        if page:
            self.last = page[-1]
        return new, events

    def _place(self, page: Sequence[Point]) -> int | None:
        """Where the last known point is."""
        last = self.last
        if last is None:
            return None
        wanted = (last.time, last.figures)
        return next((i for i, each in enumerate(page) if (each.time, each.figures) == wanted), None)

    def _without_a_place(self, page: Sequence[Point], now: Point) -> tuple[list[Point], list[Event]]:
        """The last known point is gone: long ago, or the server began anew, or it thins its history."""
        last = self.last
        if last is None or not page:
            return list(page), []
        newer = [each for each in page if each.time > last.time]
        if len(newer) < len(page) and now.time > last.time:
            return newer, []
        if len(newer) == len(page) >= HISTORY_MAX:
            fields = {"from": last.time, "to": page[0].time}
            return newer, [Event("history_gap", "points left its history unread", fields, page[0].time)]
        return list(page), [Event("restart", "the server was started anew", {}, page[0].time)]


def point(entry: dict[str, Any], time: int) -> Point:
    """Of an entry of the history, or of a status."""
    psi, rho, omega = (json_values.number(entry.get(name)) for name in ("psi", "rho", "omega"))
    return Point(time, psi, rho, omega, json_values.text(entry.get("algorithm")))


def points(history: Any) -> list[Point]:
    """All of a history that have a time, oldest first, each at one of its own."""
    if not isinstance(history, list):
        return []
    found = []
    for entry in history[-HISTORY_MAX:]:
        time = json_values.moment(entry.get("timestamp")) if isinstance(entry, dict) else None
        if time is not None:
            found.append(point(entry, time))
    times = _apart([each.time for each in found])
    made_up = _made_up(found)
    return [
        each._replace(time=time, is_made_up=number < made_up)
        for number, (each, time) in enumerate(zip(found, times, strict=True))
    ]


def _apart(times: list[int]) -> list[int]:
    """Of several within one µs, as the start brings, the earlier ones are moved: from the end on, so that
    each has the same time however many before it are still remembered."""
    for earlier in range(len(times) - 2, -1, -1):
        if 0 <= times[earlier] - times[earlier + 1] < SAME_WITHIN:
            times[earlier] = times[earlier + 1] - 1
    return times


def _made_up(found: Sequence[Point]) -> int:
    """How many points at the beginning are none of measurements, but of the server's start.

    Later some of them have left the ring; those that are still there are known by their values.
    """
    if (
        RAMP_POINTS <= len(found) < HISTORY_MAX
        and 0 <= found[RAMP_POINTS - 1].time - found[0].time <= RAMP_WITHIN
    ):
        return RAMP_POINTS
    number = _step(found[0]) if found else None
    if number is None:
        return 0
    rest = RAMP_POINTS - number
    block = found[:rest]
    if 1 < rest == len(block) and block[-1].time - block[0].time <= RAMP_WITHIN:
        return rest if all(_step(each) == number + i for i, each in enumerate(block)) else 0
    return 0


def _step(each: Point) -> int | None:
    """Which of the points of the start it might be."""
    if each.psi is None or each.rho is None or each.omega is None:
        return None
    number = (each.psi - 0.75) / 0.003
    if not -0.5 < number < RAMP_POINTS - 0.5:
        return None
    number = round(number)
    wanted = (0.75 + number * 0.003, 0.80 + number * 0.002, 0.70 + number * 0.003)
    is_near = all(abs(a - b) < 1e-9 for a, b in zip(wanted, (each.psi, each.rho, each.omega), strict=True))
    return number if is_near else None
