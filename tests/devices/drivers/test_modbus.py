"""The Modbus driver: what registers mean, how they are read together, and what a refusal costs."""

import math
import struct
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices.drivers import modbus_values
from devices.drivers.modbus import BITS_PER_REGISTER, Block, Modbus, Register, blocks
from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Address
from devices.links.modbus import BITS, ModbusLink, ModbusRefusal
from devices.readings import Event, Quality, Reading, Said
from devices.simulators import modbus as simulated
from tests.devices.simulators.served import behind_a_door, driven


class Device(ModbusLink):
    """Registers and bits by table and address; what is not there is refused."""

    def __init__(self, **tables: dict[int, int]) -> None:
        super().__init__(Address.parse("modbus+tcp://scripted:502"), 1.0)
        self.tables = tables
        self.asked: list[tuple[str, int, int]] = []
        self.refuses: int | None = None
        self.dies_at = 10_000

    async def read(self, table: str, address: int, count: int) -> list[int]:
        self.asked.append((table, address, count))
        if len(self.asked) > self.dies_at:
            raise LinkError("no answer within 1 s")
        if self.refuses:
            raise ModbusRefusal(self.refuses)
        if any(at not in self.tables.get(table, {}) for at in range(address, address + count)):
            raise ModbusRefusal(2)
        return [self.tables[table][at] for at in range(address, address + count)]


def driver(device: Device, *channels: dict[str, Any], **options: Any) -> tuple[Modbus, list[Said]]:
    made = Modbus(device, {"channels": list(channels), **options})
    said: list[Said] = []

    def tell(some: Iterable[Said]) -> None:
        said.extend(some)

    made.tell = tell
    return made, said


def registers(start: int, content: bytes) -> dict[int, int]:
    return dict(enumerate(struct.unpack(f">{len(content) // 2}H", content), start=start))


# ---- what they mean


@pytest.mark.parametrize(
    ("channel", "content", "value"),
    [
        ({}, "ffff", 65_535),
        ({"type": "int16"}, "ffff", -1),
        ({"type": "int16", "scale": 0.1, "offset": 5}, "ff9c", -5.0),
        ({"type": "uint32"}, "00010002", 65_538),
        ({"type": "int32"}, "fffffffe", -2),
        ({"type": "uint32", "word_order": "little"}, "00020001", 65_538),
        ({"type": "uint32", "byte_order": "little"}, "01000200", 65_538),
        ({"type": "uint32", "byte_order": "little", "word_order": "little"}, "02000100", 65_538),
        ({"type": "float32"}, "41ac0000", 21.5),
        ({"type": "float32", "word_order": "little"}, "000041ac", 21.5),
        ({"type": "float32"}, "7fc00000", None),
        ({"type": "float32"}, "7f800000", None),
        ({"type": "float64"}, struct.pack(">d", -1e300).hex(), -1e300),
        ({"type": "float64", "scale": 1e10}, struct.pack(">d", 1e300).hex(), None),
        ({"type": "int64"}, struct.pack(">q", -(2**53)).hex(), -(2**53)),
        ({"type": "int64"}, struct.pack(">q", 2**53 + 1).hex(), None),
        ({"type": "uint64"}, "ffffffffffffffff", None),
        ({"type": "bool"}, "0000", False),
        ({"type": "bool"}, "0100", True),
        ({"bit": 0}, "0001", True),
        ({"bit": 15}, "7fff", False),
        ({"bit": 16, "type": "uint32"}, "00010000", True),
        ({"bit": 16, "type": "uint32", "word_order": "little"}, "00000001", True),
        ({"type": "string(5)"}, "414200430000", "AB"),
        ({"type": "string(3)"}, "41424344", "ABC"),
        ({"type": "string(4)", "byte_order": "little"}, "42414443", "ABCD"),
        ({"type": "string(2)"}, "41ff", "A\N{REPLACEMENT CHARACTER}"),
        ({"enum": {"0": "off", "1": "on"}}, "0001", "on"),
        ({"type": "int16", "enum": {"-1": "fault"}}, "ffff", "fault"),
        ({"none": 32_768}, "8000", None),
        ({"type": "int16", "none": -32_768, "scale": 0.1}, "8000", None),
    ],
)
async def test_registers_mean_what_is_declared(channel: dict[str, Any], content: str, value: Any) -> None:
    made, _ = driver(
        Device(holding=registers(7, bytes.fromhex(content))), {"key": "a", "address": 7, **channel}
    )
    (reading,) = await made.read()
    assert reading == Reading("a", value, Quality.BAD if value is None else Quality.GOOD)
    kind = Modbus.channels_for(made.settings)[0].kind
    assert value is None or {"float": float, "int": int, "bool": bool, "text": str}[kind] is type(value)


