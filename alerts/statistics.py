"""How the alarms themselves do: the figures of ANSI/ISA-18.2-2016, clause 16, out of the journal.

What is counted is what people were told: an alarm counts when it was raised and became unacknowledged, by
the centre's clock. History learnt late, and what is shelved, suppressed or out of service, does not count.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from alerts.lifecycle import STANDING, State
from alerts.models import Priority

SPAN = timedelta(minutes=10)
FLOOD = 10  # more alarms than this in a span are a flood
STALE = timedelta(hours=24)  # one that stands for longer
FLEETING = timedelta(minutes=1)  # one that has returned by then, by itself
CHATTER = timedelta(minutes=1)  # raised three times within it: chattering
MOST = 10  # of the alarms that are listed as frequent
# Of all alarms, by priority: the standard has 5, 15 and 80 %, and for the highest of four below 1 %.
RECOMMENDED: Mapping[Priority, float] = {
    Priority.CRITICAL: 0.01,
    Priority.HIGH: 0.05,
    Priority.MEDIUM: 0.15,
    Priority.LOW: 0.80,
}

_TOLD = f"""
SELECT id, alarm_id, at, stored_at, priority FROM alerts_alarmevent
WHERE event = 'raise' AND after = '{State.UNACKNOWLEDGED.value}' AND NOT past
    AND stored_at >= %(start)s AND stored_at < %(end)s
"""  # noqa: S608 - a word of our own
_RATES = f"""
WITH told AS ({_TOLD}), spans AS (
    SELECT date_bin(%(span)s, stored_at, %(start)s) AS start, count(*) AS alarms FROM told GROUP BY 1
)
SELECT (SELECT count(*) FROM spans WHERE alarms > %(flood)s),
    (SELECT start FROM spans ORDER BY alarms DESC, start LIMIT 1),
    (SELECT max(alarms) FROM spans),
    (SELECT json_object_agg(priority, alarms)
     FROM (SELECT priority, count(*) AS alarms FROM told GROUP BY priority) AS each)
