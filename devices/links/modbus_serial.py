"""Modbus by serial port. Instruments on one line share its port, as all serial links do."""

from collections.abc import Mapping
from typing import Any

from devices.errors import ConfigurationError
from devices.links.base import Address
from devices.links.modbus import ModbusRtuLink
from devices.links.serial import Line, SerialLink

SILENCE_BITS = 3.5 * 11  # between frames: 3.5 characters
SILENCE_MIN = 0.00175  # seconds, above 19200 Bd


class ModbusSerialLink(ModbusRtuLink):
    """`modbus+serial:///dev/ttyUSB0?baudrate=9600&parity=E`; what may stand behind ? is as for `serial://`."""

    schemes = ("modbus+serial",)

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        baudrate = Line.of(self.inner(address), {}).baudrate
        self.silence = max(SILENCE_MIN, SILENCE_BITS / baudrate)

    @classmethod
    def inner(cls, address: Address) -> Address:
        return Address.parse("serial" + address.url[len(address.scheme) :])

    @classmethod
    def check(cls, address: Address) -> None:
        try:
            SerialLink.check(cls.inner(address))
        except ConfigurationError as error:
            raise ConfigurationError(str(error).replace("serial://", "modbus+serial://")) from None

    def new_stream(self) -> SerialLink:
        return SerialLink(self.inner(self.address), self.deadline)
