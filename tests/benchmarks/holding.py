"""How long each driver holds the event loop at most, over some seconds of polls of its simulator."""

import asyncio
import time
from collections.abc import Iterable

from devices.conformance.live import HELD_MAX
from devices.conformance.watch import Held, held
from devices.edge.visit import Visit
from devices.readings import Said
from tests.benchmarks import report
from tests.benchmarks.alone import Bench, simulated
from tests.benchmarks.memory import every_simulated

SECONDS = 5.0
INTERVAL = 0.2


class Counted:
    """How much a driver said."""

    def __init__(self) -> None:
        self.total = 0

    def take(self, said: Iterable[Said]) -> None:
        self.total += len(list(said))


async def visited(bench: Bench, address: str, seconds: float) -> int:
    """Open it, poll it for so long, close it; how much it said."""
    counted = Counted()
    visit = Visit(bench.driver, address, bench.options, counted.take)
    try:
        driver = await visit.open()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            counted.take(await driver.read())
            await asyncio.sleep(INTERVAL)
    finally:
        await visit.close()
    return counted.total


async def worst(bench: Bench, address: str) -> tuple[Held, int]:
    """Once warmed up: what is imported and made only once is no fault."""
    await visited(bench, address, INTERVAL)
    with held() as watched:
        said = await visited(bench, address, SECONDS)
    return watched, said


async def idle() -> Held:
    """The same without a driver: what the loop and the machine do by themselves."""
    with held() as watched:
        for _ in range(int(SECONDS / INTERVAL)):
            await asyncio.sleep(INTERVAL)
    return watched


def main() -> None:
    bare = asyncio.run(idle())
    found = {}
    is_all_read = True
    for bench in every_simulated():
        with simulated(bench) as (address,):
            found[bench.driver], said = asyncio.run(worst(bench, address))
        is_all_read &= said > 0
    longest = max(watched.worst for watched in found.values())
    report(
        f"holding, the event loop by one of {len(found)} drivers at most",
        longest * 1000,
        "ms",
        f"<= {HELD_MAX * 1000:g}",
        met=is_all_read and longest <= HELD_MAX,
        bare_ms=bare.worst * 1000,
        **{f"{driver}_ms": watched.worst * 1000 for driver, watched in sorted(found.items())},
    )


if __name__ == "__main__":
    main()
