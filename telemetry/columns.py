"""Readings in columns: numpy arrays, one row a reading. A batch decodes to them; arithmetic only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.readings import Flag
from devices.wire import Batch, Malformed

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

QUALITY_MAX = 0x7FFF


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Readings, one a row. `time`: µs of UTC; `value`: NaN for none; `text`: None when no row has any."""

    time: Int64s
    value: NDArray[np.float64]
    channel: NDArray[np.int32]
    quality: NDArray[np.int16]
    family: NDArray[np.int8]  # of its channel: telemetry.families
    text: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.time)

    @property
    def has_text(self) -> Bools:
        """Which rows have one."""
        if self.text is None:
            return np.zeros(len(self), np.bool_)
        return np.array([text is not None for text in self.text], np.bool_)

    def take(self, index: NDArray[Any]) -> "Columns":
        """The rows of an index or a mask."""
        return Columns(
            self.time[index],
            self.value[index],
            self.channel[index],
            self.quality[index],
            self.family[index],
            None if self.text is None else self.text[index],
        )

    def sorted(self) -> "Columns":
        """In the order of the key, which every writer keeps to; equal keys in the order of arrival."""
        return self.take(np.lexsort((self.time, self.channel)))

    def by_time(self) -> "Columns":
        """In the order of their times; equal times in the order of arrival."""
        return self.take(np.argsort(self.time, kind="stable"))

    def newest(self) -> "Columns":
        """The last to arrive of each channel, in the order of channels."""
        backwards = self.channel[::-1]
        _, first = np.unique(backwards, return_index=True)
        return self.take(len(self) - 1 - first)

    def moved(self, microseconds: int) -> "Columns":
        return Columns(
            self.time + microseconds, self.value, self.channel, self.quality, self.family, self.text
        )

    def flagged(self, flag: Flag) -> "Columns":
        return Columns(
            self.time, self.value, self.channel, self.quality | np.int16(flag), self.family, self.text
        )


def joined(parts: Sequence[Columns]) -> Columns:
    """All rows, in the order given."""
    text = None
    if any(part.text is not None for part in parts):
        text = np.concatenate([_texts(part) for part in parts])
    return Columns(
        np.concatenate([part.time for part in parts] or [np.empty(0, np.int64)]),
        np.concatenate([part.value for part in parts] or [np.empty(0, np.float64)]),
        np.concatenate([part.channel for part in parts] or [np.empty(0, np.int32)]),
        np.concatenate([part.quality for part in parts] or [np.empty(0, np.int16)]),
        np.concatenate([part.family for part in parts] or [np.empty(0, np.int8)]),
        text,
    )


def _texts(part: Columns) -> NDArray[np.object_]:
    return np.full(len(part), None, dtype=object) if part.text is None else part.text


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where a batch's readings are: one entry a row of the batch, and the pairs of what rows are made of.

    `pairs`: the distinct (instrument, keyset) by index; `pair`: which of them a row is; `time`: µs of UTC.
    """

    time: Int64s
    pair: Int64s
    pairs: list[tuple[int, int]]
    sizes: Int64s  # readings in a row
    total: int

    def spread(self, of_row: NDArray[Any]) -> NDArray[Any]:
        """One entry a reading from one a row."""
        return np.repeat(of_row, self.sizes)

    def places(self, lengths: Sequence[int]) -> Int64s:
        """For each reading its place in the columns of all pairs, laid end to end."""
        starts = np.concatenate(([0], np.cumsum(np.asarray(lengths, np.int64))))[self.pair]
        before = np.cumsum(self.sizes) - self.sizes
        return np.repeat(starts - before, self.sizes) + np.arange(self.total)


def layout(batch: Batch, shift: int, quality: NDArray[np.int16]) -> Layout:
    """Raises Malformed for a batch that contradicts itself. `quality`: as `qualities` gives it."""
    try:
        rows = np.array(batch.rows, dtype=np.int64).reshape(-1, 3)
    except (ValueError, OverflowError) as error:
        raise Malformed(f"rows: {error}") from None
    instrument, keyset, step = rows[:, 0], rows[:, 1], rows[:, 2]
    _within(instrument, len(batch.instruments), "instrument")
    _within(keyset, len(batch.keysets), "keyset")
    code, pair = np.unique(instrument * max(len(batch.keysets), 1) + keyset, return_inverse=True)
    sizes = np.array([len(keys) for keys in batch.keysets], dtype=np.int64)[keyset]
    if int(sizes.sum()) != len(batch.values):
        raise Malformed(f"{len(batch.values)} values for {int(sizes.sum())} channels")
    pairs = [divmod(int(number), len(batch.keysets)) for number in code]
    time = np.cumsum(step)
    if shift:
        time = np.where(_own_time(quality, sizes), time, time + shift)
    return Layout(time, pair, pairs, sizes, len(batch.values))


def _own_time(quality: NDArray[np.int16], sizes: Int64s) -> Bools:
    """Which rows the instrument stamped itself: what is learnt of the edge's clock does not move them."""
    found = np.zeros(len(sizes), np.bool_)
    first = (np.cumsum(sizes) - sizes)[sizes > 0]
    found[sizes > 0] = (quality[first] & Flag.INSTRUMENT_TIME).astype(np.bool_)
    return found


def qualities(batch: Batch) -> NDArray[np.int16]:
    """One a reading. Raises Malformed."""
    if batch.qualities is None:
        return np.zeros(len(batch.values), np.int16)
    try:
        found = np.array(batch.qualities, dtype=np.int64)
    except OverflowError as error:
        raise Malformed(f"qualities: {error}") from None
    if len(found) != len(batch.values):
        raise Malformed(f"{len(found)} qualities for {len(batch.values)} values")
    _within(found, QUALITY_MAX + 1, "quality")
    return found.astype(np.int16)


def texts(batch: Batch) -> NDArray[np.object_] | None:
    """One a reading, None where there is none; None if there is none at all. Raises Malformed."""
    if not batch.texts:
        return None
    found = np.full(len(batch.values), None, dtype=object)
    for index, text in batch.texts.items():
        if not (index.isascii() and index.isdecimal() and len(index) < 10 and int(index) < len(found)):
            raise Malformed(f"a text for value {index[:20]!r} of {len(found)}")
        found[int(index)] = text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL stores no NUL
    return found


def values(batch: Batch) -> NDArray[np.float64]:
    """One a reading; NaN for none."""
    return np.array(batch.values, dtype=np.float64)


def _within(numbers: Int64s, limit: int, what: str) -> None:
    if len(numbers) and not (np.min(numbers) >= 0 and np.max(numbers) < limit):
        raise Malformed(f"{what} {np.min(numbers)} … {np.max(numbers)} of {limit}")


def days(time: Int64s) -> Iterable[int]:
    """The distinct UTC days, as days since 1970."""
    return [int(day) for day in np.unique(time // 86_400_000_000)]
