"""A simulated Seraphic Calibration Shell: calls of `step` now and then, and the files they leave (§7)."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from devices.simulators.base import BadSetting, FileSimulator
from devices.simulators.faults import Faults

STATE, HISTORY = "scs_state.json", "scs_history.json"
DIMENSION = 16
ANEW_AFTER = 40  # steps: then the benchmarks are made again, and it begins from these
CONFIG: dict[str, Any] = {
    "algorithm": "VQE",
    "ansatz_type": "Metatron",
    "ansatz_depth": 2,
    "optimizer": "Adam",
    "learning_rate": 0.01,
    "max_iterations": 100,
    "num_random_starts": 1,
    "dephasing_rate": None,
    "shot_count": None,
    "params": {},
    "name": "default",
    "timestamp": None,
}


class Scs(FileSimulator):
    """Somebody's calibration: `init`, then a call of `step` again and again."""

    driver = "scs"
    settings: ClassVar[Mapping[str, str]] = {
        "pause": "seconds between two calls of the shell (default 15)",
        "steps": "steps of each call (default 2)",
    }
    faults_of_its_own = ("torn", "nan", "gone")

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        self._pause = _number(settings, "pause", 15.0)
        self._steps = int(_number(settings, "steps", 2.0))
        self._begun = time.time()
        self._random = Random(f"{seed} {number}")  # noqa: S311 - a simulation
        self._due = self._pause
        self._spoilt = ""
        self.init()

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        step = json.loads(reply)
        values = {**step["performance"], "resonance": step["j_t"], "step": step["step"]}
        values |= {key: step[key] for key in ("por_accepted", "cri_triggered")}
        values |= {f"config.{key}": value for key, value in step["config"].items() if key != "params"}
        return values, (step["timestamp"],)

    # ---- the shell's commands

    def init(self) -> None:
        """Begin from benchmarks; the history file of before stays as it is."""
        chance = self._random
        self.count = 0
        self.config = dict(CONFIG)
        self.performance = {"psi": 0.973, "rho": 0.7142, "omega": 0.7854}
        if self.elapsed > 0:  # later ones differ a little
            self.performance = {
                k: min(v * chance.uniform(0.93, 1.02), 1.0) for k, v in self.performance.items()
            }
        self.field = [0.0] * DIMENSION
        self.submodules = [[0.0] * DIMENSION for _ in range(3)]
        self.since_impulse = 0
        self.resonances = [self._resonance()]
        self.history: list[dict[str, Any]] = []
        self._is_written, self._is_noted = False, True

    def step(self, times: int, at: float) -> list[dict[str, Any]]:
        """One call: the history is of its steps only."""
        self.history = [self._one(at + number * 0.004) for number in range(times)]
        self._is_written = self._is_noted = False
        return self.history

    def _one(self, at: float) -> dict[str, Any]:
        self.count += 1
        self._kick_field()
        candidate, expected = self._candidate()
        before = self.performance
        accepted = expected["psi"] >= before["psi"] and expected["rho"] >= before["rho"] - 0.1
        if accepted:
            self.config, self.performance = candidate, expected
        self.resonances.append(self._resonance())
        recent = self.resonances[-10:]
        triggered = self.since_impulse >= 10 and max(recent) - min(recent) < 0.01
        self.since_impulse = 0 if triggered else self.since_impulse + 1
        if triggered:
            self.config = {**self.config, "algorithm": self._random.choice(("VQE", "QAOA", "VQC", "Grover"))}
        return {
            "step": self.count,
            "config": self.config,
            "performance": self.performance,
            "j_t": self._resonance(),
            "por_accepted": accepted,
            "cri_triggered": triggered,
            "timestamp": at,
        }

    def _candidate(self) -> tuple[dict[str, Any], dict[str, float]]:
        """A neighbour, and its performance by the shell's fixed bonuses."""
        chance, config = self._random, dict(self.config)
        what = chance.choice(("ansatz_depth", "learning_rate", "num_random_starts", "optimizer"))
        if what == "ansatz_depth":
            config[what] = min(max(config[what] + chance.choice((-1, 0, 1)), 1), 10)
        elif what == "learning_rate":
            config[what] = min(max(config[what] * chance.uniform(0.8, 1.2), 0.001), 0.1)
        elif what == "num_random_starts":
            config[what] = min(max(config[what] + chance.choice((-1, 0, 1)), 1), 5)
        else:
            config[what] = chance.choice(("Adam", "LBFGS", "GradientDescent", "COBYLA"))
        psi, rho, omega = self.performance["psi"], self.performance["rho"], self.performance["omega"]
        psi += 0.02 * (config["ansatz_type"] == "Metatron" and config["ansatz_depth"] <= 3)
        psi += 0.01 * (config["optimizer"] == "Adam")
        rho += 0.03 * (config["num_random_starts"] >= 3)
        omega += 0.02 * (config["ansatz_depth"] <= 2)
        return config, {"psi": min(psi, 1.0), "rho": min(rho, 1.0), "omega": min(omega, 1.0)}

    def _kick_field(self) -> None:
        chance = self._random
        kicked = [0.95 * value + 0.5 * chance.gauss(0.2, 0.1) for value in self.field]
        norm = sum(value * value for value in kicked) ** 0.5
        self.field = [value / norm for value in kicked]

    def _resonance(self) -> float:
        psi, rho, omega = self.performance.values()
        return psi * rho * omega

    # ---- its files

    def write(self, folder: Path) -> list[str]:
        while self.elapsed >= self._due:
            at = self._begun + self._due
            self._due += self._pause
            if self.count >= ANEW_AFTER:
                self.init()
            else:
                self.step(self._steps, at)
        spoilt = next((kind for kind in self.faults_of_its_own if self._standing(kind)), "")
        if spoilt != self._spoilt or not self._is_written:
            self._write(folder, spoilt)
        self._spoilt, self._is_written = spoilt, True
        if spoilt or self._is_noted:
            return []
        self._is_noted = True  # what was overwritten before anybody could read it is in no ledger
        return [json.dumps(step) for step in self.history]

    def _write(self, folder: Path, spoilt: str) -> None:
        """In place, the state first, as the shell does; its history only once there is one."""
        for name, content in ((STATE, self.state()), (HISTORY, {"history": self.history})):
            if name == HISTORY and not self.history:
                continue
            text = json.dumps(content, indent=2)
            if spoilt == "torn":
                text = text[: len(text) // 2]
            elif spoilt == "nan":
                text = text.replace('"psi": ', '"psi": NaN, "was": ')
            (folder / name).write_text(text, encoding="utf-8")
            if spoilt == "gone":
                (folder / name).unlink()

    def state(self) -> dict[str, Any]:
        return {
            "step_count": self.count,
            "current_config": self.config,
            "current_performance": self.performance,
            "field": {
                "dimension": DIMENSION,
                "field_state": self.field,
                "alpha": 0.95,
                "gamma": 0.5,
                "beta_weights": [0.1, 0.1, 0.1],
                "submodule_states": self.submodules,
            },
            "cri_diagnostics": {
                "steps_since_impulse": self.since_impulse,
                "current_j_t": self._resonance(),
                "is_stagnating": self.since_impulse > 5,
                "is_degrading": False,
                "history_length": len(self.resonances),
                "j_t_history": self.resonances[-10:],
            },
        }

    def _standing(self, kind: str) -> bool:
        return self.faults.standing(kind, self.number, self.elapsed) is not None


def _number(settings: Mapping[str, str], name: str, default: float) -> float:
    try:
        number = float(settings.get(name, default))
    except ValueError:
        number = 0.0
    if not 0.001 <= number <= 1e6:
        raise BadSetting(f"--set {name}={settings[name]}: write a number of more than 0")
    return number
