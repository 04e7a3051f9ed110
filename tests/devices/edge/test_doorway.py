"""Sessions take turns at opening; none is held up for long by those that get no answer."""

import asyncio

import pytest

from devices.edge import doorway as module
from devices.edge.doorway import Doorway


class Visitors:
    """Tasks that go through one doorway and stay in it until they are let out."""

    def __init__(self) -> None:
        self.doorway = Doorway()
        self.inside: list[int] = []
        self.out = asyncio.Event()

    def send(self, count: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._go(number)) for number in range(count)]

    async def _go(self, number: int) -> None:
        async with self.doorway.turn():
            self.inside.append(number)
            await self.out.wait()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_so_many_open_at_once_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACES", 3)
    monkeypatch.setattr(module, "KEPT_FOR", 60.0)
    visitors = Visitors()
    tasks = visitors.send(8)
    await settled()
    assert visitors.inside == [0, 1, 2]
    tasks[4].cancel()  # one that waits
    tasks[1].cancel()  # one that is in
    await settled()
    assert visitors.inside == [0, 1, 2, 3]
    visitors.out.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert visitors.inside == [0, 1, 2, 3, 5, 6, 7]


async def test_who_stays_for_long_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACES", 1)
    monkeypatch.setattr(module, "KEPT_FOR", 0.01)
    visitors = Visitors()
    tasks = visitors.send(3)
    async with asyncio.timeout(5):
        while len(visitors.inside) < 3:  # noqa: ASYNC110 - what is awaited is no event of ours
            await asyncio.sleep(0.01)
    visitors.out.set()
    await asyncio.gather(*tasks)
    monkeypatch.setattr(module, "KEPT_FOR", 60.0)
    visitors.out.clear()
    visitors.inside.clear()
    tasks = visitors.send(2)
    await settled()
    assert visitors.inside == [0]  # no place was given back twice
    visitors.out.set()
    await asyncio.gather(*tasks)
