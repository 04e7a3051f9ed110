"""An export as an answer of the web process: taken part by part, in threads, as fast as it is read."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from telemetry.export.running import PLACES, Running

_threads = ThreadPoolExecutor(PLACES + 1, "export")


class Stream:
    """What StreamingHttpResponse iterates, and closes when its client is gone, or has it all.

    A plain generator would be read to its end before anything is sent. No part is asked for before the one
    before it was taken: a client that reads slowly makes PostgreSQL wait, and fills no memory.
    """

    def __init__(self, running: Running) -> None:
        self._running = running

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        part = await asyncio.get_running_loop().run_in_executor(_threads, self._running.take)
        if not part:
            raise StopAsyncIteration
        return part

    def close(self) -> None:
        self._running.close()
