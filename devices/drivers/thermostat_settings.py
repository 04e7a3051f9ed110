"""Sinara 8451 Thermostat, how it is set: limits, gains, thermistor, filter, fan (protocol notes §4, §7)."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from devices.drivers.base import Channel
from devices.readings import Quality, Reading, Value

OLD_WORDS = {"output": "pwm", "b-p": "s-h"}  # of dialects A to C
TEXT_MAX = 100


class Setting(NamedTuple):
    """Where a channel's value stands in an answer."""

    key: str
    label: str
    unit: str
    path: tuple[str, ...]
    take: Callable[[Any], Value]
    kind: str = "float"
    digits: int | None = None

    def channel(self, place: str = "") -> Channel:
        name = f"CH{place[2]} {self.label}" if place else self.label
        return Channel(place + self.key, name, self.unit, self.kind, digits=self.digits)

    def reading(self, answer: Any, place: str = "") -> list[Reading]:
        found = answer
        for name in self.path:
            if isinstance(found, Mapping) and name not in found:
                return []  # not every firmware has it
            found = found[name] if isinstance(found, Mapping) else None
        value = self.take(found)
        return [Reading(place + self.key, value, Quality.BAD if value is None else Quality.GOOD)]


def _number(found: Any) -> float | None:
    """A number, or what dialects A and B tell of it beside its range."""
    found = found.get("value") if isinstance(found, Mapping) else found
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number and abs(found) <= 1e300 and math.isfinite(found) else None


def _rate(found: Any) -> Value:
    """Null: the filter is off."""
    return 0.0 if found is None else _number(found)


def _truth(found: Any) -> bool | None:
    return found if isinstance(found, bool) else None


def _text(found: Any) -> str | None:
    """A word; a number of volts where `center` is one."""
    if isinstance(found, str):
        return found[:TEXT_MAX]
    number = _number(found)
    return None if number is None else f"{number:g}"


def _revision(found: Any) -> str | None:
    numbers = [found.get(name) for name in ("major", "minor")] if isinstance(found, Mapping) else []
    return ".".join(map(str, numbers)) if numbers and all(isinstance(n, int) for n in numbers) else None


OF_CHANNELS = {  # by command
    "output": (
        Setting("max_v", "voltage limit", "V", ("max_v",), _number, digits=3),
        Setting("max_i_pos", "positive current limit", "A", ("max_i_pos",), _number, digits=3),
        Setting("max_i_neg", "negative current limit", "A", ("max_i_neg",), _number, digits=3),
        Setting("polarity", "polarity", "", ("polarity",), _text, "text"),
        Setting("center", "centre of the drive", "", ("center",), _text, "text"),
    ),
    "pid": (
        Setting("kp", "PID kp", "", ("parameters", "kp"), _number),
        Setting("ki", "PID ki", "", ("parameters", "ki"), _number),
        Setting("kd", "PID kd", "", ("parameters", "kd"), _number),
        Setting("output_min", "PID output at least", "A", ("parameters", "output_min"), _number, digits=3),
        Setting("output_max", "PID output at most", "A", ("parameters", "output_max"), _number, digits=3),
    ),
    "b-p": (
        Setting("t0", "thermistor T0", "K", ("params", "t0"), _number, digits=2),
        Setting("r0", "thermistor R0", "Ohm", ("params", "r0"), _number, digits=1),
        Setting("b", "thermistor B", "K", ("params", "b"), _number, digits=1),
    ),
    "postfilter": (Setting("postfilter", "filter's rate, 0 without", "Hz", ("rate",), _rate, digits=3),),
}
OF_ALL = {
    "fan": (
        Setting("fan.pwm", "fan", "%", ("fan_pwm",), _number, digits=0),
        Setting("fan.auto", "fan by itself", "", ("auto_mode",), _truth, "bool"),
        Setting("fan.abs_max_tec_i", "greatest TEC current", "A", ("abs_max_tec_i",), _number, digits=4),
        Setting("fan.k_a", "fan curve a", "", ("k_a",), _number),
        Setting("fan.k_b", "fan curve b", "", ("k_b",), _number),
        Setting("fan.k_c", "fan curve c", "", ("k_c",), _number),
    ),
    "hwrev": (
        Setting("hardware", "hardware revision", "", ("rev",), _revision, "text"),
        Setting("fan.available", "has a fan", "", ("settings", "fan_available"), _truth, "bool"),
        Setting(
            "fan.recommended", "fan takes all speeds", "", ("settings", "fan_pwm_recommended"), _truth, "bool"
        ),
        Setting("fan.least", "fan at least", "", ("settings", "min_fan_pwm"), _number, digits=3),
        Setting("fan.most", "fan at most", "", ("settings", "max_fan_pwm"), _number, digits=3),
        Setting("fan.frequency", "fan's PWM", "Hz", ("settings", "fan_pwm_freq_hz"), _number, digits=0),
        Setting("fan.usual_k_a", "fan curve a, as made", "", ("settings", "fan_k_a"), _number),
        Setting("fan.usual_k_b", "fan curve b, as made", "", ("settings", "fan_k_b"), _number),
        Setting("fan.usual_k_c", "fan curve c, as made", "", ("settings", "fan_k_c"), _number),
    ),
    "ipv4": (
        Setting("ipv4.address", "network address", "", ("addr",), _text, "text"),
        Setting("ipv4.gateway", "network gateway", "", ("gateway",), _text, "text"),
    ),
}
PLACES = ("ch0.", "ch1.")
COMMANDS = (*OF_CHANNELS, *OF_ALL)
CHANNELS = (
    *(one.channel(place) for some in OF_CHANNELS.values() for one in some for place in PLACES),
    *(one.channel() for some in OF_ALL.values() for one in some),
)


def word(command: str, dialect: str | None) -> str:
    """How the firmware calls it."""
    return command if dialect == "D" else OLD_WORDS.get(command, command)


def readings(command: str, answer: Any) -> list[Reading]:
    """What an answer says; bad readings for one that says nothing of use. Never raises."""
    if command in OF_ALL:
        if answer is None and command == "fan":
            return []  # there is none
        usable = isinstance(answer, Mapping) and "error" not in answer
        return [
            reading
            for one in OF_ALL[command]
            for reading in (one.reading(answer) if usable else bad(one.key))
        ]
    rows: dict[str, Any] = {}
    for row in answer if isinstance(answer, list) else ():
        number = row.get("channel") if isinstance(row, Mapping) else None
        if isinstance(number, int) and number in (0, 1):
            rows[PLACES[number]] = row
    return [
        reading
        for place in PLACES
        for one in OF_CHANNELS[command]
        for reading in (one.reading(rows[place], place) if place in rows else bad(place + one.key))
    ]


def bad(key: str) -> list[Reading]:
    return [Reading(key, None, Quality.BAD)]
