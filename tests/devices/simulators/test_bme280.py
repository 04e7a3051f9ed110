"""The simulated BME280: its registers by its protocol notes (§1, §2, §8), wire, ledger and room."""

import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, strategies as st

from devices.drivers.bme280_math import NOTHING, Calibration, Climate, Raw, climate
from devices.errors import LinkError, ReplyError
from devices.readings import Quality
from devices.simulators.base import BadSetting
from devices.simulators.bme280 import Bme280
from devices.simulators.bme280_chip import CALIBRATIONS, Chip, counts
from devices.simulators.bme280_room import Room
from devices.simulators.faults import Fault, Faults
from tests.devices.simulators.served import Clock, behind_a_door, driven

AIR = Climate(22.5, 1013.25, 45.0)
EMPTY = "8000008000008000"
TICK = 1e-6


class Bench:
    """A chip with a clock to turn."""

    def __init__(self, calibration: bytes = CALIBRATIONS[0], air: Climate = AIR) -> None:
        self.clock = Clock()
        self.air = air
        self.chip = Chip(calibration, lambda _at: self.air, self.clock, Random(1))
        self.clock.now += 0.01

    def read(self, first: int, count: int = 1) -> str:
        return self.chip.read(first, count).hex()

    def write(self, pairs: str) -> None:
        self.chip.write(bytes.fromhex(pairs))

    def measures(self) -> Climate:
        return climate(self.chip.calibration, Raw.parse(self.chip.read(0xF7, 8)))


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---- registers


def test_how_a_chip_is_left_by_its_reset(bench: Bench) -> None:
    assert bench.read(0xD0) == "60"
    assert bench.read(0xF2, 4) == "00000000"
    assert bench.read(0xF7, 8) == EMPTY
    assert bench.read(0xE0) == "00"
    assert bench.read(0x88, 24) + bench.read(0xA1) + bench.read(0xE1, 7) == CALIBRATIONS[0].hex()


def test_a_reset_takes_two_milliseconds_and_all_settings(bench: Bench) -> None:
    bench.write("f201f425f5a0")
    bench.clock.now += 0.02
    assert bench.read(0xF7, 8) != EMPTY
    bench.write("e0b5")
    assert bench.read(0xF2) == "01"
    bench.write("e0b6")
    assert bench.read(0xF2, 4) == "00010000"
    assert bench.read(0xF7, 8) == EMPTY
    bench.clock.now += 0.0019
    assert bench.read(0xF3) == "01"
    bench.clock.now += 0.0002
    assert bench.read(0xF3) == "00"


@pytest.mark.parametrize(
    ("pairs", "milliseconds"),
    [("f201f425", 8.0), ("f200f42d", 11.5), ("f205f4b5", 98.0), ("f200f421", 3.0), ("f207f4fd", 98.0)],
    ids=["all once", "of the datasheet", "all most often", "temperature alone", "other words for 16"],
)
def test_a_measurement_takes_its_time(bench: Bench, pairs: str, milliseconds: float) -> None:
    bench.write(pairs)
    assert bench.read(0xF3) == "08"
    bench.clock.now += milliseconds / 1000 - TICK
    assert bench.read(0xF3) == "08"
    assert bench.read(0xF7, 8) == EMPTY
    bench.clock.now += 2 * TICK
    assert bench.read(0xF3) == "00"
    assert bench.read(0xF7, 8) != EMPTY
    assert int(bench.read(0xF4), 16) & 3 == 0


@pytest.mark.parametrize("word", ["25", "26"], ids=["01", "10"])
def test_forced_mode_has_two_names_and_measures_once(bench: Bench, word: str) -> None:
    bench.write(f"f201f4{word}")
    bench.clock.now += 0.02
    once = bench.read(0xF7, 8)
    bench.clock.now += 10
    assert bench.read(0xF7, 8) == once
    assert bench.read(0xF4) == "24"


def test_what_is_set_for_humidity_waits_for_the_other_word(bench: Bench) -> None:
    bench.write("f425")
    bench.clock.now += 0.02
    assert bench.read(0xFD, 2) == "8000"
    bench.write("f201")
    bench.write("f425")
    bench.clock.now += 0.02
    assert bench.read(0xFD, 2) != "8000"


@pytest.mark.parametrize(
    ("pairs", "first", "count", "left"),
    [("f201f405", 0xFA, 3, "800000"), ("f201f421", 0xF7, 3, "800000"), ("f200f425", 0xFD, 2, "8000")],
    ids=["temperature", "pressure", "humidity"],
)
def test_what_is_skipped_stays_as_the_reset_left_it(
    bench: Bench, pairs: str, first: int, count: int, left: str
) -> None:
    bench.write(pairs)
    bench.clock.now += 0.02
    assert bench.read(first, count) == left
    assert bench.read(0xF7, 8) != EMPTY


def test_a_change_of_mode_waits_for_the_measurement(bench: Bench) -> None:
    bench.write("f201f425")
    bench.write("f427f203")
    assert bench.read(0xF4) == "25"
    bench.clock.now += 0.008 + TICK
    assert bench.read(0xF4) == "27"
    assert bench.read(0xF2) == "01"


