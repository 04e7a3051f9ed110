"""The table of links: which class opens an address, by the scheme of its URL.

A link's module is imported when such an address is first met: an edge carries only the libraries it uses.
"""

from collections.abc import Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Any

from devices.errors import ConfigurationError
from devices.links.base import Address, Link

LINKS = {
    "edge": "devices.links.local:LocalLink",
    "file": "devices.links.files:FilesLink",
    "http": "devices.links.http:HttpLink",
    "https": "devices.links.http:HttpLink",
    "i2c": "devices.links.i2c:I2cLink",
    "i2c+tcp": "devices.links.i2c_tcp:I2cTcpLink",
    "modbus+rtu+tcp": "devices.links.modbus:ModbusRtuLink",
    "modbus+serial": "devices.links.modbus_serial:ModbusSerialLink",
    "modbus+tcp": "devices.links.modbus:ModbusTcpLink",
    "mqtt": "devices.links.mqtt:MqttLink",
    "mqtts": "devices.links.mqtt:MqttLink",
    "push": "devices.links.local:LocalLink",
    "serial": "devices.links.serial:SerialLink",
    "simulated": "devices.links.local:LocalLink",
    "tcp": "devices.links.tcp:TcpLink",
    "tls": "devices.links.tcp:TlsLink",
}


def check(url: str) -> Address:
    """Take an address apart. Raises ConfigurationError, for people, if no link can open it."""
    address = Address.parse(url)
    load(address).check(address)
    return address


async def connect(address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> Link:
    """Open the link to an address; `deadline` in seconds bounds this and each exchange afterwards.
    `settings`: what its driver wants of it.

    Raises ConfigurationError if no link can open such an address, LinkError if it does not open now.
    """
    link_class = load(address)
    link_class.check(address)
    link = link_class(address, deadline, settings)
    await link.open()
    return link


def load(address: Address) -> type[Link]:
    """The class that opens an address. Raises ConfigurationError if there is none or it does not load."""
    if address.scheme not in LINKS:
        known = ", ".join(f"{scheme}://" for scheme in LINKS)
        raise ConfigurationError(
            f"address {address.url!r}: no link for {address.scheme}://, only for {known}"
        )
    try:
        return _link_class(address.scheme)
    except ImportError as error:
        raise ConfigurationError(
            f"address {address.url!r}: what opens {address.scheme}:// is not installed: {error}"
        ) from error


@cache
def _link_class(scheme: str) -> type[Link]:
    link_class: type[Link] = resolve_name(LINKS[scheme])
    return link_class
