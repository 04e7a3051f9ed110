"""One instrument of each driver in one laboratory, under faults at random times; what is judged of each."""

import json
import random
import sqlite3
import sys
import tomllib
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from devices import simulators
from devices.drivers.quantstudio_queries import RUN_CHANNELS
from devices.readings import Flag, Vector
from devices.simulators.faults import KINDS
from devices.simulators.ledger import replies
from labsite.onebox import ports
from tests.faults.judge import LEDGER_LAG_US, STAMP_TOLERANCE_US, microseconds, now
from tests.faults.lab import Lab
from tests.servers import Process, dying_with_tests
from tests.waiting import until

CALM_BEFORE_US = 1_000_000  # a poll of several requests, the first of them still answered
CALM_AFTER_S = 3.0
EPOCH_LEAST_US = 10**15  # less is no time of day, but time since an instrument's start
SAME_WITHIN_US = 1_000  # which two stamps of one sample may be apart, told in two places
STORED = """
    SELECT c.key, c.kind, s.time, s.value, s.text, s.quality
    FROM (SELECT * FROM sample UNION ALL SELECT * FROM sample_far) s
    JOIN devices_channel c ON c.id = s.channel_id JOIN devices_instrument i ON i.id = c.instrument_id
    WHERE i.driver = %s AND s.time >= %s AND s.quality & 3 <> 2 ORDER BY s.time
"""
VECTORS = """
    SELECT c.key, s.time, s."values", s.quality
    FROM (SELECT * FROM vector_sample UNION ALL SELECT * FROM vector_sample_far) s
    JOIN devices_channel c ON c.id = s.channel_id JOIN devices_instrument i ON i.id = c.instrument_id
    WHERE i.driver = %s AND s.time >= %s ORDER BY s.time
"""


@dataclass(frozen=True)
class Kind:
    """How a driver is put to the test."""

    driver: str
    interval: float = 0.5
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    told_once: frozenset[str] = frozenset()  # channels told when they change, not at each poll
    own_time_only: bool = False  # whether only what it stamps itself is in its ledger
    also_asked: frozenset[str] = frozenset()  # channels of which this is so, as polls tell them, too
    outlasted: Mapping[str, float] = field(default_factory=dict)  # seconds that a fault goes on to act


def example(driver: str) -> dict[str, Any]:
    """The options of the lab file in docs/examples, which fits the simulated one."""
    text = (Path(__file__).parents[2] / "docs" / "examples" / f"{driver}.toml").read_text()
    options: dict[str, Any] = tomllib.loads(text)["instrument"][0]["options"]
    return options


def example_and(driver: str, **channel: Any) -> dict[str, Any]:
    """With one more channel, of which the simulated one tells too."""
    options = example(driver)
    return {**options, "channels": [*options["channels"], channel]}


METATRON_TOLD_ONCE = frozenset(("mode", "algorithm", "scs_ready", "dionice_ready", "qdash_ready"))
KINDS_OF_DRIVERS = (
    Kind("thermostat"),
    Kind("bme280"),
    # What follows a tag that is never closed can be told from its inside only by waiting.
    Kind("quantstudio", also_asked=RUN_CHANNELS, outlasted={"unclosed": 40.0}),
    Kind("must_ep20", interval=1.0),
    Kind("metatron", told_once=METATRON_TOLD_ONCE),
    Kind("scpi", options=example("scpi")),
    Kind("modbus", options=example("modbus")),
    Kind("http_json", options=example_and("http_json", key="value", path="value")),
    Kind("scs", settings={"pause": "2"}, own_time_only=True),
)
TESTED = [kind for kind in KINDS_OF_DRIVERS if kind.driver in simulators.SIMULATORS]


def toml(value: Any) -> str:
    """A value as a lab file has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


@dataclass(frozen=True)
class Span:
    """A fault and when it holds, in seconds from the simulator's start; it acts until `over`."""

    start: float
    end: float
    over: float
    text: str


def schedule(kind: Kind, seconds: float, seed: int) -> list[Span]:
    """Faults at random times, one at a time, with calm between them; the same with the same seed."""
    chance = random.Random(f"{seed} {kind.driver}")
    own = simulators.load(kind.driver).faults_of_its_own
    words = sorted(KINDS.keys() | set(own))
    spans = []
    at = 1.0
    while at < seconds - 2:
        end = at + chance.uniform(0.7, 2.0)
        word = chance.choice(words)
        share = "" if word == "refuse" or word in own else f",p={chance.choice((0.3, 0.7, 1))}"
        over = end + kind.outlasted.get(word, CALM_AFTER_S)
        spans.append(Span(at, end, over, f"{word}:from={at:.2f},to={end:.2f}{share}"))
        at = over + chance.uniform(1.0, 3.0)
    return spans


