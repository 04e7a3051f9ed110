"""A simulated QuantStudio's state: block, cover, lamp and drawer, its runs, and what it writes to its log."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from devices.simulators.quantstudio_course import COVER, ROOM, ZONES, Course, Place, zone_offsets
from devices.simulators.quantstudio_files import RunFolder

FOLDERS_MAX = 4
CATCH_UP_MAX = 6 * 3600  # seconds of log made up for a time when nobody looked
BETWEEN_RUNS = 40.0  # seconds
TICKS = ((0.066, "Time"), (0.712, "LEDStatus"), (0.793, "Temperature"))  # of each second

Line = tuple[float, str, str]
Listener = Callable[[Line], None]


@dataclass
class Settings:
    """How it is set up."""

    runs: str = "loop"  # or once, none
    pace: float = 1.0
    cycles: int = 40
    title: str = "qpcr"
    delay: float = 5.0  # until the first run


class Machine:
    """Times are seconds since 1970 by its own clock; `advance` brings it up to one."""

    def __init__(self, seed: int, settings: Settings, now: float) -> None:
        self.seed, self.settings = seed, settings
        self.now = now
        self.power = True
        self.drawer = "Closed"
        self.cover_position = "Down"
        self.light = ("BLUE", "ON")
        self.held: float | None = None  # BLOCK ON
        self.held_last = ROOM
        self.course: Course | None = None
        self.folders: dict[str, RunFolder] = {}
        self.listeners: list[Listener] = []
        self.ended: list[Callable[[], None]] = []  # who waits for the end of the run
        self._paused_at: float | None = None
        self._stops_at = math.inf
        self._next_run = now + settings.delay if settings.runs != "none" else math.inf
        self._number = 0
        self._second = math.floor(now)
        self._line = 0
        self._idle_from = (now, ROOM, ROOM)  # since when it drifts, from which block and cover temperature

    # ---- time

    def advance(self, now: float) -> None:
        if now <= self.now:
            return
        if now - self.now > CATCH_UP_MAX:
            self._second = math.floor(now - CATCH_UP_MAX)
        while True:
            due = self._next_due()
            if due > now:
                break
            self.now = max(self.now, due)
            self._happen()
        self.now = now

    def next_due(self) -> float:
        return self._next_due()

    def _next_due(self) -> float:
        course = self.course
        tick = self._second + TICKS[self._line][0]
        if course is None:
            return min(tick, self._next_run)
        if self._paused_at is not None:
            return tick
        line = course.lines[0][0] if course.lines else course.end
        return min(tick, line, self._stops_at)

    def _happen(self) -> None:
        """What is due first."""
        due, course = self._next_due(), self.course
        if course is None and due == self._next_run:
            self.begin(self._next_name(), self.settings.cycles)
        elif course is not None and due == self._stops_at:
            self.abort("Stopped")
        elif course is not None and self._paused_at is None and course.lines and course.lines[0][0] == due:
            time, topic, text = course.lines.pop(0)
            self._do(text)
            self.say(topic, text, time)
        elif course is not None and not course.lines and course.end <= due:
            self._end(course)
        else:
            self._tick(due)

    def _do(self, text: str) -> None:
        if text.startswith("Cover "):
            self.cover_position = {"Cover Raised": "Up", "Cover Lowered": "Down"}.get(text, "Unknown")

    def _tick(self, due: float) -> None:
        _, topic = TICKS[self._line]
        self._line = (self._line + 1) % len(TICKS)
        self._second += self._line == 0
        if topic == "Time":
            if self.course is not None and due > self.course.start + 3:
                self.say(topic, self.course.times(due), due)
        elif self.listeners or self.course is not None:
            self.say(topic, self.temperatures(due) if topic == "Temperature" else self.led(due), due)

    def say(self, topic: str, text: str, time: float | None = None) -> None:
        """A line of the log: to who subscribed it, and to the run's own."""
        line = (self.now if time is None else time, topic, text)
        if self.course is not None:
            folder = self.folders.get(self.course.name)
            if folder is not None:
                folder.log.append(f"{topic} {line[0]:.3f} {text}")
        for listener in tuple(self.listeners):
            listener(line)

    # ---- runs

    def begin(self, name: str, cycles: int, volume: float = 50.0, mode: str = "standard") -> Course:
        now = self.now
        block, cover = self.block(now), self.cover(now)
        self._number += 1
        seed = self.seed * 1_000 + self._number
        pace = self.settings.pace
        self.course = course = Course(name, now, pace, cycles, seed, block, cover, volume, mode)
        self.folders.pop(name, None)
        self.folders[name] = RunFolder(course)
        while len(self.folders) > FOLDERS_MAX:
            del self.folders[next(iter(self.folders))]
        self.power, self.held = True, None
        self._next_run, self._stops_at, self._paused_at = math.inf, math.inf, None
        return course

    def _next_name(self) -> str:
        return f"{self.settings.title}-{self.seed}-{math.floor(self.now)}"

    def _end(self, course: Course) -> None:
        course.state = "Completed" if course.state == "Running" else course.state
        self._idle_from = (self.now, course.temperature(self.now), course.cover_temperature(self.now))
        self.course = None
        if self.settings.runs == "loop":
            self._next_run = self.now + BETWEEN_RUNS / self.settings.pace
        waiting, self.ended = self.ended, []
        for tell in waiting:
            tell()

    def abort(self, word: str = "Aborted") -> None:
        if self.course is not None:
            self.resume()
            self._stops_at = math.inf
            self.course.state = "Terminated"
            self.course.cut(self.now, f'{word} "{self.course.name}"')

    def stop(self) -> None:
        """After the cycle under way."""
        if self.course is not None:
            self.resume()
            self._stops_at = max(self.course.stop_at(self.now), self.now)

    def pause(self) -> None:
        if self.course is not None and self._paused_at is None:
            self._paused_at = self.now
            self.say("Run", f'Paused "{self.course.name}"')

    def resume(self) -> None:
        if self.course is not None and self._paused_at is not None:
            self.course.shift(self._paused_at, self.now - self._paused_at)
            self._paused_at = None
            self.say("Run", f'Resumed "{self.course.name}"')

    # ---- how it stands

    @property
    def state(self) -> str:
        return "Running" if self.course is not None and self._run_time < self.course.idle_from else "Idle"

    @property
    def running(self) -> Course | None:
        return self.course if self.state == "Running" else None

    @property
    def place(self) -> Place:
        return self.running.place(self._run_time) if self.running else Place()

    @property
    def _run_time(self) -> float:
        return self.now if self._paused_at is None else self._paused_at

    def block(self, now: float) -> float:
        if self.course is not None:
            return self.course.temperature(now if self._paused_at is None else self._paused_at)
        since, block, _ = self._idle_from
        rest = self.held if self.held is not None and self.power else ROOM
        return rest + (block - rest) * math.exp(-(now - since) / 20.0)

    def cover(self, now: float) -> float:
        if self.course is not None:
            return self.course.cover_temperature(now)
        since, _, cover = self._idle_from
        return ROOM + (cover - ROOM) * math.exp(-(now - since) / 300.0)

    def hold(self, temperature: float | None) -> None:
        self._idle_from = (self.now, self.block(self.now), self.cover(self.now))
        self.held = temperature
        self.held_last = self.held_last if temperature is None else temperature

    def zones(self, now: float, salt: str) -> list[float]:
        chance = random.Random(f"{self.seed} {salt} {now:.1f}")  # noqa: S311 - a simulation
        base = self.block(now)
        return [base + offset + chance.gauss(0, 0.03) for offset in zone_offsets(self.seed)]

    def heatsink(self, now: float) -> float:
        return 27.0 + 0.08 * max(self.block(now) - ROOM, 0.0) + 0.3 * math.sin(now / 90.0)

    def temperatures(self, now: float) -> str:
        sample, block = (",".join(f"{zone:.1f}" for zone in self.zones(now, name)) for name in "sb")
        return (
            f"-sample={sample} -heatsink={self.heatsink(now):.1f} -cover={self.cover(now):.1f} -block={block}"
        )

    def led_temperature(self, now: float) -> float:
        warm = 52.0 if self.power else 26.0
        return warm + 0.8 * math.sin(now / 37.0) + (2.0 if self.course else 0.0)

    def led(self, now: float) -> str:
        if not self.power:
            return f"Temperature:{self.led_temperature(now):g} Current:0 Voltage:0 JuncTemp:26.1"
        temperature = self.led_temperature(now)
        wobble = math.sin(now / 11.0)
        return (
            f"Temperature:{temperature:.6g} Current:{9.49 + 0.02 * wobble:.6g} "
            f"Voltage:{3.13 + 0.005 * wobble:.6g} JuncTemp:{temperature + 15.8:.6g}"
        )

    def targets(self) -> str:
        course = self.running
        zone = course.target(self._run_time) if course else self.held if self.held is not None else ROOM
        zones = " ".join(f"-Zone{number}={zone:.1f}" for number in range(1, ZONES + 1))
        return f"{zones} -Fan1=44.0 -Cover={COVER:.1f}"

    def controls(self) -> str:
        runs = self.running is not None
        zones = " ".join(f"-Zone{n}={runs or self.held is not None}" for n in range(1, ZONES + 1))
        return f"{zones} -Fan1={runs} -Cover={runs}"
