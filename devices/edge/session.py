"""A session: one instrument's open driver, kept between polls, and what is noted while it cannot be had."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from devices import drivers, links
from devices.drivers.base import Driver
from devices.edge import secrets
from devices.edge.clock import SECOND, Clock
from devices.edge.deadline import Deadline
from devices.edge.doorway import Doorway
from devices.edge.health import Tally
from devices.edge.recorder import Recorder
from devices.errors import ConfigurationError, DriverError, InUse, LinkError, ReplyError
from devices.links.base import Address, Link
from devices.readings import GapReason, Quality, Reading, Said
from devices.wire import Gap, Order

logger = logging.getLogger(__name__)

DEADLINE = 5.0  # seconds for one poll, the opening included
FAREWELL = 1.0  # seconds for closing
RETRY_MIN, RETRY_MAX = 1.0, 60.0  # seconds between tries to open
RETRY_SHARE = 0.25  # of the time it has been gone: soon after a short outage, seldom in a long one
TELL_AFTER = 30 * SECOND  # a gap that grows is told again after this


@dataclass(slots=True)
class Outage:
    """The instrument cannot be had: since when (UTC, µs) for what reason, when it was noticed and when it is
    tried again (the loop's time)."""

    start: int
    reason: GapReason
    noticed: float
    retry_at: float
    count: int = 0
    told: int = 0


class Session:
    """One instrument's. `poll` never raises for what the instrument, its link or its driver does."""

    def __init__(
        self, order: Order, recorder: Recorder, clock: Clock, tally: Tally, doorway: Doorway
    ) -> None:
        self.order = order
        self._doorway = doorway
        self._recorder, self._clock, self._tally = recorder, clock, tally
        self._driver: Driver | None = None
        self._link: Link | None = None
        self._telling: Driver | None = None  # may tell something; not yet `_driver` while it opens
        self._memory: dict[str, Any] = {}
        self._outage: Outage | None = None
        self._complained = ""
        self._deadline = Deadline(DEADLINE)

    def serves(self, order: Order) -> bool:
        """Whether an order can be carried out by this session as it is open."""
        return _target(order) == _target(self.order)

    def lend(self, address: Address, settings: Mapping[str, Any]) -> Link | None:
        """The open link, for somebody who uses it in the lane's turn, if it leads there and can be lent."""
        driver, link = self._driver, self._link
        if driver is None or link is None or link.listens:
            return None
        same = link.address == address and driver.link_settings(driver.settings) == settings
        return link if same else None

    def retry_soon(self) -> None:
        """Somebody else has just reached the instrument: do not wait longer before the next try."""
        if self._outage is not None:
            self._outage.retry_at = 0.0

    async def poll(self) -> None:
        """Read the instrument once and record what it said, or that it said nothing."""
        outage = self._outage
        if outage is not None and asyncio.get_running_loop().time() < outage.retry_at:
            self._miss(outage)
            return
        start = self._clock.now()
        try:
            self._record(await self._read())
        except ReplyError as error:
            self._complain(error)
            self._record_bad()
            self._over()
        except asyncio.CancelledError:
            if is_ending():
                raise
            await self._fail(LinkError("the driver broke its own poll off"), start)
        except Exception as error:  # noqa: BLE001 - a driver's mistake must not end the lane of others
            await self._fail(error, start)

    async def close(self) -> None:
        """Take leave; a gap that was growing ends here."""
        self._deadline.close()
        await self._drop()
        if self._outage is not None:
            self._tell(self._outage, self._clock.now())

    async def _read(self) -> list[Reading]:
        if self._driver is not None:
            with self._deadline:
                return await self._driver.read()
        async with self._doorway.turn():
            with self._deadline:
                driver = await self._open()
                return await driver.read()

    async def _open(self) -> Driver:
        order = self.order
        address = Address.parse(order.address)
        driver_class = drivers.load(order.driver)
        options = driver_class.checked_options(order.options)
        words = secrets.of(options, address)
        self._link = await links.connect(address, DEADLINE, driver_class.link_settings(options))
        driver = driver_class(self._link, order.options)
        driver.secrets, driver.memory, driver.tell = words, self._memory, self._take
        self._telling = driver
        try:
            await driver.open()
        except ReplyError as error:
            raise LinkError(f"no usable answer at opening: {error}") from error
        self._driver = driver
        self._tally.connects += 1
        self._tally.connected += 1
        return driver

    async def _drop(self) -> None:
        driver, link, self._driver, self._link = self._driver, self._link, None, None
        telling, self._telling = self._telling, None
        self._tally.connected -= driver is not None
        for thing in (driver or telling, link):
            if thing is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(FAREWELL):
                        await thing.close()
        if telling is not None:
            telling.tell = _nobody

    def _take(self, said: Iterable[Said]) -> None:
        """What a driver tells between polls."""
        ago = 0.0 if self._telling is None else self._telling.heard_ago
        try:
            heard = self._clock.now() - round(ago * 1e6)
            if wrong := self._recorder.tell(self.order.instrument, said, heard):
                self._complain(TypeError(wrong))
        except Exception as error:  # noqa: BLE001 - a driver's mistake must not end what it is doing
            self._complain(error)

    def _record(self, readings: list[Reading]) -> None:
        now = self._clock.now()
        wrong = ""
        if readings:
            wrong = self._recorder.add(self.order.instrument, readings, now)
        else:
            self._recorder.see(self.order.instrument, now)
        self._tally.answered += 1
        if wrong:
            self._over()
            self._complain(TypeError(wrong))
        elif self._outage is not None or self._complained:
            self._over()
            self._complained = ""
            logger.info("%s: answers", self.order.name)

    def _over(self) -> None:
        if self._outage is not None:
            self._tell(self._outage, self._clock.now())
            self._outage = None

    async def _fail(self, error: Exception, start: int) -> None:
        """A poll begun at `start` (UTC, µs) brought nothing: what was answered since then is lost, too."""
        self._complain(error)
        await self._drop()
        self._tally.failures += 1
        now, loop_now = self._clock.now(), asyncio.get_running_loop().time()
        reason = GapReason.IN_USE if isinstance(error, InUse) else GapReason.NOT_CONNECTED
        outage = self._outage
        if outage is None:
            outage = self._outage = Outage(start, reason, loop_now, loop_now)
            self._record_bad()
        elif outage.reason != reason:  # one gap ends and another begins
            self._tell(outage, start)
            outage.start, outage.reason, outage.count = start, reason, 0
        outage.retry_at = loop_now + _pause(loop_now - outage.noticed, error)
        outage.count += 1
        self._tell(outage, now)

    def _miss(self, outage: Outage) -> None:
        outage.count += 1
        now = self._clock.now()
        if now - outage.told >= TELL_AFTER:
            self._tell(outage, now)

    def _tell(self, outage: Outage, now: int) -> None:
        outage.told = now
        end = max(now, outage.start)
        self._recorder.gap(Gap(self.order.instrument, "", outage.start, end, outage.reason, outage.count))

    def _record_bad(self) -> None:
        """One bad reading for each channel, so that nobody takes the last good one for the present."""
        try:
            driver = drivers.load(self.order.driver)
            channels = driver.channels_for(driver.checked_options(self.order.options))
        except Exception:  # noqa: BLE001 - what is wrong with the driver or its options is told by the poll
            return
        readings = [
            Reading(channel.key, None, Quality.BAD) for channel in channels if channel.kind != "vector"
        ]
        if readings:
            self._recorder.add(self.order.instrument, readings, self._clock.now())

    def _complain(self, error: Exception) -> None:
        """Say what is wrong once, until it changes or is over."""
        text = str(error) or (
            "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        )
        if text == self._complained:
            return
        self._complained = text
        foreseen = isinstance(error, DriverError | OSError | EOFError)
        logger.warning("%s: %s", self.order.name, text, exc_info=None if foreseen else error)


def _nobody(said: Iterable[Said]) -> None:
    """The session is over."""


def is_ending() -> bool:
    """Whether the lane itself is being cancelled, and not only something that a driver waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _target(order: Order) -> tuple[object, ...]:
    return order.driver, order.address, order.options


def _pause(gone_for: float, error: Exception) -> float:
    """Seconds until the next try: growing with the outage, jittered so that not all come back at once."""
    if isinstance(error, ConfigurationError):
        return float("inf")  # only another order can help
    longest = min(max(gone_for * RETRY_SHARE, RETRY_MIN), RETRY_MAX)
    return max(RETRY_MIN, longest * random.uniform(0.8, 1.0))  # noqa: S311 - no secret
