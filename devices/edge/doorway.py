"""How many sessions open at once: thousands together would hold each other up until none is in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PLACES = 200
KEPT_FOR = 0.5  # seconds; then the next may begin: instruments that say nothing hold up nobody for long


class Doorway:
    """One for all sessions of a polling loop. They take turns in the order in which they come."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(PLACES)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a place; it is given back when the opening is done, or after a while."""
        await self._places.acquire()
        place = _Place(self._places)
        timer = asyncio.get_running_loop().call_later(KEPT_FOR, place.leave)
        try:
            yield
        finally:
            timer.cancel()
            place.leave()


class _Place:
    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._is_left = False

    def leave(self) -> None:
        if not self._is_left:
            self._is_left = True
            self._places.release()
