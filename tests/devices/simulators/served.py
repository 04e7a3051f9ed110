"""Simulated instruments within a test's own event loop, and a client that keeps to no driver's manners."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Self

from devices import drivers, links
from devices.drivers.base import Driver, OptionValue
from devices.simulators import doors
from devices.simulators.base import Simulator
from devices.simulators.client import Record
from devices.simulators.doors import AnyDoor
from devices.simulators.faults import Fault, Faults
from devices.simulators.tcp import Door
from devices.simulators.thermostat import Thermostat


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Overheard:
    """A client that only notes what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.readings = 0
        self.end = ""

    def answer(self, chunk: bytes, *, reading: bool | str = False) -> None:
        assert chunk.endswith(b"\n")
        self.lines.append(chunk[:-1].decode())
        self.readings += bool(reading)

    def close(self) -> None:
        self.end = "closed"

    def reset(self) -> None:
        self.end = "reset"


class Bench:
    """A simulated thermostat with a clock to turn, talked to without a wire."""

    def __init__(
        self, *, number: int = 0, seed: int = 0, faults: Iterable[str] = (), **settings: str
    ) -> None:
        self.clock = Clock()
        parsed = Faults([Fault.parse(text, Thermostat.faults_of_its_own) for text in faults])
        self.device = Thermostat(number, seed, {"preset": "factory", **settings}, parsed, self.clock)
        self.client = Overheard()
        self.session = self.device.session(self.client)

    def say(self, text: str | bytes) -> list[str]:
        """The lines that answer a line (without its end) or raw bytes."""
        self.client.lines.clear()
        self.session.hear(text if isinstance(text, bytes) else text.encode() + b"\n")
        return list(self.client.lines)

    def after(self, seconds: float) -> Self:
        self.clock.now += seconds
        return self


@asynccontextmanager
async def served(
    *faults: str,
    number: int = 0,
    record: Record | None = None,
    clock: Callable[[], float] = time.monotonic,
    **settings: str,
) -> AsyncIterator[Door]:
    """A thermostat behind a door of its own."""
    async with behind_a_door(
        Thermostat, *faults, number=number, record=record, clock=clock, settings=settings
    ) as door:
        assert isinstance(door, Door)
        yield door


@asynccontextmanager
async def behind_a_door(
    kind: type[Simulator],
    *faults: str,
    where: str = "",
    number: int = 0,
    seed: int = 0,
    record: Record | None = None,
    clock: Callable[[], float] = time.monotonic,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[AnyDoor]:
    """A simulated instrument of any kind, on the wire it is made for."""
    parsed = Faults([Fault.parse(text, kind.faults_of_its_own) for text in faults], seed)
    door = doors.opened(kind(number, seed, settings or {}, parsed, clock), where, 0, record)
    try:
        yield door
    finally:
        await door.close()


@asynccontextmanager
async def driven(door: AnyDoor, deadline: float = 5.0, **options: OptionValue) -> AsyncIterator[Driver]:
    """The real driver, connected and open."""
    driver_class = drivers.load(door.simulator.driver)
    settings = driver_class.link_settings(driver_class.checked_options(options))
    link = await links.connect(links.check(door.address), deadline, settings)
    try:
        driver = driver_class(link, options)
        await driver.open()
        yield driver
        await driver.close()
    finally:
        await link.close()


async def dialled(door: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = links.check(door.address)
    return await asyncio.open_connection(address.host, address.port)
