"""The simulated calibration shell: its files as the protocol notes (§7) list them, and values that get on."""

import json
from pathlib import Path
from typing import Any

import pytest

from devices.simulators.base import BadSetting
from devices.simulators.faults import Fault, Faults
from devices.simulators.scs import Scs
from tests.devices.simulators.served import Clock


class Bench:
    def __init__(self, folder: Path, *faults: str, seed: int = 0, **settings: str) -> None:
        self.folder = folder
        self.clock = Clock()
        parsed = Faults([Fault.parse(text, Scs.faults_of_its_own) for text in faults])
        self.shell = Scs(0, seed, settings, parsed, self.clock)

    def after(self, seconds: float) -> list[str]:
        self.clock.now += seconds
        return self.shell.write(self.folder)

    def file(self, name: str) -> Any:
        return json.loads((self.folder / f"scs_{name}.json").read_bytes())


def test_init_leaves_a_state_and_no_history(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.after(0) == []
    state = bench.file("state")
    assert list(state) == ["step_count", "current_config", "current_performance", "field", "cri_diagnostics"]
    assert state["current_performance"] == {"psi": 0.973, "rho": 0.7142, "omega": 0.7854}
    assert (state["step_count"], state["field"]["dimension"], len(state["field"]["field_state"])) == (
        0,
        16,
        16,
    )
    assert not (tmp_path / "scs_history.json").exists()
    assert (tmp_path / "scs_state.json").read_text().startswith('{\n  "step_count": 0,\n')


def test_a_call_rewrites_the_history_with_its_own_steps(tmp_path: Path) -> None:
    bench = Bench(tmp_path, pause="10", steps="3")
    assert len(bench.after(10)) == 3
    assert [step["step"] for step in bench.file("history")["history"]] == [1, 2, 3]
    bench.after(5)
    assert [step["step"] for step in bench.file("history")["history"]] == [1, 2, 3]
    bench.after(5)
    history = bench.file("history")["history"]
    assert [step["step"] for step in history] == [4, 5, 6]
    keys = ["step", "config", "performance", "j_t", "por_accepted", "cri_triggered", "timestamp"]
    assert list(history[0]) == keys
    assert bench.file("state")["step_count"] == 6
    assert bench.file("state")["current_performance"] == history[-1]["performance"]


def test_values_get_better_and_then_it_begins_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path, pause="5", steps="2")
    counts, figures = [], []
    for _ in range(200):
        bench.after(5)
        state = bench.file("state")
        counts.append(state["step_count"])
        figures.append(state["current_performance"])
    assert counts[:20] == list(range(2, 42, 2))
    assert 0 in counts
    assert figures[15]["psi"] > figures[0]["psi"] or figures[15]["psi"] == 1.0
    assert figures[15]["omega"] > 0.9
    for each in figures:
        assert all(0 < value <= 1 for value in each.values())


def test_the_same_seed_brings_the_same_values(tmp_path: Path) -> None:
    def told(seed: int) -> list[float]:
        bench = Bench(tmp_path, seed=seed)
        return [json.loads(text)["j_t"] for _ in range(100) for text in bench.after(15)]

    assert told(1) == told(1) != told(2)


@pytest.mark.parametrize("kind", ["torn", "gone", "nan"])
def test_while_its_files_are_spoilt_nothing_is_noted_and_afterwards_they_are_whole(
    tmp_path: Path, kind: str
) -> None:
    bench = Bench(tmp_path, f"{kind}:from=10,to=20", pause="12")
    bench.after(0)
    assert bench.after(13) == []
    if kind == "nan":
        assert "NaN" in (tmp_path / "scs_history.json").read_text()
    else:
        with pytest.raises((ValueError, FileNotFoundError)):
            bench.file("history")
    noted = bench.after(8)
    assert [json.loads(text) for text in noted] == bench.file("history")["history"]


@pytest.mark.parametrize(
    "settings", [{"pause": "0"}, {"pause": "often"}, {"steps": "-1"}, {"colour": "blue"}]
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(BadSetting):
        Scs(0, 0, settings, Faults(), Clock())
