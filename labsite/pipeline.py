"""Ingest: what a parcel of batches brings goes into all apps here, step after step, in one transaction.

A batch is taken whole, once: batch row, samples, latest, gaps and mark commit together or not at all.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import numpy as np
from django.db import DataError, connection, transaction

from alerts.judging import evaluation, rulebook
from alerts.judging.evaluation import News
from devices.models import PUSH_EDGE, Edge
from devices.readings import Flag
from devices.wire import Batch, Malformed, Parcel, as_bytes, unpack
from telemetry import deliveries, events, gaps, latest, outbox, rollups, roster, runs, store, vectors
from telemetry.beside import NOTHING, Beside, StoredEvent, StoredRun, StoredVector
from telemetry.columns import Columns, joined
from telemetry.deliveries import Turn
from telemetry.events import NewEvent
from telemetry.intake import Intake, intake
from telemetry.models import RejectedBatch
from telemetry.roster import Roster
from telemetry.runs import RunChange
from telemetry.thinning import policies, sifting
from telemetry.thinning.sifting import Part

LIVE = "live"
SHIFT_MAX = 1 << 53  # µs; 285 years

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Work:
    """One batch on its way through the steps. `reason`: why it, or some of its readings, are not stored.

    `newest`: nothing of its spool that comes after it is at the centre; `follows`: what comes before it is.
    """

    sequence: int
    shift: int
    packed: bytes
    intake: Intake | None = None
    reason: str = ""
    newest: bool = False
    follows: bool = False

    @property
    def columns(self) -> list[Columns]:
        """Its readings, and what is computed from them."""
        return (
            [each for each in (self.intake.columns, self.intake.computed) if len(each)] if self.intake else []
        )

    @property
    def beside(self) -> Beside:
        return self.intake.beside if self.intake else NOTHING


@dataclass(frozen=True, slots=True)
class Going:
    """What the steps of one transaction go by. `live`: by the live track."""

    turn: Turn
    known: Roster
    now: datetime
    live: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a parcel. `stored` holds also what was there before; `readings` only what is new."""

    edge: int
    stored: list[int]
    rejected: dict[int, str] = field(default_factory=dict)
    through: int = 0
    readings: int = 0


def ingest(edge: Edge, parcel: Parcel, now: datetime) -> Outcome:
    """Store what a parcel brings. Delivering it twice does no harm; two parcels of one edge take turns.

    Raises Malformed if it contradicts itself as a whole, and what the database raises when it cannot store:
    then nothing has happened.
    """
    spool = _checked(parcel)
    try:
        with transaction.atomic():
            return _ingest(edge, spool, parcel, now)
    except BaseException:
        _forget(edge.pk)
        raise


def _forget(edge: int) -> None:
    """What was looked up in a transaction that is rolled back."""
    roster.forget(edge)
    rulebook.forget(edge)


def _ingest(edge: Edge, spool: UUID, parcel: Parcel, now: datetime) -> Outcome:
    turn = deliveries.turn(edge.pk)
    known = roster.of_edge(edge.pk, turn.revision)
    works = _register(edge, spool, parcel)
    for work in works:
        _open(work, known)
    live = parcel.track == LIVE and bool(works)
    if turn.sifts and works:
        _see_what_follows(edge, spool, works)
        if live and not all(work.follows for work in works):
            known.meet(policies.ruled(edge.pk))
    columns, happened = _store(works, Going(turn, known, now, live))
    through = deliveries.settle(edge.pk, spool, parcel.kept_from)
    is_complete = bool(works) and through >= works[-1].sequence
    is_ahead = live and not is_complete and not deliveries.follows(edge.pk, spool, works[0].sequence)
    evaluation.judge(_news(edge, works, columns, happened, live=live, ahead=is_ahead), now)
    if live:
        _show(works, columns, now)
    gaps.store(edge.pk, [gap for work in works if work.intake for gap in work.intake.gaps])
    _keep_rejected(edge, spool, works, now)
    if live:
        if is_complete:
            evaluation.reached(edge.pk, columns, now)
        _notify(edge)
    rejected = {work.sequence: work.reason for work in works if not work.intake}
    stored = [sequence for sequence in parcel.sequences if sequence not in rejected]
    fresh = len(columns) + sum(len(work.beside.vectors) for work in works)
    return Outcome(edge.pk, stored, rejected, through, fresh)


def reingest(rejected: RejectedBatch, now: datetime) -> str:
    """Try a rejected batch again; it is forgotten once all of it is stored. Returns what is still wrong."""
    work = Work(rejected.sequence, rejected.shift, bytes(rejected.packed))
    try:
        with transaction.atomic():
            turn = deliveries.turn(rejected.edge_id)
            known = roster.of_edge(rejected.edge_id, turn.revision)
            _open(work, known, again=True)
            columns, happened = _store([work], Going(turn, known, now))
            evaluation.judge(_news(rejected.edge, [work], columns, happened, live=False), now)
            if work.intake:
                gaps.store(rejected.edge_id, work.intake.gaps)
            if not work.reason:
                rejected.delete()
    except BaseException:
        _forget(rejected.edge_id)
        raise
    return work.reason


