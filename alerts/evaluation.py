"""New readings in, changes of alarms out: the step of ingest that judges, in its transaction.

The live track moves alarms. What comes late (the backlog, and what an instrument tells again) is history:
past excursions go into the journal and page nobody, but that a rule which latches latches for them, too.
One turn an edge: its two tracks, its timers and people do not change its alarms at once.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from alerts import conditions, connections, happenings, memory, naming, rulebook
from alerts.changes import Changes, turn
from alerts.conditions import SECOND, Bools, Int64s, Truth, Truths, Turn
from alerts.lifecycle import Event, State
from alerts.models import Alarm, AlarmEvent, RuleKind, Source
from alerts.rulebook import Book, Watch
from alerts.suppression import Reasons, settle
from devices.edges import microseconds
from devices.readings import Flag, Quality
from telemetry.columns import Columns
from telemetry.events import NewEvent
from telemetry.intake import NamedGap
from telemetry.runs import RunChange
from telemetry.times import moment

QUALITY_MASK = 3
OLD = 60 * SECOND  # what the edge stamped so long before the centre's present is no news any more

AT_WORK = """
SELECT rule_id, channel_id, instrument_id, active, held, unknown, pending_at IS NOT NULL, past <> '{}'
FROM alerts_alarm WHERE edge_id = %s AND (state <> 'normal' OR active OR held OR past <> '{}')
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
    """What a parcel brought, as it is stored. `live`: by the live track, which is the present."""

    edge: int
    live: bool
    columns: Columns
    gaps: Sequence[NamedGap] = ()
    seen: dict[str, int] = field(default_factory=dict)
    events: Sequence[NewEvent] = ()
    runs: Sequence[RunChange] = ()

    def __bool__(self) -> bool:
        return bool(len(self.columns) or self.gaps or self.seen or self.events or self.runs)


