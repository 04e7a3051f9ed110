"""The BME280 driver against the register model, without a wire; vectors and rules of its protocol notes."""

import asyncio
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from devices.drivers import bme280
from devices.drivers.bme280 import Bme280, duration
from devices.drivers.bme280_math import Climate, Raw
from devices.errors import ConfigurationError, DriverError, LinkError, ReplyError
from devices.links.base import Address
from devices.links.registers import RegisterLink
from devices.readings import Quality, Reading
from devices.simulators import bme280 as simulated
from devices.simulators.bme280_chip import CALIBRATIONS
from devices.simulators.faults import Fault, Faults

CALIBRATION = CALIBRATIONS[0]
USUAL = ["temperature", "humidity", "pressure", "dew_point", "temperature_f", "altitude"]


def sensor(*faults: str, number: int = 0, **more: str) -> simulated.Bme280:
    """One in air that stands still, if not told otherwise."""
    parsed = Faults([Fault.parse(text, simulated.Bme280.faults_of_its_own) for text in faults])
    return simulated.Bme280(number, 0, {"air": "still", **more}, parsed, time.monotonic)


class Direct(RegisterLink):
    """Straight to the register model; notes what is asked and when."""

    def __init__(self, chips: simulated.Bme280, url: str = "i2c://1/0x76") -> None:
        super().__init__(Address.parse(url), 2.0)
        self.chips = chips
        self.log: list[tuple[str, float]] = []

    async def _read(self, chip: int, first: int, count: int) -> bytes:
        self.log.append((f"read {first:02x} {count}", time.monotonic()))
        return self.chips.read(chip, first, count)

    async def _write(self, chip: int, pairs: bytes) -> None:
        self.log.append((f"write {pairs.hex()}", time.monotonic()))
        self.chips.write(chip, pairs)


def driver_of(chips: simulated.Bme280, **options: Any) -> tuple[Bme280, Direct]:
    link = Direct(chips)
    return Bme280(link, options), link


async def opened(chips: simulated.Bme280, **options: Any) -> Bme280:
    driver, _ = driver_of(chips, **options)
    await driver.open()
    return driver


def by_key(readings: Iterable[Reading]) -> dict[str, Any]:
    return {reading.key: reading.value for reading in readings}


def qualities(readings: Iterable[Reading]) -> dict[str, Quality]:
    return {reading.key: reading.quality for reading in readings}


# ---- what it reads


async def test_a_poll_has_all_its_channels() -> None:
    driver = await opened(sensor())
    readings = await driver.read()
    assert [reading.key for reading in readings] == USUAL
    assert {channel.key for channel in Bme280.channels} == set(USUAL)
    assert set(qualities(readings).values()) == {Quality.GOOD}


@pytest.mark.parametrize("chip", ["A", "B"])
@pytest.mark.parametrize("arithmetic", ["float", "integer"])
@pytest.mark.parametrize("mode", ["forced", "normal"])
async def test_the_air_is_measured_as_it_is(chip: str, arithmetic: str, mode: str) -> None:
    driver = await opened(sensor(chip=chip), arithmetic=arithmetic, mode=mode, height=120.0)
    values = by_key(await driver.read())
    assert values["temperature"] == pytest.approx(22.5, abs=0.02)
    assert values["temperature_f"] == pytest.approx(72.5, abs=0.04)
    assert values["pressure"] == pytest.approx(1013.25, abs=0.02)
    assert values["humidity"] == pytest.approx(45.0, abs=0.05)
    assert values["dew_point"] == pytest.approx(10.0, abs=0.1)
    assert values["altitude"] == pytest.approx(0.0, abs=0.3)
    assert values["sea_level_pressure"] == pytest.approx(1027.75, abs=0.1)