# ---- pushed


Kinds = Mapping[tuple[str, str], Collection[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """How each pushed reading and vector fared (store.NEW, KNOWN, CONFLICT); what stands in conflict."""

    readings: list[int]
    vectors: list[int]
    stands: dict[int, float | str | None]


class NotTaken(Exception):
    """One of the readings, or of the vectors, of a push is none of its instrument's; nothing was stored."""

    def __init__(self, number: int, *, vector: bool) -> None:
        super().__init__(number)
        self.number, self.vector = number, vector


def push(batch: Batch, kinds: Kinds, now: datetime) -> Verdict:
    """Store what a program pushed. What is stored already is known; another value at its time is refused.

    `kinds`: keys of channels that there may not be yet, by (instrument, kind). Raises NotTaken and Malformed.
    """
    edge = Edge.objects.get(name=PUSH_EDGE)
    try:
        with transaction.atomic():
            return _push(edge, batch, kinds, now)
    except BaseException:
        _forget(edge.pk)
        raise


def _push(edge: Edge, batch: Batch, kinds: Kinds, now: datetime) -> Verdict:
    turn = deliveries.turn_of_sources(edge.pk, map(UUID, batch.instruments))
    known = roster.of_edge(edge.pk, turn.revision)
    known.meet(batch.instruments)
    for (instrument, kind), keys in kinds.items():
        known.make(instrument, keys, kind)
    taken = intake(batch, 0, known)
    if not taken.allowed.all():
        raise NotTaken(int(np.argmin(taken.allowed)), vector=False)
    if taken.beside.unfit:
        raise NotTaken(taken.beside.unfit[0].number, vector=True)
    columns = store.judged(taken.columns, now)
    fate, stands = store.standing(columns)
    fates = vectors.standing(taken.beside.vectors)
    computed = _not_standing(known.computation.of(columns.take(fate != store.CONFLICT)))
    fresh = joined([columns.take(fate == store.NEW), store.judged(computed, now)])
    new = [vector for vector, each in zip(taken.beside.vectors, fates, strict=True) if each == store.NEW]
    _keep([Part(fresh, new)], Going(turn, known, now))
    if len(fresh) or new:
        evaluation.judge(News(edge.pk, live=True, columns=fresh), now)
        shown = store.judged(joined([fresh, vectors.shown(new)] if new else [fresh]), now)
        latest.show(latest.not_older(shown.by_time()), now)
        _notify(edge)
    return Verdict(fate.tolist(), fates, stands)


# ---- the steps


def _checked(parcel: Parcel) -> UUID:
    """The parcel's spool."""
    if not len(parcel.sequences) == len(parcel.shifts) == len(parcel.batches):
        raise Malformed("sequences, shifts and batches are not equally many")
    if not all(0 < sequence < 1 << 62 for sequence in parcel.sequences):
        raise Malformed("sequences count from 1")
    if not all(abs(shift) < SHIFT_MAX for shift in parcel.shifts):
        raise Malformed("a shift of centuries")
    try:
        return UUID(parcel.spool)
    except ValueError:
        raise Malformed(f"spool {parcel.spool[:60]!r} is no UUID") from None


def _register(edge: Edge, spool: UUID, parcel: Parcel) -> list[Work]:
    """The batches that are not at the centre yet, each once, in order."""
    fresh = deliveries.register(edge.pk, spool, sorted(set(parcel.sequences)))
    works = {}
    for sequence, shift, text in zip(parcel.sequences, parcel.shifts, parcel.batches, strict=True):
        if sequence in fresh:
            works[sequence] = _work(sequence, shift, text)
    return [works[sequence] for sequence in sorted(works)]


def _work(sequence: int, shift: int, text: str) -> Work:
    try:
        return Work(sequence, shift, as_bytes(text))
    except Malformed as error:
        return Work(sequence, shift, text.encode(errors="replace"), reason=str(error))


def _open(work: Work, known: Roster, *, again: bool = False) -> None:
    """`again`: some of it may be stored already."""
    if work.reason:
        return
    try:
        work.intake = intake(unpack(work.packed), work.shift, known)
    except (Malformed, RecursionError) as error:  # the latter of fields nested without end
        work.reason = str(error)
    else:
        work.reason = work.intake.refused
        work.intake = replace(work.intake, computed=_computed_once(work.intake.computed, again=again))


def _computed_once(computed: Columns, *, again: bool) -> Columns:
    """Without what was computed before from the same readings, if perhaps in another way."""
    told_again = (computed.quality & Flag.INSTRUMENT_TIME).astype(np.bool_) | again
    if not told_again.any():
        return computed
    return joined([computed.take(~told_again), _not_standing(computed.take(told_again))])


def _not_standing(columns: Columns) -> Columns:
    fate, _ = store.standing(columns)
    return columns.take(fate == store.NEW)


def _see_what_follows(edge: Edge, spool: UUID, works: Sequence[Work]) -> None:
    newest, following = deliveries.around(edge.pk, spool, [work.sequence for work in works])
    for work in works:
        work.newest, work.follows = work.sequence > newest, work.sequence in following


class Happened(NamedTuple):
    """What of events and runs is news."""

    events: list[NewEvent]
    runs: list[RunChange]


def _store(works: Sequence[Work], going: Going) -> tuple[Columns, Happened]:
    """Write all readings together; if one batch's cannot be stored, each batch by itself."""
    columns = _judged(works, going.now)
    try:
        with transaction.atomic():
            return columns, _write(works, columns, going)
    except DataError:
        each = [_store_alone(work, going) for work in works]
        happened = Happened([e for one in each for e in one.events], [r for one in each for r in one.runs])
        return _judged(works, going.now), happened


def _write(works: Sequence[Work], columns: Columns, going: Going) -> Happened:
    """`columns` are all readings of these batches."""
    told_events = [event for work in works for event in work.beside.events]
    told_runs = [run for work in works for run in work.beside.runs]
    parts = _parts(works, going) if going.turn.sifts else [Part(columns, _vectors(works))]
    _keep(parts, going, told_events, told_runs)
    return Happened(events.store(told_events, going.now), runs.store(told_runs, going.now))


def _parts(works: Sequence[Work], going: Going) -> list[Part]:
    """What came without a hole is one part."""
    runs_of: list[list[Work]] = []
    for work in works:
        if runs_of and work.sequence == runs_of[-1][-1].sequence + 1:
            runs_of[-1].append(work)
        else:
            runs_of.append([work])
    return [
        Part(_judged(run, going.now), _vectors(run), going.live and run[0].newest, run[0].follows)
        for run in runs_of
    ]


def _vectors(works: Sequence[Work]) -> list[StoredVector]:
    return [vector for work in works for vector in work.beside.vectors]


def _keep(
    parts: Sequence[Part],
    going: Going,
    told_events: Sequence[StoredEvent] = (),
    told_runs: Sequence[StoredRun] = (),
) -> None:
    """Store readings and vectors, as far as policies do; mark what of them is late for its roll-up; and on
    to the sinks with all."""
    columns, found = sifting.sift(parts, going.known.policies)
    stored = store.store(columns)
    stored_vectors = vectors.store(found, going.now)
    rollups.mark(stored, going.turn.closing)
    rollups.mark(vectors.shown(stored_vectors), going.turn.closing)
    if going.turn.feeds:
        outbox.put(stored, stored_vectors, told_events, told_runs, going.now)


def _store_alone(work: Work, going: Going) -> Happened:
    try:
        with transaction.atomic():
            return _write([work], _judged([work], going.now), going)
    except DataError as error:
        work.intake = None
        work.reason = f"not to be stored: {error}"
        return Happened([], [])


def _news(
    edge: Edge,
    works: Sequence[Work],
    columns: Columns,
    happened: Happened,
    *,
    live: bool,
    ahead: bool = False,
) -> News:
    """What the alarms are judged by."""
    taken = [work.intake for work in works if work.intake]
    return News(
        edge.pk,
        live,
        columns,
        [gap for each in taken for gap in each.gaps],
        {key: time for each in taken for key, time in each.seen.items()},
        happened.events,
        happened.runs,
        ahead,
    )


def _judged(works: Sequence[Work], now: datetime) -> Columns:
    return store.judged(joined([part for work in works for part in work.columns]), now)


def _show(works: Sequence[Work], columns: Columns, now: datetime) -> None:
    """The live track brings the present state; the backlog is the past."""
    seen = {key: time for work in works if work.intake for key, time in work.intake.seen.items()}
    latest.show(_with_vectors(works, columns, now), now)
    latest.see(seen, now)


def _with_vectors(works: Sequence[Work], columns: Columns, now: datetime) -> Columns:
    """The readings, and each vector as the latest reading of its channel, in the order of arrival."""
    if not any(work.beside.vectors for work in works):
        return columns
    parts = [
        joined([*work.columns, vectors.shown(work.beside.vectors)]).by_time() for work in works if work.intake
    ]
    return store.judged(joined(parts), now)


def _keep_rejected(edge: Edge, spool: UUID, works: Sequence[Work], now: datetime) -> None:
    for work in works:
        if work.reason:
            logger.error("edge %s, spool %s, batch %d: %s", edge.name, spool, work.sequence, work.reason)
            RejectedBatch.objects.update_or_create(
                edge=edge,
                spool=spool,
                sequence=work.sequence,
                defaults={
                    "shift": work.shift,
                    "packed": work.packed,
                    "reason": work.reason.replace("\0", ""),
                    "stored": work.intake is not None,
                    "rejected_at": now,
                },
            )


def _notify(edge: Edge) -> None:
    """The web process hears of it when this transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify('labsite_live', %s)", [str(edge.pk)])
