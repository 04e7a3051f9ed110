"""What the replaced UPS program told (HTTP, MQTT), from the channels of a `must_ep20`: names, order, types.

Order and alarms' words are those that its clients have seen (bagir/must-inverter, mustmon.py). Its status was
guessed from the input voltage and its two frequencies were one; here they are what the UPS says.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from devices.drivers.must_ep20_registers import ALARM_BITS

Said = float | str | None
FLOATS = ("input_voltage", "output_voltage", "battery_voltage", "frequency", "input_frequency", "temperature")
INTS = ("battery_level", "load_percent", "load_power")
FIELDS = (
    "input_voltage", "output_voltage", "battery_voltage", "battery_level", "load_percent", "load_power",
    "frequency", "input_frequency", "temperature", "timestamp", "status", "uptime",
)  # fmt: skip
TOPIC = (
    "mqtt_topic"  # an interface's option: on which topic the MQTT bridge tells the same, as the program did
)
STATUSES = ("online", "battery", "unknown")

LOW_INPUT = "Низкое напряжение сети"
LOW_BATTERY = "Низкий заряд батареи"
HIGH_TEMPERATURE = "Высокая температура"
HIGH_LOAD = "Высокая нагрузка"


def telemetry(values: Mapping[str, Said], at: datetime, uptime: float) -> dict[str, float | int | str | None]:
    """The fields in their order. `values`: channel's key → its value (of a text channel its text; None or
    absent: bad); `at`: when they were read; `uptime`: seconds. A field that cannot be told is None."""
    told: dict[str, float | int | str | None] = {
        **{key: _number(values.get(key)) for key in FLOATS},
        **{key: _whole(values.get(key)) for key in INTS},
        "timestamp": at.astimezone(machine_zone()).strftime("%Y-%m-%d %H:%M:%S"),
        "status": _status(values.get("status")),
        "uptime": clock(uptime),
    }
    return {key: told[key] for key in FIELDS}


def alarms(values: Mapping[str, Said]) -> list[str]:
    """What is wrong, in the replaced program's words; then what the UPS itself complains of.

    Without mains the input voltage is 0, which is no low voltage; an empty battery is a low one.
    """
    found = []
    if (volts := _number(values.get("input_voltage"))) is not None and 0 < volts < 180:
        found.append(LOW_INPUT)
    if (level := _number(values.get("battery_level"))) is not None and level < 20:
        found.append(LOW_BATTERY)
    if (warmth := _number(values.get("temperature"))) is not None and warmth > 40:
        found.append(HIGH_TEMPERATURE)
    if (load := _number(values.get("load_percent"))) is not None and load > 80:
        found.append(HIGH_LOAD)
    return [*found, *_complaints(values)]


def _complaints(values: Mapping[str, Said]) -> list[str]:
    bits = [label for key, label in ALARM_BITS.values() if values.get(key)]
    fault = values.get("fault")
    return [*bits, fault] if isinstance(fault, str) and fault not in ("", "none") else bits


def clock(seconds: float) -> str:
    """HH:MM:SS; hours go on past 24."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


@cache
def machine_zone() -> tzinfo:
    """The machine's own time zone; Django has set this process's to UTC."""
    try:
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC


def _number(value: Said) -> float | None:
    return None if value is None or isinstance(value, str) else round(float(value), 1)


def _whole(value: Said) -> int | None:
    return None if value is None or isinstance(value, str) else round(value)


def _status(value: Said) -> str:
    return value if isinstance(value, str) and value in STATUSES else "unknown"
