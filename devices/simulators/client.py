"""The other side of one connection over a stream of bytes: answers in order, as the faults leave them."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from devices.simulators.base import Session, Simulator
from devices.simulators.faults import Delivery

Record = Callable[[int, str], None]  # an instrument's number, and what it said


class WireClient(asyncio.Protocol):
    """Answers go out in order; one for which there is no room is dropped. The door says how to `reset`."""

    transport: asyncio.Transport
    session: Session

    def __init__(self, simulator: Simulator, record: Record | None) -> None:
        self.simulator = simulator
        self.record = record
        self._waiting: deque[tuple[float, bytes, str | None, bool]] = deque()  # due, piece, reading, closes
        self._unsent: list[str] = []  # readings in the transport's own buffer
        self._is_full = False
        self._loop = asyncio.get_running_loop()

    # ---- what the instrument says

    def answer(self, chunk: bytes, *, reading: bool | str = False) -> None:
        simulator = self.simulator
        delivery = simulator.faults.deliver(chunk, simulator.number, simulator.elapsed, simulator.garbage)
        reply = chunk.decode() if reading is True else reading or None
        if delivery is None and not self._waiting:
            self._write(chunk, [reply] if reply else [])
        else:
            self._queue(delivery or Delivery(((0.0, chunk),), answered=True), reply)

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
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
        if self.record:
            for reading in readings:
                self.record(self.simulator.number, reading)

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        # Not at once: under TLS the end of the handshake is still in the buffer when the first request comes.
        self._loop.call_soon(self._notice_what_is_unread)
        self.session = self.simulator.session(self)  # which may greet its client

    def _notice_what_is_unread(self) -> None:
        if not self.transport.is_closing():
            # asyncio's TLS takes a buffer for full at its limit, not above it: with 0 it always is.
            is_tls = self.transport.get_extra_info("ssl_object") is not None
            self.transport.set_write_buffer_limits(high=1 if is_tls else 0, low=0)

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
