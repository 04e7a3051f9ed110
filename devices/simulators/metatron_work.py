"""What changes a simulated Metatron server's values: its one stock action, or calibrations that converge."""

import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random

from devices.simulators.metatron_state import Job, State

SECOND = 1_000_000_000
ENERGY = -1.137  # of the ground state that is looked for
Act = Callable[[int], None]


class Work:
    """What is to happen at its time, in ns of UTC."""

    def __init__(self, state: State, random: Random) -> None:
        self.state = state
        self.random = random
        self._due: list[tuple[int, int, Act]] = []
        self._numbers = count()

    def begin(self, at: int) -> None:
        """The server starts."""
        raise NotImplementedError

    def start(self, at: int) -> Job:
        """Somebody starts a calibration."""
        raise NotImplementedError

    def at(self, due: int, act: Act) -> None:
        heappush(self._due, (due, next(self._numbers), act))

    def go_on(self, now: int) -> None:
        """Do all that is due."""
        while self._due and self._due[0][0] <= now:
            due, _, act = heappop(self._due)
            act(due)


class Stock(Work):
    """Runs of 3 s with fixed increments, as many at once as are asked for (§4)."""

    def begin(self, at: int) -> None:
        self.state.ramp(at)

    def start(self, at: int) -> Job:
        job = self.state.new_job(at)
        self.at(at + 60_000, lambda _: self._run(job))
        self.at(at + 3 * SECOND + 1_200_000, lambda due: self._complete(job, due))
        return job

    def _run(self, job: Job) -> None:
        job.status = "running"

    def _complete(self, job: Job, at: int) -> None:
        state = self.state
        psi, rho, omega = state.psi + 0.01, state.rho + 0.005, state.omega + 0.008
        state.update(at, min(psi, 1.0), min(rho, 1.0), min(omega, 1.0))
        job.status, job.completed = "completed", at + 40_000
        job.energy, job.accuracy = ENERGY + self.random.random() * 0.01, state.psi
        job.duration, job.iterations = 3.0, 100
        job.extras = {"omega": state.omega, "psi": state.psi, "rho": state.rho}


class Demo(Work):
    """The crate built into a program that measures: a calibration now and then, drift in between."""

    every = 100 * SECOND
    algorithms = ("VQE", "QAOA", "VQC")
    lasts = (30, 55)  # seconds
    settles = 0.16  # of a run, as a share of its time

    def begin(self, at: int) -> None:
        self._number = 0
        self._under_way = 0
        state = self.state
        state.mode = "Homeostasis"
        state.update(at, *(self.random.uniform(low, low + 0.08) for low in (0.62, 0.70, 0.55)))
        self.at(at + 3 * SECOND, self._again)
        self.at(at + 5 * SECOND, self._drift)

    def start(self, at: int) -> Job:
        state, chance = self.state, self.random
        self._number += 1
        self._under_way += 1
        state.algorithm = self.algorithms[self._number % len(self.algorithms)]
        job = state.new_job(at, "benchmark" if self._number % 5 == 0 else "calibration")
        seconds = chance.randint(*self.lasts)
        fails_at = chance.randint(6, 20) if self._number % 9 == 0 else None
        begins = (state.psi, state.rho, state.omega)
        ends = (chance.uniform(0.955, 0.985), chance.uniform(0.93, 0.97), chance.uniform(0.88, 0.94))
        self.at(at + 300_000_000, lambda due: self._run(job, due))
        for second in range(1, seconds + 1):
            if second == fails_at:
                self.at(at + second * SECOND, lambda due: self._fail(job, due))
                return job
            share = second / seconds
            values = [self._on_its_way(a, b, share) for a, b in zip(begins, ends, strict=True)]
            self.at(
                at + second * SECOND,
                lambda due, share=share, values=values: self._step(job, due, share, values),  # type: ignore[misc]
            )
        self.at(at + seconds * SECOND + 200_000_000, lambda due: self._complete(job, due, seconds))
        return job

    def _on_its_way(self, begin: float, end: float, share: float) -> float:
        """Towards the end, ever more slowly and with ever less noise."""
        away = math.exp(-share / self.settles)
        noise = self.random.gauss(0.0, 0.012 * away + 0.001)
        return min(max(end + (begin - end) * away + noise, 0.0), 1.0)

    def _run(self, job: Job, _at: int) -> None:
        job.status = "running"
        self.state.triton = {
            "step": 0,
            "best_resonance": 0.0,
            "current_resonance": 0.0,
            "improvement_rate": 0.0,
            "converged": False,
            "num_parameters": 12,
        }

    def _step(self, job: Job, at: int, share: float, values: list[float]) -> None:
        state = self.state
        psi, rho, omega = values
        state.mode = "Explore" if share < 0.35 else "Exploit"
        state.update(at, psi, rho, omega)
        job.energy = ENERGY + 0.35 * math.exp(-share / self.settles) * self.random.uniform(0.9, 1.1)
        job.accuracy, job.iterations = psi, round(share * 200)
        if state.triton is not None:
            resonance, best = psi * rho * omega, state.triton["best_resonance"]
            state.triton |= {
                "step": state.triton["step"] + 1,
                "best_resonance": max(best, resonance),
                "current_resonance": resonance,
                "improvement_rate": max(resonance - best, 0.0),
                "converged": share > 0.8,
            }

    def _complete(self, job: Job, at: int, seconds: int) -> None:
        job.status, job.completed, job.duration = "completed", at, seconds + 0.2
        job.extras = {"omega": self.state.omega, "psi": self.state.psi, "rho": self.state.rho}
        self._rest()

    def _fail(self, job: Job, at: int) -> None:
        job.status, job.completed = "failed", at
        self._rest()

    def _rest(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self.state.mode, self.state.triton = "Homeostasis", None

    def _again(self, at: int) -> None:
        self.start(at)
        self.at(at + self.every, self._again)

    def _drift(self, at: int) -> None:
        """Between runs what was found is slowly lost again."""
        state, chance = self.state, self.random
        if not self._under_way:
            values = (state.psi, state.rho, state.omega)
            low = (0.70, 0.74, 0.62)
            drifted = [v - (v - b) * 0.02 + chance.gauss(0, 0.0015) for v, b in zip(values, low, strict=True)]
            psi, rho, omega = (min(max(value, 0.0), 1.0) for value in drifted)
            state.update(at, psi, rho, omega)
        self.at(at + 5 * SECOND, self._drift)


WORK: dict[str, type[Work]] = {"demo": Demo, "stock": Stock}