async def test_a_number_without_a_word_is_uncertain() -> None:
    made, _ = driver(Device(holding={0: 9}), {"key": "a", "address": 0, "enum": {"0": "off"}})
    assert await made.read() == [Reading("a", "9", Quality.UNCERTAIN)]


async def test_the_device_has_orders_and_a_channel_may_have_its_own() -> None:
    own = {"key": "own", "address": 2, "type": "uint32", "word_order": "big"}
    made, _ = driver(
        Device(holding={0: 2, 1: 1, 2: 1, 3: 2}),
        {"key": "of_all", "address": 0, "type": "uint32"},
        own,
        word_order="little",
    )
    assert {reading.key: reading.value for reading in await made.read()} == {"of_all": 65_538, "own": 65_538}


async def test_bits_have_tables_of_their_own() -> None:
    made, _ = driver(
        Device(coil={3: 1}, discrete={3: 0}),
        {"key": "c", "table": "coil", "address": 3},
        {"key": "d", "table": "discrete", "address": 3},
    )
    assert await made.read() == [Reading("c", True), Reading("d", False)]


# ---- what is read together


async def test_neighbours_are_read_together() -> None:
    device = Device(holding=dict.fromkeys(range(50), 1), coil=dict.fromkeys(range(9), 1))
    made, _ = driver(
        device,
        {"key": "c", "address": 4, "type": "float32"},
        {"key": "a", "address": 0, "type": "uint32"},
        {"key": "b", "address": 2, "type": "uint32"},
        {"key": "again", "address": 1},
        {"key": "far", "address": 40},
        {"key": "bit", "table": "coil", "address": 8},
    )
    assert len(await made.read()) == 6
    assert sorted(device.asked) == [("coil", 8, 1), ("holding", 0, 6), ("holding", 40, 1)]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, [(0, 125), (125, 75)]),
        ({"block": 100}, [(0, 100), (100, 100)]),
    ],
)
async def test_a_question_asks_for_no_more_than_is_allowed(
    options: dict[str, int], asked: list[tuple[int, int]]
) -> None:
    device = Device(holding=dict.fromkeys(range(200), 1))
    made, _ = driver(device, *({"key": f"r{n}", "address": n} for n in range(200)), **options)
    assert len(await made.read()) == 200
    assert [(start, count) for _, start, count in device.asked] == asked


async def test_a_gap_may_be_read_along() -> None:
    device = Device(holding=dict.fromkeys(range(20), 1))
    made, _ = driver(device, {"key": "a", "address": 0}, {"key": "b", "address": 6}, gap=5)
    await made.read()
    assert device.asked == [("holding", 0, 7)]


declared = st.builds(
    lambda table, address, kind: Register(
        key="k", table=table, address=min(address, 65_536 - (4 if kind != "string(50)" else 25)), type=kind
    ),
    st.sampled_from(["holding", "input", "coil", "discrete"]),
    st.integers(0, 400) | st.integers(65_000, 65_535),
    st.sampled_from(["int16", "uint32", "float64", "string(50)"]),
)


@given(st.lists(declared, max_size=60), st.integers(25, 125), st.integers(0, 100), st.booleans())
def test_blocks_hold_each_register_whole_and_no_more_than_allowed(
    wanted: list[Register], most: int, gap: int, apart: bool
) -> None:
    made = blocks(wanted, most, gap, apart=apart)
    assert sum(len(block.registers) for block in made) == len(wanted)
    for block in made:
        assert 1 <= block.size <= (most * BITS_PER_REGISTER if block.table in BITS else most)
        for register in block.registers:
            assert register.table == block.table
            assert block.start <= register.address
            assert register.address + register.size <= block.start + block.size


# ---- what is refused


