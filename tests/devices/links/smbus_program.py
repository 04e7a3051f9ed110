"""A program with the real smbus2 in it, told by lines of JSON what to do; see `mock_bus.Program`."""

import asyncio
import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from devices import drivers, links
from devices.drivers.base import Driver
from devices.errors import DriverError
from devices.links.base import Address, Link
from devices.links.registers import RegisterLink

NOBODY = 65_534
TICK = 0.005
FILES = Path("/proc/self/fd")


class Bench:
    """What the program has open."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.driver: Driver | None = None
        self.longest_wait = 0.0  # between two turns of the loop

    async def watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            self.longest_wait = max(self.longest_wait, time.monotonic() - before - TICK)

    async def open(self, url: str, deadline: float = 2.0) -> None:
        self.link = await links.connect(Address.parse(url), deadline)

    async def open_driver(self, url: str, options: dict[str, Any], deadline: float = 2.0) -> None:
        await self.open(url, deadline)
        assert self.link
        self.driver = drivers.load("bme280")(self.link, options)
        await self.driver.open()

    async def poll(self) -> list[Any]:
        assert self.driver
        return await self.driver.read()

    async def read(self, first: int, count: int) -> str:
        assert isinstance(self.link, RegisterLink)
        return (await self.link.read_registers(first, count)).hex()

    async def write(self, pairs: list[tuple[int, int]]) -> None:
        assert isinstance(self.link, RegisterLink)
        await self.link.write_registers(*pairs)

    async def close(self) -> None:
        if self.link:
            await self.link.close()
            await self.link.close()
        self.link = self.driver = None

    async def stands(self) -> dict[str, Any]:
        """What is open and how long the loop was held up at most since it was asked last."""
        longest, self.longest_wait = self.longest_wait, 0.0
        return {
            "threads": sorted(t.name for t in threading.enumerate() if t.name.startswith("/dev")),
            "files": sum(1 for _ in FILES.iterdir()),  # noqa: ASYNC240 - of memory
            "waited": longest,
        }

    async def become_nobody(self) -> bool:
        assert links.load(Address.parse("i2c://1/0x40"))  # nobody may not import it any more
        if os.geteuid():
            return False
        os.setgroups([])
        os.setuid(NOBODY)
        return True

    async def other_driver(self, place: int) -> list[float]:
        """What RPi.bme280, which we have not written, makes of the sensor: °C, hPa, %."""
        theirs, smbus2 = importlib.import_module("bme280"), importlib.import_module("smbus2")
        with smbus2.SMBus(1) as bus:
            sample = theirs.sample(bus, place, theirs.load_calibration_params(bus, place))
        return [sample.temperature, sample.pressure, sample.humidity]


async def main() -> None:
    bench = Bench()
    watching = asyncio.create_task(bench.watch())
    while line := await asyncio.to_thread(sys.stdin.readline):
        arguments = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"result": await getattr(bench, arguments.pop("what"))(**arguments)}
        except DriverError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    await bench.close()
    watching.cancel()


if __name__ == "__main__":
    asyncio.run(main())
