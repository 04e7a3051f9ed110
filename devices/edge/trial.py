"""A single poll, for a person: what an instrument says now, or in words why it says nothing.

Nothing of it is recorded, and nothing is taken from the instrument's own polls: a trial has a driver of its
own. Over the link that those polls go by, if that is open and can be lent; else over one of its own.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from devices.drivers.base import UNSTORABLE
from devices.edge.clock import SECOND, Clock
from devices.edge.lane import Lane
from devices.edge.session import DEADLINE, Session, is_ending
from devices.edge.visit import Heard, Visit
from devices.errors import DriverError
from devices.readings import INT_MAX, Reading, Vector
from devices.wire import Once, Order, Tried, TriedReading

logger = logging.getLogger(__name__)

TURN_WITHIN = 4.0  # seconds
SAYS_WITHIN = 1.5  # seconds for what a streaming instrument says by itself
LATE = 10 * SECOND
REMEMBERED = 200
READINGS_MAX = 5_000
TOLD_MAX = 50
NUMBERS_MAX = 100  # of a vector
TEXT_MAX = 400


class Trial:
    """One order, once. `session`: of its instrument, if it is polled."""

    def __init__(self, order: Order, once: Once, lane: Lane, session: Session | None) -> None:
        self.order, self.lane, self.session = order, lane, session
        self.heard = Heard()
        self.trial = once.trial
        self.connect: float | None = None
        self.read: float | None = None
        self.visit = Visit(order.driver, order.address, order.options, self.heard.take, DEADLINE)

    async def run(self) -> Tried:
        """Never raises for what the instrument, its link or its driver does."""
        now = asyncio.get_running_loop().time
        start, waited = now(), 0.0
        error = ""
        try:
            async with self.lane.turn(TURN_WITHIN):
                waited = now() - start
                try:
                    await self._visit()
                finally:
                    await self.visit.close()
        except Exception as caught:  # noqa: BLE001 - whatever it is, a person wants to read it
            error = words(caught, self._stage())
        except asyncio.CancelledError:
            if is_ending():
                raise
            error = f"a mistake in the driver: it broke itself off, while {self._stage()}"
        else:
            if self.session is not None and not self.visit.is_lent:
                self.session.retry_soon()
        return Tried(
            self.trial,
            storable(error),
            waited,
            self.connect,
            self.read,
            self.visit.is_lent,
            [shown(reading) for reading in list(self.heard.readings.values())[:READINGS_MAX]],
            [storable(text) for text in self.heard.told[:TOLD_MAX]],
        )

    async def _visit(self) -> None:
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(DEADLINE):
            start = now()
            driver = await self.visit.open(self.session.lend if self.session else None)
            self.connect = 0.0 if self.visit.is_lent else now() - start
            start = now()
            self.heard.take(await driver.read())
            self.read = now() - start
            if driver.link.listens:
                await self.heard.until_all(driver.channels_for(driver.settings), SAYS_WITHIN)
                self.heard.take(await driver.read())  # which tells of a link lost since

    def _stage(self) -> str:
        if self.connect is None:
            return "opening it"
        return "reading it" if self.read is None else "listening to it"


class Trials:
    """Those under way, and those of late: none is begun twice, nor long after it was asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: deque[str] = deque(maxlen=REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()

    def takes(self, once: Once) -> bool:
        """Whether this one is to be begun; it is known from then on."""
        if once.trial in self._known:
            return False
        self._known.append(once.trial)
        late = self._clock.now() - once.asked
        if self._clock.sure and late > LATE:
            logger.info("a test that was asked for %.0f s ago is not done any more", late / SECOND)
            return False
        return True

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Break off what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


Answer = Callable[[Tried], None]


def words(error: Exception, stage: str) -> str:
    """What went wrong, for a person. A driver's own mistake is called one, and is logged."""
    if isinstance(error, DriverError):
        return str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        return f"no answer within {DEADLINE:g} s while {stage}"
    if isinstance(error, OSError | EOFError):
        return f"{str(error) or type(error).__name__}, while {stage}"
    logger.warning("a driver's mistake while %s", stage, exc_info=error)
    return f"a mistake in the driver, while {stage}: {type(error).__name__}: {error}"


def shown(reading: Reading) -> TriedReading:
    """A reading as a message can carry it."""
    value = reading.value
    if isinstance(value, Vector):
        numbers = [_number(number) for number in value.values[:NUMBERS_MAX]]
        return TriedReading(
            storable(str(reading.key)), numbers, int(reading.quality), reading.time, len(value.values)
        )
    if isinstance(value, str):
        value = storable(value)
    elif not isinstance(value, bool) and value is not None:
        value = value if isinstance(value, int) and abs(value) <= INT_MAX else _number(value)
    return TriedReading(storable(str(reading.key)), value, int(reading.quality), reading.time)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def storable(text: str) -> str:
    """Without what a database's text cannot hold, and not too long."""
    return UNSTORABLE.sub("�", text)[:TEXT_MAX]
