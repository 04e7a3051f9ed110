"""A stream of bytes over a file descriptor that is both read and written, such as a terminal's: asyncio has
none for those."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

READ_BYTES_MAX = 65_536


class DescriptorTransport(asyncio.Transport):
    """Reads and writes `file`, which does not block. `shut` closes it, within a task, as closing may take
    time. What breaks it is told to `lose` (with None at its end), which is to abort it, and no exception."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        file: int,
        protocol: asyncio.Protocol,
        shut: Callable[[], Awaitable[None]],
        lose: Callable[[OSError | None], None],
    ) -> None:
        super().__init__()
        self._loop, self._file, self._protocol = loop, file, protocol
        self._shut, self._lose = shut, lose
        self._unsent = bytearray()
        self._closing: asyncio.Task[None] | None = None
        protocol.connection_made(self)
        loop.add_reader(file, self.read)

    def read(self) -> bool:
        """Hand on what has come; whether anything had."""
        if self._closing is not None:
            return False
        try:
            chunk = os.read(self._file, READ_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._lose(error)
            return False
        if chunk:
            self._protocol.data_received(chunk)
        else:
            self._lose(None)
        return bool(chunk)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing is not None or not data:
            return
        waits = bool(self._unsent)
        self._unsent += data
        if not waits:
            self._send()
            if self._unsent and self._closing is None:
                self._loop.add_writer(self._file, self._send_more)
                self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Its protocol is told to pause as soon as anything waits."""

    def is_closing(self) -> bool:
        return self._closing is not None

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Close at once; what is unsent is dropped."""
        if self._closing is None:
            self._loop.remove_reader(self._file)
            self._loop.remove_writer(self._file)
            self._closing = self._loop.create_task(self._close())

    def _send(self) -> None:
        try:
            sent = os.write(self._file, self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        del self._unsent[:sent]

    def _send_more(self) -> None:
        self._send()
        if not self._unsent and self._closing is None:
            self._loop.remove_writer(self._file)
            self._protocol.resume_writing()

    async def _close(self) -> None:
        with contextlib.suppress(Exception):
            await self._shut()
        self._protocol.connection_lost(None)
