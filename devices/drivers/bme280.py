"""Bosch BME280 on an I2C bus: temperature, humidity and pressure of the air (datasheet BST-BME280-DS001).

Section numbers are those of the protocol notes.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

from devices.drivers.base import Channel, Driver, Option, RuleTemplate
from devices.drivers.bme280_math import (
    NOTHING,
    SEA_LEVEL,
    Calibration,
    Climate,
    Raw,
    climate,
    values,
    whole_climate,
)
from devices.errors import LinkError, ReplyError
from devices.links.base import Link
from devices.links.registers import RegisterLink, TransferFailed
from devices.readings import Quality, Reading

CHIP_ID, RESET, CTRL_HUM, STATUS, CTRL_MEAS, CONFIG, RESULTS = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
BME280 = 0x60
OTHERS = {
    0x56: "a sample of a BMP280, which measures no humidity",
    0x57: "a sample of a BMP280, which measures no humidity",
    0x58: "a BMP280, which measures no humidity",
    0x61: "a BME680, another sensor",
    0x00: "nothing: the bus is held low",
    0xFF: "nothing: the bus is held high",
}
PLACES = (0x76, 0x77)
RESET_WORD = 0xB6
MEASURING, COPYING = 0x08, 0x01  # bits of the status register
FORCED, NORMAL = 1, 3

OVERSAMPLING = {"off": 0, "1": 1, "2": 2, "4": 3, "8": 4, "16": 5}  # option → bits
FILTER = {"off": 0, "2": 1, "4": 2, "8": 3, "16": 4}
STANDBY = {"0.5": 0, "10": 6, "20": 7, "62.5": 1, "125": 2, "250": 3, "500": 4, "1000": 5}

START_UP = 0.004  # seconds from a reset until the chip answers; 2 ms are needed
LOOK_EVERY = 0.002
LOOK_FOR = 0.1
CALIBRATION_TRIES = 3
LOWEST_PRESSURE, HIGHEST_PRESSURE = 300.0, 1100.0  # hPa, of the operating range
COLDEST, HOTTEST = -40.0, 85.0

_TEMPERATURE = Channel("temperature", "temperature", "Cel", low=COLDEST, high=HOTTEST, digits=2)
_HUMIDITY = Channel("humidity", "relative humidity", "%", low=0, high=100, digits=1)
_PRESSURE = Channel("pressure", "pressure", "hPa", low=LOWEST_PRESSURE, high=HIGHEST_PRESSURE, digits=2)
_DEW_POINT = Channel("dew_point", "dew point", "Cel", digits=2)
_FAHRENHEIT = Channel("temperature_f", "temperature in °F", "[degF]", low=-40, high=185, digits=2)
_ALTITUDE = Channel("altitude", "altitude by pressure", "m", digits=1)
_AT_SEA_LEVEL = Channel("sea_level_pressure", "pressure at sea level", "hPa", digits=2)


def _oversampling(quantity: str, choices: tuple[str, ...]) -> Option:
    return Option(
        f"{quantity}_oversampling",
        str,
        "1",
        f"How many measurements make one value of {quantity}: more take longer and scatter less",
        choices=choices,
    )


class Bme280(Driver):
    """Bosch BME280, at 0x76 or 0x77 of any I2C bus."""

    label = "Bosch BME280 air sensor"
    schemes = ("i2c", "i2c+tcp")
    example = "i2c://1/0x76"
    options = (
        Option(
            "mode",
            str,
            "forced",
            "forced: it measures when it is polled and sleeps between; normal: it goes on measuring, "
            "which its filter needs",
            choices=("forced", "normal"),
        ),
        _oversampling("temperature", tuple(OVERSAMPLING)[1:]),  # the other two cannot do without it
        _oversampling("pressure", tuple(OVERSAMPLING)),
        _oversampling("humidity", tuple(OVERSAMPLING)),
        Option(
            "filter",
            str,
            "off",
            "Smooths temperature and pressure over about this many measurements",
            choices=tuple(FILTER),
        ),
        Option(
            "standby", str, "1000", "Pause between measurements in normal mode, in ms", choices=tuple(STANDBY)
        ),
        Option(
            "arithmetic",
            str,
            "float",
            "float: by the datasheet's real numbers; integer: by its whole numbers, as microcontrollers do",
            choices=("float", "integer"),
        ),
        Option(
            "sea_level",
            float,
            SEA_LEVEL,
            "Pressure at sea level here and now, in hPa, from which the altitude follows",
            low=800.0,
            high=1100.0,
        ),
        Option(
            "height",
            float,
            0.0,
            "How high above the sea the sensor is, in m; if not 0, the pressure at sea level is told too",
            low=-500.0,
            high=9000.0,
        ),
    )
    channels = (_TEMPERATURE, _HUMIDITY, _PRESSURE, _DEW_POINT, _FAHRENHEIT, _ALTITUDE)
    alarms = (
        # A room may well be more humid: this is of boxes only, which somebody has to call so.
        RuleTemplate(
            "Filament box humid",
            "high",
            "Dry or change the desiccant, and look at the lid's seal: filament takes up water within hours. "
            "This rule is of the sensors that have the tag `filament-box`.",
            key="humidity",
            tag="filament-box",
            high=40.0,
            deadband=3.0,
            on_delay=600.0,  # somebody had it open
            off_delay=60.0,
        ),
    )
    link: RegisterLink

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        chosen = self.settings
        t, p, h = (chosen[f"{name}_oversampling"] for name in ("temperature", "pressure", "humidity"))
        self._ctrl_hum = OVERSAMPLING[h]
        self._ctrl_meas = OVERSAMPLING[t] << 5 | OVERSAMPLING[p] << 2
        self._config = STANDBY[chosen["standby"]] << 5 | FILTER[chosen["filter"]] << 2
        self._is_normal = chosen["mode"] == "normal"
        self._mode = NORMAL if self._is_normal else FORCED
        self._measuring_time = duration(*(0 if each == "off" else int(each) for each in (t, p, h)))
        self._keys = [channel.key for channel in self.channels_for(options)]
        self._calibration: Calibration | None = None  # until the chip is started

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers are taken for choices that look like them: `filter = 16`."""
        names = {option.name for option in cls.options if option.choices}
        return super().checked_options(
            {
                name: f"{value:g}"
                if name in names and isinstance(value, int | float) and not isinstance(value, bool)
                else value
                for name, value in options.items()
            }
        )

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        chosen = cls.checked_options(options)
        left_out: set[Channel] = set()
        if chosen["humidity_oversampling"] == "off":
            left_out |= {_HUMIDITY, _DEW_POINT}
        if chosen["pressure_oversampling"] == "off":
            left_out |= {_PRESSURE, _ALTITUDE, _AT_SEA_LEVEL}
        declared = (*cls.channels, _AT_SEA_LEVEL) if chosen["height"] else cls.channels
        return tuple(channel for channel in declared if channel not in left_out)

    async def open(self) -> None:
        self._calibration = await self._start()

    async def read(self) -> list[Reading]:
        try:
            if self._calibration is None:
                self._calibration = await self._start()
            raw = await self._measured()
        except (TransferFailed, ReplyError) as error:
            self._give_this_one_up(error)
        self.memory.pop("failed", None)
        return self._readings(self._calibration, raw)

    def _give_this_one_up(self, error: LinkError | ReplyError) -> NoReturn:
        """One measurement may fail; the chip is started anew for the next. If that fails too, it is away."""
        self._calibration = None
        if self.memory.get("failed"):
            raise LinkError(str(error)) from error
        self.memory["failed"] = True
        raise ReplyError(str(error)) from error

    # ---- starting (§2)

    async def _start(self) -> Calibration:
        await self._find()
        await self.link.write_registers((RESET, RESET_WORD))
        await asyncio.sleep(START_UP)
        await self._until_clear(COPYING, "does not get over its reset")
        calibration = await self._read_calibration()
        # The filter first: it is not to be written while the chip measures.
        await self.link.write_registers((CONFIG, self._config))
        if self._is_normal:
            await self._begin()
        return calibration

    async def _find(self) -> None:
        """Make sure that a BME280 is there; look at both of its addresses if told so."""
        if self.link.chip:
            await self._check_id()
        else:
            await self._look_around()

    async def _look_around(self) -> None:
        refusals = []
        for place in PLACES:
            self.link.chip = place
            try:
                await self._check_id()
            except (TransferFailed, ReplyError) as error:
                refusals.append(str(error))
            else:
                return
        self.link.chip = 0
        raise LinkError("; ".join(refusals))

    async def _check_id(self) -> None:
        found = (await self.link.read_registers(CHIP_ID, 1))[0]
        if found != BME280:
            what = OTHERS.get(found, "no chip known here")
            raise ReplyError(f"0x{self.link.chip:02x} is no BME280: its id is 0x{found:02x}, {what}")

    async def _read_calibration(self) -> Calibration:
        """Read until two in a row agree: a bit lost here would falsify all that is measured later.
        T1 and P1 of no chip are 0."""
        before = await self._calibration_blocks()
        for _ in range(CALIBRATION_TRIES):
            low, high = blocks = await self._calibration_blocks()
            if blocks == before and _is_sound(low) and _is_sound(high) and any(low[:2]) and any(low[6:8]):
                return Calibration.parse(low[:24], low[25:], high)
            before = blocks
        text = " ".join(block.hex() for block in before)
        raise ReplyError(f"0x{self.link.chip:02x}: its calibration cannot be read: {text}")

    async def _calibration_blocks(self) -> tuple[bytes, bytes]:
        """Registers 0x88 to 0xA1, of which 0xA0 means nothing, and 0xE1 to 0xE7."""
        return await self.link.read_registers(0x88, 26), await self.link.read_registers(0xE1, 7)

    # ---- measuring (§2)

    async def _begin(self) -> None:
        """What is set for humidity takes effect with the next write of CTRL_MEAS."""
        await self.link.write_registers((CTRL_HUM, self._ctrl_hum), (CTRL_MEAS, self._ctrl_meas | self._mode))
        await asyncio.sleep(self._measuring_time)

    async def _measured(self) -> Raw:
        if self._is_normal:
            controls = await self._controls()
        else:
            await self._begin()
            controls = await self._until_clear(MEASURING, "does not come to the end of a measurement")
        self._check(controls)
        block = await self.link.read_registers(RESULTS, 8)
        if not _is_sound(block):
            raise ReplyError(f"0x{self.link.chip:02x}: nothing but 0x{block[0]:02x} on the bus")
        raw = Raw.parse(block)
        # With the other two off, temperature alone may well be at this value.
        if raw == NOTHING and (self._ctrl_hum or self._ctrl_meas & 0x1C):
            raise ReplyError(f"0x{self.link.chip:02x} has measured nothing since it was reset")
        return raw

    def _check(self, controls: bytes) -> None:
        """A short drop of the supply takes all settings back, and nothing else tells of it."""
        hum, _, meas, config = controls
        mode = NORMAL if self._is_normal else 0
        if (hum & 7, meas, config & 0xFC) != (self._ctrl_hum, self._ctrl_meas | mode, self._config):
            raise ReplyError(f"0x{self.link.chip:02x} has lost its settings: a short drop of its supply?")

    async def _controls(self) -> bytes:
        """Registers 0xF2 to 0xF5."""
        return await self.link.read_registers(CTRL_HUM, 4)

    async def _until_clear(self, bit: int, complaint: str) -> bytes:
        """The controls, once a bit of the status is clear."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LOOK_FOR
        while True:
            controls = await self._controls()
            if not controls[STATUS - CTRL_HUM] & bit:
                return controls
            if loop.time() > end:
                raise ReplyError(f"0x{self.link.chip:02x} {complaint}: status 0x{controls[1]:02x}")
            await asyncio.sleep(LOOK_EVERY)

    # ---- what it means

    def _readings(self, calibration: Calibration, raw: Raw) -> list[Reading]:
        compensate = climate if self.settings["arithmetic"] == "float" else whole_climate
        measured = compensate(calibration, raw)
        figures = values(measured, self.settings["sea_level"], self.settings["height"])
        heat, pressure = _quality_of_temperature(measured), _quality_of_pressure(measured)
        of = {"pressure": pressure, "altitude": pressure, "sea_level_pressure": pressure}
        return [_reading(key, figures[key], of.get(key, heat)) for key in self._keys]


def duration(temperature: int, pressure: int, humidity: int) -> float:
    """The longest that a measurement takes with this oversampling, in seconds."""
    extra = 0.575 * (bool(pressure) + bool(humidity))
    return (1.25 + 2.3 * (temperature + pressure + humidity) + extra) / 1000


def _is_sound(block: bytes) -> bool:
    """Nothing but zeros or ones is what a broken bus gives."""
    return len(set(block)) > 1


def _quality_of_temperature(measured: Climate) -> Quality:
    return Quality.GOOD if COLDEST <= measured.temperature <= HOTTEST else Quality.UNCERTAIN


def _quality_of_pressure(measured: Climate) -> Quality:
    """Pressure is compensated by temperature; where that is doubtful, this is."""
    if measured.pressure is None or not LOWEST_PRESSURE <= measured.pressure <= HIGHEST_PRESSURE:
        return Quality.UNCERTAIN
    return _quality_of_temperature(measured)


def _reading(key: str, value: float | None, quality: Quality) -> Reading:
    return Reading(key, value, Quality.BAD if value is None else quality)
