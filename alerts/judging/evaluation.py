"""New readings in, changes of alarms out: the step of ingest that judges, in its transaction.

The live track moves alarms. What comes late (the backlog, and what an instrument tells again) is history:
alerts.judging.late writes it into the journal.
One turn an edge: its two tracks, its timers and people do not change its alarms at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import numpy as np
from django.db import connection

from alerts.changes import Changes, turn
from alerts.judging import conditions, connections, happenings, late, memory, rulebook, sayings, watched
from alerts.judging.conditions import SECOND, Bools, Int64s, Truth, Truths, Turn
from alerts.judging.rulebook import Book, Watch
from alerts.judging.sayings import Sayings
from alerts.judging.suppression import Reasons, settle
from alerts.lifecycle import Event, State
from alerts.models import Alarm, RuleKind, Source
from devices.edges import microseconds
from devices.readings import Flag
from telemetry.columns import Columns
from telemetry.events import NewEvent
from telemetry.gaps import NamedGap
from telemetry.runs import RunChange
from telemetry.times import moment

OLD = 60 * SECOND  # what the edge stamped so long before the centre's present is no news any more

AT_WORK = """
SELECT rule_id, channel_id, instrument_id, active, held, unknown, pending_at IS NOT NULL
FROM alerts_alarm WHERE edge_id = %s AND (state <> 'normal' OR active OR held)
"""
# What was known of channels before these readings: when, and whether there ever was a good one.
KNOWN = """
SELECT channel_id, (extract(epoch FROM greatest(time, seen_at)) * 1000000)::int8,
    value IS NOT NULL OR text IS NOT NULL
FROM devices_latest WHERE channel_id = ANY(%s)
"""
REACHED = """
INSERT INTO alerts_reach AS r (edge_id, complete_at, stored_at) VALUES (%s, %s, %s)
ON CONFLICT (edge_id) DO UPDATE SET complete_at = EXCLUDED.complete_at, stored_at = EXCLUDED.stored_at
"""


@dataclass(frozen=True, slots=True)
class News:
    """What a parcel brought, as it is stored. `live`: by the live track, which is the present.

    `ahead`: what was read just before it is still to come.
    """

    edge: int
    live: bool
    columns: Columns
    gaps: Sequence[NamedGap] = ()
    seen: dict[str, int] = field(default_factory=dict)
    events: Sequence[NewEvent] = ()
    runs: Sequence[RunChange] = ()
    ahead: bool = False

    def __bool__(self) -> bool:
        return bool(len(self.columns) or self.gaps or self.seen or self.events or self.runs)


def judge(news: News, now: datetime) -> None:
    """Change what has to be changed; in the transaction that stored the readings, before they are shown."""
    if not news:
        return
    turn(news.edge)
    book = rulebook.of_edge(news.edge, np.unique(news.columns.channel).tolist())
    changes = Changes(now, Source.INGEST)
    present, old = _split(news, now)
    rows = _at_work(book)
    settled: list[Judged] = []
    if news.live:
        if news.ahead or len(old):
            late.begin(book, news.columns, changes)
        settled += connections.judge(book, present, news.gaps, news.seen, rows.troubled, changes)
        settled += _judge_present(book, present, rows, changes)
        apply(settled, changes)
    if len(old):
        changes.save()  # of what comes now the same alarms may be looked up
        late.judge(book, old, changes)
    happenings.judge(book, news.events, news.runs, changes, live=news.live)
    changes.save()


def reached(edge: int, columns: Columns, now: datetime) -> None:
    """All of an edge's readings up to the newest of these are at the centre, and judged."""
    own = columns.time[(columns.quality & (Flag.INSTRUMENT_TIME | Flag.FAR)) == 0]
    if len(own):
        with connection.cursor() as cursor:
            cursor.execute(REACHED, [edge, moment(int(own.max())), now])


# ---- what is to be judged


