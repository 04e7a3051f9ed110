"""The table of doors: how a simulated instrument is reached, by the scheme of its addresses."""

from pkgutil import resolve_name
from typing import Protocol, Self

from devices.simulators.base import Simulator
from devices.simulators.client import Record

DOORS = {
    "tcp": "devices.simulators.tcp:Door",
    "http": "devices.simulators.tcp:Door",
    "i2c+tcp": "devices.simulators.tcp:Door",
    "tls": "devices.simulators.tls:TlsDoor",
    "https": "devices.simulators.tls:TlsDoor",
    "modbus+tcp": "devices.simulators.tcp:Door",
    "modbus+rtu+tcp": "devices.simulators.tcp:Door",
    "modbus+serial": "devices.simulators.pty:PtyDoor",
    "serial": "devices.simulators.pty:PtyDoor",
    "file": "devices.simulators.files:FilesDoor",
}


class AnyDoor(Protocol):
    """Where an instrument is reached. It heeds `simulator.can_be_reached()` whenever it is told to `look`."""

    simulator: Simulator

    @classmethod
    def at(cls, simulator: Simulator, where: str, place: int, record: Record | None) -> Self:
        """Open it, within a running event loop. `where` is what --listen says ("": anywhere), `place` the
        instrument's among those that share it: 0 for the first. `record` notes what carries readings.
        Raises BadSetting and OSError.
        """

    @property
    def address(self) -> str:
        """The URL an instrument is given."""

    def look(self) -> None:
        """Open or shut it as the instrument's state asks for."""

    async def close(self) -> None:
        """For good."""


def opened(simulator: Simulator, where: str, place: int, record: Record | None) -> AnyDoor:
    """The door of a simulator; see `AnyDoor.at`."""
    door: type[AnyDoor] = resolve_name(DOORS[simulator.scheme])
    return door.at(simulator, where, place, record)
