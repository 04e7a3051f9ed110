"""Sinara 8451 Thermostat: two TEC channels, one line of JSON per command, M-Labs firmware since 2020-12.

The device has no identify command; which words it knows (its dialect) is found by asking for its settings.
Reading is the same in all dialects.
"""

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from devices.drivers import thermostat_settings as how_set
from devices.drivers.base import Channel, Driver, Option, RuleTemplate
from devices.errors import ConfigurationError, ReplyError
from devices.links.base import LineLink, Link
from devices.readings import Quality, Reading, good

logger = logging.getLogger(__name__)

T = TypeVar("T")
Number = float | UnsetType | None  # every key but the channel may be missing or null in some firmware
AtMostTwo = msgspec.Meta(min_length=1, max_length=2)


class Report(msgspec.Struct):
    """The last sample of one TEC channel; its fields are the keys of channels."""

    channel: Literal[0, 1]
    temperature: Number = UNSET
    i_tec: Number = UNSET
    pid_output: Number = UNSET
    adc: Number = UNSET
    sens: Number = UNSET
    i_set: Number = UNSET
    dac_value: Number = UNSET
    dac_feedback: Number = UNSET
    tec_i: Number = UNSET
    tec_u_meas: Number = UNSET
    pid_engaged: bool | UnsetType | None = UNSET
    interval: Number = UNSET
    device_time: Number = msgspec.field(default=UNSET, name="time")
    # The last two are told if they are there.
    vref: Number = UNSET  # of firmware until 2023
    current_swapped: bool | float | UnsetType | None = UNSET  # of private builds; in no published firmware


class PidSettings(msgspec.Struct):
    """What the driver wants from the answer to `pid`."""

    channel: Literal[0, 1]
    target: float | None


class Limit(msgspec.Struct):
    """A setting with its range, as dialects A and B tell it."""

    value: float | None
    max: float | None


class OutputSettings(msgspec.Struct):
    """What tells the dialects apart in the answer to `output` or `pwm`."""

    channel: Literal[0, 1]
    i_set: Limit | float | None
    max_v: Limit | float | None


class Mode(msgspec.Struct):
    """The answer of dialect A to `report mode`."""

    report: bool


_reports = msgspec.json.Decoder(Annotated[list[Report], AtMostTwo])
_pid_settings = msgspec.json.Decoder(Annotated[list[PidSettings], AtMostTwo])
_output_settings = msgspec.json.Decoder(Annotated[list[OutputSettings], AtMostTwo])
_mode = msgspec.json.Decoder(Mode)
_anything = msgspec.json.Decoder(Any)

_KEYS = [[f"ch{number}.{field}" for field in Report.__struct_fields__[1:]] for number in (0, 1)]
_RARE = 2
_USUAL_KEYS = [keys[:-_RARE] for keys in _KEYS]

# Key, label, unit, decimals; what matters first comes first. i_tec is the voltage of the current monitor,
# 1.5 V at no current.
_QUANTITIES = (
    ("temperature", "temperature", "Cel", 4),
    ("tec_i", "TEC current", "A", 4),
    ("pid_engaged", "PID engaged", "", None),
    ("pid_output", "PID output", "A", 4),
    ("i_set", "current set", "A", 4),
    ("tec_u_meas", "TEC voltage", "V", 3),
    ("dac_value", "DAC voltage set", "V", 4),
    ("dac_feedback", "DAC voltage", "V", 3),
    ("i_tec", "current monitor", "V", 3),
    ("adc", "thermistor voltage", "V", 6),
    ("sens", "thermistor resistance", "Ohm", 2),
    ("interval", "sampling interval", "s", 3),
    ("device_time", "time since start", "s", 3),
)


def _pair(key: str, label: str, unit: str, digits: int | None) -> list[Channel]:
    """The same quantity of both TEC channels, side by side."""
    kind = "bool" if key == "pid_engaged" else "float"
    return [Channel(f"ch{n}.{key}", f"CH{n} {label}", unit, kind=kind, digits=digits) for n in (0, 1)]


_SETTINGS_KEYS = {channel.key for channel in how_set.CHANNELS}


