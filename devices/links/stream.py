"""What links over a stream of bytes have in common: TCP, TLS, a serial port.

There are three ways to use one, and a driver keeps to one of them: `ask` (a line answers a line), `exchange`
(the driver says where an answer ends), `listen` and `write` (both sides speak when they want to).

Made on asyncio's protocols, not its streams: at thousands of polls a second the streams' own buffers and
wake-ups cost more than parsing the answers.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

from devices.errors import LinkError, ReplyError
from devices.links.base import Address, LineLink

LINE_BYTES_MAX = 65_536
ANSWER_BYTES_MAX = 1 << 20
TERMINATOR = b"\n"

Take = Callable[[bytearray], bytes | None]
Hear = Callable[[bytes], None]
Lost = Callable[[LinkError], None]


class StreamLink(LineLink):
    """A stream of bytes. What breaks an exchange closes the link: no late answer meets another request.

    Settings: `terminator`, the bytes that end a line that answers (b"\\n").
    """

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        self._connection: Connection | None = None

    async def _connect(self, connection: "Connection") -> None:
        """Open the stream with this protocol on it. Raises OSError, UnicodeError or LinkError."""
        raise NotImplementedError

    async def open(self) -> None:
        await self.close()
        connection = Connection(asyncio.get_running_loop(), self.settings.get("terminator", TERMINATOR))
        try:
            async with asyncio.timeout(self.deadline):
                await self._connect(connection)
        except TimeoutError:
            raise LinkError(f"{self.address.url}: no connection within {self.deadline:g} s") from None
        except (OSError, UnicodeError) as error:  # the latter: a host name that cannot be looked up
            raise LinkError(f"{self.address.url}: {words(error)}") from None
        self._connection = connection

    async def ask(self, request: bytes) -> bytes:
        return await self._exchange(request, None)

    async def exchange(self, request: bytes, take: Take, within: float | None = None) -> bytes:
        """Send `request`; what `take` makes of the bytes that came since.

        `take(received)` is called with all of them whenever there are more, and returns the answer once it
        is complete; it may delete what is none (noise) from their beginning. It may raise ReplyError, which
        breaks the exchange off but keeps the link, as does silence for `within` seconds (without it, silence
        is a LinkError at the link's deadline): from then on it is the driver's business to tell a late answer
        from the next request's; see `settle`. At most a MiB is kept.
        """
        return await self._exchange(request, take, within)

    async def settle(self, quiet: float, most: float) -> None:
        """Drop what still comes, until nothing has for `quiet` seconds; in all no longer than `most`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + most
        with contextlib.suppress(ReplyError):
            while (left := end - loop.time()) > 0:
                await self._exchange(b"", bytes, min(quiet, left))

    def listen(self, hear: Hear, lost: Lost) -> None:
        """From now on `hear(chunk)` is called with all that comes, and `lost(error)` once, when it ends."""
        self._ready().listen(hear, lambda reason: lost(LinkError(f"{self.address.url}: {reason}")))

    @property
    def listens(self) -> bool:
        return self._connection is not None and self._connection.hear is not None

    def write(self, chunk: bytes) -> None:
        """Send this. Raises LinkError if the link is lost, or its peer has not read a MiB."""
        connection = self._ready()
        if connection.transport.get_write_buffer_size() > ANSWER_BYTES_MAX:
            connection.give_up("the other side does not read")
            raise LinkError(f"{self.address.url}: the other side does not read")
        connection.transport.write(chunk)

    def break_off(self, reason: str) -> None:
        """Use it no more, from a callback that cannot raise: who listens or exchanges is told."""
        if self._connection is not None:
            self._connection.give_up(reason)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_up("the link was closed")
            await connection.gone

    def _ready(self) -> "Connection":
        connection = self._connection
        if connection is None or connection.lost is not None:
            reason = connection.lost if connection else "the link is not open"
            raise LinkError(f"{self.address.url}: {reason}")
        return connection

    async def _exchange(self, request: bytes, take: Take | None, within: float | None = None) -> bytes:
        try:
            return await self._ready().exchange(request, within or self.deadline, take, within is not None)
        except LinkError as error:
            text = str(error)
            prefix = f"{self.address.url}: "
            raise LinkError(text if text.startswith(prefix) else prefix + text) from None


class Connection(asyncio.Protocol):
    """One connection and at most one exchange on it. Bytes that nobody awaits are dropped."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, terminator: bytes = TERMINATOR) -> None:
        self.loop = loop
        self.terminator = terminator
        self.lost: str | None = None  # why it can be used no more
        self.gone: asyncio.Future[None] = loop.create_future()
        self.answer: asyncio.Future[bytes] | None = None
        self.deadline = self.due = 0.0  # of the exchange under way: how long, until when
        self.timer: asyncio.TimerHandle | None = None
        self.received = bytearray()
        self.torn = False  # what was dropped last ended in mid-line: its rest is to be dropped too
        self.take: Take | None = None  # of the exchange under way; None: a line
        self.outlives = False  # the connection, a time-out of the exchange under way
        self.hear: Hear | None = None
        self.tell_lost: Callable[[str], None] | None = None
        self.early: bytes | None = b""  # what came before anybody could listen; None: somebody could

    def listen(self, hear: Hear, lost: Callable[[str], None]) -> None:
        self.hear, self.tell_lost = hear, lost
        early, self.early = self.early, None
        if early:  # a greeting may come with a handshake's last packet
            hear(early)

    async def exchange(
        self, request: bytes, deadline: float, take: Take | None = None, outlives: bool = False
    ) -> bytes:
        if self.answer is not None:
            raise RuntimeError("a link carries one exchange at a time")
        answer: asyncio.Future[bytes] = self.loop.create_future()
        self.answer, self.take, self.outlives, self.early = answer, take, outlives, None
        self.deadline = deadline
        self.due = self.loop.time() + deadline
        if self.timer is not None and self.timer.when() > self.due:
            self.timer.cancel()
            self.timer = None
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
        elif self.outlives:
            self.answer.set_exception(ReplyError(f"no answer within {self.deadline:g} s"))
        else:
            self.give_up(f"no answer within {self.deadline:g} s")

    def give_up(self, reason: str) -> None:
        """Close at once, whatever is still to be sent: a peer that does not read must not hold us."""
        if self.lost is None:
            self.lost = reason
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(LinkError(self.lost))
        self.transport.abort()
        tell_lost, self.hear, self.tell_lost = self.tell_lost, None, None
        if tell_lost is not None:
            tell_lost(self.lost)

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, chunk: bytes) -> None:
        if self.hear is not None:
            self.hear(chunk)
            return
        answer = self.answer
        if answer is not None and self.take is not None:
            self._try_to_take(chunk, answer, self.take)
            return
        terminator = self.terminator
        if answer is None or answer.done():
            self.torn = not chunk.endswith(terminator)
            if self.early is not None and len(self.early) < LINE_BYTES_MAX:
                self.early += chunk
            return
        if self.torn:
            _, end_of_line, chunk = chunk.partition(terminator)
            self.torn = not end_of_line
            if not chunk:
                return
        end = len(chunk) - len(terminator)
        if not self.received and -1 < chunk.find(terminator) == end <= LINE_BYTES_MAX:
            answer.set_result(chunk[:end])  # the usual case: one whole line and nothing else
            return
        searched = max(len(self.received) - len(terminator) + 1, 0)
        self.received += chunk
        end = self.received.find(terminator, searched)
        if end > LINE_BYTES_MAX or (end < 0 and len(self.received) > LINE_BYTES_MAX):
            self.give_up(f"a line of more than {LINE_BYTES_MAX} bytes")
        elif end >= 0:
            answer.set_result(bytes(self.received[:end]))
            self.torn = not self.received.endswith(terminator)

    def _try_to_take(self, chunk: bytes, answer: asyncio.Future[bytes], take: Take) -> None:
        if answer.done():
            return
        self.received += chunk
        try:
            taken = take(self.received)
        except ReplyError as error:
            answer.set_exception(error)
            return
        if taken is not None:
            answer.set_result(taken)
        elif len(self.received) > ANSWER_BYTES_MAX:
            self.give_up(f"an answer of more than {ANSWER_BYTES_MAX} bytes")

    def connection_lost(self, error: Exception | None) -> None:
        self.give_up(words(error) if error else "the connection was closed by the other side")
        if not self.gone.done():  # cancelled, if a close() that waited for it was
            self.gone.set_result(None)
        if self.timer is not None:
            self.timer.cancel()


def words(error: Exception) -> str:
    """What happened, without the address that asyncio's own text repeats."""
    if isinstance(error, ssl.SSLError):  # its number is OpenSSL's, not the system's
        reason = str(getattr(error, "verify_message", "") or error.reason or error)
        return f"TLS: {reason.replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