def test_normal_mode_goes_on(bench: Bench) -> None:
    bench.write("f540f201f427")  # 125 ms between measurements
    bench.clock.now += 0.0081
    seen = {bench.read(0xF7, 8)}
    bench.clock.now += 0.120
    assert bench.read(0xF7, 8) in seen
    for _ in range(8):
        bench.clock.now += 0.133
        seen.add(bench.read(0xF7, 8))
    assert len(seen) > 5
    bench.air = Climate(30.0, 1000.0, 30.0)
    bench.clock.now += 86_400
    assert bench.measures().temperature == pytest.approx(30, abs=0.02)


def test_the_filter_is_not_written_in_normal_mode(bench: Bench) -> None:
    bench.write("f427f510")
    assert bench.read(0xF5) == "00"


def test_the_filter_smooths_temperature_and_pressure(bench: Bench) -> None:
    bench.write("f510f201")  # over 16
    temperatures = []
    for air in [AIR] + [Climate(32.5, 1013.25, 45.0)] * 40:
        bench.air = air
        bench.write("f425")
        bench.clock.now += 0.01
        temperatures.append(bench.measures().temperature)
    assert temperatures[0] == pytest.approx(22.5, abs=0.02)
    assert temperatures[1] == pytest.approx(22.5 + 10 / 16, abs=0.1)
    assert all(one < other for one, other in pairwise(temperatures))
    assert 30 < temperatures[-1] < 32.5


@pytest.mark.parametrize("register", [0x88, 0xA1, 0xD0, 0xE1, 0xF3, 0xF7, 0xFE])
def test_what_is_only_to_be_read_is_not_written(bench: Bench, register: int) -> None:
    before = bench.read(register)
    bench.write(f"{register:02x}5a")
    assert bench.read(register) == before


def test_reading_goes_on_where_it_left_off(bench: Bench) -> None:
    bench.write("d0")
    assert bench.chip.read_on(1) == b"\x60"
    bench.read(0x88, 2)
    assert bench.chip.read_on(2) == CALIBRATIONS[0][2:4]


@given(st.binary(max_size=40), st.integers(0, 255), st.integers(1, 32))
def test_whatever_is_written_it_lives(chunk: bytes, first: int, count: int) -> None:
    bench = Bench()
    for _ in range(3):
        bench.chip.write(chunk)
        bench.clock.now += 0.5
        assert len(bench.chip.read(first, count)) == count
    assert bench.read(0xD0) == "60"


# ---- from the air to counts and back


@given(st.sampled_from(CALIBRATIONS), st.floats(-40, 85), st.floats(300, 1100), st.floats(5, 95))
def test_counts_are_those_of_the_air(
    image: bytes, temperature: float, pressure: float, humidity: float
) -> None:
    calibration = Calibration.parse(image[:24], image[24:25], image[25:])
    back = climate(calibration, counts(calibration, Climate(temperature, pressure, humidity)))
    assert back.temperature == pytest.approx(temperature, abs=0.001)
    assert back.pressure == pytest.approx(pressure, abs=0.01)
    assert back.humidity == pytest.approx(humidity, abs=0.02)


@given(st.sampled_from(CALIBRATIONS), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_no_air_is_too_odd(image: bytes, temperature: float, pressure: float, humidity: float) -> None:
    calibration = Calibration.parse(image[:24], image[24:25], image[25:])
    raw = counts(calibration, Climate(temperature, pressure, humidity))
    assert 0 <= raw.temperature <= 0xFFFFF
    assert 0 <= raw.pressure <= 0xFFFFF
    assert 0 <= raw.humidity <= 0xFFFF


# ---- the room


def test_the_same_seed_is_the_same_room() -> None:
    one, same, other = Room("1 0"), Room("1 0"), Room("2 0")
    times = [0, 1, 60, 600, 3600, 86_400]
    assert [one.at(t) for t in times] == [same.at(t) for t in times]
    assert one.at(86_500) != other.at(86_500)


@pytest.mark.parametrize("seed", range(5))
def test_a_day_in_the_room(seed: int) -> None:
    room = Room(seed)
    day = [room.at(60 * minute) for minute in range(24 * 60)]
    temperatures = [each.temperature for each in day]
    assert 14 < min(temperatures) < 21
    assert 21 < max(temperatures) < 26
    assert all(20 < each.humidity < 75 for each in day)
    assert all(985 < (each.pressure or 0) < 1030 for each in day)
    pressures = [each.pressure or 0 for each in day]
    assert max(abs(one - other) for one, other in pairwise(pressures)) < 0.2
    assert max(pressures) - min(pressures) > 1


def test_a_window_is_opened_within_minutes() -> None:
    room = Room("0 0")
    start = room.at(0)
    quarter = [room.at(10 * n) for n in range(90)]
    assert min(each.temperature for each in quarter) < start.temperature - 0.5
    steps = [abs(one.temperature - other.temperature) for one, other in pairwise(quarter)]
    assert max(steps) < 0.3  # but air is no switch


# ---- on the wire of the demo lab


@pytest.mark.parametrize("number", [0, 1])
async def test_the_ledger_has_what_the_driver_made_of_it(number: int) -> None:
    noted: list[str] = []
    async with (
        behind_a_door(Bme280, number=number, record=lambda _n, text: noted.append(text)) as door,
        driven(door) as driver,
    ):
        assert door.address.startswith("i2c+tcp://127.0.0.1:")
        for _ in range(3):
            readings = await driver.read()
            values, times = Bme280.read_back(noted[-1])
            assert values == {reading.key: reading.value for reading in readings}
            assert times == ()
        assert len(noted) == 3


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        ("read 76 d0 1", "ok 60"),
        ("write 76 f201f425", "ok"),
        ("read 77 d0 1", "error 121"),
        ("read 76 d0 0", "error 22"),
        ("read 76 d0 33", "error 22"),
        ("read 76 d0", "error 22"),
        ("write 76 f2", "error 22"),
        ("write 76", "error 22"),
        ("WRITE 76 f201", "error 22"),
        ("", "error 22"),
        ("\xff", "error 22"),
    ],
)
def test_the_line_protocol(request_line: str, answer: str) -> None:
    assert conversation(request_line.encode("latin-1") + b"\n") == [answer]


