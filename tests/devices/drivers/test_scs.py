"""The SCS driver beside files as its protocol notes (§7) describe them, whole, torn and strange."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from devices import links
from devices.drivers import scs, scs_values
from devices.drivers.scs import Scs
from devices.errors import ConfigurationError, DriverError, LinkError, ReplyError
from devices.readings import Event, Quality, Reading, Said, Vector
from devices.simulators import scs as simulated
from tests.devices.drivers.test_json_values import ANYTHING
from tests.devices.simulators.served import Clock, behind_a_door

CONFIG = dict(simulated.CONFIG)
LONG_AGO = 1_700_000_000.0
FIELD = {
    "dimension": 4,
    "field_state": [0.5, -0.5, 0.5, 0.5],
    "alpha": 0.95,
    "gamma": 0.5,
    "beta_weights": [0.1, 0.2, 0.3],
    "submodule_states": [[1.0, 2.0], [3.0, 4.0]],
}
CRI = {
    "steps_since_impulse": 3,
    "current_j_t": 0.61,
    "is_stagnating": False,
    "is_degrading": True,
    "history_length": 4,
    "j_t_history": [0.5, 0.6],
}


def performance(psi: float = 0.973) -> dict[str, float]:
    return {"psi": psi, "rho": 0.7142, "omega": 0.7854}


def state(count: int = 0, **more: Any) -> dict[str, Any]:
    found = {
        "current_config": CONFIG,
        "current_performance": performance(),
        "field": FIELD,
        "cri_diagnostics": CRI,
    }
    return {"step_count": count, **found, **more}


def step(number: int, at: float, psi: float = 0.98, **more: Any) -> dict[str, Any]:
    entry = {"step": number, "config": CONFIG, "performance": performance(psi), "j_t": 0.55}
    return {**entry, "por_accepted": True, "cri_triggered": False, "timestamp": at, **more}


class Beside:
    """The driver beside a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[Said] = []
        self.memory: dict[str, Any] = {}
        self.driver: Scs | None = None

    async def connect(self) -> None:
        await self.close()
        link = await links.connect(links.check(self.folder.as_uri()), 5.0)
        self.driver = Scs(link, {})
        self.driver.memory, self.driver.tell = self.memory, self.said.extend
        await self.driver.open()

    async def close(self) -> None:
        if self.driver is not None:
            await self.driver.link.close()
            self.driver = None

    def write(self, name: str, content: Any, at: float | None = LONG_AGO) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content, indent=2).encode()
        (self.folder / f"scs_{name}.json").write_bytes(text)
        if at is not None:
            os.utime(self.folder / f"scs_{name}.json", (at, at))

    def steps(self, *entries: dict[str, Any], at: float | None = LONG_AGO) -> None:
        self.write("history", {"history": list(entries)}, at)

    async def read(self) -> list[Reading]:
        if self.driver is None:
            await self.connect()
        assert self.driver is not None
        return await self.driver.read()


@pytest.fixture
async def beside(tmp_path: Path) -> AsyncIterator[Beside]:
    found = Beside(tmp_path)
    yield found
    await found.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scs, "TRY_AGAIN", 0.001)


def of(readings: list[Reading], key: str) -> list[tuple[float, Any]]:
    return [((reading.time or 0) / 1e6, reading.value) for reading in readings if reading.key == key]


def bad(readings: list[Reading]) -> set[str]:
    return {reading.key for reading in readings if reading.quality is Quality.BAD}


# ---- what it reads