class Thermostat(Driver):
    """Sinara 8451 Thermostat, all firmware dialects (A to D of its protocol notes)."""

    label = "Sinara 8451 Thermostat"
    schemes = ("tcp",)
    example = "tcp://192.168.1.26:23"
    options = (
        Option(
            "temperature_low",
            float,
            -50.0,
            "A temperature below this, in °C, is marked bad: a shorted thermistor reads absurd values",
            low=-273.15,
            high=1000.0,
        ),
        Option(
            "temperature_high",
            float,
            150.0,
            "A temperature above this, in °C, is marked bad",
            low=-273.15,
            high=1000.0,
        ),
        Option("target", bool, False, "Read the PID targets too: a second question at each poll"),
        Option(
            "settings_every",
            float,
            0.0,
            "Seconds between readings of its settings: limits, gains, thermistor, filter, fan, network; "
            "0: they are not read",
            low=0.0,
            high=86_400.0,
        ),
    )
    channels = tuple(channel for quantity in _QUANTITIES for channel in _pair(*quantity))
    alarms = (
        RuleTemplate(
            "Thermostat too hot",
            "high",
            "Switch its current off and look at heat sink, fan and polarity: a loop that heats where it "
            "should cool runs away. 70 °C is what TEC modules bear; set what your load does.",
            key="ch?.temperature",
            high=70.0,
            deadband=2.0,
            priority="high",
            on_delay=2.0,
            off_delay=10.0,
        ),
    )
    link: LineLink

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        self.dialect: Literal["A", "B", "C", "D"] | None = None
        self._sampled: dict[int, float] = {}
        self._settings_at = 0.0  # by the loop's clock, when they are due

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        if not checked["temperature_low"] < checked["temperature_high"]:
            raise ConfigurationError("option temperature_low must be below temperature_high")
        return checked

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        targets = _pair("target", "PID target", "Cel", 4) if options.get("target") else ()
        settings = how_set.CHANNELS if options.get("settings_every") else ()
        return (*cls.channels[:2], *targets, *cls.channels[2:], *settings)

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return key not in _SETTINGS_KEYS

    async def open(self) -> None:
        self.dialect = await self._find_dialect()

    async def read(self) -> list[Reading]:
        if self.dialect is None:
            await self.open()
        # The report last: should the link break between the two, no report that came is lost.
        others = await self._targets() if self.settings["target"] else []
        others += await self._how_it_is_set()
        reports = _decoded(_reports, await self.link.ask(b"report\n"))
        if not any(_was_sampled(report) for report in reports):
            raise ReplyError(f"an answer to another question, not a report: {reports!r:.200}")
        return [reading for report in reports for reading in self._readings(report)] + others

    # ---- what was answered

    def _readings(self, report: Report) -> list[Reading]:
        """The readings of one TEC channel; none if it has not been sampled since the last poll."""
        if not self._is_new(report):
            return []
        keys, values = _KEYS[report.channel], msgspec.structs.astuple(report)[1:]
        if values[-1] is values[-_RARE] is UNSET:
            keys, values = _USUAL_KEYS[report.channel], values[:-_RARE]
        if None not in values and UNSET not in values and self._is_plausible(report.temperature):
            return good(keys, values)
        readings = []
        for key, value in zip(keys, values, strict=True):
            if value is None:
                readings.append(Reading(key, None, Quality.BAD))
            elif value is not UNSET:
                readings.append(Reading(key, value))
        if isinstance(report.temperature, float) and not self._is_plausible(report.temperature):
            readings[0] = Reading(readings[0].key, report.temperature, Quality.BAD)
        return readings

    def _is_plausible(self, temperature: Any) -> bool:
        return bool(self.settings["temperature_low"] <= temperature <= self.settings["temperature_high"])

    def _is_new(self, report: Report) -> bool:
        """Whether the channel was sampled since the last poll; a poll may be faster than the ADC."""
        time = report.device_time
        if not isinstance(time, float):
            return True
        before = self._sampled.get(report.channel)
        self._sampled[report.channel] = time
        if before is not None and time < before:
            logger.info("%s restarted: its time went from %.3f s to %.3f s", self.label, before, time)
            self.dialect = None  # it may have come back with other firmware
        return time != before

    async def _targets(self) -> list[Reading]:
        try:
            settings = _decoded(_pid_settings, await self.link.ask(b"pid\n"))
        except ReplyError:
            return [Reading(f"ch{number}.target", None, Quality.BAD) for number in (0, 1)]
        return [
            Reading(
                f"ch{pid.channel}.target", pid.target, Quality.GOOD if pid.target is not None else Quality.BAD
            )
            for pid in settings
        ]

    async def _how_it_is_set(self) -> list[Reading]:
        now = asyncio.get_running_loop().time()
        every: float = self.settings["settings_every"]
        if not every or now < self._settings_at:
            return []
        found: list[Reading] = []
        for command in how_set.COMMANDS:
            line = await self.link.ask(f"{how_set.word(command, self.dialect)}\n".encode())
            try:
                answer: Any = _decoded(_anything, line)
            except ReplyError:
                answer = ()  # of no use
            found += how_set.readings(command, answer)
        self._settings_at = now + every
        return found

    # ---- which firmware it is

    async def _find_dialect(self) -> Literal["A", "B", "C", "D"]:
        """Ask only what changes nothing. Raises ReplyError if it does not answer like a thermostat."""
        answer = await self.link.ask(b"output\n")
        if not _is_error(answer):
            _decoded(_output_settings, answer)
            return "D"
        settings = _decoded(_output_settings, await self.link.ask(b"pwm\n"))
        if not isinstance(settings[0].i_set, Limit):
            return "C"
        answer = await self.link.ask(b"report mode\n")
        if _is_error(answer):
            return "B"
        _decoded(_mode, answer)
        return "A"


def _was_sampled(report: Report) -> bool:
    """False for an answer to `output` or `pid`, which has channels too."""
    return not (report.device_time is report.adc is report.temperature is UNSET)


def _is_error(line: bytes) -> bool:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and "error" in answer


def _decoded(decoder: msgspec.json.Decoder[T], line: bytes) -> T:
    """What the device said, in the decoder's type. Raises ReplyError."""
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return _tolerantly_decoded(decoder, line)


def _tolerantly_decoded(decoder: msgspec.json.Decoder[T], line: bytes) -> T:
    """The same for a line that is not strict JSON, as with NaN. Raises ReplyError with the reason."""
    try:
        answer = json.loads(line.decode(), parse_constant=_no_number, parse_float=_finite)
        if isinstance(answer, dict) and "error" in answer:
            raise ReplyError(f"the thermostat answered with the error {answer['error']!r:.200}")
        return msgspec.convert(answer, decoder.type)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ReplyError(f"an unusable answer, {line!r:.200}: {error!s:.200}") from None


def _no_number(_constant: str) -> None:
    """NaN, and what else Python's parser takes for a number: nothing."""


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
