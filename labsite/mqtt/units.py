"""UCUM units as Home Assistant writes them, and the device classes that go with them.

Source: home-assistant/core, components/sensor/const.py (DEVICE_CLASS_UNITS, DEVICE_CLASS_STATE_CLASSES). A
unit without a class that allows both it and `measurement` has none, and is printed as on Labsite's pages.
"""

from typing import NamedTuple

from devices import numbers


class Shown(NamedTuple):
    """A unit in Home Assistant, and the class of a sensor that has it; "": none."""

    unit: str
    device_class: str = ""


TABLE = {
    "Cel": Shown("°C", "temperature"),
    "degC": Shown("°C", "temperature"),
    "[degF]": Shown("°F", "temperature"),
    "K": Shown("K", "temperature"),
    "V": Shown("V", "voltage"),
    "mV": Shown("mV", "voltage"),
    "A": Shown("A", "current"),
    "mA": Shown("mA", "current"),
    "W": Shown("W", "power"),
    "kW": Shown("kW", "power"),
    "V.A": Shown("VA", "apparent_power"),
    "VA": Shown("VA", "apparent_power"),
    "Hz": Shown("Hz", "frequency"),
    "kHz": Shown("kHz", "frequency"),
    "MHz": Shown("MHz", "frequency"),
    "GHz": Shown("GHz", "frequency"),
    "Pa": Shown("Pa", "pressure"),
    "hPa": Shown("hPa", "pressure"),
    "kPa": Shown("kPa", "pressure"),
    "bar": Shown("bar", "pressure"),
    "mbar": Shown("mbar", "pressure"),
    "mm[Hg]": Shown("mmHg", "pressure"),
    "[psi]": Shown("psi", "pressure"),
    "lx": Shown("lx", "illuminance"),
    "W/m2": Shown("W/m²", "irradiance"),
    "ms": Shown("ms", "duration"),
    "s": Shown("s", "duration"),
    "min": Shown("min", "duration"),
    "h": Shown("h", "duration"),
    "d": Shown("d", "duration"),
    "mm": Shown("mm", "distance"),
    "cm": Shown("cm", "distance"),
    "m": Shown("m", "distance"),
    "km": Shown("km", "distance"),
    "m/s": Shown("m/s", "speed"),
    "km/h": Shown("km/h", "speed"),
    "ug": Shown("µg", "weight"),
    "mg": Shown("mg", "weight"),
    "g": Shown("g", "weight"),
    "kg": Shown("kg", "weight"),
    "mL": Shown("mL", "volume_storage"),
    "L": Shown("L", "volume_storage"),
    "l": Shown("L", "volume_storage"),
    "m3": Shown("m³", "volume_storage"),
    "L/min": Shown("L/min", "volume_flow_rate"),
    "l/min": Shown("L/min", "volume_flow_rate"),
    "m3/h": Shown("m³/h", "volume_flow_rate"),
    "By": Shown("B", "data_size"),
    "kBy": Shown("kB", "data_size"),
    "MBy": Shown("MB", "data_size"),
    "GBy": Shown("GB", "data_size"),
    "KiBy": Shown("KiB", "data_size"),
    "MiBy": Shown("MiB", "data_size"),
    "GiBy": Shown("GiB", "data_size"),
    "dB[SPL]": Shown("dB", "sound_pressure"),
    "{rpm}": Shown("rpm"),
    "/min": Shown("rpm"),
}
# Of a percentage the key says what it is of. A load has no class.
OF_PERCENT = {"battery_level": "battery", "humidity": "humidity"}


def shown(ucum: str, key: str) -> Shown:
    """A channel's unit there, by its UCUM code and the channel's key."""
    if ucum == "%":
        return Shown("%", _of_percent(key.rpartition(".")[2]))
    return TABLE.get(ucum) or Shown(numbers.unit(ucum))


def _of_percent(key: str) -> str:
    return next((found for name, found in OF_PERCENT.items() if key == name or key.endswith(f"_{name}")), "")