async def test_a_register_that_is_not_there_costs_no_neighbour() -> None:
    device = Device(holding={0: 1, 1: 1, 3: 1, 4: 1})
    made, said = driver(device, *({"key": f"r{n}", "address": n} for n in range(5)))
    for _ in range(3):
        readings = {reading.key: reading for reading in await made.read()}
        assert readings.pop("r2") == Reading("r2", None, Quality.BAD)
        assert all(reading.value == 1 for reading in readings.values())
    assert said == [Event("modbus_refused", "the device refuses holding 2: illegal data address")]
    device.asked.clear()
    await made.read()
    assert sorted(device.asked) == [("holding", 0, 2), ("holding", 2, 1), ("holding", 3, 2)]


async def test_a_device_that_takes_no_neighbours_is_asked_one_by_one() -> None:
    class Picky(Device):
        async def read(self, table: str, address: int, count: int) -> list[int]:
            self.asked.append((table, address, count))
            if count > 1:
                raise ModbusRefusal(3)
            return [7]

    device = Picky()
    made, said = driver(device, *({"key": f"r{n}", "address": n} for n in range(3)))
    for _ in range(4):
        assert [reading.value for reading in await made.read()] == [7, 7, 7]
    assert said == []
    device.asked.clear()
    await made.read()
    assert len(device.asked) == 3


async def test_several_channels_of_one_register_stay_together() -> None:
    device = Device(holding={0: 5})
    made, _ = driver(
        device, *({"key": f"b{n}", "address": 0, "bit": n} for n in range(3)), {"key": "gone", "address": 1}
    )
    readings = {reading.key: reading.value for reading in await made.read()}
    assert readings == {"b0": True, "b1": False, "b2": True, "gone": None}
    device.asked.clear()
    await made.read()
    assert device.asked == [("holding", 0, 1), ("holding", 1, 1)]


async def test_a_device_that_is_busy_is_asked_as_before() -> None:
    device = Device(holding={0: 1, 1: 1}, input={0: 1})
    made, said = driver(
        device,
        {"key": "a", "address": 0},
        {"key": "b", "address": 1},
        {"key": "c", "table": "input", "address": 0},
    )
    device.refuses = 6
    for _ in range(2):
        with pytest.raises(ReplyError, match=r"refuses all that is asked: .*device busy"):
            await made.read()
    device.refuses = None
    device.asked.clear()
    assert all(reading.quality is Quality.GOOD for reading in await made.read())
    assert device.asked == [("holding", 0, 2), ("input", 0, 1)]
    assert len(said) == 2  # told once for each block


async def test_what_was_answered_before_the_link_broke_is_told() -> None:
    device = Device(holding={0: 1, 10: 2})
    made, said = driver(device, {"key": "a", "address": 0}, {"key": "b", "address": 10})
    device.dies_at = 1
    with pytest.raises(LinkError):
        await made.read()
    assert said == [Reading("a", 1)]


orders = st.sampled_from(["big", "little"])
types = st.sampled_from([*modbus_values.FORMATS, "bool", "string(8)"])


@given(st.binary(min_size=8, max_size=8), types, orders, orders, st.floats(allow_nan=False))
async def test_no_content_makes_a_wrong_reading(
    content: bytes, kind: str, byte_order: str, word_order: str, scale: float
) -> None:
    row = {"key": "a", "address": 0, "type": kind, "byte_order": byte_order, "word_order": word_order}
    if math.isfinite(scale):
        row["scale"] = scale
    made, _ = driver(Device(holding=registers(0, content)), row)
    (reading,) = await made.read()
    assert (reading.value is None) == (reading.quality is Quality.BAD)
    if isinstance(reading.value, float):
        assert math.isfinite(reading.value)
    if isinstance(reading.value, int):
        assert abs(reading.value) <= 2**53


def test_a_block_is_named_by_what_it_asks() -> None:
    assert str(Block("input", 5, 1, ())) == "input 5"
    assert str(Block("coil", 5, 3, ())) == "coil 5 to 7"