async def test_all_channels_are_told_with_the_times_of_what_they_are_in(beside: Beside) -> None:
    beside.write("state", state(1), at=LONG_AGO + 5)
    beside.steps(step(1, LONG_AGO + 4.25))
    readings = await beside.read()
    assert {reading.key for reading in readings} == {channel.key for channel in Scs.channels}
    assert not bad(readings)
    assert of(readings, "psi") == [(LONG_AGO + 4.25, 0.98)]
    assert of(readings, "resonance") == [(LONG_AGO + 4.25, 0.55)]
    assert of(readings, "config.optimizer") == [(LONG_AGO + 4.25, "Adam")]
    assert of(readings, "config.params") == [(LONG_AGO + 4.25, "{}")]
    assert of(readings, "field.state") == [(LONG_AGO + 5, Vector((0.5, -0.5, 0.5, 0.5)))]
    assert of(readings, "field.submodules")[0][1] == Vector(
        (1.0, 2.0, 3.0, 4.0), ("0.0", "0.1", "1.0", "1.1")
    )
    assert of(readings, "cri.is_degrading") == [(LONG_AGO + 5, True)]
    assert await beside.read() == []


async def test_after_init_the_state_tells_what_no_step_does(beside: Beside) -> None:
    beside.write("state", state(0))
    readings = await beside.read()
    assert of(readings, "psi") == [(LONG_AGO, 0.973)]
    assert of(readings, "resonance") == [(LONG_AGO, pytest.approx(0.973 * 0.7142 * 0.7854))]
    assert of(readings, "step_count") == [(LONG_AGO, 0)]
    assert await beside.read() == []


async def test_a_state_whose_history_is_about_to_follow_tells_no_figures_of_its_own(beside: Beside) -> None:
    beside.write("state", state(1), at=None)
    readings = await beside.read()
    assert of(readings, "psi") == []
    assert len(of(readings, "step_count")) == 1
    beside.steps(step(1, LONG_AGO))
    assert of(await beside.read(), "psi") == [(LONG_AGO, 0.98)]


async def test_each_step_is_told_once_though_every_call_rewrites_the_file(beside: Beside) -> None:
    beside.write("state", state(3))
    beside.steps(*(step(n, LONG_AGO + n) for n in (1, 2, 3)))
    assert [value for _, value in of(await beside.read(), "step")] == [1, 2, 3]
    beside.steps(step(4, LONG_AGO + 9), at=LONG_AGO + 9)
    assert of(await beside.read(), "step") == [(LONG_AGO + 9, 4)]
    beside.steps(step(4, LONG_AGO + 9), step(5, LONG_AGO + 10), at=LONG_AGO + 10)
    assert of(await beside.read(), "step") == [(LONG_AGO + 10, 5)]
    assert not beside.said


async def test_steps_overwritten_before_they_were_read_are_told_as_missing(beside: Beside) -> None:
    beside.write("state", state(3))
    beside.steps(step(1, LONG_AGO))
    await beside.read()
    beside.steps(step(4, LONG_AGO + 4), at=LONG_AGO + 4)
    await beside.read()
    (missed,) = beside.said
    assert isinstance(missed, Event)
    assert (missed.kind, missed.fields) == ("steps_missed", {"from": 2, "to": 3})
    assert missed.time == (LONG_AGO + 4) * 1e6


async def test_a_calibration_begun_anew_is_told(beside: Beside) -> None:
    beside.write("state", state(3))
    beside.steps(step(7, LONG_AGO))
    await beside.read()
    beside.steps(step(1, LONG_AGO + 4), at=LONG_AGO + 4)
    assert of(await beside.read(), "step") == [(LONG_AGO + 4, 1)]
    assert [said.kind for said in beside.said if isinstance(said, Event)] == ["restart"]


async def test_a_reconnect_tells_the_newest_again_under_the_same_time(beside: Beside) -> None:
    beside.write("state", state(2))
    beside.steps(step(1, LONG_AGO), step(2, LONG_AGO + 1))
    first = await beside.read()
    await beside.connect()
    again = await beside.read()
    assert of(again, "step") == [(LONG_AGO + 1, 2)]
    assert set(again) < set(first)


async def test_a_file_written_within_the_clocks_grain_is_read_again(beside: Beside) -> None:
    beside.write("state", state(2))
    now = time.time()
    beside.steps(step(1, LONG_AGO, 0.91), at=now)
    await beside.read()
    beside.steps(step(2, LONG_AGO, 0.92), at=now)  # as long, at the same time
    assert of(await beside.read(), "psi") == [(LONG_AGO, 0.92)]


# ---- files that are not whole