class Soak(Lab):
    """A laboratory whose instruments are one of each kind; each has a process and a ledger of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kinds = {kind.driver: kind for kind in TESTED}
        self.spans: dict[str, list[Span]] = {}
        self.since = self.until = now()  # of what is judged
        self.began: dict[str, int] = {}  # when the simulator was started last, µs of UTC

    def start_instruments(self, stack: ExitStack) -> None:
        self.first_port = ports.free(run=len(self.kinds))
        stack.push(lambda *_: self.stop_instruments())
        self.found = {driver: self.start_instrument(driver) for driver in self.kinds}

    def start_instrument(self, driver: str, spans: list[Span] | None = None) -> str:
        """Start one under these faults; its address."""
        kind = self.kinds[driver]
        self.spans[driver] = spans or []
        command = [sys.executable, "-m", "devices.simulators", driver, "--listen", self.where(driver)]
        command += ["--seed", "1", "--ledger", str(self.ledger_of(driver))]
        command += [word for key, value in kind.settings.items() for word in ("--set", f"{key}={value}")]
        command += [word for span in self.spans[driver] for word in ("--fault", span.text)]
        log = self.folder / "logs" / f"{driver}.log"
        log.unlink(missing_ok=True)
        process = Process(dying_with_tests(command), log, {**self.environment})
        self.processes[driver] = process.start()
        until(lambda: process.output.startswith("{"), 20, f"{driver} announces itself: {process.output}")
        with closing(sqlite3.connect(self.ledger_of(driver))) as ledger:
            self.began[driver] = ledger.execute("SELECT max(started_at) FROM run").fetchone()[0]
        return str(json.loads(process.output.splitlines()[0])["address"])

    def stop_instruments(self) -> None:
        for driver in self.kinds:
            process = self.processes.get(driver)
            if process is not None and process.running is not None:
                process.stop(within=15)

    def where(self, driver: str) -> str:
        """The same at each start."""
        scheme = simulators.load(driver).scheme
        if scheme in ("serial", "file"):
            return str(self.folder / f"wire-{driver}")
        return f"127.0.0.1:{self.first_port + list(self.kinds).index(driver)}"

    def ledger_of(self, driver: str) -> Path:
        return self.folder / f"ledger-{driver}.sqlite"

    def lab_file(self, interval: float = 0) -> str:
        lines = [f'[[edge]]\nname = "{self.edge_name}"\n']
        for driver, kind in self.kinds.items():
            lines.append(
                f'[[instrument]]\nname = "{driver}"\ndriver = "{driver}"\nedge = "{self.edge_name}"\n'
                f'address = "{self.found[driver]}"\ninterval = {interval or kind.interval}\n'
            )
            if kind.options:
                options = "\n".join(f"{name} = {toml(value)}" for name, value in kind.options.items())
                lines.append(f"[instrument.options]\n{options}\n")
        return "\n".join(lines)

    def has_begun(self) -> bool:
        rows = self.rows(
            "SELECT DISTINCT i.driver FROM devices_latest l JOIN devices_channel c"
            " ON c.id = l.channel_id JOIN devices_instrument i ON i.id = c.instrument_id"
            " WHERE l.quality & 3 <> 2"
        )
        return {driver for (driver,) in rows} >= self.kinds.keys()

    def is_live(self, driver: str, within: float = 20.0) -> bool:
        """Whether a reading from now on is stored."""
        start = now()
        question = """
            SELECT 1 FROM devices_latest l JOIN devices_channel c ON c.id = l.channel_id
            JOIN devices_instrument i ON i.id = c.instrument_id
            WHERE i.driver = %s AND l.seen_at > %s AND l.quality & 3 <> 2
        """
        try:
            until(lambda: self.rows(question, driver, start), within)
        except AssertionError:
            return False
        return True


@dataclass
class Findings:
    """What is stored of one driver's instrument, held against its ledger. `lost`: answered in calm times."""

    answered: int = 0
    stored: int = 0
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)  # or doubled, or with another's value or time

    def __str__(self) -> str:
        return (
            f"{self.stored} stored of {self.answered} answered values; "
            f"{len(self.lost)} lost: {self.lost[:8]}; "
            f"{len(self.invented)} stored but never answered so: {self.invented[:8]}"
        )


@dataclass(slots=True)
class Answer:
    """One value that was answered. `stamps`: what the instrument's own clock said, in µs."""

    sent_at: int
    value: object
    stamps: frozenset[int]
    is_old: bool  # a sample of before, said again
    stored_at: int | None = None  # the stamp of what was stored of it

    @property
    def is_stored(self) -> bool:
        return self.stored_at is not None

    def is_same_sample(self, other: "Answer") -> bool:
        """Whether an instrument that was asked twice said the same thing twice."""
        return self.value == other.value and any(
            abs(own - others) <= SAME_WITHIN_US for own in self.stamps for others in other.stamps
        )