def judge(news: News, now: datetime) -> None:
    """Change what has to be changed; in the transaction that stored the readings, before they are shown."""
    if not news:
        return
    turn(news.edge)
    book = rulebook.of_edge(news.edge, np.unique(news.columns.channel).tolist())
    changes = Changes(now, Source.INGEST)
    present, late = _split(news, now)
    rows = _at_work(book)
    settled: list[Judged] = []
    if news.live:
        settled += connections.judge(book, present, news.gaps, news.seen, rows.troubled, changes)
        settled += _judge_present(book, present, rows, changes)
        apply(settled, changes)
    if len(late):
        _judge_past(book, late, rows, changes)
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
        columns = Columns(time, columns.value, columns.channel, columns.quality, columns.demo, columns.text)
    if not is_late.any():
        return columns, columns.take(is_late)
    return columns.take(~is_late), columns.take(is_late & ~is_far)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The alarms of an edge that are at work, by watch: what of them decides whether a reading matters."""

    held: Bools
    restless: Bools  # unknown or pending: any reading matters
    past: Bools
    troubled: set[UUID]  # instruments with an alarm of their own


def _at_work(book: Book) -> Rows:
    held, restless, late = (np.zeros(len(book.watches), np.bool_) for _ in range(3))
    troubled = set()
    with connection.cursor() as cursor:
        cursor.execute(AT_WORK, [book.edge_id])
        for rule, channel, instrument, active, holds, unknown, pending, past in cursor.fetchall():
            number = book.by_channel.get((rule, channel))
            if channel is None:
                troubled.add(instrument)
            elif number is not None:
                held[number], late[number] = holds, past
                restless[number] = unknown or pending or active != holds
    return Rows(held, restless, late, troubled)


@dataclass(frozen=True, slots=True, eq=False)
class Sayings:
    """What readings say of conditions: one row for each reading and each rule that watches its channel."""

    watch: Int64s
    reading: Int64s
    truth: Truths

    def of(self, wanted: Bools) -> "Sayings":
        """Those of the wanted watches, put together by watch in the order of arrival."""
        chosen = np.flatnonzero(wanted[self.watch])
        order = chosen[np.argsort(self.watch[chosen], kind="stable")]
        return Sayings(self.watch[order], self.reading[order], self.truth[order])

    def by_watch(self) -> Iterator[tuple[int, Int64s, Truths]]:
        """After `of`: each watch, its readings and what they say."""
        numbers, starts = np.unique(self.watch, return_index=True)
        ends = [*starts[1:], len(self.watch)]
        for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True):
            yield number, self.reading[start:end], self.truth[start:end]


def _sayings(book: Book, columns: Columns) -> Sayings:
    base, first, count = book.first
    place = columns.channel.astype(np.int64) - base
    place[(place < 0) | (place >= len(count))] = len(count) - 1
    counts = count[place]
    reading = np.repeat(np.arange(len(columns)), counts)
    before = np.cumsum(counts) - counts
    watch = np.repeat(first[place] - before, counts) + np.arange(len(reading))
    good = (columns.quality & QUALITY_MASK) == Quality.GOOD
    value = columns.value
    truth = conditions.truths(book.limits.take(watch), value[reading], good[reading])
    stale = book.is_stale[watch]
    truth[stale] = conditions.stale(columns.quality, value, columns.has_text)[reading[stale]]
    _judge_texts(book, columns, good, Sayings(watch, reading, truth))
    _judge_rates(book, columns, good, Sayings(watch, reading, truth))
    return Sayings(watch, reading, truth)


def _judge_texts(book: Book, columns: Columns, good: Bools, sayings: Sayings) -> None:
    """What channels of text say, put into `sayings`."""
    for row in np.flatnonzero(book.is_text[sayings.watch]).tolist():
        reading, watch = sayings.reading[row], book.watches[sayings.watch[row]]
        text = None if columns.text is None else columns.text[reading]
        sayings.truth[row] = rulebook.text_truth(watch, text, good=bool(good[reading]))


def _judge_rates(book: Book, columns: Columns, good: Bools, sayings: Sayings) -> None:
    """What rates of change say, put into `sayings`; what was read before is asked for in one question."""
    rows = np.flatnonzero(book.is_rate[sayings.watch])
    if not len(rows):
        return
    watches = [book.watches[number] for number in np.unique(sayings.watch[rows]).tolist()]
    longest = max(watch.window for watch in watches)
    of = columns.take(sayings.reading[rows])
    known = _series(np.unique(of.channel), int(of.time.min()) - longest, int(of.time.max()), of)
    for number in np.unique(sayings.watch[rows]).tolist():
        mine = rows[sayings.watch[rows] == number]
        watch = book.watches[number]
        time, value = known.get(watch.place.id, (np.empty(0, np.int64), np.empty(0)))
        rate = conditions.rates(time, value, watch.window)
        at = np.searchsorted(time, columns.time[sayings.reading[mine]], side="right") - 1
        found = np.where(at >= 0, rate[at], np.nan) if len(rate) else np.full(len(mine), np.nan)
        limits = book.limits.take(np.full(len(mine), number))
        sayings.truth[mine] = conditions.truths(limits, found, good[sayings.reading[mine]])


def _series(
    channels: NDArray[np.int32], start: int, end: int, of: Columns
) -> dict[int, tuple[Int64s, NDArray[np.float64]]]:
    """The good readings of channels in a time, as stored."""
    tables = ["sample_demo"] if of.demo.all() else ["sample", "sample_demo"] if of.demo.any() else ["sample"]
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(
                "SELECT channel_id, (extract(epoch FROM time) * 1000000)::int8, value"  # noqa: S608
                f" FROM {table} WHERE channel_id = ANY(%s) AND time BETWEEN %s AND %s"
                " AND quality & 3 = 0 AND value IS NOT NULL ORDER BY channel_id, time",
                [channels.tolist(), moment(max(start, 0)), moment(end)],
            )
            for channel, time, value in cursor.fetchall():
                found[channel].append((time, value))
    return {
        channel: (np.array([t for t, _ in rows], np.int64), np.array([v for _, v in rows], np.float64))
        for channel, rows in found.items()
    }


# ---- the present

Judged = tuple[Alarm, list[Turn]]  # an alarm, and when its condition began or ceased to count


def _judge_present(book: Book, columns: Columns, rows: Rows, changes: Changes) -> list[Judged]:
    """What of it matters is found without a look at each reading: most says that all is well."""
    if not len(columns) or not book.watches:
        return []
    sayings = _sayings(book, columns)
    wanted = _that_matter(sayings, rows, len(book.watches))
    if not wanted.any():
        return []
    chosen = sayings.of(wanted)
    alarms = _alarms(book, np.flatnonzero(wanted).tolist())
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
        alarm = alarm or new_alarm(book, watch, columns.time[reading[0]])
        if watch.rule.kind == RuleKind.STALE:
            news = news[0][-1:], news[1][-1:]  # what an instrument tells of before was bad then, and no more
        turns = _walk(alarm, watch, *news)
        _note_value(alarm, columns, reading)
        changes.touch(alarm)
        judged.append((alarm, turns))
    return judged


def _that_matter(sayings: Sayings, rows: Rows, count: int) -> Bools:
    """Which watches' readings say something else than what is known already."""
    watch, truth = sayings.watch, sayings.truth
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
    telling = conditions.telling(time, truth, watch.delays.hold)
    points = zip(time[telling].tolist(), truth[telling].tolist(), strict=True)
    turns = conditions.walk(remembered, watch.delays, points)
    memory.keep(alarm, remembered, watch.delays)
    return turns


