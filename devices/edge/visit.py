"""A driver for a while, open as a session has one, for somebody who wants to look at an instrument."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from devices import drivers, links
from devices.drivers.base import Channel, Driver
from devices.edge import secrets
from devices.edge.session import DEADLINE, FAREWELL
from devices.errors import ConfigurationError
from devices.links.base import Address, Link
from devices.readings import Event, Reading, Run, Said

Lend = Callable[[Address, Mapping[str, Any]], Link | None]


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


class Visit:
    """`open`, use `driver`, `close`; what the driver tells by itself goes to `hear`."""

    driver: Driver

    def __init__(
        self,
        name: str,
        url: str,
        options: Mapping[str, Any],
        hear: Callable[[Iterable[Said]], None],
        deadline: float = DEADLINE,
    ) -> None:
        self._name, self._url, self._options = name, url, options
        self._hear, self._deadline = hear, deadline
        self._link: Link | None = None
        self._opening: Driver | None = None
        self.is_lent = False

    async def open(self, lend: Lend | None = None) -> Driver:
        """Over the link that `lend` gives, else over one of its own. Raises DriverError."""
        address = links.check(self._url)
        driver_class = drivers.load(self._name)
        if address.scheme not in driver_class.schemes:
            raise ConfigurationError(
                f"address {self._url!r}: a {driver_class.label} has one like {driver_class.example}"
            )
        options = driver_class.checked_options(self._options)
        passwords = secrets.of(options, address)
        settings = driver_class.link_settings(options)
        link = lend(address, settings) if lend else None
        self.is_lent = link is not None
        if link is None:
            link = self._link = await links.connect(address, self._deadline, settings)
        driver = self._opening = driver_class(link, self._options)
        driver.secrets, driver.tell = passwords, self._hear
        await driver.open()
        self.driver = driver
        return driver

    async def close(self) -> None:
        """Never raises. A link that was lent is left as it is."""
        for thing in () if self.is_lent else (self._opening, self._link):
            if thing is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(FAREWELL):
                        await thing.close()
        self._opening = self._link = None


def line(said: Event | Run) -> str:
    """An event or a run as one line."""
    if isinstance(said, Event):
        return f"event {said.kind}: {said.text}"
    progress = "" if said.progress is None else f", {said.progress:.0%}"
    return f"run {said.title or said.id} ({said.kind}): {said.state}{progress}"