async def test_a_file_that_is_being_written_is_tried_again(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scs, "TRY_AGAIN", 0.05)
    beside.write("state", state(1))
    text = json.dumps({"history": [step(1, LONG_AGO)]}).encode()
    beside.write("history", text[: len(text) // 2], at=None)
    await beside.connect()
    reading = asyncio.create_task(beside.read())
    await asyncio.sleep(0.01)
    beside.write("history", text, at=None)
    assert of(await reading, "step") == [(LONG_AGO, 1)]


@pytest.mark.parametrize(
    ("torn", "lost", "kept"),
    [("history", "psi", "step_count"), ("state", "step_count", "psi")],
)
async def test_one_file_that_stays_torn_costs_only_its_own_channels(
    beside: Beside, torn: str, lost: str, kept: str
) -> None:
    whole = {"state": state(1), "history": {"history": [step(1, LONG_AGO)]}}
    for name, content in whole.items():
        beside.write(name, b"{" if name == torn else content)
    readings = await beside.read()
    assert lost in bad(readings)
    assert kept in {reading.key for reading in readings} - bad(readings)
    assert await beside.read() == []
    beside.write(torn, whole[torn], at=LONG_AGO + 1)
    assert of(await beside.read(), lost)[0][1] is not None
    beside.write(torn, b"", at=LONG_AGO + 2)
    assert lost in bad(await beside.read())


async def test_before_init_there_is_nothing_and_a_hint(beside: Beside) -> None:
    with pytest.raises(
        ReplyError, match=r"scs_state\.json: no such file or directory: has `init` been called"
    ):
        await beside.read()
    beside.write("state", state(0))
    assert of(await beside.read(), "psi") == [(LONG_AGO, 0.973)]


async def test_both_files_torn_is_a_reply_error_and_afterwards_all_is_told(beside: Beside) -> None:
    for name in ("state", "history"):
        beside.write(name, b'{"half": ')
    with pytest.raises(ReplyError, match="not JSON"):
        await beside.read()
    beside.write("state", state(1), at=LONG_AGO + 1)
    beside.steps(step(1, LONG_AGO), at=LONG_AGO + 1)
    assert len(await beside.read()) == len(Scs.channels)


async def test_a_folder_that_goes_and_comes_back(beside: Beside) -> None:
    beside.folder = beside.folder / "scs"
    beside.folder.mkdir()
    beside.write("state", state(1))
    beside.steps(step(1, LONG_AGO))
    await beside.read()
    away = beside.folder.rename(beside.folder.with_name("away"))
    with pytest.raises(LinkError, match="no such file"):
        await beside.read()
    away.rename(beside.folder)
    assert of(await beside.read(), "psi") == [(LONG_AGO, 0.98)]


@pytest.mark.parametrize(
    ("changes", "key", "expected"),
    [
        ({"performance": {"psi": None, "rho": 0.5, "omega": 0.5}}, "psi", (None, Quality.BAD)),
        ({"performance": {"psi": None, "rho": 0.5, "omega": 0.5}}, "rho", (0.5, Quality.GOOD)),
        ({"performance": {"psi": 1.5}}, "psi", (1.5, Quality.UNCERTAIN)),
        ({"performance": []}, "rho", (None, Quality.BAD)),
        ({"j_t": "much"}, "resonance", (None, Quality.BAD)),
        ({"por_accepted": 1}, "por_accepted", (None, Quality.BAD)),
        ({"config": {**CONFIG, "shot_count": 1_000}}, "config.shot_count", (1_000, Quality.GOOD)),
        ({"config": CONFIG}, "config.shot_count", (None, Quality.UNCERTAIN)),
        ({"config": {**CONFIG, "params": {"depth": 3}}}, "config.params", ('{"depth": 3}', Quality.GOOD)),
        ({"config": None}, "config.algorithm", (None, Quality.BAD)),
    ],
)
async def test_one_value_that_is_wrong_costs_no_other(
    beside: Beside, changes: dict[str, Any], key: str, expected: tuple[Any, Quality]
) -> None:
    beside.write("state", state(1))
    beside.steps(step(1, LONG_AGO, **changes))
    readings = await beside.read()
    assert [(r.value, r.quality) for r in readings if r.key == key] == [expected]
    assert of(readings, "step") == [(LONG_AGO, 1)]


async def test_a_step_without_a_time_or_number_is_left_out(beside: Beside) -> None:
    beside.write("state", state(5))
    entries = [
        {**step(1, LONG_AGO), "timestamp": None},
        {**step(2, LONG_AGO), "step": None},
        step(3, LONG_AGO),
    ]
    beside.write("history", {"history": [None, 5, *entries]})
    assert of(await beside.read(), "step") == [(LONG_AGO, 3)]


async def test_a_vector_that_is_none_is_left_out(beside: Beside) -> None:
    beside.write("state", state(1, field={**FIELD, "field_state": "zero", "beta_weights": [1, None, "x"]}))
    readings = await beside.read()
    assert of(readings, "field.state") == []
    assert of(readings, "field.beta_weights")[0][1] == Vector((1.0, None, None))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=ANYTHING | st.dictionaries(st.sampled_from([*state()]), ANYTHING).map(lambda d: {**state(), **d}),
    history=ANYTHING
    | st.lists(
        st.dictionaries(st.sampled_from([*step(1, 1.0)]), ANYTHING).map(lambda d: {**step(1, 1.0), **d})
    ).map(lambda entries: {"history": entries}),
)
def test_nothing_that_json_can_say_upsets_it(told: Any, history: Any) -> None:
    keys = {channel.key for channel in Scs.channels}
    readings = [*scs_values.of_state(told, 5), *scs_values.of_lone_state(told, 5)]
    for found in scs_values.steps(history):
        assert found.time >= 0
        readings += found.readings()
    assert {reading.key for reading in readings} <= keys


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.binary(max_size=60))
async def test_nor_anything_that_is_no_json(tmp_path: Path, one: bytes, other: bytes) -> None:
    beside = Beside(tmp_path)
    beside.write("state", one)
    beside.write("history", other)
    try:
        await beside.read()
    except DriverError:
        pass
    finally:
        await beside.close()


