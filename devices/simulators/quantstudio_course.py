"""A simulated qPCR run: which line of the log comes when, what the zones are then, what each well shows.

Times and their order are those of real runs (protocol notes §3); the whole run is planned when it starts.
"""

import math
import random
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import lru_cache

ZONES = 6
ROWS, COLUMNS = 8, 12
COVER = 105.0
ROOM = 25.0
RATE = 1.6  # K/s of the block
COVER_RATE = 0.45
FILTERS = ((1, 1), (2, 2), (4, 4))  # excitation, emission: FAM, VIC and ROX
EXPOSURES = (40, 100)  # ms


@dataclass(frozen=True)
class Step:
    temperature: float
    hold: float
    collects: bool = False


PROTOCOL = (
    (1, (Step(95.0, 30.0),)),
    (40, (Step(95.0, 5.0), Step(60.0, 20.0, collects=True))),
    (1, (Step(25.0, 20.0),)),
)


@dataclass(frozen=True)
class Place:
    """What RunProgress? and the variables of a run say."""

    stage: str = ""
    cycle: int | None = None
    step: int | None = None
    point: int | None = None


@dataclass(frozen=True)
class Point:
    """What was collected, when, and how warm the zones were."""

    stage: int
    cycle: int
    step: int
    point: int
    taken: float
    temperatures: tuple[float, ...]
    amplified: int  # cycles of amplification before it

    @property
    def stem(self) -> str:
        return f"S{self.stage:02}_C{self.cycle:03}_T{self.step:02}_P{self.point:04}"


