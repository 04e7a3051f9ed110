"""Lanes and ticks: when an instrument is polled, and in which turn with others on the same link.

Due times are phase + n·interval on the loop's monotonic clock: no drift, and no dependence on when the order
came. A tick that cannot be kept is counted and told as a gap; it is never made up for.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from math import floor

from devices.edge.clock import SECOND, Clock
from devices.edge.health import Tally
from devices.edge.recorder import Recorder
from devices.edge.session import Session
from devices.errors import LinkError
from devices.readings import GapReason
from devices.wire import Gap, Order

logger = logging.getLogger(__name__)

INTERVAL_MIN = 0.1


class Ticker:
    """One instrument: when it is due, whether its poll is under way, what it missed."""

    def __init__(
        self, session: Session, lane: "Lane", recorder: Recorder, clock: Clock, tally: Tally
    ) -> None:
        self.session = session
        self.lane = lane
        self.due = 0.0  # of the poll that waits or runs, in the loop's time
        self._loop = asyncio.get_running_loop()
        self._recorder, self._clock, self._tally = recorder, clock, tally
        self._busy = False
        self._missed = 0
        self._missed_from = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.keep_time(session.order)

    def keep_time(self, order: Order) -> None:
        """Go by an order's interval and phase from now on."""
        self.stop()
        self._interval = max(order.interval, INTERVAL_MIN)
        self._phase = order.phase
        self._tick = floor((self._loop.time() - self._phase) / self._interval)
        self._set(self._tick + 1)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, tick: int) -> None:
        self._tick = tick
        self._timer = self._loop.call_at(self._phase + tick * self._interval, self._fire)

    def _fire(self) -> None:
        tick = self._tick
        due = self._phase + tick * self._interval
        passed = floor((self._loop.time() - due) / self._interval)
        if passed > 0:  # the loop or the machine stood still
            self._miss(due + self._interval, passed)
            self._tally.skipped += passed
        self._set(tick + 1 + max(passed, 0))
        if self._busy:
            self._miss(due, 1)
            self._tally.overruns += 1
        else:
            self._busy = True
            self.due = due
            self.lane.take(self)

    async def poll(self) -> None:
        """Its turn has come."""
        self._tally.started(self._loop.time() - self.due)
        try:
            await self.session.poll()
        finally:
            self._busy = False
            if self._missed:
                self._tell()

    def _miss(self, due: float, count: int) -> None:
        if not self._missed:
            self._missed_from = due
        self._missed += count

    def _tell(self) -> None:
        """All ticks missed in one go are one gap."""
        now = self._clock.now()
        start = now - int((self._loop.time() - self._missed_from) * SECOND)
        gap = Gap(self.session.order.instrument, "", min(start, now), now, GapReason.OVERRUN, self._missed)
        self._recorder.gap(gap)
        self._missed = 0


class Turn:
    """One in a lane for what is done only once: from `begun` on the lane waits until it is `over`."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    async def poll(self) -> None:
        self.begun.set()
        await self.over.wait()


class Lane:
    """One link's: polls of the instruments on it, one after the other."""

    def __init__(self) -> None:
        self._waiting: deque[Ticker | Turn] = deque()
        self._visitors = 0
        self._leaving: list[Session] = []
        self._idle: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def take(self, ticker: Ticker) -> None:
        """A poll is due; its turn comes when those before it are done."""
        self._waiting.append(ticker)
        self._wake()

    @contextlib.asynccontextmanager
    async def turn(self, within: float) -> AsyncIterator[None]:
        """Wait for a turn between the polls and keep it. Raises LinkError if none comes in time."""
        turn = Turn()
        self._waiting.append(turn)
        self._visitors += 1
        self._wake()
        try:
            await _begun(turn, within)
            yield
        finally:
            turn.over.set()  # one that has not begun passes at once
            self._visitors -= 1

    @property
    def is_unused(self) -> bool:
        """Nobody waits, visits or leaves; whose lane it is may still be polled."""
        return not (self._waiting or self._leaving or self._visitors)

    def leave(self, ticker: Ticker) -> None:
        """An instrument is polled no more; what it has open is closed once its poll under way is done."""
        ticker.stop()
        with contextlib.suppress(ValueError):
            self._waiting.remove(ticker)
        self._leaving.append(ticker.session)
        self._wake()

    async def close(self) -> None:
        """Break off the poll under way, drop those that wait, close what is to be closed."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        leaving, self._leaving = self._leaving, []
        await asyncio.gather(*(session.close() for session in leaving))

    def _wake(self) -> None:
        if self._idle is not None:
            self._idle.set_result(None)
            self._idle = None
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._leaving:
                await self._leaving[0].close()
                del self._leaving[0]
            elif self._waiting:
                await self._waiting.popleft().poll()
            else:
                self._idle = loop.create_future()
                await self._idle


async def _begun(turn: Turn, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await turn.begun.wait()
    except TimeoutError:
        raise LinkError(
            f"its turn on the link did not come within {within:g} s: polls before it take so long"
        ) from None
