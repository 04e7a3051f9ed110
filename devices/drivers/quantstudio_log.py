"""QuantStudio, the log: what its subscribed lines, and those kept with a run, say (protocol notes §3).

Nothing here waits or asks: lines in, readings, events and runs out, stamped as the machine has stamped them.
"""

import math
import re
import time as clock
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from devices.drivers.quantstudio_wire import options_of, words_of
from devices.errors import ReplyError
from devices.readings import Event, Quality, Reading, Run, Said

SECOND = 1_000_000
STAMPS_FROM = 1e9  # a first word that reads as a number above this is a time
STAMPS_TO = 4.1e9
TEXT_MAX = 4_000
NAMES_MAX = 200
RUNS_TOLD_AT = 0.01  # of progress

# What is told of a run's end, and how it then stands; a person stopped the second and the third.
OUTCOMES = {"Completed": "completed", "Stopped": "aborted", "Aborted": "aborted", "Error": "failed"}
PAUSES = {"Paused": "paused", "Pausing": "paused", "Resumed": "running", "Resuming": "running"}
TIMES = ("elapsed", "active", "remaining")
LED = {"Temperature": "temperature", "Current": "current", "Voltage": "voltage", "JuncTemp": "junction"}


def stamped(text: str) -> tuple[int | None, str]:
    """The time at a line's beginning in µs of UTC, if there is one, and the rest."""
    word, _, rest = text.partition(" ")
    seconds = number(word)
    if seconds is None or not STAMPS_FROM < seconds < STAMPS_TO:
        return None, text
    return round(seconds * SECOND), rest


def number(text: str | None) -> float | None:
    """A finite number; None for everything else, `-` and the absent included."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(text: str | None) -> int | None:
    """A whole number as a counter has it."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 9 else None


def reading(key: str, value: Any, time: int | None = None) -> Reading:
    return Reading(key, value, Quality.BAD if value is None else Quality.GOOD, time)


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a run at which fluorescence was collected; its files can be read now."""

    run: str  # the run's name on the machine
    run_id: str
    start: int | None  # of the run
    stage: int
    cycle: int
    step: int
    point: int
    time: int | None
    targets: tuple[tuple[str, float], ...]  # what the zones were held at, by zone

    @property
    def stem(self) -> str:
        return f"S{self.stage:02}_C{self.cycle:03}_T{self.step:02}_P{self.point:04}"


@dataclass(slots=True)
class Course:
    """A run as far as it has been heard of."""

    name: str
    start: int | None
    is_whole: bool  # heard from its beginning
    state: str = "running"
    is_over: bool = False
    ended: int | None = None
    stage: str = ""
    cycle: int | None = None
    step: int | None = None
    point: int | None = None
    more: dict[str, Any] = field(default_factory=dict)  # what polls know: mode, number of stages and cycles
    times: dict[str, float] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The name, and when it began: a name may be used again once its folder is deleted."""
        return (
            f"{self.name[: NAMES_MAX - 20]} {self.start // SECOND}" if self.start else self.name[:NAMES_MAX]
        )

    @property
    def progress(self) -> float | None:
        if self.state == "completed":
            return 1.0
        elapsed, remaining = self.times.get("elapsed"), self.times.get("remaining")
        if elapsed is None or remaining is None or not elapsed + remaining > 0:
            return None
        return min(max(elapsed / (elapsed + remaining), 0.0), 1.0)

    def told(self, time: int | None) -> Run:
        where = {"stage": self.stage, "cycle": self.cycle, "step": self.step, "point": self.point}
        fields = {key: value for key, value in where.items() if value not in (None, "")} | self.more
        return Run(
            self.id, "qpcr", self.state, self.name, self.progress, self.start, self.ended, fields, time
        )


