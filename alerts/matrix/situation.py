"""How the bot stands, for its parts, which work at the same time."""

import asyncio
import logging
from contextlib import suppress

CONNECTED = "connected"
RETRY_S, RETRY_MOST_S = 0.5, 5.0  # between tries of what does not work

logger = logging.getLogger(__name__)


class Situation:
    """Whether the homeserver is there, and what there is to wait for."""

    def __init__(self) -> None:
        self.state = "starting"
        self.synced = asyncio.Event()  # the rooms are known
        self.next_sync = asyncio.Event()
        self.wake = asyncio.Event()  # something may be due
        self.changed = asyncio.Event()  # there is something new to say of this process

    @property
    def is_connected(self) -> bool:
        return self.state == CONNECTED

    def note(self, state: str) -> None:
        if state != self.state:
            logger.log(logging.INFO if state == CONNECTED else logging.WARNING, "the homeserver: %s", state)
            self.state = state
            self.changed.set()

    def note_sync(self) -> None:
        """Another sync is worked off."""
        self.synced.set()
        self.wake.set()
        self.next_sync.set()
        self.next_sync = asyncio.Event()


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, no longer than this, and clear it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