def _note_value(alarm: Alarm, columns: Columns, reading: Int64s) -> None:
    value = float(columns.value[reading[-1]])
    if not np.isnan(value):
        alarm.value = value
    if alarm.rule.kind == RuleKind.STALE and columns.text is not None:
        alarm.reason = (columns.text[reading[-1]] or "")[:400]


def new_alarm(book: Book, watch: Watch, at: int) -> Alarm:
    """An alarm of a rule on a channel, for its first trouble."""
    instrument = book.instruments[watch.place.instrument]
    alarm = Alarm(
        rule=watch.rule,
        edge_id=book.edge_id,
        instrument=instrument,
        channel_id=watch.place.id,
        since=moment(int(at)),
    )
    _name(alarm, watch)
    return alarm


def _name(alarm: Alarm, watch: Watch) -> None:
    alarm.text = naming.of_watch(watch, alarm.instrument.name if alarm.instrument else "")
    alarm.priority = watch.priority


def _alarms(book: Book, numbers: Iterable[int]) -> dict[tuple[int, int], Alarm]:
    """The alarms there are of these watches, by rule and channel."""
    watches = {(book.watches[n].rule.pk, book.watches[n].place.id): book.watches[n] for n in numbers}
    channels = {channel for _, channel in watches}
    found = {}
    for alarm in Alarm.objects.filter(edge=book.edge_id, channel__in=channels):
        key = (alarm.rule_id, alarm.channel_id or 0)
        if key in watches:
            alarm.rule = watches[key].rule
            alarm.instrument = book.instruments[watches[key].place.instrument]
            if alarm.state == State.NORMAL:
                _name(alarm, watches[key])  # the limit may be another by now
            found[key] = alarm
    return found


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


# ---- the past


def _judge_past(book: Book, columns: Columns, rows: Rows, changes: Changes) -> None:
    """Excursions of before, into the journal."""
    if not book.watches:
        return
    columns = columns.by_time()
    sayings = _sayings(book, columns)
    of_values = ~book.is_stale[sayings.watch]
    wanted = rows.past & ~book.is_stale
    wanted[sayings.watch[of_values & (sayings.truth == Truth.TRUE)]] = True
    if not wanted.any():
        return
    alarms = _alarms(book, np.flatnonzero(wanted).tolist())
    turned = []
    for number, reading, truth in sayings.of(wanted).by_watch():
        watch, time = book.watches[number], columns.time[reading]
        stored = alarms.get((watch.rule.pk, watch.place.id))
        alarm = stored or new_alarm(book, watch, time[0])
        remembered = memory.of_past(alarm, int(time[0]))
        telling = conditions.telling(time, truth, watch.delays.hold)
        points = zip(time[telling].tolist(), truth[telling].tolist(), strict=True)
        turns = conditions.walk(remembered, watch.delays, points)
        memory.keep_past(alarm, remembered)
        if stored or turns or alarm.past:
            changes.touch(alarm)
        turned += [(alarm, each) for each in turns]
    _write_past(turned, changes)


def _write_past(turned: Sequence[tuple[Alarm, Turn]], changes: Changes) -> None:
    """But for what was noted when it was the present."""
    spans = _noted({alarm.pk for alarm, _ in turned if alarm.pk})
    for alarm, (at, active) in turned:
        times = spans.get(alarm.pk or 0, [])
        place = bisect_right(times, (moment(at), True)) - 1
        if place >= 0 and times[place][1]:
            continue  # it stood by then
        if not active:
            changes.note_past(alarm, Event.CLEAR, moment(at))
        elif alarm.rule.latch and alarm.state == State.NORMAL:
            changes.move(alarm, Event.RAISE, moment(at), past=True)
            changes.move(alarm, Event.LATCH, moment(at), past=True)
        else:
            changes.note_past(alarm, Event.RAISE, moment(at))


def _noted(alarms: Iterable[int]) -> dict[int, list[tuple[datetime, bool]]]:
    """When these alarms began and ceased to stand, as the journal has it from the live track."""
    spans: dict[int, list[tuple[datetime, bool]]] = defaultdict(list)
    rows = AlarmEvent.objects.filter(
        alarm__in=list(alarms), past=False, event__in=(Event.RAISE, Event.CLEAR, Event.LATCH)
    )
    for alarm, at, event in rows.order_by("at", "id").values_list("alarm_id", "at", "event"):
        spans[alarm].append((at, event == Event.RAISE))
    return spans