class LogReader:
    """Takes lines in the order of the log. `course`: the run under way, or the last; `points`: of it, those
    collected since somebody took them; `samples` and `blocks` are lists of this many zones. `topics`: what is
    kept as events; None: all."""

    def __init__(self, zones: int | None, topics: frozenset[str] | None = None) -> None:
        self.zones, self.topics = zones, topics
        self.course: Course | None = None
        self.heard: int | None = None  # when the last line on a run was written
        self.points: list[Point] = []
        self._told_progress = -1.0
        self._by_topic = {
            "Temperature": self._temperatures,
            "Time": self._times,
            "LEDStatus": self._led,
            "Run": self._run,
        }

    def hear(self, topic: str, time: int | None, text: str) -> list[Said]:
        """What a line says; never raises."""
        known = self._by_topic.get(topic)
        if known is not None:
            return known(text, time)
        if self.topics is not None and topic not in self.topics:
            return []
        if topic == "Debug" and text.startswith(("C:", "S:")):
            return []  # an echo of what is asked and answered, by us among others
        return [Event(f"log_{topic[:40].lower()}", unwrapped(text)[:TEXT_MAX], {"topic": topic[:40]}, time)]

    # ---- once a second

    def _temperatures(self, text: str, time: int | None) -> list[Said]:
        said: list[Said] = []
        for word in text.split():
            name, equals, values = word.partition("=")
            if not equals:
                continue
            if name in {"-sample", "-block"}:
                said += self._zones(name[1:], values.split(","), time)
            elif name in {"-heatsink", "-cover"}:
                said.append(reading(name[1:], number(values), time))
        return said

    def _zones(self, name: str, values: list[str], time: int | None) -> Iterable[Reading]:
        count = self.zones or len(values)
        if len(values) != count:  # cut short: there is no telling which is of which zone
            values = ["-"] * count
        return [
            reading(f"{name}.{zone}", number(value), time) for zone, value in enumerate(values[:count], 1)
        ]

    def _times(self, text: str, time: int | None) -> list[Said]:
        said: list[Said] = []
        for word in text.split():
            name, _, value = word.removeprefix("-").partition("=")
            if name in TIMES:
                seconds = number(value)
                said.append(reading(f"run.{name}", seconds, time))
                if self.course is not None and seconds is not None:
                    self.course.times[name] = seconds
        if self.course is not None and not self.course.is_over:
            progress = self.course.progress or 0.0
            if abs(progress - self._told_progress) >= RUNS_TOLD_AT:
                said.append(self._tell(self.course, time))
        return said

    def _led(self, text: str, time: int | None) -> list[Said]:
        pairs = (word.partition(":") for word in text.split())
        return [reading(f"led.{LED[name]}", number(value), time) for name, _, value in pairs if name in LED]

    # ---- the run

    def adopt(self, name: str, start: int | None, time: int | None) -> list[Said]:
        """A run is under way of which the log did not tell."""
        before = self.give_up(time)
        self.course = Course(name, start, is_whole=False)
        return [*before, self._tell(self.course, time)]

    def give_up(self, time: int | None, state: str = "unknown") -> list[Said]:
        """The run is over and nobody told how."""
        course = self.course
        if course is None or course.state not in {"running", "paused"}:
            return []
        course.state, course.is_over = state, True
        return [self._tell(course, time)]

    @property
    def run(self) -> str:
        """The name of the run under way; "" if there is none."""
        course = self.course
        return course.name if course is not None and not course.is_over else ""

    def _tell(self, course: Course, time: int | None) -> Run:
        self._told_progress = course.progress or 0.0
        return course.told(time)

    def _run(self, text: str, time: int | None) -> list[Said]:
        if time is not None:
            self.heard = max(self.heard or 0, time)
        text = text[:TEXT_MAX].strip()
        action, _, rest = text.partition(" ")
        fields: dict[str, Any] = {"type": action.lower()}
        said: list[Said] = []
        try:
            if action == "Starting":
                said = self._start(first_word(rest), time)
            elif action in {"Stage", "Cycle", "Step"}:
                said = self._move(action.lower(), rest.strip(), time, fields)
            elif action in {"Ramping", "Acquiring", "Collected", "Holding"}:
                self._act(action, options_of(rest)[0], time, fields)
            elif action in OUTCOMES or action in PAUSES or action == "Ended":
                said = self._turn(action, time)
            else:
                fields["type"] = "Other"
        except ReplyError:
            fields["type"] = "Other"
        if fields["type"] == "Other" or action in OUTCOMES or action in {"Starting", "Ended"}:
            message = text if fields["type"] == "Other" else rest
            fields |= {"message": message} if message else {}
        if self.course is not None:
            fields["run_name"] = self.course.name
        return [Event("run_action", text, fields, time), *said]

    def _start(self, name: str, time: int | None) -> list[Said]:
        before = [] if self.run == name else self.give_up(time)
        self.course = Course(name, _or_now(time), is_whole=True)
        return [*before, self._tell(self.course, time)]

    def _move(self, what: str, text: str, time: int | None, fields: dict[str, Any]) -> list[Said]:
        place = whole(text)
        said: list[Said] = []
        if place is not None:
            fields[what] = place
            said.append(Reading(f"run.{what}", place, Quality.GOOD, time))
        if what == "stage":
            fields["stage_name"] = text[:60]
            said.append(Reading("run.stage_name", text[:60], Quality.GOOD, time))
        course = self.course
        if course is None:
            return said
        if what == "stage":
            course.stage, course.cycle, course.step = text[:60], None, None
        elif what == "cycle":
            course.cycle, course.step = place, None
        else:
            course.step = place
        return [*said, self._tell(course, time)]

    def _act(self, action: str, options: dict[str, str], time: int | None, fields: dict[str, Any]) -> None:
        if action == "Holding":
            _put(fields, "holdtime", number(options.get("time")))
            if "collecting" in options:
                fields["collecting"] = options["collecting"] == "True"
            return
        if action == "Ramping":
            self._ramp(options, fields)
            return
        for name in ("stage", "cycle", "step", "point"):
            _put(fields, name, whole(options.get(name)))
        for zone, text in enumerate(options.get("Temperature", "").split(",")[:NAMES_MAX]):
            _put(fields, f"temperature_zone_{zone}", number(text))
        if action == "Collected":
            self._collect(options, time, fields)

    def _ramp(self, options: dict[str, str], fields: dict[str, Any]) -> None:
        zones = options.get("zones", "").split(",")[:NAMES_MAX]
        targets, rates = options.get("targets", "").split(","), options.get("rates", "").split(",")
        for zone, target in zip(zones, targets, strict=False):
            _put(fields, f"target_{zone}", number(target))
            if self.course is not None and (value := number(target)) is not None:
                self.course.targets[zone[:40]] = value
        for zone, rate in zip(zones, rates, strict=False):
            _put(fields, f"rate_{zone}", number(rate))

    def _collect(self, options: dict[str, str], time: int | None, fields: dict[str, Any]) -> None:
        places = [fields.get(name) for name in ("stage", "cycle", "step", "point")]
        course = self.course
        name = options.get("run") or (course.name if course else "")
        if not name or None in places:
            return
        if course is not None and course.name == name:
            course.point = places[3]
            run_id, start, targets = course.id, course.start, tuple(course.targets.items())
        else:
            run_id, start, targets = name, None, ()
        stage, cycle, step, point = (int(place or 0) for place in places)
        self.points.append(Point(name, run_id, start, stage, cycle, step, point, time, targets))

    def _turn(self, action: str, time: int | None) -> list[Said]:
        course = self.course
        if course is None:
            return []
        if action in PAUSES:
            course.state = PAUSES[action]
        elif action in OUTCOMES:
            course.state = OUTCOMES[action]
            if course.state != "completed":  # it has its after-run still to do
                course.is_over, course.ended = True, _or_now(time)
        else:
            if course.state in {"running", "paused"}:  # it ended without a word of how
                course.state = "aborted" if course.is_whole else "unknown"
            course.is_over, course.ended = True, _or_now(time)
        return [self._tell(course, time)]


def _or_now(time: int | None) -> int:
    return clock.time_ns() // 1000 if time is None else time


def _put(fields: dict[str, Any], name: str, value: float | None) -> None:
    if value is not None:
        fields[name[:60]] = value


def first_word(text: str) -> str:
    """The name that a line gives, quoted or not."""
    words = words_of(text)
    return words[0][:NAMES_MAX] if words else ""


def unwrapped(text: str) -> str:
    """A text of many lines without its tag."""
    found = re.fullmatch(r"\s*<([A-Za-z0-9._-]{1,60})>\n?(.*?)\n?</\1>\s*", text, re.DOTALL)
    return found[2] if found else text.strip()