def findings(lab: Soak, driver: str, since: datetime, before: datetime) -> Findings:
    """Each stored value is one that was answered, once, then; what was answered in calm times is stored.

    Of channels that are in no ledger nothing can be said.
    """
    first, last = microseconds(since), microseconds(before)
    answers = answered(lab, driver, first)
    found = Findings()
    held: dict[str, list[tuple[int, object]]] = defaultdict(list)
    kind = lab.kinds[driver]
    for key, at, value, flags in stored(lab, driver, since):
        own_time = bool(flags & Flag.INSTRUMENT_TIME)
        if key in answers and (own_time or not (kind.own_time_only or key in kind.also_asked)):
            found.stored += 1
            held[key].append((at, value))
            if not placed(answers[key], value, at, own_time=own_time) and at <= last - LEDGER_LAG_US:
                found.invented.append(f"{key}={value!r} at {at}")
    calm = Calm(lab, driver)
    for key, each in answers.items():
        of_stored = [answer for answer in each if answer.is_stored and answer.stamps]
        for answer in each:
            if first <= answer.sent_at <= last and not answer.is_old and calm(answer.sent_at):
                found.answered += 1
                known = answer.is_stored or any(map(answer.is_same_sample, of_stored))
                if key in kind.told_once:
                    known = known or answer.value in standing(held[key], answer.sent_at)
                if not known:
                    found.lost.append(f"{key}={answer.value!r} at {answer.sent_at}")
    return found


def standing(held: list[tuple[int, object]], at: int) -> list[object]:
    """What was stored last before a time, and what was soon after."""
    before = [value for time, value in held if time <= at]
    return before[-1:] + [value for time, value in held if at < time <= at + STAMP_TOLERANCE_US]


def answered(lab: Soak, driver: str, since: int) -> dict[str, list[Answer]]:
    """By channel, what the instrument said."""
    answers: dict[str, list[Answer]] = defaultdict(list)
    for reply in replies(lab.ledger_of(driver)):
        stamps = frozenset(round(at * 1e6) for at in reply.device_times)
        is_old = any(EPOCH_LEAST_US < stamp < since for stamp in stamps)
        if reply.sent_at >= since - STAMP_TOLERANCE_US:
            for key, value in reply.values.items():
                if value is not None:
                    answers[key].append(Answer(reply.sent_at, comparable(value), stamps, is_old))
    return answers


def stored(lab: Soak, driver: str, since: datetime) -> list[tuple[str, int, object, int]]:
    """Channel, time, value and flags of all that is stored and not bad."""
    rows: list[tuple[str, int, object, int]] = [
        (key, microseconds(time), text if kind == "text" else comparable(value), quality)
        for key, kind, time, value, text, quality in lab.rows(STORED, driver, since)
    ]
    rows += [
        (key, microseconds(time), tuple(values), quality)
        for key, time, values, quality in lab.rows(VECTORS, driver, since)
    ]
    return rows


def comparable(value: object) -> object:
    """As it is stored: numbers and yes or no are floats."""
    if isinstance(value, Vector):
        return value.values
    return float(value) if isinstance(value, int | float) else value


def placed(answers: list[Answer], value: object, at: int, *, own_time: bool) -> bool:
    """Whether there is an answer that this stands for, which no other sample does: by its own stamp, or by
    when it came, the nearest.

    What came late may be nearer to the next answer than to its own, and so take the place of all that follow
    with the same value. Those move then, for each to have one (Kuhn's augmenting path).
    """
    same = [each for each in answers if each.value == value]
    if own_time:
        stamps = (at - 1, at, at + 1)
        free = (each for each in same if not each.is_stored and not each.stamps.isdisjoint(stamps))
        if found := next(free, None):
            found.stored_at = at
        return found is not None
    wanted_by: dict[int, Answer | None] = {}  # by an answer's id: the one whose sample would move to it
    queue: deque[tuple[int, Answer | None]] = deque([(at, None)])
    while queue:
        stamp, holder = queue.popleft()
        near = [each for each in same if abs(each.sent_at - stamp) <= STAMP_TOLERANCE_US]
        for answer in sorted(near, key=lambda each: abs(each.sent_at - stamp)):
            if id(answer) in wanted_by:
                continue
            wanted_by[id(answer)] = holder
            if answer.stored_at is None:
                move(answer, wanted_by, at)
                return True
            queue.append((answer.stored_at, answer))
    return False


def move(free: Answer, wanted_by: Mapping[int, Answer | None], at: int) -> None:
    """Each sample on the way to a free answer moves on by one; the new one takes the first's place."""
    answer = free
    while (before := wanted_by[id(answer)]) is not None:
        answer.stored_at = before.stored_at
        answer = before
    answer.stored_at = at


class Calm:
    """Whether no fault held at a time, nor had a moment before."""

    def __init__(self, lab: Soak, driver: str) -> None:
        self.spans = []
        start = lab.began[driver]
        for span in lab.spans[driver]:
            begin, over = start + int(span.start * 1e6), start + int(span.over * 1e6)
            self.spans.append((begin - CALM_BEFORE_US, over))
        self.since = start

    def __call__(self, at: int) -> bool:
        return at > self.since and not any(begin <= at <= end for begin, end in self.spans)