@dataclass
class Course:
    """One run. Times are seconds of the machine's own clock; `pace` is how much faster than real it goes."""

    name: str
    start: float
    pace: float
    cycles: int
    seed: int
    block: float = ROOM
    cover: float = ROOM
    volume: float = 50.0
    mode: str = "standard"
    lines: list[tuple[float, str, str]] = field(default_factory=list)
    places: list[tuple[float, Place]] = field(default_factory=list)
    path: list[tuple[float, float]] = field(default_factory=list)  # of the block: time, temperature
    cover_path: list[tuple[float, float]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    active_from: float = math.inf
    active_to: float = math.inf
    idle_from: float = math.inf
    end: float = math.inf
    state: str = "Running"  # or Completed, Terminated, as LIST? -verbose has it

    def __post_init__(self) -> None:
        self._now = self.start
        self._place = Place()
        self.path = [(self.start, self.block)]
        self.cover_path = [(self.start, self.cover)]
        self._plan()

    # ---- the plan

    @property
    def protocol(self) -> tuple[tuple[int, tuple[Step, ...]], ...]:
        return tuple((self.cycles if repeat > 1 else 1, steps) for repeat, steps in PROTOCOL)

    def _plan(self) -> None:
        self._say(1.5, "Run", f'Starting "{self.name}"', real=True)
        self._say(0.4, "Run", f"Setting sample volume to {self.volume:.0f} microlitres", real=True)
        self._go(0.1, stage="PRERUN")
        self._go(0.2, cycle=1)
        self._say(0.3, "Debug", "Cover Raising")
        self._say(6.9, "Debug", "Cover Raised")
        warming = max(COVER - self.cover, 0.0) / COVER_RATE
        self._say(0.2, "Run", f"Ramping -zones=Cover -targets={COVER:.3f} -rates=0.049")
        self.cover_path.append((self._now, self.cover))
        self._say(warming, "Run", f"Ramped -zones=Cover -targets={COVER:.3f} -rates=0.049")
        self.cover_path.append((self._now, COVER))
        self._say(0.1, "Debug", "Cover Lowering")
        self._say(12.2, "Debug", "Cover Lowered")
        self._say(0.1, "Run", "Lamp is warmed up")
        self.active_from = self._now + 0.2 / self.pace
        for number, (repeat, steps) in enumerate(self.protocol, 1):
            self._go(0.1, stage=str(number))
            for cycle in range(1, repeat + 1):
                self._go(0.2, cycle=cycle)
                for index, step in enumerate(steps, 1):
                    self._go(0.1, step=index)
                    self._hold(number, cycle, index, step)
        self.active_to = self._now
        self._say(0.1, "Run", f'Completed "{self.name}"')
        self._finish()

    def _finish(self) -> None:
        self._go(0.06, stage="POSTRun")
        self._go(0.04, cycle=1)
        self._ramp(ROOM)
        self._say(22.0, "Debug", "Cover Raising")
        self._say(5.5, "Debug", "Cover Raised")
        self.idle_from = self._now + 3.9 / self.pace
        self._say(4.4, "Run", f'Ended "{self.name}"')
        self.end = self._now

    def _hold(self, stage: int, cycle: int, index: int, step: Step) -> None:
        self._now += self._ramp(step.temperature) / self.pace
        self._say(
            0.1, "Run", f"Holding -time={step.hold:.0f}" + (" -collecting=True" if step.collects else "")
        )
        if not step.collects:
            self._now += step.hold / self.pace
            return
        zones = tuple(step.temperature + offset for offset in zone_offsets(self.seed))
        where = f'-run="{self.name}" -stage={stage} -cycle={cycle}'
        warm = ",".join(f"{zone:g}" for zone in (round(zone, 4) for zone in zones))
        self._say(0.0, "Run", f"Acquiring {where} -point=1 -Temperature={warm}")
        point = Point(
            stage, cycle, index, 1, round(self._now + 0.75 * step.hold / self.pace, 3), zones, cycle
        )
        for excitation, emission in FILTERS:
            self._say(0.75 * step.hold / len(FILTERS), "Image", self._image(point, excitation, emission))
        self.points.append(point)
        self._place = replace(self._place, point=1)
        self._say(0.1 * step.hold, "Run", f"Collected {where} -step={index} -point=1")
        self._now += 0.15 * step.hold / self.pace

    def _image(self, point: Point, excitation: int, emission: int) -> str:
        return (
            f"-run='{self.name}' -stage={point.stage} -cycle={point.cycle} -step={point.step} -point=1 "
            f" -emission=m{emission} -excitation=x{excitation}  -exposure={EXPOSURES[0]} -lamp=90 "
            f"-filepath='EXPERIMENTS:{self.name}/apldbio/sds/images/"
            f"{point.stem}_M{emission}_X{excitation}_E1.tiff'"
        )

    def _ramp(self, target: float) -> float:
        """Begin to go to a temperature; the seconds it takes."""
        zones = ",".join(f"Zone{number}" for number in range(1, ZONES + 1))
        targets, rates = ",".join([f"{target:.3f}"] * ZONES), ",".join([f"{RATE:.3f}"] * ZONES)
        self._say(0.1, "Run", f"Ramping -zones={zones} -targets={targets} -rates={rates}")
        before = self.path[-1][1]
        takes = abs(target - before) / RATE
        self.path += [(self._now, before), (self._now + takes / self.pace, target)]
        return takes

    def _say(self, after: float, topic: str, text: str, *, real: bool = False) -> None:
        self._now += after / (1.0 if real else self.pace)
        self.lines.append((round(self._now, 3), topic, text))

    def _go(
        self, after: float, *, stage: str = "", cycle: int | None = None, step: int | None = None
    ) -> None:
        """To another stage, cycle or step: polls see it a little before the log does."""
        if stage:
            self._place, text = Place(stage), f"Stage {stage}"
        elif cycle:
            self._place, text = replace(self._place, cycle=cycle, step=None), f"Cycle {cycle}"
        else:
            self._place, text = replace(self._place, step=step), f"Step {step}"
        self._say(after, "Run", text)
        self.places.append((self._now - min(0.1, after / self.pace / 2), self._place))

    # ---- what people do to it

    def cut(self, now: float, *words: str) -> None:
        """End it: after these lines comes the after-run."""
        temperature = self.temperature(now)
        self.lines = [line for line in self.lines if line[0] <= now]
        self.places = [place for place in self.places if place[0] <= now]
        self.points = [point for point in self.points if point.taken <= now]
        self.path = [*(each for each in self.path if each[0] <= now), (now, temperature)]
        self._now = self.active_to = now
        for word in words:
            self._say(0.05, "Run", word)
        self._finish()

    def stop_at(self, now: float) -> float:
        """When the cycle under way ends."""
        ends = [time for time, _, text in self.lines if time > now and text.startswith(("Cycle", "Stage"))]
        return min(ends, default=now)

    def shift(self, now: float, by: float) -> None:
        """Everything that is to come comes later."""
        self.lines = [(t + by if t > now else t, topic, text) for t, topic, text in self.lines]
        self.places = [(t + by if t > now else t, place) for t, place in self.places]
        self.points = [replace(p, taken=p.taken + by) if p.taken > now else p for p in self.points]
        temperature = self.temperature(now)
        later = [(t + by, value) for t, value in self.path if t > now]
        self.path = [*(each for each in self.path if each[0] <= now), (now, temperature), *later]
        for name in ("active_from", "active_to", "idle_from", "end"):
            if getattr(self, name) > now:
                setattr(self, name, getattr(self, name) + by)

    # ---- how it stands

    def place(self, now: float) -> Place:
        index = bisect_right(self.places, now, key=lambda each: each[0])
        return self.places[index - 1][1] if index else Place()

    def temperature(self, now: float) -> float:
        return _along(self.path, now)

    def cover_temperature(self, now: float) -> float:
        return _along(self.cover_path, now)

    def target(self, now: float) -> float:
        index = bisect_right(self.path, now, key=lambda each: each[0])
        return self.path[min(index, len(self.path) - 1)][1]

    def times(self, now: float) -> str:
        """The text of a Time line."""
        total = self.active_to - self.active_from
        elapsed = f"-elapsed={max(int(now - self.start - 3), 0)}"
        if now < self.active_from:
            return f"{elapsed} -remaining={round(total)}"
        if now >= self.active_to:
            return f"{elapsed} -remaining=0"
        active = int(now - self.active_from)
        return f"{elapsed} -active={active} -remaining={round(total) - active}"

    def collected(self, now: float) -> list[Point]:
        return [point for point in self.points if point.taken <= now]


def _along(path: list[tuple[float, float]], now: float) -> float:
    index = bisect_right(path, now, key=lambda each: each[0])
    if index == 0:
        return path[0][1]
    (before, low), (after, high) = path[index - 1], path[min(index, len(path) - 1)]
    if after <= before:
        return low
    return low + (high - low) * min((now - before) / (after - before), 1.0)


@lru_cache(maxsize=256)
def zone_offsets(seed: int) -> tuple[float, ...]:
    chance = random.Random(seed)  # noqa: S311 - a simulation
    return tuple(chance.gauss(0.0, 0.06) for _ in range(ZONES))


def wells(course: Course, point: Point, excitation: int) -> list[float]:
    """Fluorescence row by row: a dilution series in duplicate rows, no template in the last column."""
    chance = random.Random(f"{course.seed} {course.name} {point.stem} {excitation}")  # noqa: S311 - a simulation
    values = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            base = {1: 21_000.0, 2: 14_500.0}.get(excitation, 33_000.0) * (
                1 + 0.015 * math.sin(row * 7 + column)
            )
            plateau, threshold = _amplicon(excitation, row, column)
            grown = plateau / (1.0 + math.exp(-(point.amplified - threshold) / 1.7))
            drift = 1 + 0.0004 * point.amplified
            values.append(base * drift + grown + chance.gauss(0.0, 55.0))
    return values


def _amplicon(excitation: int, row: int, column: int) -> tuple[float, float]:
    """The height of a well's curve and the cycle at its middle."""
    if excitation == 1:
        is_blank = column == COLUMNS - 1
        return (
            (0.0, 99.0)
            if is_blank
            else (310_000.0 - 4_000 * column, 19.0 + 3.32 * (row // 2) + 0.05 * column)
        )
    return (120_000.0, 27.0 + 0.04 * row) if excitation == 2 else (0.0, 99.0)
