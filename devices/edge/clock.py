"""What time it is at the edge: the monotonic clock plus an anchor; a stepped wall clock moves no reading.

All times are whole microseconds. The centre's clock is the lab's reference: an exchange of four stamps
(RFC 5905 §8) tells how far the anchor is from it. Only the polling loop's thread changes a clock.
"""

import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

SECOND = 1_000_000
JUMP = SECOND // 2  # the wall clock moved by more than slewing can: not followed
OFF = 2 * SECOND  # the anchor is this far from the centre's clock: it is set
ROUND_TRIP_MAX = SECOND  # longer ones measure a queue, not a clock
EXCHANGES_KEPT = 8


def mono() -> int:
    """The boot's monotonic clock; the same that asyncio's loops go by."""
    return time.monotonic_ns() // 1000


def wall() -> int:
    """UTC, as the host has it."""
    return time.time_ns() // 1000


def boot_id() -> str:
    """Names one boot of the kernel; monotonic times of two boots cannot be compared."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"booted {(time.time_ns() - time.monotonic_ns()) // 10**10}"


class Exchange(NamedTuple):
    """The centre's clock minus our monotonic one, and how long the message was on its way."""

    round_trip: int
    anchor: int


class Clock:
    """`sure` tells whether the anchor agreed with the centre when they were last compared."""

    def __init__(self, wall_now: int | None = None, mono_now: int | None = None) -> None:
        self._wall_offset = (wall() if wall_now is None else wall_now) - (
            mono() if mono_now is None else mono_now
        )
        self.anchor = self._wall_offset
        self.sure = False
        self._exchanges: deque[Exchange] = deque(maxlen=EXCHANGES_KEPT)

    def now(self) -> int:
        """UTC."""
        return time.monotonic_ns() // 1000 + self.anchor

    def follow(self, wall_now: int, mono_now: int) -> bool:
        """Once a second: go with a wall clock that is slewed, hold against one that jumps.

        Returns whether it jumped; whether the anchor is right is then for the centre to say.
        """
        before, self._wall_offset = self._wall_offset, wall_now - mono_now
        moved = self._wall_offset - before
        if abs(moved) < JUMP:
            self.anchor += moved
            return False
        self.sure = False
        return True

    def compare(self, sent: int, received: int, replied: int, arrived: int) -> bool:
        """Take one exchange: sent and arrived by our monotonic clock, received and replied by the centre's.

        Returns whether the anchor was set; what is stamped from then on has another time base.
        """
        round_trip = (arrived - sent) - (replied - received)
        if not 0 <= round_trip <= ROUND_TRIP_MAX:
            return False
        newest = Exchange(round_trip, ((received - sent) + (replied - arrived)) // 2)
        if self._exchanges and abs(newest.anchor - self._exchanges[-1].anchor) > OFF:
            self._exchanges.clear()  # the centre's clock itself was set
        self._exchanges.append(newest)
        best = min(self._exchanges).anchor
        self.sure = True
        if abs(best - self.anchor) <= OFF:
            return False
        self.anchor = best
        return True

    def offset(self) -> float | None:
        """Seconds by which the host's wall clock is ahead of the centre's; None before they were compared."""
        if not self._exchanges:
            return None
        return (self._wall_offset - min(self._exchanges).anchor) / SECOND

    def shift(self, anchor: int, *, sure: bool) -> int:
        """What to add to times stamped under another anchor of this boot that nobody had confirmed."""
        moved = self.anchor - anchor
        return moved if self.sure and not sure and abs(moved) > OFF else 0
