"""Channels that a lab declares itself: the rows of a list option, checked, with their faults in words."""

import math
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from devices.drivers.base import CHANNEL_KINDS, UNSTORABLE, Channel
from devices.errors import ConfigurationError
from devices.readings import INT_MAX, Quality, Reading, Value, Vector

ROWS_MAX = 1_000
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
TEXT_MAX = 4_000

R = TypeVar("R", bound="Row")


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every declared channel has; a driver's own rows add how it is come by."""

    key: str
    label: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    digits: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, in words."""
        if not KEY.fullmatch(self.key):
            raise ValueError(f"key {self.key!r:.60}: letters, digits, _, . and - are allowed, at most 100")
        if len(self.label) > 120 or len(self.unit) > 30:
            raise ValueError("a label has at most 120 characters, a unit 30")
        if self.digits is not None and not 0 <= self.digits <= 15:
            raise ValueError("digits are from 0 to 15")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("low must be below high")

    def channel(self) -> Channel:
        label = self.label or re.sub("[_.]+", " ", self.key).strip() or self.key
        return Channel(
            self.key, label, self.unit, self.channel_kind, low=self.low, high=self.high, digits=self.digits
        )

    @property
    def channel_kind(self) -> str:
        raise NotImplementedError


class KindRow(Row, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel that says itself of what kind it is."""

    kind: str = "float"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in CHANNEL_KINDS:
            raise ValueError(f"kind {self.kind!r:.60} is none of {', '.join(CHANNEL_KINDS)}")

    @property
    def channel_kind(self) -> str:
        return self.kind

    def told(self, value: Value, time: int | None = None) -> list[Reading]:
        """As a reading; a bad one for None. Of vectors there are no bad ones."""
        if value is None:
            return [] if self.kind == "vector" else [Reading(self.key, None, Quality.BAD, time)]
        return [Reading(self.key, value, Quality.GOOD, time)]


def rows(option: str, value: Sequence[Any], kind: type[R]) -> tuple[R, ...]:
    """The rows of an option as `kind`. Raises ConfigurationError naming the row and what is wrong with it."""
    if len(value) > ROWS_MAX:
        raise ConfigurationError(f"option {option}: {len(value)} rows; at most {ROWS_MAX} are allowed")
    made = tuple(_row(option, number, row, kind) for number, row in enumerate(value, start=1))
    check_keys(option, made)
    return made


def scaled(value: float | None, scale: float, offset: float) -> float | None:
    """None for what is none, or none any more."""
    if value is None:
        return None
    result = value * scale + offset
    return result if math.isfinite(result) else None


def whole(value: float | None) -> int | None:
    """None also for a number with a fraction, and for one that no sample holds exactly."""
    return int(value) if value is not None and abs(value) <= INT_MAX and value == int(value) else None


def vector_of(numbers: Iterable[float | None], scale: float, offset: float) -> Vector | None:
    """None stands for each that is none; no vector where all are."""
    values = tuple(scaled(number, scale, offset) for number in numbers)
    return Vector(values) if any(value is not None for value in values) else None


def storable(text: str) -> str:
    """As a sample can hold it."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)[:TEXT_MAX]


def check_keys(option: str, made: Sequence[Row]) -> None:
    """Raises ConfigurationError if two rows have one key."""
    seen: set[str] = set()
    for row in made:
        if row.key in seen:
            raise ConfigurationError(f"option {option}: the key {row.key!r} stands twice")
        seen.add(row.key)


def _row(option: str, number: int, row: Any, kind: type[R]) -> R:
    name = f" ({row['key']})" if isinstance(row, dict) and isinstance(row.get("key"), str) else ""
    try:
        made = msgspec.convert(row, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ConfigurationError(
            f"option {option}: row {number}{name:.40}: {_in_words(str(error), kind)}"
        ) from None
    infinite = [field for field in made.__struct_fields__ if _is_infinite(getattr(made, field))]
    if infinite:
        raise ConfigurationError(f"option {option}: row {number}{name:.40}: {infinite[0]} is not finite")
    return made


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _in_words(message: str, kind: type[Row]) -> str:
    fields = kind.__struct_fields__
    if found := re.search("unknown field `(.*)`", message, re.DOTALL):
        near = get_close_matches(found[1], fields, 1)
        known = f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"
        return f"unknown key {found[1]!r:.60}; {known}"
    if found := re.search("missing required field `(.*)`", message):
        return f"{found[1]} is missing"
    return message.replace("`$.", "`").replace("`", "")
