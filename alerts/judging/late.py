"""Readings that come late: what they say of the past becomes history in the journal, and pages nobody.

The past is judged over all that is stored of it, what came late and what came in time; and on from there up
to the present (`go_on`), which follows where it says something else. A rule that latches latches for it, too.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from django.db import connection
from django.db.models import Q

from alerts.changes import Changes
from alerts.judging import conditions, memory, sayings, watched
from alerts.judging.conditions import Bools, Memory, Truth, Turn
from alerts.judging.rulebook import Book, Watch
from alerts.lifecycle import Event, State
from alerts.models import Alarm, Reach
from devices.edges import microseconds
from devices.readings import Flag
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
    for past in _judge(book, {number: spans[book.watches[number].place.id] for number in numbers}, made):
        past.leave(made, is_over=past.is_calm and past.is_all)


def begin(book: Book, columns: Columns, made: Changes) -> None:
    """Before readings are judged that come ahead of others, or are old: what was known up to here is kept.

    Nobody knows whether a delay goes on meanwhile: the alarm stays as it is until a reading says other.
    """
    own = columns.time[(columns.quality & Flag.INSTRUMENT_TIME) == 0]
    if not len(own):
        return
    start = int(own.min())
    known = Reach.objects.filter(edge=book.edge_id, complete_at__lt=moment(start)).first()
    for alarm in Alarm.objects.filter(Q(active=True) | Q(held=True), edge=book.edge_id):
        number = book.by_channel.get((alarm.rule_id, alarm.channel_id or 0))
        if number is None or book.is_stale[number] or alarm.judged_at is None:
            continue
        remembered = memory.of(alarm)
        if known is not None:
            remembered.judged = max(remembered.judged or 0, microseconds(known.complete_at))
        alarm.past = alarm.past or memory.past_of(remembered)
        remembered.held, remembered.pending = remembered.active, None
        memory.keep(alarm, remembered, book.watches[number].delays)
        made.touch(alarm)
    made.save()


def edges() -> set[int]:
    """Those with alarms whose past is under way."""
    return {edge for edge in Alarm.objects.exclude(past={}).values_list("edge_id", flat=True) if edge}


def go_on(book: Book, until: datetime, made: Changes) -> list[tuple[Alarm, list[Turn]]]:
    """Let the past of an edge's alarms catch up with the present; `until` then there are all readings.

    Returns the alarms whose condition holds now, or no longer does, by all that is known by now.
    """
    spans: dict[int, Span] = {}
    for alarm in Alarm.objects.filter(edge=book.edge_id).exclude(past={}):
        number = book.by_channel.get((alarm.rule_id, alarm.channel_id or 0))
        if number is None:  # no rule watches it any more
            alarm.past = {}
            made.touch(alarm)
        elif alarm.past["judged"] < microseconds(until):
            spans[number] = (alarm.past["judged"] + 1, microseconds(until))
    turned = []
    for past in _judge(book, spans, made):
        is_over = past.is_all and (past.alarm.judged_at is None or past.alarm.judged_at <= until)
        past.leave(made, is_over=is_over)
        if is_over:
            turned.append((past.alarm, past.present()))
    return turned


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
class Stretch:
    """What of the past is to be judged of one alarm: a new stretch of it, or on from where it was left."""

    span: Span
    alarm: Alarm | None
    goes_on: bool = False

    def __post_init__(self) -> None:
        judged = self.alarm.past.get("judged") if self.alarm else None
        if judged is not None and judged < self.span[0]:
            self.goes_on, self.span = True, (judged + 1, self.span[1])

    def remembered(self, history: "History") -> Memory:
        """What was, by its beginning: by the journal, if more is not known any more."""
        if self.alarm is not None and self.goes_on:
            return memory.of_past(self.alarm)
        if self.alarm is not None and self.alarm.judged_at and self.alarm.judged_at < moment(self.span[0]):
            return memory.of(self.alarm)
        stood = history.stood(moment(self.span[0] - 1))
        return Memory(active=stood, held=stood)


@dataclass(slots=True)
class Past:
    """An alarm with what is remembered of its past now.

    `is_calm`: it neither stood nor stands, and nothing is under way; `is_all`: of all the readings there are.
    """

    alarm: Alarm
    watch: Watch
    remembered: Memory
    is_calm: bool
    is_all: bool

    def leave(self, made: Changes, *, is_over: bool) -> None:
        """Keep what is needed to go on later."""
        kept = {} if is_over else memory.past_of(self.remembered)
        if kept != self.alarm.past:
            self.alarm.past = kept
            made.touch(self.alarm)

    def present(self) -> list[Turn]:
        """Take it for what is remembered of the present; whether that is another then."""
        memory.keep(self.alarm, self.remembered, self.watch.delays)
        at, active = self.remembered.judged, self.remembered.active
        return [] if at is None or active == self.alarm.active else [Turn(at, active)]


def _stored(book: Book, stretches: Mapping[int, Stretch]) -> tuple[Columns, bool]:
    """The readings there are of these times, in their order; and whether there are more."""
    spans: dict[int, Span] = {}
    for number, stretch in stretches.items():
        start, end = spans.get(book.watches[number].place.id, stretch.span)
        spans[book.watches[number].place.id] = (min(start, stretch.span[0]), max(end, stretch.span[1]))
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


def _noted(stretches: Iterable[Stretch]) -> dict[int | None, History]:
    """By alarm."""
    starts = {each.alarm.pk: moment(each.span[0]) for each in stretches if each.alarm}
    found: dict[int | None, History] = defaultdict(History)
    if starts:
        with connection.cursor() as cursor:
            cursor.execute(NOTED, {"alarms": list(starts), "starts": list(starts.values())})
            for alarm, at, event in cursor.fetchall():
                found[alarm].note(at, stands=event in BEGINS)
    return found


# ---- judging


def _judge(book: Book, spans: Mapping[int, Span], made: Changes) -> Iterator[Past]:
    """By watch, what is to be judged of it: what is new goes into the journal."""
    if not spans:
        return
    alarms = watched.alarms(book, spans)
    stretches = {}
    for number, span in spans.items():
        watch = book.watches[number]
        stretches[number] = Stretch(span, alarms.get((watch.rule.pk, watch.place.id)))
    columns, has_more = _stored(book, stretches)
    histories = _noted(stretches.values())
    wanted = np.zeros(len(book.watches), np.bool_)
    wanted[list(stretches)] = True
    for number, reading, truth in sayings.of(book, columns).of(wanted).by_watch():
        stretch, watch, time = stretches[number], book.watches[number], columns.time[reading]
        mine = (time >= stretch.span[0]) & (time <= stretch.span[1])
        if mine.any():
            history = histories[stretch.alarm.pk] if stretch.alarm else History()
            remembered = stretch.remembered(history)
            stood = remembered.active
            turns = conditions.walk_all(remembered, watch.delays, time[mine], truth[mine])
            alarm = stretch.alarm or watched.new_alarm(book, watch, time[mine][0])
            _write(alarm, turns, history, made)
            yield Past(
                alarm, watch, remembered, is_all=not has_more,
                is_calm=not (stood or turns or remembered.held or alarm.past),
            )  # fmt: skip


def _write(alarm: Alarm, turns: Iterable[Turn], history: History, made: Changes) -> None:
    """But for what is noted already."""
    for time, active in turns:
        at = moment(time)
        if history.stood(at) == active:
            continue
        history.note(at, stands=active)
        made.touch(alarm)  # which may be new
        if not active:
            made.note_past(alarm, Event.CLEAR, at)
        elif alarm.rule.latch and alarm.state == State.NORMAL:
            made.move(alarm, Event.RAISE, at, past=True)
            made.move(alarm, Event.LATCH, at, past=True)
        else:
            made.note_past(alarm, Event.RAISE, at)
