"""A single poll, for a person: what an instrument says now, or in words why it says nothing.

Nothing of it is recorded, and nothing is taken from the instrument's own polls: a trial has a driver of its
own. Over the link that those polls go by, if that is open and can be lent; else over one of its own.
"""

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from devices import drivers, links
from devices.drivers.base import UNSTORABLE, Channel, Driver
from devices.edge import secrets
from devices.edge.clock import SECOND, Clock
from devices.edge.lane import Lane
from devices.edge.session import DEADLINE, FAREWELL, Session
from devices.errors import DriverError
from devices.links.base import Address, Link
from devices.readings import Event, Reading, Run, Said, Vector
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
EXACT = 1 << 53


class Heard:
    """What a driver said: of each channel the last reading, and a line for each event and run."""

    def __init__(self) -> None:
        self.readings: dict[str, Reading] = {}
        self.told: list[str] = []
        self.news = asyncio.Event()

    def take(self, said: Iterable[Said]) -> None:
        for one in said:
            if isinstance(one, Reading):
                self.readings[one.key] = one
            else:
                self.told.append(line(one))
        self.news.set()

    async def until_all(self, channels: Iterable[Channel], within: float) -> None:
        """Wait until each channel has said something; not longer than that."""
        keys = {channel.key for channel in channels}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not keys <= self.readings.keys():
                    self.news.clear()
                    await self.news.wait()


class Trial:
    """One order, once. `session`: of its instrument, if it is polled."""

    def __init__(self, order: Order, once: Once, lane: Lane, session: Session | None) -> None:
        self.order, self.lane, self.session = order, lane, session
        self.heard = Heard()
        self.trial = once.trial
        self.connect: float | None = None
        self.read: float | None = None
        self.shared = False
        self._link: Link | None = None
        self._driver: Driver | None = None

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
                    await self._leave()
        except Exception as caught:  # noqa: BLE001 - whatever it is, a person wants to read it
            error = words(caught, self._stage())
        else:
            if self.session is not None and not self.shared:
                self.session.retry_soon()
        readings = [shown(reading) for reading in list(self.heard.readings.values())[:READINGS_MAX]]
        told = [storable(text) for text in self.heard.told[:TOLD_MAX]]
        return Tried(
            self.trial, storable(error), waited, self.connect, self.read, self.shared, readings, told
        )

    async def _visit(self) -> None:
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(DEADLINE):
            start = now()
            driver = await self._open()
            self.connect = 0.0 if self.shared else now() - start
            start = now()
            self.heard.take(await driver.read())
            self.read = now() - start
            if driver.link.listens:
                await self.heard.until_all(driver.channels_for(driver.settings), SAYS_WITHIN)

    async def _open(self) -> Driver:
        order = self.order
        address = Address.parse(order.address)
        driver_class = drivers.load(order.driver)
        options = driver_class.checked_options(order.options)
        passwords = secrets.of(options, address)
        settings = driver_class.link_settings(options)
        link = self.session.lend(address, settings) if self.session else None
        self.shared = link is not None
        if link is None:
            link = self._link = await links.connect(address, DEADLINE, settings)
        driver = driver_class(link, order.options)
        driver.secrets, driver.tell = passwords, self.heard.take
        self._driver = driver
        await driver.open()
        return driver

    async def _leave(self) -> None:
        """What is lent is left as it is."""
        for thing in () if self.shared else (self._driver, self._link):
            if thing is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(FAREWELL):
                        await thing.close()

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


def line(said: Event | Run) -> str:
    """An event or a run as one line."""
    if isinstance(said, Event):
        return f"event {said.kind}: {said.text}"
    progress = "" if said.progress is None else f", {said.progress:.0%}"
    return f"run {said.title or said.id} ({said.kind}): {said.state}{progress}"


def shown(reading: Reading) -> TriedReading:
    """A reading as a message can carry it."""
    value = reading.value
    if isinstance(value, Vector):
        numbers = [_number(number) for number in value.values[:NUMBERS_MAX]]
        return TriedReading(reading.key, numbers, int(reading.quality), reading.time, len(value.values))
    if isinstance(value, str):
        value = storable(value)
    elif not isinstance(value, bool) and value is not None:
        value = value if isinstance(value, int) and abs(value) < EXACT else _number(value)
    return TriedReading(storable(reading.key), value, int(reading.quality), reading.time)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def storable(text: str) -> str:
    """Without what a database's text cannot hold, and not too long."""
    return UNSTORABLE.sub("�", text)[:TEXT_MAX]