# ---- its options


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        ({"address": 40_001.5}, "Expected int"),
        ({"address": 65_536}, "from 0 to 65535"),
        ({"address": -1}, "from 0 to 65535"),
        ({"address": 65_535, "type": "uint32"}, "beyond 65535"),
        ({"address": 0, "type": "int8"}, "none of int16, uint16"),
        ({"address": 0, "type": "string(251)"}, "from 1 to 250"),
        ({"address": 0, "type": "string(0)"}, "from 1 to 250"),
        ({"address": 0, "table": "register"}, "Invalid enum value 'register'"),
        ({"address": 0, "bit": 16}, "from 0 .the least. to 15"),
        ({"address": 0, "bit": 0, "type": "float32"}, "whole numbers"),
        ({"address": 0, "bit": 0, "table": "coil"}, "whole numbers"),
        ({"address": 0, "enum": {"0": "off"}, "type": "float32"}, "whole numbers"),
        ({"address": 0, "enum": {"off": "0"}}, "whole numbers, as texts"),
        ({"address": 0, "kind": "float"}, "unknown key 'kind'"),
        ({}, "address is missing"),
    ],
)
def test_channels_that_cannot_be_are_refused(channel: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Modbus.checked_options({"channels": [{"key": "a", **channel}]})


def test_a_value_longer_than_a_block_is_refused() -> None:
    options = {"channels": [{"key": "a", "address": 0, "type": "float64"}], "block": 3}
    with pytest.raises(ConfigurationError, match="a alone takes 4 registers"):
        Modbus.checked_options(options)


# ---- with its simulator

CHAMBER = [
    {"key": "temperature", "table": "input", "address": 0, "type": "int16", "scale": 0.1},
    {"key": "humidity", "table": "input", "address": 1, "scale": 0.1},
    {"key": "power", "table": "input", "address": 2, "type": "float32"},
    {"key": "energy", "table": "input", "address": 4, "type": "uint32", "word_order": "little"},
    {"key": "mode", "table": "input", "address": 6, "enum": dict(zip("0123", simulated.MODES, strict=True))},
    {"key": "in_range", "table": "input", "address": 7, "bit": 0},
    {"key": "too_hot", "table": "input", "address": 7, "bit": 3},
    {"key": "setpoint", "address": 0, "type": "float32"},
    {"key": "serial", "address": 10, "type": "string(8)"},
    {"key": "uptime", "address": 20, "type": "float64"},
    {"key": "heater", "table": "coil", "address": 0},
    {"key": "fan", "table": "coil", "address": 1},
    {"key": "door", "table": "discrete", "address": 0},
]


@pytest.mark.parametrize(
    "settings",
    [{"wire": "tcp"}, {"wire": "rtu"}, {"wire": "rtu", "echo": "on"}, {"wire": "serial", "echo": "on"}],
    ids=["tcp", "rtu", "rtu with echo", "serial"],
)
async def test_what_the_simulated_chamber_said_is_what_is_read(settings: dict[str, str]) -> None:
    noted: dict[str, Any] = {}

    def record(_: int, text: str) -> None:
        noted.update(simulated.Modbus.read_back(text)[0])

    async with (
        behind_a_door(simulated.Modbus, settings={**settings, "unit": "17"}, record=record) as door,
        driven(door, channels=CHAMBER, unit=17) as made,
    ):
        readings = await made.read()
    assert {reading.key: reading.value for reading in readings} == noted
    assert len(noted) == len(CHAMBER)


@pytest.mark.parametrize("wire", ["tcp", "rtu"])
@pytest.mark.parametrize("fault", ["garbage", "hang", "close", "mute"])
async def test_faults_of_the_wire_end_the_link(fault: str, wire: str) -> None:
    async with (
        behind_a_door(simulated.Modbus, fault, settings={"wire": wire}) as door,
        driven(door, channels=CHAMBER, timeout=0.1, retries=0) as made,
    ):
        with pytest.raises(LinkError):
            await made.read()


@pytest.mark.parametrize("fault", ["split", "merge", "slow:delay=0.02"])
@pytest.mark.parametrize("wire", ["tcp", "rtu"])
async def test_faults_that_delay_cost_nothing(fault: str, wire: str) -> None:
    async with (
        behind_a_door(simulated.Modbus, fault, settings={"wire": wire}) as door,
        driven(door, channels=CHAMBER) as made,
    ):
        assert all(reading.quality is Quality.GOOD for reading in await made.read())


async def test_a_missing_register_of_the_chamber() -> None:
    async with behind_a_door(simulated.Modbus, "missing") as door, driven(door, channels=CHAMBER) as made:
        bad = {reading.key for reading in await made.read() if reading.quality is Quality.BAD}
    assert bad == {"mode"}


async def test_a_busy_chamber() -> None:
    async with behind_a_door(simulated.Modbus, "busy") as door, driven(door, channels=CHAMBER) as made:
        with pytest.raises(ReplyError, match="device busy"):
            await made.read()