def test_lines_come_in_any_pieces() -> None:
    assert conversation(b"read 76 ", b"d0 1\nread 7", b"6 f3 1\n") == ["ok 60", "ok 00"]


def test_a_line_without_an_end_is_not_kept() -> None:
    assert conversation(b"x" * 300) == ["reset"]


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_whatever_is_sent_it_answers_in_lines(chunks: list[bytes]) -> None:
    said = conversation(*chunks)
    assert all(line.startswith(("ok", "error ")) or line == "reset" for line in said)


def conversation(*chunks: bytes) -> list[str]:
    """What a sensor says to these pieces."""

    class Ear:
        def __init__(self) -> None:
            self.said: list[str] = []

        def answer(self, chunk: bytes, *, reading: bool | str = False) -> None:
            assert chunk.endswith(b"\n")
            self.said.append(chunk[:-1].decode())

        def close(self) -> None:
            self.said.append("closed")

        def reset(self) -> None:
            self.said.append("reset")

    clock = Clock()
    sensor = Bme280(0, 0, {}, Faults(), clock)
    clock.now += 1
    session = sensor.session(ear := Ear())
    for chunk in chunks:
        session.hear(chunk)
    session.end()
    return ear.said


@pytest.mark.parametrize(
    "fault",
    ["hang", "close", "garbage", "nack", "stuck_bus", "gone", "wrong_id", "calibration", "blank", "stuck"],
)
async def test_a_fault_for_good_is_the_drivers_own_error(fault: str) -> None:
    async with behind_a_door(Bme280, fault) as door:
        with pytest.raises((LinkError, ReplyError)):
            async with driven(door, deadline=0.3) as driver:
                await driver.read()


@pytest.mark.parametrize("fault", ["slow:delay=0.02", "split", "merge", "frozen", "busy:p=0.2", "nack:p=0.1"])
async def test_a_fault_that_can_be_borne_is(fault: str) -> None:
    async with behind_a_door(Bme280, fault, seed=3) as door, driven(door) as driver:
        assert {reading.quality for reading in await driver.read()} == {Quality.GOOD}


async def test_noted_is_only_what_the_driver_takes() -> None:
    noted: list[str] = []
    async with behind_a_door(
        Bme280, "blank:p=0.2", "reset:p=0.1", "garbage:p=0.1", record=lambda _n, text: noted.append(text)
    ) as door:
        got = 0
        while got < 5:
            try:
                async with driven(door) as driver:
                    readings = await driver.read()
            except (LinkError, ReplyError):
                continue
            got += 1
            values, _ = Bme280.read_back(noted[-1])
            assert values == {reading.key: reading.value for reading in readings}
            assert len(noted) == got


@pytest.mark.parametrize("setting", [{"place": "0x78"}, {"chip": "C"}, {"air": "thick"}, {"colour": "red"}])
def test_a_setting_that_cannot_be_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(BadSetting):
        Bme280(0, 0, setting, Faults(), time.monotonic)


def test_faults_hold_when_they_are_told_to() -> None:
    clock = Clock()
    fault = Fault.parse("nack:from=10,to=20", Bme280.faults_of_its_own)
    sensor = Bme280(0, 0, {}, Faults([fault]), clock)
    assert sensor.read(0x76, 0xD0, 1) == b"\x60"
    clock.now += 15
    with pytest.raises(OSError, match="nack"):
        sensor.read(0x76, 0xD0, 1)
    clock.now += 10
    assert sensor.read(0x76, 0xD0, 1) == b"\x60"


def test_nothing_is_what_a_reset_leaves() -> None:
    assert Raw.parse(bytes.fromhex(EMPTY)) == NOTHING
