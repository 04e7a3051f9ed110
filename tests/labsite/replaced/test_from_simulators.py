"""From the wire through driver, ingest and store to the answer: it is what the instrument says itself."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from devices.models import Instrument
from devices.readings import Reading, Run, Said
from devices.simulators.base import Simulator
from devices.simulators.metatron import Metatron
from devices.simulators.must_ep20 import MustEp20
from devices.simulators.thermostat import Thermostat
from devices.wire import Batch, RunRow
from labsite import pipeline
from labsite.replaced.thermostat_rows import FIELDS
from tests.devices.simulators.served import Clock, Overheard, behind_a_door, driven
from tests.labsite.replaced import lab
from tests.telemetry.factories import new_spool, parcel

pytestmark = pytest.mark.django_db


def comes_in(instrument: Instrument, said: Iterable[Said]) -> None:
    """As an edge sends it: a row for each time, and the runs."""
    now = timezone.now()
    present = int(now.timestamp() * 1_000_000)
    said = list(said)
    readings = [each for each in said if isinstance(each, Reading)]
    times = sorted({each.time or present for each in readings})
    batch = Batch([str(instrument.pk)], [], [], [], [])
    assert batch.qualities is not None
    for before, time in zip([0, *times], times, strict=False):
        row = [each for each in readings if (each.time or present) == time]
        batch.rows.extend((0, len(batch.keysets), time - before))
        batch.keysets.append([each.key for each in row])
        for each in row:
            if isinstance(each.value, str):
                batch.texts[str(len(batch.values))] = each.value
            is_number = isinstance(each.value, int | float)
            batch.values.append(float(each.value) if is_number else None)  # type: ignore[arg-type]
            batch.qualities.append(int(each.quality))
    batch.runs.extend(_row(each, present) for each in said if isinstance(each, Run))
    assert not pipeline.ingest(instrument.edge, parcel(batch, spool=new_spool()), now).rejected


def _row(run: Run, present: int) -> RunRow:
    return RunRow(
        0, run.time or present, run.id, run.kind, run.state, run.title, run.progress, run.start, run.end,
        dict(run.fields),
    )  # fmt: skip


class Simulated:
    """A simulated instrument on its real wire, read by its real driver; its time stands still."""

    def __init__(self, kind: type[Simulator], **settings: str) -> None:
        self.kind, self.settings, self.clock = kind, settings, Clock()
        self.address = ""

    async def read(self, polls: int, between: Any) -> list[Said]:
        said: list[Said] = []
        async with AsyncExitStack() as stack:
            door = await stack.enter_async_context(
                behind_a_door(self.kind, clock=self.clock, settings=self.settings)
            )
            driver = await stack.enter_async_context(driven(door))
            driver.tell = said.extend
            for number in range(polls):
                said += await driver.read()
                said += await between(door, number) or ()
        return said


def overheard(device: Any, question: bytes) -> str:
    """What the instrument answers somebody else."""
    client = Overheard()
    device.session(client).hear(question)
    return "".join(client.lines)


def test_a_thermostat_s_report_is_that_of_the_device() -> None:
    truth: list[dict[str, Any]] = []

    async def also(door: Any, _number: int) -> Sequence[Said]:
        truth.extend(json.loads(overheard(door.simulator, b"report\n")))
        return ()

    said = asyncio.run(Simulated(Thermostat, preset="demo").read(1, also))
    bath = lab.thermostat()
    comes_in(bath, said)
    row = json.loads(lab.ask(bath, "report").body)
    for report in truth:
        number = report["channel"]
        assert {field: row[f"{field}_ch{number}"] for field in FIELDS} == {
            field: report.get(field) for field in FIELDS
        }
        assert row[f"device_time_ch{number}"] == report["time"]
    assert json.loads(lab.ask(bath, "series").body) == [row]


def test_a_ups_telemetry_is_what_its_registers_say() -> None:
    registers: list[int] = []

    async def also(door: Any, _number: int) -> Sequence[Said]:
        registers.extend(door.simulator.registers(30000, 27))
        return ()

    said = asyncio.run(Simulated(MustEp20, delay="0").read(1, also))
    ups = lab.ups()
    comes_in(ups, said)
    told = json.loads(lab.ask(ups, "api/telemetry").body)
    wanted = {
        "input_voltage": registers[5] / 10, "output_voltage": registers[7] / 10,
        "battery_voltage": registers[14] / 10, "battery_level": registers[17],
        "load_percent": registers[12], "load_power": registers[10], "frequency": registers[8] / 10,
        "input_frequency": registers[6] / 10, "temperature": float(registers[18]),
        "status": {3: "battery", 4: "online", 7: "online"}[registers[2]],
    }  # fmt: skip
    assert {name: told[name] for name in wanted} == wanted
    assert f"ups_load_power {float(registers[10])}" in lab.ask(ups, "metrics").text


def test_a_metatron_server_is_answered_for_as_it_answers_itself() -> None:
    truth: dict[str, Any] = {}
    simulated = Simulated(Metatron, mode="stock")

    async def also(door: Any, number: int) -> Sequence[Said]:
        async with httpx.AsyncClient(base_url=door.address) as client:
            if number == 0:
                started = await client.post("/api/control/start_calibration", json={"mode": "Exploit"})
                assert started.status_code == 202
                simulated.clock.now += 5.0
            else:
                for path in ("status", "jobs", "history", "health"):
                    truth[path] = (await client.get(f"/api/{path}")).json()
        return ()

    said = asyncio.run(simulated.read(2, also))
    q1 = lab.metatron()
    comes_in(q1, said)
    for path in ("status", "jobs", "history", "health"):
        ours, theirs = list[datetime](), list[datetime]()
        answer = without_stamps(json.loads(lab.ask(q1, f"api/{path}").body), ours)
        assert json.dumps(answer) == json.dumps(without_stamps(truth[path], theirs)), path
        # Of one update the server stamps its status and its history some µs apart.
        assert all(abs(a - b) < timedelta(milliseconds=1) for a, b in zip(ours, theirs, strict=True))
    assert truth["status"]["mode"] == "Exploit"
    assert truth["jobs"][0]["status"] == "completed"
    assert len(truth["history"]) == 51


def without_stamps(told: Any, found: list[datetime]) -> Any:
    """The same with each stamp taken out, and put into `found`."""
    if isinstance(told, list):
        return [without_stamps(each, found) for each in told]
    if not isinstance(told, dict):
        return told
    kept = {}
    for name, value in told.items():
        if value and (name in ("timestamp", "last_update") or name.endswith("_at")):
            found.append(datetime.fromisoformat(value[:26] + "Z"))
            value = "a stamp"  # noqa: PLW2901 - its place in the order counts
        kept[name] = without_stamps(value, found)
    return kept
