"""The table of drivers: Labsite's own and those that installed packages declare.

A package adds a driver by the entry point group `labsite.drivers`:

    [project.entry-points."labsite.drivers"]
    kelda_c20 = "kelda.labsite:KeldaC20"

A driver's module is imported when the driver is first asked for: an edge carries only what it polls.
"""

from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name

from devices.drivers.base import Driver
from devices.errors import ConfigurationError

ENTRY_POINTS = "labsite.drivers"

OWN = {
    "bme280": "devices.drivers.bme280:Bme280",
    "edge_host": "devices.drivers.edge_host:EdgeHost",
    "labsite_simulated": "devices.drivers.labsite_simulated:LabsiteSimulated",
    "http_json": "devices.drivers.http_json:HttpJson",
    "metatron": "devices.drivers.metatron:Metatron",
    "modbus": "devices.drivers.modbus:Modbus",
    "mqtt_in": "devices.drivers.mqtt_in:MqttIn",
    "must_ep20": "devices.drivers.must_ep20:MustEp20",
    "push": "devices.drivers.push:Push",
    "scpi": "devices.drivers.scpi:Scpi",
    "quantstudio": "devices.drivers.quantstudio:QuantStudio",
    "scs": "devices.drivers.scs:Scs",
    "thermostat": "devices.drivers.thermostat:Thermostat",
}


def names() -> list[str]:
    """The names of all drivers there are, in alphabetical order."""
    return sorted(OWN.keys() | _declared().keys())


@cache
def load(name: str) -> type[Driver]:
    """The driver of this name. Raises ConfigurationError if there is none or it does not load."""
    target = OWN.get(name) or _declared().get(name)
    if target is None:
        raise ConfigurationError(f"no driver {name!r}; there are {', '.join(names())}")
    try:
        driver = resolve_name(target)
    except Exception as error:  # a stranger's module may raise anything when it is imported
        raise ConfigurationError(f"driver {name!r} does not load: {type(error).__name__}: {error}") from error
    if not (isinstance(driver, type) and issubclass(driver, Driver)):
        raise ConfigurationError(f"driver {name!r}: {target} is no subclass of {Driver.__qualname__}")
    return driver


@cache
def _declared() -> dict[str, str]:
    """Drivers of installed packages, name → `module:class`; read once, it looks through all packages."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def forget() -> None:
    """Look again: packages may have come or gone."""
    load.cache_clear()
    _declared.cache_clear()
