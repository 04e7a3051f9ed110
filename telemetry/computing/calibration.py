"""Calibrations: how raw values of a channel become true ones, each for the time from its date on.

Before the first date the raw value stands and is uncertain. Outside a table the line of its nearest segment
goes on, and what it gives is uncertain. Arithmetic only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from devices.readings import finite
from telemetry.columns import Bools, Int64s

COEFFICIENTS_MAX: Final = 10
PAIRS_MAX: Final = 1000

Floats = NDArray[np.float64]


class NumbersError(ValueError):
    """What is wrong with the numbers of a calibration."""


class Polynomial(NamedTuple):
    """The constant first."""

    coefficients: Floats

    def of(self, raw: Floats) -> tuple[Floats, Bools]:
        """True values, and which of them are uncertain: none."""
        value = np.full(len(raw), self.coefficients[-1])
        for coefficient in self.coefficients[-2::-1]:  # Horner's scheme
            value = value * raw + coefficient
        return value, np.zeros(len(raw), np.bool_)


class Table(NamedTuple):
    """Lines from point to point; `raw` rises."""

    raw: Floats
    true: Floats

    def of(self, raw: Floats) -> tuple[Floats, Bools]:
        """True values, and which of them are uncertain: those outside the table."""
        segment = np.clip(np.searchsorted(self.raw, raw, side="right") - 1, 0, len(self.raw) - 2)
        rise = np.diff(self.true) / np.diff(self.raw)
        found = self.true[segment] + rise[segment] * (raw - self.raw[segment])
        return found, (raw < self.raw[0]) | (raw > self.raw[-1])


Curve = Polynomial | Table


@dataclass(frozen=True, slots=True, eq=False)
class Calibrations:
    """Those of one channel. `since`: from when on each holds, in µs of UTC, rising."""

    since: Int64s
    curves: Sequence[Curve]

    def of(self, raw: Floats, time: Int64s) -> tuple[Floats, Bools]:
        """True values by the calibration that holds at each time, and which of them are uncertain."""
        holding = np.searchsorted(self.since, time, side="right") - 1
        with np.errstate(all="ignore"):
            if len(holding) and (first := int(holding.min())) == int(holding.max()) >= 0:
                return self.curves[first].of(raw)
            value, uncertain = raw.copy(), holding < 0
            for number in np.unique(holding[holding >= 0]).tolist():
                rows = holding == number
                value[rows], uncertain[rows] = self.curves[number].of(raw[rows])
        return value, uncertain


def curve(kind: str, numbers: Any) -> Curve:
    """A calibration's curve from its kind and numbers as they are saved. Raises NumbersError."""
    if not isinstance(numbers, list):
        raise NumbersError("a list is needed")
    if kind == "polynomial":
        if not 1 <= len(numbers) <= COEFFICIENTS_MAX:
            raise NumbersError(f"a polynomial has 1 to {COEFFICIENTS_MAX} coefficients, the constant first")
        return Polynomial(np.array([_number(each, place) for place, each in enumerate(numbers, 1)]))
    return _table(numbers)


def _table(pairs: list[Any]) -> Table:
    if not 2 <= len(pairs) <= PAIRS_MAX:
        raise NumbersError(f"a table has 2 to {PAIRS_MAX} pairs [raw, true]")
    found = []
    for place, pair in enumerate(pairs, 1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise NumbersError(f"number {place} is no pair [raw, true]")
        found.append([_number(each, place) for each in pair])
    raw, true = np.array(sorted(found)).T
    if (doubles := raw[1:][np.diff(raw) == 0]).size:
        raise NumbersError(f"the raw value {doubles[0]:g} stands twice")
    return Table(raw, true)


def _number(given: Any, place: int) -> float:
    number = finite(given)
    if number is not None:
        return number
    raise NumbersError(f"number {place} is none, or is too large: {str(given)[:40]}")
