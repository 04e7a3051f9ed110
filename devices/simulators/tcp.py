"""Simulated instruments on TCP: doors that refuse as a device does, and answers that faults spoil."""

import asyncio
import contextlib
import socket
import ssl
import struct
from functools import partial
from typing import Self

from devices.simulators.base import BadSetting, Simulator
from devices.simulators.client import Record, WireClient

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
ANYWHERE = "127.0.0.1:0"


class Door:
    """An instrument's port. It is shut, so that a connection is refused, while no more clients fit."""

    tls: ssl.SSLContext | None = None

    @classmethod
    def at(cls, simulator: Simulator, where: str, place: int, record: Record | None) -> Self:
        """`where`: host:port. With several instruments, each is at a port of its own, counted from there."""
        host, port = host_and_port(where or ANYWHERE, place)
        return cls(simulator, host, port, record)

    def __init__(self, simulator: Simulator, host: str, port: int, record: Record | None) -> None:
        self.simulator = simulator
        self.record = record
        self.clients: set[TcpClient] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self.loop = asyncio.get_running_loop()
        self._socket = _bound(host, port)
        self.is_open = False
        self._is_closed = False
        self.look()

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - shown, not bound
        return self.simulator.address(f"[{host}]" if ":" in host else host, port)

    def look(self) -> None:
        """Open or shut the door as the instrument's state and the number of clients ask for."""
        if self._is_closed:
            return
        if not self.simulator.can_be_reached():
            for client in tuple(self.clients):
                client.reset()
            self._shut()
        elif len(self.clients) + len(self._accepting) >= self.simulator.connections_max:
            self._shut()
        else:
            self._open()

    async def close(self) -> None:
        self._is_closed = True
        self._shut()
        self._socket.close()
        for task in self._accepting:
            task.cancel()
        for client in tuple(self.clients):
            client.close()
        await asyncio.sleep(0)

    def _open(self) -> None:
        if not self.is_open:
            self.is_open = True
            self._socket.listen(self.simulator.connections_max)
            self.loop.add_reader(self._socket.fileno(), self._accept)

    def _shut(self) -> None:
        """Stop listening but keep the port: nobody else can take it meanwhile."""
        if self.is_open:
            self.is_open = False
            self.loop.remove_reader(self._socket.fileno())
            self._socket.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:  # the client left again
            return
        connection.setblocking(False)
        if self._is_turned_away():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()
            return
        task = self.loop.create_task(self._welcome(connection))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        self.look()

    def _is_turned_away(self) -> bool:
        faults = self.simulator.faults
        fault = faults.standing("refuse", self.simulator.number, self.simulator.elapsed)
        return fault is not None and faults.chance(fault.p)

    async def _welcome(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            await self.loop.connect_accepted_socket(partial(TcpClient, self), connection, ssl=self.tls)


class TcpClient(WireClient):
    """One connection to an instrument's port, bare or under TLS."""

    def __init__(self, door: Door) -> None:
        super().__init__(door.simulator, door.record)
        self.door = door

    def reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.door.clients.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.door.clients.discard(self)
        self.door.look()


def host_and_port(text: str, place: int = 0) -> tuple[str, int]:
    """The address of the instrument at this place, counted from 0. Raises BadSetting."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) + (place if int(port) else 0) > 65_535:
        raise BadSetting(f"--listen {text!r}: write host:port, as in 127.0.0.1:0; ports end at 65535")
    return host.strip("[]"), int(port) and int(port) + place


def _bound(host: str, port: int) -> socket.socket:
    """A socket that holds its port by name, so that it keeps it while it does not listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        if port:
            return sock
        free_port = sock.getsockname()[1]
        sock.close()
        with contextlib.suppress(OSError):  # somebody was faster: look for another
            return _bound(host, free_port)
    raise OSError("no free port")