@pytest.mark.parametrize("name", ["", "../scs_state.json", "a/b", ".", "a\0b"])
def test_a_file_is_named_without_a_folder(name: str) -> None:
    with pytest.raises(ConfigurationError, match="option state_file"):
        Scs.checked_options({"state_file": name})


# ---- with its simulator


@asynccontextmanager
async def simulating(
    folder: Path, *faults: str, **wanted: str
) -> AsyncIterator[tuple[Any, Clock, list[str]]]:
    clock, noted = Clock(), list[str]()
    async with behind_a_door(
        simulated.Scs,
        *faults,
        where=str(folder),
        clock=clock,
        settings=wanted,
        record=lambda _, text: noted.append(text),
    ) as door:
        yield door, clock, noted


async def test_under_all_faults_each_step_is_told_once_as_it_was(tmp_path: Path) -> None:
    faults = ("torn:every=30,for=7", "gone:every=43,for=4", "nan:every=71,for=3", "refuse:every=57,for=5")
    async with simulating(tmp_path / "scs", *faults, pause="6", steps="3") as (door, clock, noted):
        beside, told = Beside(tmp_path / "scs"), dict[float, set[Any]]()
        for _ in range(240):
            clock.now += 1.0
            door.look()
            if door.simulator.can_be_reached():
                door._write()
            try:
                for at, value in of(await beside.read(), "step"):
                    told.setdefault(round(at, 6), set()).add(value)
            except LinkError:
                await beside.close()
            except ReplyError:
                pass
        await beside.close()
    sent = {}
    for text in noted:
        values, (at,) = simulated.Scs.read_back(text)
        sent[round(round(at * 1e6) / 1e6, 6)] = {values["step"]}
    assert len(sent) > 60
    told.pop(0.0, None)  # that there was none, once for each outage
    assert {at: values for at, values in told.items() if at in sent} == sent
    assert all(None not in values for values in told.values())