@pytest.mark.parametrize(
    ("chip", "raw", "arithmetic", "temperature", "pressure", "humidity"),
    [
        ("A", Raw(519888, 415148, 30281), "integer", 25.08, 1006.5325390625, 49.0859375),
        ("A", Raw(519888, 415148, 30281), "float", 25.082478, 1006.53267, 49.083662),
        ("A", Raw(400000, 415148, 30000), "integer", -12.64, 949.16301, 46.543),
        ("A", Raw(400000, 415148, 30000), "float", -12.643607, 949.16326, 46.543043),
        ("B", Raw(529191, 326816, 30281), "integer", 24.79, 1006.61145, 75.3594),
        ("B", Raw(529191, 326816, 30281), "float", 24.789488, 1006.61518, 75.357105),
    ],
)
async def test_the_vectors_from_end_to_end(
    chip: str,
    raw: Raw,
    arithmetic: str,
    temperature: float,
    pressure: float,
    humidity: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chips = sensor(chip=chip)
    monkeypatch.setattr(chips.chip, "_counted", lambda _at: raw)
    values = by_key(await (await opened(chips, arithmetic=arithmetic)).read())
    assert values["temperature"] == pytest.approx(temperature, abs=1e-6)
    assert values["pressure"] == pytest.approx(pressure, abs=1e-5)
    assert values["humidity"] == pytest.approx(humidity, abs=1e-4)


@pytest.mark.parametrize(
    ("air", "doubtful"),
    [
        (Climate(90.0, 1000.0, 20.0), set(USUAL)),
        (Climate(-45.0, 1000.0, 20.0), set(USUAL)),
        (Climate(20.0, 1150.0, 20.0), {"pressure", "altitude"}),
        (Climate(20.0, 250.0, 20.0), {"pressure", "altitude"}),
        (Climate(84.0, 1090.0, 20.0), set()),
    ],
    ids=["too hot", "too cold", "too dense", "too thin", "just so"],
)
async def test_what_is_out_of_its_range_is_told_as_doubtful(
    air: Climate, doubtful: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated, "STILL", air)
    readings = await (await opened(sensor())).read()
    assert by_key(readings)["temperature"] == pytest.approx(air.temperature, abs=0.05)
    assert by_key(readings)["pressure"] == pytest.approx(air.pressure, abs=0.1)
    assert {key for key, quality in qualities(readings).items() if quality is Quality.UNCERTAIN} == doubtful
    assert Quality.BAD not in qualities(readings).values()


async def test_dry_air_has_no_dew_point_and_all_else_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = sensor(chip="A")
    monkeypatch.setattr(chips.chip, "_counted", lambda _at: Raw(519888, 415148, 20000))
    readings = await (await opened(chips)).read()
    assert by_key(readings)["humidity"] == 0
    assert by_key(readings)["dew_point"] is None
    assert {key for key, quality in qualities(readings).items() if quality is Quality.BAD} == {"dew_point"}


async def test_one_value_at_the_reset_pattern_is_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = sensor(chip="A")
    monkeypatch.setattr(chips.chip, "_counted", lambda _at: Raw(0x80000, 415148, 30281))
    assert by_key(await (await opened(chips)).read())["temperature"] == pytest.approx(26.46, abs=0.01)
    monkeypatch.setattr(chips.chip, "_counted", lambda _at: Raw(0x80000, 0x80000, 0x8000))
    driver = await opened(chips, pressure_oversampling="off", humidity_oversampling="off")
    assert by_key(await driver.read())["temperature"] == pytest.approx(26.46, abs=0.01)


# ---- how it is asked


async def test_how_it_is_started() -> None:
    driver, link = driver_of(sensor(), mode="normal", filter="16", standby="62.5", humidity_oversampling="16")
    await driver.open()
    asked = [what for what, _ in link.log]
    assert asked[:2] == ["read d0 1", "write e0b6"]
    assert asked[2] == "read f2 4"
    calibration = ["read 88 26", "read e1 7"]
    assert asked[-6:] == [*calibration, *calibration, "write f530", "write f205f427"]
    (_, reset), (_, then) = link.log[1:3]
    assert then - reset >= 0.002


async def test_how_a_measurement_is_taken() -> None:
    driver, link = driver_of(sensor(), humidity_oversampling=4, temperature_oversampling="2")
    await driver.open()
    link.log.clear()
    await driver.read()
    asked = [what for what, _ in link.log]
    assert asked[0] == "write f203f445"
    assert set(asked[1:-1]) == {"read f2 4"}
    assert asked[-1] == "read f7 8"
    assert link.log[1][1] - link.log[0][1] >= duration(2, 1, 4)


async def test_calibration_is_read_once_a_session() -> None:
    driver, link = driver_of(sensor())
    await driver.open()
    link.log.clear()
    for _ in range(3):
        await driver.read()
    assert not [what for what, _ in link.log if what.startswith(("read 88", "read e1", "read d0"))]


async def test_in_normal_mode_nothing_is_waited_for() -> None:
    driver, link = driver_of(sensor(), mode="normal", standby="0.5")
    await driver.open()
    link.log.clear()
    await driver.read()
    assert [what for what, _ in link.log] == ["read f2 4", "read f7 8"]


async def test_in_normal_mode_it_goes_on_measuring() -> None:
    driver = await opened(sensor(), mode="normal", standby="0.5")
    seen: set[float] = set()
    async with asyncio.timeout(10):
        while len(seen) < 4:
            seen.add(by_key(await driver.read())["humidity"])
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("times", "milliseconds"),
    [((1, 1, 1), 9.3), ((16, 16, 16), 112.8), ((1, 4, 0), 13.325), ((1, 0, 0), 3.55)],
)
def test_how_long_a_measurement_takes(times: tuple[int, int, int], milliseconds: float) -> None:
    assert duration(*times) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("options", "config", "control"),
    [
        ({}, 0xA0, "f201f425"),
        ({"filter": "2"}, 0xA4, "f201f425"),
        ({"filter": 16, "standby": "0.5"}, 0x10, "f201f425"),
        ({"standby": 20}, 0xE0, "f201f425"),
        ({"standby": "10"}, 0xC0, "f201f425"),
        ({"standby": "500"}, 0x80, "f201f425"),
        ({"pressure_oversampling": "8"}, 0xA0, "f201f431"),
        ({"pressure_oversampling": "off"}, 0xA0, "f201f421"),
        ({"humidity_oversampling": "off"}, 0xA0, "f200f425"),
        ({"temperature_oversampling": "16", "mode": "normal"}, 0xA0, "f201f4a7"),
    ],
)
async def test_options_as_bits(options: dict[str, Any], config: int, control: str) -> None:
    driver, link = driver_of(sensor(), **options)
    await driver.open()
    await driver.read()
    asked = [what for what, _ in link.log]
    assert f"write f5{config:02x}" in asked
    assert f"write {control}" in asked


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, USUAL),
        ({"height": 430.0}, [*USUAL, "sea_level_pressure"]),
        ({"humidity_oversampling": "off"}, ["temperature", "pressure", "temperature_f", "altitude"]),
        (
            {"pressure_oversampling": "off", "height": 5.0},
            ["temperature", "humidity", "dew_point", "temperature_f"],
        ),
    ],
)
async def test_what_is_not_measured_has_no_channel(options: dict[str, Any], keys: list[str]) -> None:
    assert [channel.key for channel in Bme280.channels_for(options)] == keys
    assert [reading.key for reading in await (await opened(sensor(), **options)).read()] == keys


