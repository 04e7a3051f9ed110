"""A wire that can go silent: forwards TCP both ways until told to stop, without closing anything."""

import asyncio
import threading
from types import TracebackType


class Proxy:
    """Listens on a free loopback port and forwards to `host:port`.

    `silence` holds what is on its way in a direction ("up": towards the server, "down": from it), as a
    firewall that drops packets would: nobody is told. `resume` lets it through, as TCP's repetition would.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._open: dict[str, asyncio.Event] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._listening = threading.Event()
        self._done: asyncio.Event

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)
        self._loop.close()

    def silence(self, *directions: str) -> None:
        for direction in directions or ("up", "down"):
            self._loop.call_soon_threadsafe(self._open[direction].clear)

    def resume(self) -> None:
        for event in self._open.values():
            self._loop.call_soon_threadsafe(event.set)

    def cut(self) -> None:
        """Close all connections, as a server that dies does."""
        self._loop.call_soon_threadsafe(self._close_all)

    def _close_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        for direction in ("up", "down"):
            self._open[direction] = asyncio.Event()
            self._open[direction].set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._done.wait()
        server.close()
        self._close_all()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._open["up"].wait()
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(far_writer)
        for source, sink, direction in ((reader, far_writer, "up"), (far_reader, writer, "down")):
            pump = asyncio.create_task(self._pump(source, sink, direction))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: str) -> None:
        try:
            while chunk := await source.read(65_536):
                await self._open[direction].wait()
                sink.write(chunk)
                await sink.drain()
        except OSError:
            pass  # the other end of a cut: closing is the answer
        finally:
            self._writers.discard(sink)
            sink.close()  # what was forwarded still goes out