def _split(news: News, now: datetime) -> tuple[Columns, Columns]:
    """What is the present, and what came late. A time that cannot be is that of its arrival."""
    columns = news.columns
    if not news.live:
        far = (columns.quality & Flag.FAR).astype(np.bool_)
        return columns.take(np.zeros(len(columns), np.bool_)), columns.take(~far)
    present = microseconds(now)
    flags = columns.quality & (Flag.INSTRUMENT_TIME | Flag.CLOCK_UNSURE | Flag.FAR)
    is_late = (flags == 0) & (columns.time < present - OLD)
    is_far = (flags & Flag.FAR).astype(np.bool_)
    if is_far.any():
        is_late |= is_far & (flags & Flag.INSTRUMENT_TIME).astype(np.bool_)
        time = np.where(is_far, np.int64(present), columns.time)
        columns = Columns(time, columns.value, columns.channel, columns.quality, columns.family, columns.text)
    if not is_late.any():
        return columns, columns.take(is_late)
    return columns.take(~is_late), columns.take(is_late & ~is_far)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The alarms of an edge that are at work, by watch: what of them decides whether a reading matters."""

    held: Bools
    restless: Bools  # unknown or pending: any reading matters
    troubled: set[UUID]  # instruments with an alarm of their own


def _at_work(book: Book) -> Rows:
    held, restless = (np.zeros(len(book.watches), np.bool_) for _ in range(2))
    troubled = set()
    with connection.cursor() as cursor:
        cursor.execute(AT_WORK, [book.edge_id])
        for rule, channel, instrument, active, holds, unknown, pending in cursor.fetchall():
            number = book.by_channel.get((rule, channel))
            if channel is None:
                troubled.add(instrument)
            elif number is not None:
                held[number] = holds
                restless[number] = unknown or pending or active != holds
    return Rows(held, restless, troubled)


# ---- the present

Judged = tuple[Alarm, list[Turn]]  # an alarm, and when its condition began or ceased to count


def _judge_present(book: Book, columns: Columns, rows: Rows, changes: Changes) -> list[Judged]:
    """What of it matters is found without a look at each reading: most says that all is well."""
    if not len(columns) or not book.watches:
        return []
    said = sayings.of(book, columns)
    wanted = _that_matter(said, rows, len(book.watches))
    if not wanted.any():
        return []
    chosen = said.of(wanted)
    alarms = watched.alarms(book, np.flatnonzero(wanted).tolist())
    known = _known(book, columns, chosen)
    judged = []
    for number, reading, truth in chosen.by_watch():
        watch = book.watches[number]
        alarm = alarms.get((watch.rule.pk, watch.place.id))
        newest, was_good = known.get(watch.place.id, (0, False))
        if alarm is None and watch.rule.kind == RuleKind.STALE and not was_good:
            continue  # a sensor that was never there is not missing
        news = _in_order(columns, reading, truth, newest)
        if not len(news[0]):
            continue
        alarm = alarm or watched.new_alarm(book, watch, columns.time[reading[0]])
        if watch.rule.kind == RuleKind.STALE:
            news = news[0][-1:], news[1][-1:]  # what an instrument tells of before was bad then, and no more
        turns = _walk(alarm, watch, *news)
        _note_value(alarm, columns, reading)
        changes.touch(alarm)
        judged.append((alarm, turns))
    return judged


def _that_matter(said: Sayings, rows: Rows, count: int) -> Bools:
    """Which watches' readings say something else than what is known already."""
    watch, truth = said.watch, said.truth
    matters = rows.restless[watch]
    matters |= (truth == Truth.TRUE) & ~rows.held[watch]
    matters |= (truth == Truth.FALSE) & rows.held[watch]
    matters |= (truth == Truth.UNKNOWN) & rows.held[watch]
    wanted = np.zeros(count, np.bool_)
    wanted[watch[matters]] = True
    return wanted


def _known(book: Book, columns: Columns, chosen: Sayings) -> dict[int, tuple[int, bool]]:
    """Before these readings: up to when a channel was known, and whether it ever was good. One question."""
    is_own_time = (columns.quality[chosen.reading] & Flag.INSTRUMENT_TIME).astype(np.bool_)
    asked = np.unique(columns.channel[chosen.reading[is_own_time | book.is_stale[chosen.watch]]]).tolist()
    if not asked:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(KNOWN, [asked])
        return {channel: (time, good) for channel, time, good in cursor.fetchall()}


def _in_order(columns: Columns, reading: Int64s, truth: Truths, newest: int) -> tuple[Int64s, Truths]:
    """Times and truths of one watch. What an instrument stamped itself may have been told before."""
    time = columns.time[reading]
    own = (columns.quality[reading] & Flag.INSTRUMENT_TIME).astype(np.bool_)
    if own.any():
        fresh = ~own | (time > newest)
        time, truth = time[fresh], truth[fresh]
        order = np.argsort(time, kind="stable")
        time, truth = time[order], truth[order]
    return time, truth


def _walk(alarm: Alarm, watch: Watch, time: Int64s, truth: Truths) -> list[Turn]:
    remembered = memory.of(alarm)
    turns = conditions.walk_all(remembered, watch.delays, time, truth)
    memory.keep(alarm, remembered, watch.delays)
    return turns


def _note_value(alarm: Alarm, columns: Columns, reading: Int64s) -> None:
    value = float(columns.value[reading[-1]])
    if not np.isnan(value):
        alarm.value = value
    if alarm.rule.kind == RuleKind.STALE and columns.text is not None:
        alarm.reason = (columns.text[reading[-1]] or "")[:400]


def apply(judged: Sequence[Judged], changes: Changes) -> None:
    """Let alarms follow their conditions; causes come before their consequences."""
    turned = [(alarm, turns) for alarm, turns in judged if turns]
    if not turned:
        return
    alarms = [alarm for alarm, _ in judged]
    reasons = Reasons.of([alarm for alarm, _ in turned])
    for alarm, turns in turned:
        for at, active in turns:
            follow(alarm, moment(at), changes, reasons, active=active, also=alarms)


def follow(
    alarm: Alarm,
    at: datetime,
    changes: Changes,
    reasons: Reasons,
    *,
    active: bool,
    also: Iterable[Alarm] = (),
) -> None:
    """Its condition counts from now on, or no longer does."""
    alarm.active = active
    if alarm.state in (State.SHELVED, State.SUPPRESSED, State.OUT):
        end = Event.LATCH if alarm.rule.latch else Event.CLEAR
        changes.move(alarm, Event.RAISE if active else end, at)
    settle(alarm, changes, at, reasons, also)
