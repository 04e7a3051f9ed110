"""Roll-ups against readings counted without SQL, after random, re-ordered and repeated delivery, with rounds
running and dying in between."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from devices.readings import Flag
from devices.wire import Parcel
from labsite import pipeline
from telemetry import rollups
from telemetry.rollups import late, rounds
from tests.servers import dying_with_tests
from tests.telemetry.factories import at, edge, instrument, moment, new_spool, parcel
from tests.telemetry.rolled import Told, batch_of, check_all, check_published, said, some_told
from tests.web import database_url

pytestmark = pytest.mark.django_db(transaction=True)

HOURS = 2.2
EVERY = 20.0  # seconds between polls
STEPS = ("close", "step", "compute", "compute_again", "late.take", "late.is_left")


class Killed(BaseException):
    """Nobody catches it."""


class Lab:
    """One instrument, what it said, and when which of it arrives."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.edge = edge()
        self.instrument = instrument(self.edge, keys=("number", "word", "seldom"))
        self.instrument.channels.filter(key="word").update(kind="text")
        self.spool = new_spool()
        self.told: list[Told] = []

    def deliveries(self) -> list[tuple[float, Parcel]]:
        """Parcels in the order of their arrival, some late, some twice, some told again in another spool."""
        found: list[tuple[float, Parcel]] = []
        seconds, sequence = -HOURS * 3600, 0
        while seconds < 0:
            told: list[Told] = []
            for _ in range(self.chance.randrange(1, 12)):
                told += some_told(self.chance, seconds + self.chance.random())
                seconds += EVERY
            self.chance.shuffle(told)
            self.told += told
            sequence += 1
            track = self.chance.choice(["live", "live", "backlog"])
            sent = parcel(batch_of(self.instrument, told), first=sequence, track=track, spool=self.spool)
            found += [(self._arrival(seconds), sent) for _ in range(self.chance.choice([1, 1, 1, 2]))]
            if self.chance.random() < 0.2:
                found.append((self._arrival(seconds), self._again(told)))
        return sorted(found, key=lambda delivery: delivery[0])

    def _arrival(self, seconds: float) -> float:
        return seconds + (self.chance.random() * 6000 if self.chance.random() < 0.3 else 1.0)

    def _again(self, told: list[Told]) -> Parcel:
        again = [each._replace(quality=each.quality | Flag.INSTRUMENT_TIME) for each in told]
        return parcel(batch_of(self.instrument, again), spool=new_spool(), track="backlog")

    def deliver(self, sent: Parcel, seconds: float) -> None:
        pipeline.ingest(self.edge, sent, moment(seconds))


@pytest.fixture
def die_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Chooses at which of the next steps of rolling up it dies; 0: at none."""
    left = [0]

    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return work(*args, **kwargs)

        return step

    for name in STEPS:
        where, attribute = (late, name[5:]) if name.startswith("late.") else (rounds, name)
        monkeypatch.setattr(where, attribute, dying(getattr(where, attribute)))
    return lambda number: left.__setitem__(0, number)


@pytest.mark.parametrize("seed", range(3))
def test_rollups_are_as_what_was_told_however_it_came_and_wherever_rounds_died(
    seed: int, die_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(seed)
    monkeypatch.setattr(rounds, "STEP_US", lab.chance.choice([rounds.STEP_US, 1_200_000_000]))
    monkeypatch.setattr(rounds, "LATE_MAX", lab.chance.choice([rounds.LATE_MAX, 5]))
    for seconds, sent in lab.deliveries():
        lab.deliver(sent, seconds)
        if lab.chance.random() < 0.3:
            die_after(lab.chance.choice([0, lab.chance.randrange(1, 12)]))
            with suppress(Killed):
                rollups.roll_up(moment(seconds))
            check_published()
    die_after(0)
    rollups.roll_up(moment(7200))
    check_all(said(lab.told, lab.instrument), moment(7200))


def test_rollups_are_exact_though_whoever_computes_them_is_killed() -> None:
    lab = Lab(17)
    killed = 0
    with rolling() as begin:
        for number, (seconds, sent) in enumerate(lab.deliveries()):
            if number % 5:
                lab.deliver(sent, seconds)
                continue
            child, ended = begin(seconds)
            lab.deliver(sent, seconds)
            time.sleep(lab.chance.random() * 0.1)  # wherever it is by then
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            killed += ended() == signal.SIGKILL
            check_published()
    assert killed > 3
    rollups.roll_up(moment(7200))
    check_all(said(lab.told, lab.instrument), moment(7200))


@contextmanager
def rolling() -> Iterator[Callable[[float], tuple[int, Callable[[], int]]]]:
    """Begins to roll up in a process of its own; gives its number, and what waits for how it ended."""
    command = dying_with_tests([sys.executable, "-m", "tests.telemetry.rolling"])
    environment = os.environ | {"LABSITE_DATABASE_URL": database_url()}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None
        assert told is not None

        def begin(seconds: float) -> tuple[int, Callable[[], int]]:
            asked.write(f"{at(seconds)}\n")
            asked.flush()
            return int(told.readline()), lambda: int(told.readline())

        yield begin
        asked.close()
