"""How an instrument stands, judged from its latest readings; standing.js judges the same way."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from django.utils.translation import gettext as _, ngettext

from devices.readings import QUALITY_MASK, Quality

STALE_INTERVALS = 2.5
STALE_LEAST = 4.0  # seconds: a reading is up to about three seconds on its way to the page
NEW_FOR = 30_000  # milliseconds in which nobody expects the first reading
WORDED = ("text", "vector")  # kinds of channels whose reading is told by its text, not by a number


class Now(NamedTuple):
    """A channel's latest reading. Times are milliseconds of UTC since 1970."""

    channel: int
    time: int
    value: float | None
    quality: int
    text: str | None
    seen: int

    @property
    def bad(self) -> bool:
        return self.quality & QUALITY_MASK == Quality.BAD

    @property
    def read(self) -> int:
        """When what is shown was read: a bad value is the last one there was, with its own time."""
        return self.time if self.bad else self.seen


class Normal(NamedTuple):
    """A channel's normal range; None: no bound."""

    low: float | None
    high: float | None

    def left_by(self, value: float | None) -> bool:
        """Whether the value lies outside."""
        if value is None:
            return False
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)


@dataclass(frozen=True, slots=True)
class Standing:
    """What all channels of an instrument come to."""

    read: int = 0  # channels that were ever read, but for vectors
    bad: int = 0
    outside: int = 0
    seen: int | None = None  # the last poll that was answered
    reason: str = ""  # why the bad ones are, in the edge's words

    @classmethod
    def of(cls, channels: Iterable[tuple[Normal, str, Now | None]]) -> "Standing":
        """Count up an instrument's channels, each with its normal range and kind."""
        found = [(normal, kind, now) for normal, kind, now in channels if now is not None]
        bad = [(kind, now) for _normal, kind, now in found if now.bad]
        return cls(
            read=sum(kind != "vector" for _normal, kind, _now in found),  # these are never told to be bad
            bad=len(bad),
            outside=sum(normal.left_by(now.value) for normal, _kind, now in found if not now.bad),
            seen=max((now.seen for _normal, _kind, now in found), default=None),
            reason=next((now.text for kind, now in bad if now.text and kind not in WORDED), ""),
        )


@dataclass(frozen=True, slots=True)
class State:
    """A word for how an instrument stands, and whether a person should look."""

    word: str
    key: str
    look: bool = False


def stale_after(interval: float) -> float:
    """The age in seconds from which a value is no longer live."""
    return max(STALE_INTERVALS * interval, STALE_LEAST)


def state(standing: Standing, *, in_service: bool, interval: float, age: int, now: int) -> State:
    """Judge by the clock `now`, in milliseconds of UTC; `age` is how long the instrument exists."""
    if not in_service:
        return State(_("Out of service"), "out")
    if standing.seen is None:
        return State(_("No reading yet"), "new", look=age > NEW_FOR + 1000 * interval)
    if standing.bad and standing.bad == standing.read:
        return State(_("Not connected"), "gone", look=True)
    if now - standing.seen > 1000 * stale_after(interval):
        return State(_("Silent"), "silent", look=True)
    return _speaking(standing)


def _speaking(standing: Standing) -> State:
    if standing.outside:
        return State(_("Outside normal"), "outside", look=True)
    if standing.bad:
        words = ngettext("%(count)d value missing", "%(count)d values missing", standing.bad)
        return State(words % {"count": standing.bad}, "partly")
    return State(_("Normal"), "normal")
