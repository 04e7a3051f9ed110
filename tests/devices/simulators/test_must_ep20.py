"""The simulated MUST EP20: its battery, its wire, its ways to break, and the real driver against it."""

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import serial
from pymodbus.client import ModbusSerialClient

from devices import links
from devices.errors import LinkError, ReplyError
from devices.readings import Quality, Reading
from devices.simulators import must_ep20
from devices.simulators.base import BadSetting
from devices.simulators.faults import Fault, Faults
from devices.simulators.must_ep20 import MustEp20
from devices.simulators.must_ep20_power import BACKUP, LINE, SOFT_START, STOP, Supply
from devices.simulators.must_ep20_wire import SPOILED, framed
from devices.simulators.pty import PtyDoor
from tests.devices.simulators.served import Clock, behind_a_door, driven

STATUS = bytes.fromhex("0a 03 75 30 00 1b 1e b9")
STILL = {"outages": "none", "delay": "0"}
QUICK = {"timeout": 0.15}


class Line:
    """A client that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.noted: list[str] = []

    def answer(self, chunk: bytes, *, reading: bool | str = False) -> None:
        self.told.append(chunk)
        self.noted += [reading] if isinstance(reading, str) else []

    def close(self) -> None: ...

    def reset(self) -> None: ...


class Bench:
    """A unit with a clock to turn, talked to without a wire."""

    def __init__(self, *faults: str, **settings: str) -> None:
        self.clock = Clock()
        parsed = Faults([Fault.parse(text, MustEp20.faults_of_its_own) for text in faults])
        self.device = MustEp20(0, 0, {**STILL, **settings}, parsed, self.clock)
        self.line = Line()
        self.session = self.device.session(self.line)

    def ask(self, *request: int | bytes) -> bytes:
        """The reply to a request whose checksum is added here."""
        return self.hear(framed(*request))

    def hear(self, chunk: bytes) -> bytes:
        self.line.told.clear()
        self.session.hear(chunk)
        return b"".join(self.line.told)

    def status(self, after: float = 0) -> dict[str, Any]:
        """What it notes of its own status."""
        self.clock.now += after
        self.line.noted.clear()
        self.hear(STATUS)
        return dict(json.loads(self.line.noted[0]))


# ---- its battery


def course(seconds: int, **settings: str) -> list[dict[str, Any]]:
    bench = Bench(**settings)
    return [bench.status(after=10) for _ in range(seconds // 10)]


def test_the_mains_fail_and_return_by_schedule() -> None:
    states = [each["work_state"] for each in course(1200, outages="600/120")]
    assert states == (["line"] * 47 + ["backup"] * 12 + ["line"]) * 2


def test_on_battery_all_says_so() -> None:
    for each in course(600, outages="600/120"):
        on_battery = each["status"] == "battery"
        assert on_battery == (each["input_voltage"] == 0.0) == (each["input_frequency"] == 0.0)
        assert on_battery == (each["battery_current"] < 0) == (not each["charging"])
        assert 200 < each["output_voltage"] < 240
        assert each["frequency"] > 49


def test_power_current_and_share_fit_together() -> None:
    for each in course(900, outages="600/120", rated="800"):
        assert each["load_percent"] == pytest.approx(each["load_power"] / 8, abs=1)
        apparent = each["output_voltage"] * each["load_current"]
        assert apparent == pytest.approx(each["load_apparent_power"], rel=0.1)
        assert each["load_power"] < each["load_apparent_power"]


def test_a_battery_discharges_and_charges_again() -> None:
    each = course(3600, outages="3600/600")
    out = [now for now in each if now["status"] == "battery"]
    levels = [now["battery_level"] for now in out]
    assert levels == sorted(levels, reverse=True)
    # 140 W and more, through an inverter with losses, for 10 minutes: about a quarter of 9 Ah at 12 V.
    assert 20 < levels[0] - levels[-1] < 32
    assert out[0]["battery_voltage"] > out[-1]["battery_voltage"] + 0.2
    assert max(now["battery_voltage"] for now in each) <= 14.2
    assert {now["charge_stage"] for now in each} >= {"constant current", "constant voltage"}


def test_an_empty_battery_stops_it_until_the_mains_return() -> None:
    faults = [Fault.parse("blackout:from=15,to=2995", MustEp20.faults_of_its_own)]
    clock = Clock()
    device = MustEp20(0, 0, {**STILL, "charge": "30", "load": "400"}, Faults(faults), clock)
    line = Line()
    session = device.session(line)
    seen = []
    for _ in range(310):
        clock.now += 10
        session.hear(STATUS)
        seen.append(json.loads(line.noted.pop()))
    states = [each["work_state"] for each in seen]
    assert [state for at, state in enumerate(states) if state != states[at - 1] or not at] in (
        ["line", "backup", "stop", "soft start", "line"],
        ["line", "backup", "stop", "line"],  # it started softly between two questions
    )
    stopped = seen[states.index("stop")]
    assert stopped["fault"] == "fault 4: battery under-voltage"
    assert stopped["output_voltage"] == stopped["load_power"] == 0
    assert seen[-1]["fault"] == "none"
    low = [each for each in seen if each["alarm.battery_low"]]
    assert low
    assert all(each["battery_level"] <= 20 for each in low)
    assert {each["buzzer"] for each in low} == {"alarm"}


def test_low_mains_are_boosted_and_too_much_load_alarms() -> None:
    low = Bench("brownout").status(after=5)
    assert low["input_voltage"] < 180
    assert low["regulation"] == "boost"
    assert low["output_voltage"] > low["input_voltage"]
    assert low["status"] == "online"
    much = Bench("overload").status(after=5)
    assert much["load_percent"] > 80
    assert much["alarm.overload"]
    assert much["load_state"] in ("alarm", "overload")


def test_a_load_warms_it() -> None:
    warm = [each["temperature"] for each in course(1800, outages="1800/900", load="300")]
    assert warm[-1] > warm[80] + 3


def test_the_same_seed_is_the_same_course_however_often_it_is_asked() -> None:
    often, seldom = Bench(outages="600/120"), Bench(outages="600/120")
    for _ in range(699):
        often.status(after=1)
    assert often.status(after=1) == seldom.status(after=700)


def test_long_pauses_are_caught_up_with_quickly() -> None:
    bench = Bench(outages="600/120")
    started = time.process_time()
    bench.status(after=10 * 86_400)
    assert time.process_time() - started < 3


@pytest.mark.parametrize("state", [LINE, BACKUP, STOP, SOFT_START])
def test_each_state_has_its_words(state: int) -> None:
    bench = Bench()
    bench.device.supply.state = state
    assert bench.status()["work_state"]


def test_a_larger_battery_has_more_cells() -> None:
    assert 24 < Bench(battery="24").status()["battery_voltage"] < 29
    supply = Supply(battery_class=24, random=Random(1))
    supply.step(mains=False)
    small = Supply(random=Random(1))
    small.step(mains=False)
    assert supply.battery_current == pytest.approx(small.battery_current / 2, rel=0.05)


# ---- its wire


RANGES = [
    (30000, 27), (30000, 1), (30000, 5), (30000, 25), (30026, 1),
    (31000, 10), (31000, 7), (31000, 4), (31016, 2),
]  # fmt: skip


@pytest.mark.parametrize(("start", "count"), RANGES)
def test_ranges_are_served(start: int, count: int) -> None:
    bench = Bench()
    reply = bench.ask(10, 3, start.to_bytes(2, "big"), count.to_bytes(2, "big"))
    assert reply[:3] == bytes((10, 3, 2 * count))
    assert framed(reply[:-2]) == reply
    assert len(reply) == 5 + 2 * count


def test_its_settings_are_as_those_of_a_real_one() -> None:
    reply = Bench().ask(bytes.fromhex("0a 03 79 18 00 07"))
    registers = [int.from_bytes(reply[at : at + 2], "big") for at in range(3, 17, 2)]
    assert registers == [0, 220, 105, 141, 136, 5, 0]


@pytest.mark.parametrize(
    ("request_hex", "reply_hex"),
    [
        ("0a 03 75 4b 00 01", "0a 83 02"),
        ("0a 03 75 30 00 1c", "0a 83 02"),
        ("0a 03 75 30 00 00", "0a 83 02"),
        ("0a 03 7d 00 00 01", "0a 83 02"),
        ("0a 04 75 30 00 01", "0a 84 01"),
        ("0a 06 79 1e 00 01", "0a 86 01"),
        ("0a 10 79 1e 00 01 02 00 01", "0a 10 79 1e 00 01"),
        ("0a 10 79 1e 00 01 02 00 02", "0a 90 03"),
        ("0a 10 79 1b 00 01 02 00 8d", "0a 10 79 1b 00 01"),
        ("0a 10 79 1b 00 01 02 00 01", "0a 90 03"),
        ("0a 10 7d 00 00 01 02 00 01", "0a 90 03"),
        ("0a 10 79 1e 00 02 02 00 01", "0a 90 03"),
    ],
)
def test_what_it_cannot_do_it_refuses(request_hex: str, reply_hex: str) -> None:
    assert Bench().ask(bytes.fromhex(request_hex)) == framed(bytes.fromhex(reply_hex))


def test_what_is_written_is_read_and_heeded() -> None:
    bench = Bench("blackout")
    assert bench.status(after=5)["buzzer"] == "sounding"
    assert bench.hear(bytes.fromhex("0a 10 79 1e 00 01 02 00 01 ff d9")) == bytes.fromhex(
        "0a 10 79 1e 00 01 79 e8"
    )
    assert bench.status()["buzzer"] == "off"


@pytest.mark.parametrize(
    "chunk",
    [
        bytes.fromhex("01 03 27 10 00 01 8f 7b"),
        bytes.fromhex("05 03 4e 21 00 01 c2 ac"),
        bytes.fromhex("06 03 4e 21 00 01 c2 9f"),
        STATUS[:-1] + b"\0",
        STATUS[:7],
        b"Q1\r",
        b"\x0a" * 500,
    ],
)
def test_to_all_else_it_is_silent_and_hears_the_next(chunk: bytes) -> None:
    bench = Bench()
    assert bench.hear(chunk) == b""
    bench.clock.now += 1
    assert len(bench.hear(STATUS)) == 59


def test_requests_come_in_pieces_or_together() -> None:
    bench = Bench()
    assert [bool(bench.hear(bytes([byte]))) for byte in STATUS] == [False] * 7 + [True]
    assert len(bench.hear(STATUS + STATUS)) == 2 * 59


def test_what_is_noted_is_what_a_whole_block_says() -> None:
    bench = Bench()
    bench.hear(STATUS)
    bench.ask(bytes.fromhex("0a 03 75 30 00 05"))
    assert len(bench.line.noted) == 1
    values, own_times = MustEp20.read_back(bench.line.noted[0])
    assert values["rated_power"] == 1000
    assert own_times == ()


@pytest.mark.parametrize(
    "settings",
    [
        {"load": "much"}, {"load": "-1"}, {"unit": "0"}, {"unit": "248"}, {"outages": "600"},
        {"outages": "60/60"}, {"outages": "1/x"}, {"delay": "nan"}, {"colour": "red"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(BadSetting):
        MustEp20(0, 0, settings, Faults(), Clock())


@pytest.mark.parametrize("kind", SPOILED)
def test_a_spoiled_reply_is_noted_only_if_it_is_still_in_there(kind: str) -> None:
    bench = Bench(kind)
    fresh = Bench().hear(STATUS)
    spoiled = bench.hear(STATUS)
    assert spoiled != fresh
    assert bool(bench.line.noted) == (fresh in spoiled) == SPOILED[kind][1]


def test_garbage_is_never_a_reply() -> None:
    bench = Bench("garbage")
    reply = Bench().hear(STATUS)
    random = Random(7)
    for _ in range(300):
        assert b"\x0a" not in bench.device.garbage(reply, random)


# ---- the real driver on the real wire


def good(readings: Iterable[Reading]) -> dict[str, Any]:
    return {reading.key: reading.value for reading in readings if reading.quality is Quality.GOOD}


async def test_the_driver_reads_what_the_ledger_says() -> None:
    noted: list[str] = []
    door_kept = behind_a_door(MustEp20, record=lambda _, text: noted.append(text), settings=STILL)
    async with door_kept as door, driven(door) as driver:
        read = [good(await driver.read()) for _ in range(3)]
        channels = {channel.key for channel in driver.channels_for({})}
    said = [MustEp20.read_back(text)[0] for text in noted]
    assert said == [
        {key: value for key, value in poll.items() if key in one}
        for poll, one in zip([read[0], read[0], read[0], read[1], read[2]], said, strict=True)
    ]
    assert set().union(*said) == channels == set().union(*read)


@pytest.mark.parametrize("kind", ["noise", "echo", "trailing", "stale", "split", "merge"])
async def test_the_driver_sees_through(kind: str) -> None:
    spoiled = behind_a_door(MustEp20, f"{kind}:from=0,to=0.2", settings=STILL)
    async with spoiled as door, driven(door, timeout=0.3) as driver:
        assert good(await driver.read())["rated_power"] == 1000


@pytest.mark.parametrize(
    "kind",
    [
        "crc",
        "short",
        "foreign",
        "function",
        "length",
        "zeros",
        "blank",
        "busy",
        "refusal",
        "pause",
        "garbage",
    ],
)
async def test_a_fault_costs_no_more_than_its_polls(kind: str) -> None:
    async with (
        behind_a_door(MustEp20, f"{kind}:from=0,to=1000", settings=STILL, clock=(clock := Clock())) as door,
        driven(door, attempts=1, **QUICK) as driver,
    ):
        with pytest.raises((ReplyError, LinkError)):
            await driver.read()
        clock.now += 2000
        await asyncio.sleep(0.01)
        if kind == "pause":
            await asyncio.sleep(must_ep20.PAUSE)  # the rest of the reply comes, and is nobody's
        assert good(await driver.read())["rated_power"] == 1000


@pytest.mark.parametrize("kind", ["hang", "close"])
async def test_a_unit_that_is_away_is_a_link_error_and_comes_back(kind: str) -> None:
    async with behind_a_door(
        MustEp20, f"{kind}:from=0,to=1000", settings=STILL, clock=(clock := Clock())
    ) as door:
        async with driven(door, attempts=1, **QUICK) as driver:
            with pytest.raises((LinkError, ReplyError)):
                await driver.read()
        clock.now += 2000
        await asyncio.sleep(0.01)
        async with driven(door) as driver:
            assert good(await driver.read())["rated_power"] == 1000


async def test_unplugged_it_is_gone_and_comes_back_at_the_same_path(tmp_path: Path) -> None:
    path = tmp_path / "by-id" / "usb-1a86_USB_Serial-if00-port0"
    async with behind_a_door(MustEp20, where=str(path), settings=STILL) as door:
        assert door.address == f"serial://{path}"
        async with driven(door) as driver:
            await driver.read()
            before = path.readlink()
            reserved = os.openpty()
            door.simulator.is_plugged = False
            door.look()
            assert not path.is_symlink()
            with pytest.raises(LinkError, match=r"unplugged|no such port"):
                await driver.read()
        with pytest.raises(LinkError, match="no such port"):
            await links.connect(links.check(door.address), 1.0)
        door.simulator.is_plugged = True
        door.look()
        assert path.is_symlink()
        async with driven(door) as driver:
            assert good(await driver.read())["rated_power"] == 1000
        for end in reserved:
            os.close(end)
        assert before
    assert not path.is_symlink()


async def test_what_is_in_the_way_is_not_overwritten_but_a_dead_ones_link_is(tmp_path: Path) -> None:
    path = tmp_path / "port"
    path.write_text("mine")
    with pytest.raises(OSError, match="something else at this path"):
        PtyDoor.at(MustEp20(0, 0, STILL, Faults(), Clock()), str(path), 0, None)
    await asyncio.sleep(0)
    assert path.read_text() == "mine"
    path.unlink()
    path.symlink_to("/dev/pts/99999")
    async with behind_a_door(MustEp20, where=str(path), settings=STILL) as door, driven(door) as driver:
        assert good(await driver.read())["rated_power"] == 1000


async def test_at_another_speed_it_understands_nothing() -> None:
    async with behind_a_door(MustEp20, settings={**STILL, "baudrate": "2400"}) as door:
        assert door.address.endswith("?baudrate=2400")
        async with driven(door) as driver:
            assert good(await driver.read())["rated_power"] == 1000
        link = await links.connect(links.check(door.address.replace("2400", "9600")), 1.0)
        driver_class = type(driver)
        with pytest.raises(LinkError, match="does not answer"):
            await driver_class(link, {"attempts": 1, **QUICK}).read()
        await link.close()


async def test_several_have_a_path_each(tmp_path: Path) -> None:
    where = str(tmp_path / "ups")
    doors = [PtyDoor.at(MustEp20(n, 0, STILL, Faults(), Clock()), where, n, None) for n in range(2)]
    assert [door.port.name for door in doors] == ["ups", "ups-1"]
    for door in doors:
        await door.close()
    assert not any(door.port.is_symlink() for door in doors)


async def test_another_library_reads_and_writes_it() -> None:
    """pymodbus, which knows nothing of ours."""

    def visit(port: str) -> tuple[list[int], bool, list[int], int]:
        client = ModbusSerialClient(port, baudrate=9600, timeout=5)
        client.connect()
        try:
            status = client.read_holding_registers(30000, count=27, device_id=10).registers
            written = not client.write_registers(31006, [1], device_id=10).isError()
            settings = client.read_holding_registers(31000, count=10, device_id=10).registers
            refused = client.write_register(31006, 0, device_id=10).exception_code
        finally:
            client.close()  # type: ignore[no-untyped-call]
        return list(status), written, list(settings), refused

    async with behind_a_door(MustEp20, settings={**STILL, "delay": "0.01"}) as door:
        status, written, settings, refused = await asyncio.to_thread(visit, links.check(door.address).path)
    assert status[2:5] == [LINE, 12, 1000]
    assert written
    assert settings[:7] == [0, 220, 105, 141, 136, 5, 1]
    assert refused == 1


async def test_a_person_reads_it_by_pyserial(caplog: pytest.LogCaptureFixture) -> None:
    """pyserial by itself, as a person would try it; what goes over the wire can be followed in the log."""
    caplog.set_level(logging.DEBUG, must_ep20.__name__)

    def ask(port: str) -> bytes:
        with serial.Serial(port, 9600, timeout=5) as device:
            device.write(STATUS)
            return bytes(device.read(59))

    async with behind_a_door(MustEp20, settings={**STILL, "delay": "0.02"}) as door:
        reply = await asyncio.to_thread(ask, links.check(door.address).path)
    assert framed(reply[:-2]) == reply
    assert "0a 03 75 30 00 1b 1e b9 -> 0a 03 36" in caplog.text
