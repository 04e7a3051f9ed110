"""Lines over TCP: one request, one line in answer, within a deadline.

Made on asyncio's protocols, not its streams: at thousands of polls a second the streams' own buffers and
wake-ups cost more than parsing the answers.
"""

import asyncio
import contextlib
import os
import socket
from typing import cast

from devices.errors import ConfigurationError, LinkError
from devices.links.base import Address, LineLink

LINE_BYTES_MAX = 65_536
TERMINATOR = b"\n"

# Seconds until a silent peer is asked, between askings, and how many go unanswered before the link is lost.
KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class TcpLink(LineLink):
    """`tcp://host:port`. What breaks an exchange closes the link: no late answer meets another request."""

    schemes = ("tcp",)

    def __init__(self, address: Address, deadline: float) -> None:
        super().__init__(address, deadline)
        self._connection: _Connection | None = None

    @classmethod
    def check(cls, address: Address) -> None:
        if not address.host or not address.port:
            raise ConfigurationError(
                f"address {address.url!r} needs a host and a port: tcp://192.168.1.26:23"
            )
        if address.path.strip("/") or address.query:
            raise ConfigurationError(f"address {address.url!r}: nothing belongs behind the port")

    async def open(self) -> None:
        await self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.deadline):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop), self.address.host, self.address.port or 0
                )
        except TimeoutError:
            raise LinkError(f"{self.address.url}: no connection within {self.deadline:g} s") from None
        except (OSError, UnicodeError) as error:  # the latter: a host name that cannot be looked up
            raise LinkError(f"{self.address.url}: {_words(error)}") from None
        self._connection = connection

    async def ask(self, request: bytes) -> bytes:
        connection = self._connection
        if connection is None or connection.lost is not None:
            reason = connection.lost if connection else "the link is not open"
            raise LinkError(f"{self.address.url}: {reason}")
        try:
            return await connection.exchange(request, self.deadline)
        except LinkError as error:
            raise LinkError(f"{self.address.url}: {error}") from None

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_up("the link was closed")
            await connection.gone


class _Connection(asyncio.Protocol):
    """One TCP connection and at most one exchange on it. Bytes that nobody asked for are dropped."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lost: str | None = None  # why it can be used no more
        self.gone: asyncio.Future[None] = loop.create_future()
        self.answer: asyncio.Future[bytes] | None = None
        self.deadline = self.due = 0.0  # of the exchange under way: how long, until when
        self.timer: asyncio.TimerHandle | None = None
        self.received = bytearray()
        self.torn = False  # what was dropped last ended in mid-line: its rest is to be dropped too

    async def exchange(self, request: bytes, deadline: float) -> bytes:
        if self.answer is not None:
            raise RuntimeError("a link carries one exchange at a time")
        answer: asyncio.Future[bytes] = self.loop.create_future()
        self.answer = answer
        self.deadline = deadline
        self.due = self.loop.time() + deadline
        if self.timer is None:
            self.timer = self.loop.call_at(self.due, self._look_at_deadline)
        self.transport.write(request)
        try:
            return await answer
        except asyncio.CancelledError:
            self.give_up("an exchange was broken off")
            raise
        finally:
            self.answer = None
            self.received.clear()

    def _look_at_deadline(self) -> None:
        """One timer serves many exchanges: setting one and taking it back for each costs more than a recv."""
        self.timer = None
        if self.answer is None or self.answer.done():
            return
        if self.loop.time() < self.due:
            self.timer = self.loop.call_at(self.due, self._look_at_deadline)
        else:
            self.give_up(f"no answer within {self.deadline:g} s")

    def give_up(self, reason: str) -> None:
        """Close at once, whatever is still to be sent: a peer that does not read must not hold us."""
        if self.lost is None:
            self.lost = reason
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(LinkError(self.lost))
        self.transport.abort()

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, chunk: bytes) -> None:
        answer = self.answer
        if answer is None or answer.done():
            self.torn = not chunk.endswith(TERMINATOR)
            return
        if self.torn:
            _, end_of_line, chunk = chunk.partition(TERMINATOR)
            self.torn = not end_of_line
            if not chunk:
                return
        if not self.received and chunk.find(TERMINATOR) == len(chunk) - 1 <= LINE_BYTES_MAX:
            answer.set_result(chunk[:-1])  # the usual case: one whole line and nothing else
            return
        searched = len(self.received)
        self.received += chunk
        end = self.received.find(TERMINATOR, searched)
        if end > LINE_BYTES_MAX or (end < 0 and len(self.received) > LINE_BYTES_MAX):
            self.give_up(f"a line of more than {LINE_BYTES_MAX} bytes")
        elif end >= 0:
            answer.set_result(bytes(self.received[:end]))
            self.torn = not self.received.endswith(TERMINATOR)

    def connection_lost(self, error: Exception | None) -> None:
        self.give_up(_words(error) if error else "the connection was closed by the other side")
        if not self.gone.done():  # cancelled, if a close() that waited for it was
            self.gone.set_result(None)
        if self.timer is not None:
            self.timer.cancel()


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out that a silent peer is gone."""
    with contextlib.suppress(OSError):  # a helpful extra, not every system has it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()  # asyncio's own text repeats the address
    return str(error) or type(error).__name__
