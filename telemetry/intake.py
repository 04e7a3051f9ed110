"""A batch held against its edge's roster: what may be stored, what is computed from that, and what is refused
and why. Writes nothing but the channels it is the first to name."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.readings import Flag
from devices.wire import Batch, Gap, Malformed
from telemetry.beside import Beside, beside
from telemetry.columns import Bools, Columns, Int64s, Layout, joined, layout, qualities, texts, values
from telemetry.gaps import NamedGap
from telemetry.roster import Known, Roster
from telemetry.times import TIME_MAX, moment

COUNT_MAX = 0x7FFFFFFF
NONE = joined([])


@dataclass(frozen=True, slots=True, eq=False)
class Intake:
    """What of a batch may be stored. `seen`: when each instrument was last polled and had nothing new."""

    columns: Columns
    computed: Columns  # from those
    beside: Beside
    gaps: list[NamedGap]
    seen: dict[str, int]
    allowed: Bools  # which of the batch's readings are in `columns`
    refused: str  # why anything was refused singly; "" if nothing was


def intake(batch: Batch, shift: int, roster: Roster) -> Intake:
    """Raises Malformed for a batch that contradicts itself; single readings are refused, not batches."""
    roster.meet([*batch.instruments, *(gap.instrument for gap in batch.gaps if gap.instrument)])
    quality = qualities(batch)
    plan = layout(batch, shift, quality)
    columns = _columns(batch, plan, quality, roster)
    allowed = (columns.channel > 0) & _owned(batch, plan, columns, roster) & _possible(columns.time)
    refusals = [] if allowed.all() else [_told(batch, plan, allowed)]
    found = beside(batch, shift, roster)
    refusals += found.refusals
    gaps = [_named(gap, shift) for gap in batch.gaps if _welcome(gap, shift, roster)]
    if len(gaps) < len(batch.gaps):
        refusals.append(f"{len(batch.gaps) - len(gaps)} gaps refused")
    columns = columns if allowed.all() else columns.take(allowed)
    return Intake(
        columns,
        roster.computation.of(columns) if roster.computation else NONE,
        found,
        gaps,
        _seen(batch, shift, roster),
        allowed,
        "; ".join(refusals),
    )


def _columns(batch: Batch, plan: Layout, quality: NDArray[np.int16], roster: Roster) -> Columns:
    """All readings of the batch; channel 0 where there is none for the key."""
    keysets = [tuple(keys) for keys in batch.keysets]
    taken = [
        roster.taken(batch.instruments[instrument], keysets[keyset]) for instrument, keyset in plan.pairs
    ]
    places = plan.places([len(each.channel) for each in taken])
    nothing = np.empty(0, np.int32)
    return Columns(
        plan.spread(plan.time),
        values(batch),
        np.concatenate([each.channel for each in taken] or [nothing])[places],
        quality & ~np.int16(Flag.FAR),
        np.concatenate([each.family for each in taken] or [nothing.astype(np.int8)])[places],
        texts(batch),
    )


def _owned(batch: Batch, plan: Layout, columns: Columns, roster: Roster) -> Bools:
    """Whether each reading's instrument was this edge's at its time.

    An edge whose clock was unsure cannot know that time: then it must be the instrument's edge now.
    """
    held, now = np.ones(len(plan.time), np.bool_), np.ones(len(plan.time), np.bool_)
    for number, (instrument, _) in enumerate(plan.pairs):
        known = roster.known(batch.instruments[instrument])
        if known is None or not known.always:
            rows = plan.pair == number
            held[rows] = _held(known, plan.time[rows])
            now[rows] = known is not None and known.assigned
    if held.all():
        return np.ones(len(columns), np.bool_)
    unsure = (columns.quality & Flag.CLOCK_UNSURE).astype(np.bool_)
    owned: Bools = plan.spread(held) | (unsure & plan.spread(now))
    return owned


def _held(known: Known | None, time: Int64s) -> Bools:
    return np.zeros(len(time), np.bool_) if known is None else known.held(time)


def _possible(time: Int64s) -> Bools:
    return (time >= 0) & (time < TIME_MAX)


def _told(batch: Batch, plan: Layout, allowed: Bools) -> str:
    """How many readings were refused, and of which instruments."""
    of_reading = plan.spread(np.array([instrument for instrument, _ in plan.pairs], np.int64)[plan.pair])
    names = [batch.instruments[index] for index in np.unique(of_reading[~allowed])]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{int((~allowed).sum())} readings refused, of instruments {', '.join(names[:3])}{more}"


def _welcome(gap: Gap, shift: int, roster: Roster) -> bool:
    start, end = gap.start + shift, gap.end + shift
    named = not gap.instrument or roster.known(gap.instrument) is not None
    return named and 0 <= start <= end < TIME_MAX and len(gap.key) <= 100 and "\0" not in gap.key + gap.reason


def _named(gap: Gap, shift: int) -> NamedGap:
    return NamedGap(
        gap.instrument or None,
        gap.key,
        moment(gap.start + shift),
        moment(gap.end + shift),
        gap.reason[:60],
        min(max(gap.count, 0), COUNT_MAX),
    )


def _seen(batch: Batch, shift: int, roster: Roster) -> dict[str, int]:
    if len(batch.seen) % 2:
        raise Malformed("seen: not in pairs")
    seen: dict[str, int] = {}
    for index, time in zip(batch.seen[::2], batch.seen[1::2], strict=True):
        if not 0 <= index < len(batch.instruments):
            raise Malformed(f"seen: instrument {index} of {len(batch.instruments)}")
        known = roster.known(batch.instruments[index])
        if known is not None and known.assigned and 0 <= time + shift < TIME_MAX:
            seen[batch.instruments[index]] = time + shift
    return seen