async def test_the_altitude_follows_from_the_pressure_at_sea_level() -> None:
    driver = await opened(sensor(), sea_level=1030.0)
    assert by_key(await driver.read())["altitude"] == pytest.approx(138.1, abs=0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature_oversampling": "off"},  # the other two are compensated by it
        {"humidity_oversampling": 3},
        {"humidity_oversampling": True},
        {"filter": "32"},
        {"standby": "1"},
        {"mode": "sleep"},
        {"sea_level": 0.0},
        {"height": 20_000.0},
        {"arithmetic": "fixed"},
    ],
)
def test_options_that_no_chip_has_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Bme280.checked_options(options)


# ---- where it is


async def test_it_is_looked_for_at_both_addresses() -> None:
    driver = Bme280(link := Direct(sensor(place="0x77"), "i2c://1/auto"), {})
    await driver.open()
    assert link.chip == 0x77
    assert len(await driver.read()) == 6


async def test_if_it_is_at_neither_both_are_named() -> None:
    chips = sensor()
    chips.is_plugged = False
    with pytest.raises(LinkError, match=r"acknowledges at 0x76.*acknowledges at 0x77"):
        await Bme280(Direct(chips, "i2c://1/auto"), {}).open()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (0x58, "a BMP280, which measures no humidity"),
        (0x57, "a sample of a BMP280"),
        (0x61, "a BME680"),
        (0xFF, "nothing: the bus is held high"),
        (0x00, "nothing: the bus is held low"),
        (0x42, "no chip known here"),
    ],
)
async def test_another_chip_is_named(found: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "BME280", found)
    with pytest.raises(ReplyError, match=f"0x76 is no BME280: its id is 0x{found:02x}, {words}"):
        await opened(sensor())


# ---- what goes wrong


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("nack", "no chip acknowledges at 0x76"),
        ("io", "no chip acknowledges at 0x76"),
        ("busy", "0x76 is busy"),
        ("stuck", "does not come to the end of a measurement"),
        ("reset", "has lost its settings"),
        ("blank", "has lost its settings|end of a measurement"),
    ],
)
async def test_one_measurement_may_fail_and_the_next_is_good(
    fault: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bme280, "LOOK_FOR", 0.01)
    chips = sensor()
    driver = await opened(chips)
    await driver.read()
    working, chips.faults = chips.faults, Faults([Fault.parse(fault, chips.faults_of_its_own)])
    with pytest.raises(ReplyError, match=words):
        await driver.read()
    chips.faults = working
    assert set(qualities(await driver.read()).values()) == {Quality.GOOD}
    assert not driver.memory


