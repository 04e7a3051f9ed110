"""An edge's poller on a test's own loop, and a server on loopback for it to poll."""

import asyncio
from pathlib import Path
from typing import Any

from devices import wire
from devices.edge.clock import Clock
from devices.edge.health import Tally
from devices.edge.orders import OrderBook
from devices.edge.poller import Poller
from devices.edge.recorder import Recorder
from devices.edge.spool import Spool
from devices.wire import Book, Gap, Order
from tests.devices.edge.doubles import rows


class Line:
    """A server whose answers a test chooses: `answer(request)` gives bytes, None (silence) or "close"."""

    def __init__(self) -> None:
        self.requests = 0
        self.connections = 0
        self.answer: Any = lambda request: b"21.5\n"
        self.delay = 0.0
        self.under_way = self.most_under_way = 0
        self.open = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while line := await reader.readline():
                self.requests += 1
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                await asyncio.sleep(self.delay)
                self.under_way -= 1
                answer = self.answer(line)
                if answer == "close":
                    break
                if answer is not None:
                    writer.write(answer)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


class World:
    """A poller on this test's loop, and all that it saved."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.tally = Tally()
        self.spool = Spool(folder, 1 << 26, self.clock.now())
        self.recorder = Recorder(self.spool, self.clock, "boot", lambda sequences: None)
        self.kept: list[Any] = []
        self.poller = Poller(OrderBook(), self.recorder, self.clock, self.tally, self.kept.append)
        self.end = asyncio.Event()
        self.recorder.start(lambda first: [])
        self.running = asyncio.create_task(self.poller.run(self.end))

    def tell(self, *orders: Order, revision: int = 1) -> None:
        ids = [one.instrument for one in orders]
        self.poller.book.book(Book("e", revision, ids, list(orders)))
        self.poller.changed()

    async def stop(self) -> None:
        self.end.set()
        await self.running
        assert self.recorder.finish(10)
        self.batches = [
            wire.unpack(numbered.row.packed) for numbered in self.spool.pending(0, 1 << 60, 1 << 30)
        ]
        self.spool.close()

    def rows(self, instrument: str = "i") -> list[tuple[int, dict[str, float | None]]]:
        return [
            (time, values)
            for batch in self.batches
            for name, time, values in rows(batch)
            if name == instrument
        ]

    def gaps(self, reason: str) -> list[Gap]:
        return [gap for batch in self.batches for gap in batch.gaps if gap.reason == reason]


async def until(condition: Any, within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is awaited is no event of ours
            await asyncio.sleep(0.01)
