"""Numbers and times as they are written in files."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from zoneinfo import ZoneInfo

from devices.edges import microseconds

NO_TIME = "its time cannot be read"
NO_NUMBER = "no finite number"
NO_SUCH_TIME = "a local time that there was not: clocks were put forward"

EPOCHS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
TRUTH = {"true": True, "false": False}
_whole = re.compile(r"-?\d+", re.ASCII)
_number = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)

Clock = Callable[[str], int]


def number(cell: str) -> float | bool | None:
    """A number, or true or false; None for anything else."""
    if _number.fullmatch(cell):
        found = float(cell)
        return found if isfinite(found) else None
    return TRUTH.get(cell.strip().lower())


def iso(text: str) -> int:
    """ISO 8601 (without a zone: UTC) in µs. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip())
    return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def epoch(unit: str) -> Clock:
    """Reads seconds, ms, us or ns since 1970."""
    factor = EPOCHS[unit]

    def read(text: str) -> int:
        if _whole.fullmatch(text.strip()):
            return int(text) * factor if isinstance(factor, int) else int(text) // 1000
        if not _number.fullmatch(text):
            raise ValueError(NO_TIME)
        return round(float(text) * factor)

    return read


class LocalClock:
    """Reads local times. When clocks were put back an hour comes twice: the second time it goes on."""

    def __init__(self, zone: ZoneInfo, form: str = "") -> None:
        self._zone, self._form = zone, form
        self._before = 0

    def __call__(self, text: str) -> int:
        """Raises ValueError."""
        text = text.strip()
        moment = datetime.strptime(text, self._form) if self._form else datetime.fromisoformat(text)  # noqa: DTZ007
        if moment.tzinfo is not None:
            return microseconds(moment)
        first = moment.replace(tzinfo=self._zone)
        if _back(first) != moment:
            raise ValueError(NO_SUCH_TIME)
        time = microseconds(first.astimezone(UTC))
        second = microseconds(first.replace(fold=1).astimezone(UTC))
        if time < self._before - _tolerance(second - time) and second > time:
            time = second
        self._before = time
        return time


def _back(moment: datetime) -> datetime:
    """There and back again: a local time that there is comes out the same."""
    return moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=None)


def _tolerance(apart: int) -> int:
    """A step back of so little is a disorder and not the second of two hours."""
    return apart // 4 if apart > 0 else 0
