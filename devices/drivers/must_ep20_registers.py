"""Registers of the MUST EP20: the status from 30000, settings from 31000 on, and what their numbers mean."""

from collections.abc import Mapping
from dataclasses import dataclass

from devices.drivers.base import Channel
from devices.readings import Quality, Reading

STATUS_START, STATUS_COUNT = 30000, 27
OTHER_MODEL = 3
BATTERY_CLASSES = (12, 24, 48)

MACHINES = {0: "EP2000 Pro", 2: "PV2000 Pro"}
STATES = {
    1: "init",
    2: "self-check",
    3: "backup",
    4: "line",
    5: "stop",
    6: "power off",
    7: "grid charging",
    8: "soft start",
}
STATUS_OF_STATE = {3: "battery", 4: "online", 7: "online"}
LOAD_STATES = {0: "normal", 1: "alarm", 2: "overload"}
REGULATION = {0: "bypass", 1: "step-down", 2: "boost", 4: "extra boost"}
BUZZER = {0: "off", 1: "sounding", 2: "alarm"}
CHARGE_STAGES = {0: "constant current", 1: "constant voltage", 2: "float"}
DELAYS = {0: "standard", 1: "long delay", 2: "integration"}
FREQUENCIES = {0: 50, 1: 60}
ALARM_BITS = {  # of 30022: channel's key and label
    1: ("alarm.battery_low", "alarm: battery voltage low"),
    2: ("alarm.overload", "alarm: overload"),
    3: ("alarm.battery_high", "alarm: battery voltage high"),
    4: ("alarm.parameter_error", "alarm: parameter error"),
}
FAULTS = {
    1: "fan stalled, inverter off",
    2: "inverter over-temperature",
    3: "battery over-voltage",
    4: "battery under-voltage",
    5: "output short",
    6: "inverter output high",
    7: "overload",
    8: "bus voltage high",
    9: "bus soft start",
    11: "main relay",
    21: "output voltage sensor",
    22: "grid voltage sensor",
    23: "output current sensor",
    24: "grid current sensor",
    25: "load current sensor",
    26: "grid over-current",
    27: "heatsink hot",
    31: "solar charger sensing",
    32: "solar charger sensing",
    33: "solar charger sensing",
    41: "grid under-voltage",
    42: "grid over-voltage",
    43: "grid under-frequency",
    44: "grid over-frequency",
    45: "voltage regulation failure",
    51: "over-current",
    52: "bus voltage low",
    53: "inverter soft start",
    54: "direct voltage on the output",
    56: "battery open",
    57: "control current sensor",
    58: "inverter output low",
    61: "fan 1 stalled",
    62: "fan 2 stalled",
    63: "over-charged",
    64: "low battery",
    67: "overload",
    70: "derating",
    72: "solar charger stopped",
    73: "solar charger stopped",
    74: "solar charger stopped",
    75: "solar charger stopped",
    76: "solar charger stopped",
    77: "parameter error",
}


@dataclass(frozen=True, slots=True)
class Register:
    """A register and its channel. A value outside `possible` is marked bad: it cannot be."""

    index: int  # in its block
    key: str
    label: str
    unit: str = ""
    kind: str = "int"
    tenths: bool = False
    meanings: Mapping[int, str | int] | None = None
    signed: bool = False
    possible: tuple[float, float] | None = None
    may_be_zero: bool = False
    low: float | None = None
    high: float | None = None

    def channel(self) -> Channel:
        digits = {"float": 1 if self.tenths else 0}.get(self.kind)
        return Channel(self.key, self.label, self.unit, self.kind, self.low, self.high, digits)

    def reading(self, raw: int) -> Reading:
        if self.meanings is not None:
            return self._named(raw, self.meanings)
        value: float = raw - 0x1_0000 if self.signed and raw >= 0x8000 else raw
        value = value / 10 if self.tenths else value
        value = float(value) if self.kind == "float" else value
        return Reading(self.key, value, Quality.GOOD if self._is_possible(value) else Quality.BAD)

    def _named(self, raw: int, meanings: Mapping[int, str | int]) -> Reading:
        if raw in meanings:
            return Reading(self.key, meanings[raw])
        if self.kind == "text":
            return Reading(self.key, f"code {raw}", Quality.UNCERTAIN)
        return Reading(self.key, None, Quality.BAD)

    def _is_possible(self, value: float) -> bool:
        if self.possible is None or (self.may_be_zero and not value):
            return True
        low, high = self.possible
        return low <= value <= high


