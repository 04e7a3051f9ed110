"""Simulated instruments on TCP: doors that refuse as a device does, and answers that faults spoil."""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

from devices.simulators.base import Simulator
from devices.simulators.faults import Delivery

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
Record = Callable[[int, str], None]


class Door:
    """An instrument's port. It is shut, so that a connection is refused, while no more clients fit."""

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
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    def look(self) -> None:
        """Open or shut the door as the instrument's state and the number of clients ask for."""
        if self._is_closed:
            return
        if not self._answers():
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

    def _answers(self) -> bool:
        fault = self.simulator.faults.standing("refuse", self.simulator.number, self.simulator.elapsed)
        return self.simulator.is_on() and (fault is None or fault.p < 1)

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
            await self.loop.connect_accepted_socket(partial(TcpClient, self), connection)


class TcpClient(asyncio.Protocol):
    """One connection. Answers go out in order; one for which there is no room is dropped."""

    transport: asyncio.Transport

    def __init__(self, door: Door) -> None:
        self.door = door
        self.simulator = door.simulator
        self._waiting: deque[tuple[float, bytes, str | None, bool]] = deque()  # due, piece, reading, closes
        self._unsent: list[str] = []  # readings in the transport's own buffer
        self._is_full = False
        self._loop = door.loop
        self.session = self.simulator.session(self)

    # ---- what the instrument says

    def answer(self, line: bytes, *, reading: bool = False) -> None:
        delivery = self.simulator.faults.deliver(line, self.simulator.number, self.simulator.elapsed)
        reply = line.decode() if reading else None
        if delivery is None and not self._waiting:
            self._write(line, [reply] if reply else [])
        else:
            self._queue(delivery or Delivery(((0.0, line),), answered=True), reply)

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    # ---- answers that wait

    def _queue(self, delivery: Delivery, reply: str | None) -> None:
        """Behind what already waits; a later piece's delay runs from the piece before it."""
        was_empty = not self._waiting
        due = self._loop.time()
        last = len(delivery.pieces) - 1
        for number, (delay, piece) in enumerate(delivery.pieces):
            due += delay
            if self._waiting:
                before = self._waiting[-1][0]
                due = before if delivery.joins else max(due, before)
            reading = reply if delivery.answered and number == last else None
            self._waiting.append((due, piece, reading, delivery.closes and number == last))
        if was_empty:
            self._send_what_is_due()

    def _send_what_is_due(self) -> None:
        """All that is due goes out in one packet."""
        now = self._loop.time()
        pieces, readings, closes = [], [], False
        while self._waiting and self._waiting[0][0] <= now and not closes:
            _, piece, reading, closes = self._waiting.popleft()
            pieces.append(piece)
            readings += [reading] if reading else []
        if pieces:
            self._write(b"".join(pieces), readings)
        if closes:
            self._waiting.clear()
            self.transport.close()
        elif self._waiting:
            self._loop.call_at(self._waiting[0][0], self._send_what_is_due)

    def _write(self, piece: bytes, readings: list[str]) -> None:
        if self._is_full or self.transport.is_closing():
            return
        self.transport.write(piece)
        if self.transport.get_write_buffer_size():
            self._unsent = readings
        elif not self.transport.is_closing():  # as it is if the write found the connection broken
            self._note(readings)

    def _note(self, readings: list[str]) -> None:
        if self.door.record:
            for reading in readings:
                self.door.record(self.simulator.number, reading)

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=0)
        self.door.clients.add(self)

    def data_received(self, chunk: bytes) -> None:
        self.session.hear(chunk)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        readings, self._unsent = self._unsent, []
        self._note(readings)

    def connection_lost(self, _error: Exception | None) -> None:
        self.session.end()
        self._waiting.clear()
        self.door.clients.discard(self)
        self.door.look()


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
