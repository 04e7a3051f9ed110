"""A time limit for what is done again and again."""

import asyncio
from types import TracebackType


class Deadline:
    """`with` it around an await: as `asyncio.timeout`, but one timer serves many turns.

    Setting a timer and taking it back for each of thousands of polls a second costs a twelfth of them. Raises
    TimeoutError after `seconds`; one turn at a time.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due = 0.0
        self._task: asyncio.Task[object] | None = None  # that is within
        self._cancelling = 0
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._task is not None:
            raise RuntimeError("a deadline serves one turn at a time")
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for a task")
        loop = task.get_loop()
        self._due = loop.time() + self.seconds
        self._task, self._cancelling, self._expired = task, task.cancelling(), False
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._look, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self._expired or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def close(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._task is None or self._expired:
            return
        if loop.time() < self._due:
            self._timer = loop.call_at(self._due, self._look, loop)
        else:
            self._expired = True
            self._task.cancel()