"""  # noqa: S608
# `third`: when it was raised the last time but one before. What follows a raise decides whether it was
# fleeting; that is looked for among what was noted up to the end.
_FREQUENT = f"""
WITH moves AS (
    SELECT id, alarm_id, at, event, event = 'raise' AND after = '{State.UNACKNOWLEDGED.value}' AS is_told
    FROM alerts_alarmevent
    WHERE event IN ('raise', 'clear', 'latch', 'shelve', 'suppress', 'remove')
        AND before <> after AND NOT past AND stored_at >= %(start)s AND stored_at < %(end)s
), each AS (
    SELECT alarm_id, at, is_told,
        lead(event) OVER moved IN ('clear', 'latch') AND lead(at) OVER moved - at <= %(fleeting)s
            AS is_fleeting,
        lag(at, 2) OVER (PARTITION BY alarm_id, is_told ORDER BY at, id) AS third
    FROM moves WINDOW moved AS (PARTITION BY alarm_id ORDER BY id)
), counted AS (
    SELECT alarm_id, count(*) AS alarms, bool_or(at - third <= %(chatter)s) AS is_chattering,
        count(*) FILTER (WHERE is_fleeting) AS fleeting
    FROM each WHERE is_told GROUP BY alarm_id
)
SELECT alarm_id, alarm.text, alarms, coalesce(is_chattering, false), fleeting
FROM counted JOIN alerts_alarm AS alarm ON alarm.id = alarm_id
"""  # noqa: S608
# Only the first answers of the time are to something that was raised before it.
_ANSWERS = """
WITH moves AS (
    SELECT id, alarm_id, event, by_id, stored_at,
        max(stored_at) FILTER (WHERE event = 'raise') OVER (PARTITION BY alarm_id ORDER BY id) AS raised_at
    FROM alerts_alarmevent
    WHERE event IN ('raise', 'acknowledge') AND NOT past
        AND stored_at >= %(start)s AND stored_at < %(end)s
), answers AS (
    SELECT by_id, extract(epoch FROM stored_at - coalesce(raised_at, (
        SELECT max(stored_at) FROM alerts_alarmevent AS earlier
        WHERE earlier.alarm_id = moves.alarm_id AND earlier.id < moves.id AND event = 'raise' AND NOT past
    )))::float8 AS seconds
    FROM moves WHERE event = 'acknowledge'
)
SELECT grouping(person.username) = 1, person.username, count(*),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds)
FROM answers LEFT JOIN auth_user AS person ON person.id = by_id
GROUP BY GROUPING SETS ((), (person.username)) ORDER BY 1 DESC, 3 DESC, 2
"""
# As it stood at the end: what the first change after it found, or as it stands now.
_STANDING = """
WITH later AS (
    SELECT DISTINCT ON (alarm_id) alarm_id, before FROM alerts_alarmevent
    WHERE stored_at >= %(end)s ORDER BY alarm_id, id
)
SELECT count(*), count(*) FILTER (WHERE told.raised_at < %(end)s - %(stale)s)
FROM alerts_alarm AS alarm LEFT JOIN later ON later.alarm_id = alarm.id
CROSS JOIN LATERAL (
    SELECT max(at) AS raised_at FROM alerts_alarmevent AS raised
    WHERE raised.alarm_id = alarm.id AND event = 'raise' AND NOT past AND stored_at < %(end)s
) AS told
WHERE coalesce(later.before, alarm.state) = ANY(%(standing)s)
"""


@dataclass(frozen=True)
class Frequent:
    """One alarm that came often."""

    alarm: int
    text: str
    alarms: int
    share: float  # of all


@dataclass(frozen=True)
class Mix:
    """How many alarms had a priority."""

    priority: Priority
    alarms: int
    share: float
    recommended: float


@dataclass(frozen=True)
class Answers:
    """Alarms that a person (or everyone) acknowledged, and after how many seconds."""

    name: str
    acknowledged: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True)
class Statistics:
    """Shares are of 1, times in seconds."""

    start: datetime
    end: datetime
    operators: int
    alarms: int
    per_hour: float
    per_hour_and_operator: float
    peak: int  # most alarms in ten minutes
    peak_at: datetime | None  # when those began
    flood: float  # share of the time
    standing: int
    stale: int
    top: list[Frequent]
    top_share: float
    chattering: list[Frequent]
    chattering_alarms: int
    fleeting: list[Frequent]
    fleeting_alarms: int
    priorities: list[Mix]
    acknowledged: Answers
    people: list[Answers]


def of(start: datetime, end: datetime, operators: int = 1) -> Statistics:
    """The figures from `start` until before `end`, which is later; `operators`: positions, not people."""
    times = {"start": start, "end": end}
    floods, peak_at, peak, by_priority = _rows(_RATES, {**times, "span": SPAN, "flood": FLOOD})[0]
    mix = _mix({int(priority): count for priority, count in (by_priority or {}).items()})
    alarms = sum(each.alarms for each in mix)
    hours = (end - start) / timedelta(hours=1)
    standing, stale = _rows(_STANDING, {"end": end, "stale": STALE, "standing": list(STANDING)})[0]
    everyone, *people = (Answers(name or "", *rest) for _all, name, *rest in _rows(_ANSWERS, times))
    return Statistics(
        start=start,
        end=end,
        operators=operators,
        alarms=alarms,
        per_hour=alarms / hours,
        per_hour_and_operator=alarms / hours / operators,
        peak=peak or 0,
        peak_at=peak_at,
        flood=floods / math.ceil((end - start) / SPAN),
        standing=standing,
        stale=stale,
        priorities=mix,
        acknowledged=everyone,
        people=people,
        **_frequent(times, alarms),
    )


def _mix(counts: Mapping[int, int]) -> list[Mix]:
    whole = sum(counts.values())
    return [
        Mix(priority, counts.get(priority, 0), _share(counts.get(priority, 0), whole), recommended)
        for priority, recommended in RECOMMENDED.items()
    ]


def _frequent(times: Mapping[str, datetime], whole: int) -> dict[str, Any]:
    """The alarms that came most often, and those that came and went too fast to be of use."""
    rows = _rows(_FREQUENT, {**times, "fleeting": FLEETING, "chatter": CHATTER})

    def listed(found: list[tuple[int, str, int]]) -> list[Frequent]:
        most = sorted(found, key=lambda each: (-each[2], each[0]))[:MOST]
        return [Frequent(alarm, text, count, _share(count, whole)) for alarm, text, count in most]

    top = listed([(alarm, text, count) for alarm, text, count, _chatters, _fleeting in rows])
    chattering = [(alarm, text, count) for alarm, text, count, chatters, _fleeting in rows if chatters]
    fleeting = [(alarm, text, few) for alarm, text, _count, chatters, few in rows if few and not chatters]
    return {
        "top": top,
        "top_share": sum(each.share for each in top),
        "chattering": listed(chattering),
        "chattering_alarms": sum(count for _alarm, _text, count in chattering),
        "fleeting": listed(fleeting),
        "fleeting_alarms": sum(count for _alarm, _text, count in fleeting),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _rows(question: str, parameters: Mapping[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(question, parameters)
        return list(cursor.fetchall())