@pytest.mark.parametrize("fault", ["nack", "stuck", "wrong_id", "calibration", "blank", "reset"])
async def test_what_fails_twice_in_a_row_is_away_until_it_is_well(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also through sessions: else each would begin with a reply that is merely bad."""
    monkeypatch.setattr(bme280, "LOOK_FOR", 0.01)
    chips = sensor()
    memory: dict[str, Any] = {"failed": True}
    working, chips.faults = chips.faults, Faults([Fault.parse(fault, chips.faults_of_its_own)])
    for _ in range(2):
        driver, _link = driver_of(chips)
        driver.memory = memory
        with pytest.raises(LinkError):
            await driver.read()
    chips.faults = working
    driver, _link = driver_of(chips)
    driver.memory = memory
    await driver.open()
    assert len(await driver.read()) == 6
    assert not memory


@pytest.mark.parametrize(("fault", "words"), [("stuck_bus", "the bus is stuck"), ("gone", "the bus is gone")])
async def test_a_bus_that_fails_is_a_lost_link_at_once(fault: str, words: str) -> None:
    chips = sensor()
    driver = await opened(chips)
    chips.faults = Faults([Fault.parse(fault, chips.faults_of_its_own)])
    with pytest.raises(LinkError, match=words):
        await driver.read()


@pytest.mark.parametrize("mode", ["forced", "normal"])
async def test_a_short_drop_of_the_supply_is_noticed(mode: str) -> None:
    """Else humidity were to stand still at what the reset left."""
    chips = sensor()
    driver = await opened(chips, mode=mode)
    before = by_key(await driver.read())
    chips.chip.power_on()
    with pytest.raises(ReplyError, match="has lost its settings"):
        await driver.read()
    after = by_key(await driver.read())
    assert after["humidity"] == pytest.approx(before["humidity"], abs=0.1)


async def test_a_bit_lost_in_the_calibration_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = sensor()
    spoilt = iter([True, True, False, False, False, False])
    monkeypatch.setattr(chips, "_holds", lambda kind: kind == "calibration" and next(spoilt))
    driver = await opened(chips)
    assert by_key(await driver.read())["temperature"] == pytest.approx(22.5, abs=0.02)
    assert not list(spoilt)


@pytest.mark.parametrize(
    "image",
    [
        bytes(32),
        b"\xff" * 32,
        b"\0\0" + CALIBRATION[2:],
        CALIBRATION[:6] + b"\0\0" + CALIBRATION[8:],
        CALIBRATION[:25] + b"\xff" * 7,
    ],
    ids=["zeros", "ones", "T1 is 0", "P1 is 0", "half of it ones"],
)
async def test_a_calibration_that_cannot_be_is_refused(image: bytes) -> None:
    chips = sensor()
    chips.chip._image = image
    chips.chip.power_on()
    with pytest.raises(ReplyError, match="its calibration cannot be read"):
        await opened(chips)


async def test_values_that_stand_still_are_read() -> None:
    driver = await opened(sensor("frozen"))
    first, second = [by_key(await driver.read()) for _ in range(2)]
    assert first == second


class Anything(RegisterLink):
    """A chip that answers with whatever it is told to."""

    def __init__(self, answers: bytes) -> None:
        super().__init__(Address.parse("i2c://1/0x76"), 2.0)
        self.answers = answers or b"\0"
        self.place = 0

    async def _read(self, chip: int, first: int, count: int) -> bytes:
        if first == 0xD0:
            return b"\x60"
        if first == 0xF2:
            return bytes.fromhex("010024a0")
        self.place += 1 if first == 0xF7 else 0
        return bytes(
            (self.answers[(self.place + n) % len(self.answers)]) for n in range(first, first + count)
        )

    async def _write(self, chip: int, pairs: bytes) -> None:
        pass


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=40), st.sampled_from(["float", "integer"]))
def test_whatever_a_chip_answers_nothing_else_is_raised(answers: bytes, arithmetic: str) -> None:
    async def attempt() -> None:
        driver = Bme280(Anything(answers), {"arithmetic": arithmetic, "height": 100.0})
        driver._measuring_time = 0.0
        for _ in range(2):
            try:
                readings = await driver.read()
            except DriverError:
                continue
            assert len(readings) == 7

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bme280, "START_UP", 0.0)
        asyncio.run(attempt())


async def test_each_measurement_is_another() -> None:
    driver = await opened(sensor(air="room"))
    seen = [tuple(by_key(await driver.read()).values()) for _ in range(6)]
    assert sum(one != other for one, other in pairwise(seen)) >= 3
