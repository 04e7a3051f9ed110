"""Readings of computed channels (derived by a formula, or calibrated) from those of a batch.

A computed channel has a reading wherever all its inputs have one of the same time, in the same batch. Its
quality is that of the worst of them; without a number, where an input is bad or has none or the result is
not finite. The same readings give the same, however often they come.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from devices.models import Channel
from devices.readings import Quality
from telemetry.columns import Bools, Columns, Int64s, joined
from telemetry.computing.calibration import Calibrations, NumbersError, curve
from telemetry.computing.formulas import Floats, Formula, parse
from telemetry.families import NUMBERS
from telemetry.models import Calibration, ComputedChannel
from telemetry.times import microseconds

CLASS = 3  # of a stored quality; above it are flags

logger = logging.getLogger(__name__)


class Step(NamedTuple):
    """One computed channel: what it is computed from, and how."""

    channel: int
    family: int
    inputs: tuple[int, ...]
    how: Formula | Calibrations


# ---- what is defined


class DefinitionError(ValueError):
    """Why a channel cannot be computed."""


def of_instruments(instruments: Collection[UUID]) -> dict[UUID, list[Step]]:
    """The computed channels of each of these that has any, each after those that it is computed from.

    One that cannot be computed (a channel it needs is gone) is left out and logged.
    """
    rows = ComputedChannel.objects.filter(channel__instrument__in=instruments).select_related("channel")
    of: dict[UUID, list[ComputedChannel]] = defaultdict(list)
    for row in rows:
        of[row.channel.instrument_id].append(row)
    if not of:
        return {}
    calibrations = calibrations_of([row.source_id for row in rows if row.source_id])
    keys = _keys(of)
    return {
        instrument: in_order(list(_steps(found, keys[instrument], calibrations)))
        for instrument, found in of.items()
    }


def _keys(instruments: Iterable[UUID]) -> dict[UUID, dict[str, int]]:
    found: dict[UUID, dict[str, int]] = defaultdict(dict)
    channels = Channel.objects.filter(instrument__in=list(instruments))
    for instrument, key, number in channels.values_list("instrument", "key", "pk"):
        found[instrument][key] = number
    return found


def _steps(
    rows: Iterable[ComputedChannel], keys: Mapping[str, int], calibrations: Mapping[int, Calibrations]
) -> Iterable[Step]:
    for row in rows:
        try:
            yield step(row, keys, calibrations)
        except ValueError as error:
            logger.warning("channel %s (%s) is not computed: %s", row.channel_id, row.channel.key, error)


def step(row: ComputedChannel, keys: Mapping[str, int], calibrations: Mapping[int, Calibrations]) -> Step:
    """Raises DefinitionError, FormulaError."""
    family = NUMBERS[row.channel.retention]
    if row.source_id:
        if row.source_id not in calibrations:
            raise DefinitionError("it has no calibration")
        return Step(row.channel_id, family, (row.source_id,), calibrations[row.source_id])
    formula = parse(row.formula)
    if missing := [key for key in formula.keys if key not in keys]:
        raise DefinitionError(f"its instrument has no channel {missing[0]!r}")
    return Step(row.channel_id, family, tuple(keys[key] for key in formula.keys), formula)


def calibrations_of(channels: Collection[int]) -> dict[int, Calibrations]:
    """The calibrations of each of these channels that has any."""
    found: dict[int, list[tuple[int, str, list[float]]]] = defaultdict(list)
    rows = Calibration.objects.filter(channel__in=channels).order_by("channel", "valid_from")
    for row in rows if channels else ():
        found[row.channel_id].append((microseconds(row.valid_from), row.kind, row.numbers))
    made = {}
    for channel, several in found.items():
        try:
            curves = [curve(kind, numbers) for _, kind, numbers in several]
        except NumbersError as error:
            logger.warning("channel %s is not calibrated: %s", channel, error)
        else:
            made[channel] = Calibrations(np.array([since for since, _, _ in several], np.int64), curves)
    return made


def in_order(steps: Sequence[Step]) -> list[Step]:
    """Each after those whose channels it needs; without those that need each other in a ring."""
    by_channel = {each.channel: each for each in steps}
    try:
        order = TopologicalSorter({each.channel: each.inputs for each in steps}).static_order()
        return [by_channel[channel] for channel in order if channel in by_channel]
    except CycleError as error:
        ring = set(error.args[1])
        logger.warning("channels %s are computed from each other, and so not at all", sorted(ring))
        return in_order([each for each in steps if each.channel not in ring])


def ring(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """The keys that need each other in a ring, the first again at the end; none if there is no ring."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


