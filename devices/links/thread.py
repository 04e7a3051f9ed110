"""A thread of its own for a library that blocks: what hangs there holds up nobody else."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from devices.errors import LinkError

T = TypeVar("T")

Job = tuple[asyncio.Future[Any], Callable[[], Any]]


class OwnThread:
    """Runs one call after the other. A call that outlives the await for it still blocks those after it,
    which then fail with LinkError at once: a hung device costs one thread, never one a poll."""

    def __init__(self, name: str, idle: Callable[[], None] | None = None) -> None:
        """`idle` is called on the loop whenever a call has returned."""
        self._name, self._idle = name, idle
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._under_way = 0
        self._thread: threading.Thread | None = None

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` returns or raises, called in the thread.

        Raises LinkError while an earlier call, no longer awaited, has not returned.
        """
        if self._under_way:
            raise LinkError(f"{self._name}: an earlier call still hangs")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._under_way += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((future, lambda: function(*arguments)))
        return await future

    @property
    def is_busy(self) -> bool:
        """Whether a call has not returned, awaited or not."""
        return self._under_way > 0

    def close(self) -> None:
        """Have the thread end once what it is at returns; it is not waited for."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, act = job
            try:
                result, error = act(), None
            except BaseException as caught:  # noqa: BLE001 - handed to whoever awaits it
                result, error = None, caught
            with contextlib.suppress(RuntimeError):  # the loop has ended
                future.get_loop().call_soon_threadsafe(self._tell, future, result, error)

    def _tell(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._under_way -= 1
        if self._idle is not None:
            self._idle()
        if future.done():  # nobody waits any more
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
