"""The table of simulators: the other end of each driver's real wire, with faults on demand."""

from pkgutil import resolve_name

from devices.simulators.base import Simulator

SIMULATORS = {
    "bme280": "devices.simulators.bme280:Bme280",
    "http_json": "devices.simulators.http_json:HttpJson",
    "metatron": "devices.simulators.metatron:Metatron",
    "modbus": "devices.simulators.modbus:Modbus",
    "scpi": "devices.simulators.scpi:Scpi",
    "quantstudio": "devices.simulators.quantstudio:QuantStudio",
    "must_ep20": "devices.simulators.must_ep20:MustEp20",
    "scs": "devices.simulators.scs:Scs",
    "thermostat": "devices.simulators.thermostat:Thermostat",
}


def load(driver: str) -> type[Simulator]:
    """The simulator of a driver's instruments; its module is imported only now. Raises KeyError."""
    simulator: type[Simulator] = resolve_name(SIMULATORS[driver])
    return simulator