# ---- the arithmetic


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Steps that are computed together: by one formula, each of channels of its own; or by calibrations.

    `inputs`: for each input of the formula the channel it is in each step.
    """

    hows: list[Formula | Calibrations] = field(default_factory=list)
    channels: list[int] = field(default_factory=list)
    families: list[int] = field(default_factory=list)
    inputs: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, step: Step) -> None:
        self.hows.append(step.how)
        self.channels.append(step.channel)
        self.families.append(step.family)
        self.inputs.append(step.inputs)


class Computation:
    """All steps of some instruments, compiled: those of the same formula are one for numpy."""

    def __init__(self, plans: Iterable[Sequence[Step]] = ()) -> None:
        self.channels: set[int] = set()
        self._levels: list[dict[str, _Group]] = []
        self._level_of: dict[int, int] = {}
        for plan in plans:
            self.add(plan)

    def __bool__(self) -> bool:
        return bool(self._levels)

    def add(self, plan: Iterable[Step]) -> None:
        """The steps of one more instrument, in order; what is known already is not computed twice."""
        for step in plan:
            if step.channel in self.channels:
                continue
            level = max((self._level_of.get(channel, 0) for channel in step.inputs), default=0)
            self._level_of[step.channel] = level + 1
            if level == len(self._levels):
                self._levels.append({})
            name = step.how.text if isinstance(step.how, Formula) else ""
            self._levels[level].setdefault(name, _Group()).add(step)
            self.channels.add(step.channel)

    def of(self, columns: Columns) -> Columns:
        """The computed readings of these readings, those of each channel in the order of their arrival."""
        pool = _pool(columns, np.arange(len(columns)))
        made: list[_Pool] = []
        for level in self._levels:
            found = [each for group in level.values() if len((each := _computed(group, pool)).arrival)]
            made += found
            if found and level is not self._levels[-1]:
                pool = _pool(
                    joined([pool.columns, *(each.columns for each in found)]),
                    np.concatenate([pool.arrival, *(each.arrival for each in found)]),
                )
        arrival = np.concatenate([each.arrival for each in made] or [np.empty(0, np.int64)])
        return joined([each.columns for each in made]).take(np.argsort(arrival, kind="stable"))


class _Pool(NamedTuple):
    """Readings in the order of tables; `arrival`: in which order they came."""

    columns: Columns
    arrival: Int64s


def _pool(columns: Columns, arrival: Int64s) -> _Pool:
    order = np.lexsort((columns.time, columns.channel))
    return _Pool(columns.take(order), arrival[order])


class _Found(NamedTuple):
    """The readings of one input of a group: their places in the pool, and of which step each is.

    `nth`: which one of those of the same time. Sorted by step, time and nth, which tell them apart.
    """

    place: Int64s
    step: Int64s
    time: Int64s
    nth: Int64s

    def take(self, index: Int64s) -> "_Found":
        return _Found(*(each[index] for each in self))


def _computed(group: _Group, pool: _Pool) -> _Pool:
    columns = pool.columns
    inputs = np.array(group.inputs, np.int32).T
    founds = _together([_find(channels, columns) for channels in inputs])
    values = [columns.value[found.place] for found in founds]
    qualities = [columns.quality[found.place] for found in founds]
    value, uncertain = _evaluated(group, values, founds[0])
    worst = np.maximum.reduce([quality & CLASS for quality in qualities])
    worst = np.maximum(worst, np.where(uncertain, Quality.UNCERTAIN, Quality.GOOD))
    bad = ~np.logical_and.reduce([np.isfinite(each) for each in (*values, value)]) | (worst >= Quality.BAD)
    flags = np.bitwise_or.reduce([quality & ~np.int16(CLASS) for quality in qualities])
    made = Columns(
        founds[0].time,
        np.where(bad, np.nan, value),
        np.array(group.channels, np.int32)[founds[0].step],
        (np.where(bad, Quality.BAD, worst) | flags).astype(np.int16),
        np.array(group.families, np.int8)[founds[0].step],
    )
    return _Pool(made, np.maximum.reduce([pool.arrival[found.place] for found in founds]))


def _find(channels: NDArray[np.int32], columns: Columns) -> _Found:
    """The readings of these channels, one of each step; `columns` are in the order of tables."""
    low = np.searchsorted(columns.channel, channels)
    count = np.searchsorted(columns.channel, channels, side="right") - low
    step = np.repeat(np.arange(len(channels)), count)
    place = np.arange(len(step)) + np.repeat(low - (np.cumsum(count) - count), count)
    time = columns.time[place]
    return _Found(place, step, time, _nth(step, time))


def _nth(step: Int64s, time: Int64s) -> Int64s:
    again = np.zeros(len(step), np.bool_)
    again[1:] = (step[1:] == step[:-1]) & (time[1:] == time[:-1])
    number = np.arange(len(step))
    return (
        number - np.maximum.accumulate(np.where(again, 0, number)) if again.any() else np.zeros_like(number)
    )


def _together(founds: list[_Found]) -> list[_Found]:
    """Of each input those readings to which all others have one of the same step, time and nth."""
    first = founds[0]
    if all(
        np.array_equal(first.step, each.step) and np.array_equal(first.time, each.time) for each in founds[1:]
    ):
        return founds
    step, time, nth = (np.concatenate([each[column] for each in founds]) for column in (1, 2, 3))
    order = np.lexsort((nth, time, step))  # stable: the inputs in turn, where all is the same
    ordered = np.stack([step[order], time[order], nth[order]])
    starts = np.flatnonzero(np.append(True, (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)))
    full = starts[np.diff(np.append(starts, len(order))) == len(founds)]
    offsets = np.cumsum([0, *(len(each.place) for each in founds)])
    return [each.take(order[full + number] - offsets[number]) for number, each in enumerate(founds)]


def _evaluated(group: _Group, values: Sequence[Floats], found: _Found) -> tuple[Floats, Bools]:
    """The results, and which of them are uncertain."""
    how = group.hows[0]
    uncertain = np.zeros(len(found.step), np.bool_)
    if isinstance(how, Formula):
        return how.of(values), uncertain
    value = np.empty(len(found.step))
    steps, starts = np.unique(found.step, return_index=True)
    for number, start, end in zip(steps, starts, [*starts[1:], len(value)], strict=True):
        rows = slice(start, end)
        how = group.hows[number]
        if isinstance(how, Calibrations):
            value[rows], uncertain[rows] = how.of(values[0][rows], found.time[rows])
    return value, uncertain
