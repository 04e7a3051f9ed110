"""Simulated instruments on serial ports: pseudo-terminals, found under a path that outlives them."""

import asyncio
import contextlib
import os
import pty
import tempfile
import termios
import tty
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote

from devices.links.descriptor import DescriptorTransport
from devices.simulators.base import Simulator
from devices.simulators.client import Record, WireClient


class SerialSimulator(Simulator):
    """One that is at the end of a serial line, and understands nothing at another speed than its own."""

    scheme = "serial"
    baudrate: int | None = None  # None: any
    line: Mapping[str, str] = {}  # what its address says of the line

    def address_of(self, port: Path) -> str:
        """Its URL."""
        query = "&".join(f"{name}={value}" for name, value in self.line.items())
        return f"serial://{quote(str(port))}{query and '?'}{query}"


class PtyDoor:
    """A port at a path that stays the same: a symbolic link, as under /dev/serial/by-id, to a terminal that
    is another each time the instrument is plugged in, and to none while it is not."""

    def __init__(self, simulator: Simulator, port: Path, record: Record | None) -> None:
        self.simulator = simulator
        self.port = port
        self.record = record
        self.client: PtyClient | None = None
        self._is_closed = False
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.look()

    @classmethod
    def at(cls, simulator: Simulator, where: str, place: int, record: Record | None) -> Self:
        """`where`: the path; with several instruments, those after the first have a number behind it."""
        temporary = None if where else tempfile.TemporaryDirectory(prefix="labsite-simulated-")
        port = Path(temporary.name) / simulator.driver if temporary else Path(where).absolute()
        try:
            door = cls(simulator, port.with_name(f"{port.name}-{place}") if place else port, record)
        except OSError:
            if temporary:
                temporary.cleanup()
            raise
        door._temporary = temporary
        return door

    @property
    def address(self) -> str:
        if isinstance(self.simulator, SerialSimulator):
            return self.simulator.address_of(self.port)
        return f"serial://{quote(str(self.port))}"

    def look(self) -> None:
        """Plug or unplug, as the instrument's state asks for."""
        if not self._is_closed and self.simulator.can_be_reached():
            self.plug()
        else:
            self.unplug()

    def plug(self) -> None:
        if self.client is not None:
            return
        self.client = PtyClient(self)
        self.port.parent.mkdir(parents=True, exist_ok=True)
        if (self.port.exists() or self.port.is_symlink()) and not self._is_left_over():
            self.unplug()
            raise FileExistsError(None, "there is something else at this path", str(self.port))
        link = self.port.with_name(f".{self.port.name}.{os.getpid()}")
        link.symlink_to(self.client.terminal)
        link.replace(self.port)

    def unplug(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            if self.port.is_symlink() and str(self.port.readlink()) == client.terminal:
                self.port.unlink()
            client.reset()

    async def close(self) -> None:
        self._is_closed = True
        client = self.client
        self.unplug()
        if client is not None:
            await client.gone
        if self._temporary:
            self._temporary.cleanup()

    def _is_left_over(self) -> bool:
        """By a simulator that was killed."""
        return self.port.is_symlink() and self.port.readlink().is_relative_to("/dev/pts")


class PtyClient(WireClient):
    """Who is at the other end of the line: one client for as long as the instrument is plugged in, as a wire
    does not tell who comes and goes."""

    def __init__(self, door: PtyDoor) -> None:
        super().__init__(door.simulator, door.record)
        self.door = door
        # This end of the terminal stays open too: else reading fails whenever a client leaves.
        self._master, self._slave = pty.openpty()
        for end in (self._master, self._slave):
            tty.setraw(end)
        os.set_blocking(self._master, False)
        self.terminal = os.ttyname(self._slave)
        self.gone: asyncio.Future[None] = self._loop.create_future()
        DescriptorTransport(self._loop, self._master, self, self._shut, lambda _error: self.reset())

    def data_received(self, chunk: bytes) -> None:
        if self._is_understood():
            super().data_received(chunk)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.gone.set_result(None)
        if self.door.client is self:  # a fault closed it: the cable was out for a moment
            self.door.unplug()
            self.door.look()

    async def _shut(self) -> None:
        os.close(self._master)
        os.close(self._slave)

    def _is_understood(self) -> bool:
        """Whether the client has set the line to the instrument's speed."""
        wanted = getattr(self.simulator, "baudrate", None)
        with contextlib.suppress(termios.error):
            if wanted is not None:
                return bool(termios.tcgetattr(self._master)[5] == getattr(termios, f"B{wanted}"))
        return True
