"""Readings that come late: what they say of the past becomes history in the journal, and pages nobody.

The past is judged over all that is stored of it, what came late and what came in time; and on from there
(`go_on`), until it says what the present says. But that a rule which latches latches for it, too.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from django.db import connection, transaction

from alerts import changes, conditions, memory, reach, rulebook, sayings, watched
from alerts.changes import Changes
from alerts.conditions import Bools, Memory, Truth, Turn
from alerts.lifecycle import Event, State
from alerts.models import Alarm, Source
from alerts.rulebook import Book
from devices.edges import microseconds
from telemetry.columns import Columns
from telemetry.times import moment

MOST = 200_000  # readings at once

# Those whose past is under way, and those that stood at this time or after it.
AT_WORK = """
SELECT rule_id, channel_id FROM alerts_alarm
WHERE edge_id = %s AND channel_id IS NOT NULL AND (active OR past <> '{}' OR cleared_at >= %s)
"""
STORED = """
SELECT (extract(epoch FROM s.time) * 1000000)::int8 AS time, s.value, s.channel_id, s.quality, {demo}, s.text
FROM unnest(%(channels)s::int4[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
    AS n(channel, first, last)
JOIN {table} s ON s.channel_id = n.channel AND s.time BETWEEN n.first AND n.last
WHERE s.time BETWEEN %(start)s AND %(end)s
"""
READINGS = f"""
{STORED.format(table="sample", demo="false")} UNION ALL {STORED.format(table="sample_demo", demo="true")}
ORDER BY time LIMIT %(most)s
"""
# From when on alarms stood, and did not: of the time asked for, and the last word before it.
SAYS = "(e.event IN ('raise', 'clear', 'suppress', 'unsuppress') OR (e.event = 'latch' AND NOT e.past))"
NOTED = f"""
SELECT alarm_id, at, event FROM (
    SELECT e.id, e.alarm_id, e.at, e.event
    FROM unnest(%(alarms)s::int8[], %(starts)s::timestamptz[]) AS n(alarm, start)
    JOIN alerts_alarmevent e ON e.alarm_id = n.alarm AND e.at >= n.start AND {SAYS}
    UNION ALL
    SELECT before.* FROM unnest(%(alarms)s::int8[], %(starts)s::timestamptz[]) AS n(alarm, start)
    CROSS JOIN LATERAL (
        SELECT e.id, e.alarm_id, e.at, e.event FROM alerts_alarmevent e
        WHERE e.alarm_id = n.alarm AND e.at < n.start AND {SAYS} ORDER BY e.at DESC, e.id DESC LIMIT 1
    ) AS before
) AS rows ORDER BY alarm_id, at, id
"""  # noqa: S608
BEGINS = (Event.RAISE, Event.SUPPRESS)

Span = tuple[int, int]  # from when to when, in µs


def judge(book: Book, columns: Columns, made: Changes) -> None:
    """Excursions of before, into the journal. `columns` came late, and are stored."""
    if not (len(columns) and book.watches):
        return
    said = sayings.of(book, columns)
    wanted = _at_work(book, int(columns.time.min()))
    wanted[said.watch[said.truth == Truth.TRUE]] = True
    spans = _spans(columns)
    numbers = np.flatnonzero(wanted & ~book.is_stale & np.isin(book.channel, list(spans))).tolist()
    _judge(book, {number: spans[book.watches[number].place.id] for number in numbers}, made)


def go_on_everywhere(now: datetime) -> None:
    """Let the past of alarms catch up with the present, as far as there are all readings."""
    for edge in set(Alarm.objects.exclude(past={}).values_list("edge_id", flat=True)):
        go_on(edge, now)


@transaction.atomic
def go_on(edge: int, now: datetime) -> None:
    """The same for the alarms of one edge."""
    changes.turn(edge)
    until = reach.complete(edge, now)
    if until is None:
        return
    book = rulebook.of_edge(edge)
    made = Changes(now, Source.INGEST)
    spans: dict[int, Span] = {}
    for alarm in Alarm.objects.filter(edge=edge).exclude(past={}):
        number = book.by_channel.get((alarm.rule_id, alarm.channel_id or 0))
        if number is None:  # no rule watches it any more
            alarm.past = {}
            made.touch(alarm)
        elif alarm.past["judged"] < microseconds(until):
            spans[number] = (alarm.past["judged"] + 1, microseconds(until))
    _judge(book, spans, made, complete=True)
    made.save()


# ---- which alarms, and over what time


def _at_work(book: Book, start: int) -> Bools:
    with connection.cursor() as cursor:
        cursor.execute(AT_WORK, [book.edge_id, moment(start)])
        numbers = [book.by_channel.get(key) for key in cursor.fetchall()]
    found = np.zeros(len(book.watches), np.bool_)
    found[[number for number in numbers if number is not None]] = True
    return found


def _spans(columns: Columns) -> dict[int, Span]:
    """By channel, its first time and its last."""
    columns = columns.sorted()
    channels, first = np.unique(columns.channel, return_index=True)
    starts, ends = columns.time[first], columns.time[[*(first[1:] - 1), -1]]
    return dict(zip(channels.tolist(), zip(starts.tolist(), ends.tolist(), strict=True), strict=True))


@dataclass(slots=True)
class Past:
    """What of the past is to be judged of one alarm: a new stretch of it, or on from where it was left."""

    span: Span
    alarm: Alarm | None
    goes_on: bool = False

    def __post_init__(self) -> None:
        judged = self.alarm.past.get("judged") if self.alarm else None
        if judged is not None and judged < self.span[0]:
            self.goes_on, self.span = True, (judged + 1, self.span[1])

    def remembered(self, history: "History") -> Memory:
        if self.alarm is not None and self.goes_on:
            return memory.of_past(self.alarm)
        stood = history.stood(moment(self.span[0] - 1))
        return Memory(active=stood, held=stood)

    def is_over(self, remembered: Memory, *, complete: bool) -> bool:
        """Whether there is nothing to go on with. `complete`: all of it has come, up to the present."""
        said = (remembered.active, remembered.held)
        says = (self.alarm.active, self.alarm.held) if self.alarm else (False, False)
        if complete:
            waits = remembered.pending is not None or (self.alarm is not None and self.alarm.pending_at)
            return said == says and not waits
        is_other = self.alarm is not None and bool(self.alarm.past) and not self.goes_on
        return not any((*said, *says)) and not is_other


def _stored(book: Book, pasts: Mapping[int, Past]) -> tuple[Columns, bool]:
    """The readings there are of these times, in their order; and whether there are more."""
    spans: dict[int, Span] = {}
    for number, past in pasts.items():
        start, end = spans.get(book.watches[number].place.id, past.span)
        spans[book.watches[number].place.id] = (min(start, past.span[0]), max(end, past.span[1]))
    starts, ends = ([moment(span[side]) for span in spans.values()] for side in (0, 1))
    with connection.cursor() as cursor:
        cursor.execute(
            READINGS,
            {
                "channels": list(spans), "starts": starts, "ends": ends, "start": min(starts),
                "end": max(ends), "most": MOST,
            },
        )  # fmt: skip
        rows = cursor.fetchall()
    has_more = len(rows) == MOST
    if has_more:  # what is of the last time may not be all
        rows = [row for row in rows if row[0] < rows[-1][0]]
    time, value, channel, quality, demo, text = zip(*rows, strict=True) if rows else [()] * 6
    columns = Columns(
        np.array(time, np.int64), np.array(value, np.float64), np.array(channel, np.int32),
        np.array(quality, np.int16), np.array(demo, np.bool_), np.array(text, object),
    )  # fmt: skip
    return columns, has_more


# ---- what the journal has already


@dataclass
class History:
    """From when on an alarm stood, and did not."""

    times: list[datetime] = field(default_factory=list)
    stands: dict[datetime, bool] = field(default_factory=dict)

    def note(self, at: datetime, *, stands: bool) -> None:
        """The last word on a time counts."""
        if at not in self.stands:
            insort(self.times, at)
        self.stands[at] = stands

    def stood(self, at: datetime) -> bool:
        place = bisect_right(self.times, at) - 1
        return place >= 0 and self.stands[self.times[place]]


def _noted(pasts: Iterable[Past]) -> dict[int | None, History]:
    """By alarm."""
    starts = {past.alarm.pk: moment(past.span[0]) for past in pasts if past.alarm}
    found: dict[int | None, History] = defaultdict(History)
    if starts:
        with connection.cursor() as cursor:
            cursor.execute(NOTED, {"alarms": list(starts), "starts": list(starts.values())})
            for alarm, at, event in cursor.fetchall():
                found[alarm].note(at, stands=event in BEGINS)
    return found


# ---- judging


def _judge(book: Book, spans: Mapping[int, Span], made: Changes, *, complete: bool = False) -> None:
    """By watch: what is to be judged of it. `complete`: all readings up to the ends have come."""
    if not spans:
        return
    alarms = watched.alarms(book, spans)
    pasts = {}
    for number, span in spans.items():
        watch = book.watches[number]
        pasts[number] = Past(span, alarms.get((watch.rule.pk, watch.place.id)))
    columns, has_more = _stored(book, pasts)
    histories = _noted(pasts.values())
    wanted = np.zeros(len(book.watches), np.bool_)
    wanted[list(pasts)] = True
    for number, reading, truth in sayings.of(book, columns).of(wanted).by_watch():
        past, watch, time = pasts[number], book.watches[number], columns.time[reading]
        mine = (time >= past.span[0]) & (time <= past.span[1])
        if not mine.any():
            continue
        history = histories[past.alarm.pk] if past.alarm else History()
        remembered = past.remembered(history)
        turns = conditions.walk_all(remembered, watch.delays, time[mine], truth[mine])
        alarm = past.alarm or watched.new_alarm(book, watch, time[mine][0])
        is_over = not has_more and past.is_over(remembered, complete=complete)
        kept = {} if is_over else memory.past_of(remembered)
        if turns or kept != alarm.past:
            alarm.past = kept
            made.touch(alarm)
        _write(alarm, turns, history, made)


def _write(alarm: Alarm, turns: Iterable[Turn], history: History, made: Changes) -> None:
    """But for what is noted already."""
    for time, active in turns:
        at = moment(time)
        if history.stood(at) == active:
            continue
        history.note(at, stands=active)
        if not active:
            made.note_past(alarm, Event.CLEAR, at)
        elif alarm.rule.latch and alarm.state == State.NORMAL:
            made.move(alarm, Event.RAISE, at, past=True)
            made.move(alarm, Event.LATCH, at, past=True)
        else:
            made.note_past(alarm, Event.RAISE, at)