YES_IF_1 = {0: False, 1: True}
YES_IF_0 = {0: True, 1: False}


def _measured(
    index: int,
    key: str,
    label: str,
    unit: str,
    possible: tuple[float, float] | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    signed: bool = False,
) -> Register:
    """In tenths of its unit."""
    return Register(
        index, key, label, unit, "float", tenths=True, possible=possible, low=low, high=high, signed=signed
    )


def _named(index: int, key: str, label: str, words: Mapping[int, str]) -> Register:
    return Register(index, key, label, kind="text", meanings=words)


def _truth(index: int, key: str, label: str, truths: Mapping[int, bool] = YES_IF_1) -> Register:
    return Register(index, key, label, kind="bool", meanings=truths)


# What matters first comes first. 30016 is reserved.
STATUS = (
    _measured(5, "input_voltage", "input voltage", "V", (0, 300), low=180),
    _measured(7, "output_voltage", "output voltage", "V"),
    Register(17, "battery_level", "battery level", "%", possible=(0, 100), low=20),
    _measured(14, "battery_voltage", "battery voltage", "V"),
    _measured(15, "battery_current", "battery current (− discharging)", "A", signed=True),
    Register(12, "load_percent", "load", "%", possible=(0, 200), high=80),
    Register(10, "load_power", "load power", "W"),
    Register(11, "load_apparent_power", "load apparent power", "V.A"),
    _measured(9, "load_current", "load current", "A"),
    Register(
        18,
        "temperature",
        "transformer temperature",
        "Cel",
        "float",
        signed=True,
        possible=(-20, 120),
        high=40,
    ),
    Register(
        6,
        "input_frequency",
        "input frequency",
        "Hz",
        "float",
        tenths=True,
        possible=(40, 70),
        may_be_zero=True,
    ),
    Register(
        8, "frequency", "output frequency", "Hz", "float", tenths=True, possible=(40, 70), may_be_zero=True
    ),
    _named(2, "work_state", "work state", STATES),
    _named(13, "load_state", "load state", LOAD_STATES),
    _named(19, "regulation", "voltage regulation", REGULATION),
    _named(23, "charge_stage", "charge stage", CHARGE_STAGES),
    _truth(24, "charging", "charging"),
    _truth(25, "main_switch", "main switch on"),
    _named(20, "buzzer", "buzzer", BUZZER),
    Register(21, "fault_number", "fault number"),
    Register(22, "alarm_bits", "alarm bits"),
    _named(26, "delay_type", "delay type", DELAYS),
    Register(3, "battery_class", "battery class", "V"),
    Register(4, "rated_power", "rated power", "W"),
    _named(0, "machine_type", "machine type", MACHINES),
    Register(1, "software_version", "software version"),
)
SETTINGS = (
    Register(0, "settings.frequency", "set: grid frequency", "Hz", meanings=FREQUENCIES),
    Register(1, "settings.voltage", "set: grid voltage", "V"),
    _measured(2, "settings.shutdown_voltage", "set: shutdown voltage", "V"),
    _measured(3, "settings.absorption_voltage", "set: absorption voltage", "V"),
    _measured(4, "settings.float_voltage", "set: float voltage", "V"),
    Register(5, "settings.charge_current", "set: bulk charge current", "A"),
    _truth(6, "settings.buzzer_silenced", "set: buzzer silenced"),
    _truth(7, "settings.grid_charging", "set: grid charging", YES_IF_0),
    _truth(8, "settings.key_sound", "set: key sound", YES_IF_0),
    _truth(9, "settings.backlight", "set: backlight"),
)
MORE_SETTINGS = (
    _truth(0, "settings.utility_power", "set: utility power", YES_IF_0),
    _truth(1, "settings.overload_recovery", "set: overload recovery"),
)
