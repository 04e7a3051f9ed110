"""What a rule would have raised: the readings of the last days, judged as those that come in are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from alerts.judging import conditions, rulebook
from alerts.judging.conditions import Int64s, Memory, Truth, Truths, Turn
from alerts.judging.rulebook import OF_CHANNELS, Place, Watch
from alerts.models import Override, Rule, RuleKind
from devices.edges import microseconds
from devices.errors import Refused
from devices.models import Channel, Instrument
from devices.readings import AWAY, QUALITY_MASK, Quality
from telemetry import binary
from telemetry.models import Event, Gap
from telemetry.times import moment

CHANNELS_MAX = 200
READINGS_MAX = 20_000_000

# One row of what COPY gives: a count of fields, then each behind its length.
ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("time_length", ">i4"),
        ("time", ">i8"),
        ("value_length", ">i4"),
        ("value", ">f8"),
        ("quality_length", ">i4"),
        ("quality", ">i2"),
    ]
)
HEAD = len(binary.COPY_HEAD)
COPY = """
COPY (
    SELECT (extract(epoch FROM time) * 1000000)::int8, coalesce(value, 'NaN'), quality FROM samples
    WHERE channel_id = {channel} AND time >= '{start}' AND time < '{end}' ORDER BY time
) TO STDOUT (FORMAT binary)
"""
TEXTS = """
SELECT (extract(epoch FROM time) * 1000000)::int8, text, quality FROM samples
WHERE channel_id = %s AND time >= %s AND time < %s ORDER BY time
"""


class Excursion(NamedTuple):
    """One alarm there would have been, of `what` channel or instrument. `end` None: it would stand still."""

    what: str
    start: datetime
    end: datetime | None


@dataclass
class Backtest:
    """`standing`: how long all of them would have stood, together."""

    raised: list[Excursion] = field(default_factory=list)
    standing: timedelta = timedelta(0)
    channels: int = 0
    readings: int = 0


def run(rule: Rule, since: datetime, until: datetime) -> Backtest:
    """Raises Refused for a rule that history cannot answer, or that would ask too much of it."""
    found = Backtest()
    if rule.kind in OF_CHANNELS:
        for watch, what in _watches(rule):
            found.channels += 1
            turns, readings = _channel(watch, since, until)
            found.readings += readings
            _add(found, what, turns, until)
            if found.readings > READINGS_MAX:
                raise Refused(f"more than {READINGS_MAX} readings: ask for fewer days or channels")
    elif rule.kind == RuleKind.EVENT:
        _events(rule, since, until, found)
    elif rule.kind == RuleKind.NOT_CONNECTED:
        _connections(rule, since, until, found)
    else:
        raise Refused(f"history does not tell when “{RuleKind(rule.kind).label}” held")
    found.raised.sort(key=lambda excursion: excursion.start)
    return found


def _watches(rule: Rule) -> list[tuple[Watch, str]]:
    """The rule on each of its channels, and what that is called."""
    instruments = {
        each.pk: each
        for each in Instrument.objects.filter(retired_at=None)
        if rulebook.watches_instrument(rule, each)
    }
    rows = Channel.objects.filter(instrument__in=instruments).exclude(kind="vector").order_by("pk")
    overrides = {each.channel_id: each for each in Override.objects.filter(rule=rule)} if rule.pk else {}
    chosen = []
    for row in rows.values_list("pk", "instrument_id", "key", "label", "unit", "kind", "digits"):
        where = Place(*row)
        override = overrides.get(where.id)
        if rulebook.watches_channel(rule, where) and (override is None or override.enabled):
            interval = instruments[where.instrument].interval
            what = f"{instruments[where.instrument]} {where.label}"
            chosen.append((rulebook.watch(rule, where, interval, override), what))
    if len(chosen) > CHANNELS_MAX:
        raise Refused(f"it watches {len(chosen)} channels; at most {CHANNELS_MAX} can be tried at once")
    return chosen


def _channel(watch: Watch, since: datetime, until: datetime) -> tuple[list[Turn], int]:
    time, truth = _texts(watch, since, until) if watch.is_of_text else _numbers(watch, since, until)
    return conditions.walk_all(Memory(), watch.delays, time, truth), len(time)


def _numbers(watch: Watch, since: datetime, until: datetime) -> tuple[Int64s, Truths]:
    start = since - timedelta(microseconds=watch.window) if watch.rule.kind == RuleKind.RATE else since
    rows = _rows(watch.place.id, start, until)
    time, value = rows["time"].astype(np.int64), rows["value"].astype(np.float64)
    good = (rows["quality"].astype(np.int16) & QUALITY_MASK) == Quality.GOOD
    if watch.rule.kind == RuleKind.STALE:
        truth = conditions.stale(rows["quality"].astype(np.int16), value, np.zeros(len(time), np.bool_))
        first = int(np.argmax(good)) if good.any() else len(good)  # what never was good is not missing
        return time[first:], truth[first:]
    if watch.rule.kind == RuleKind.RATE:
        known = np.flatnonzero(good & ~np.isnan(value))
        rate = np.full(len(time), np.nan)
        rate[known] = conditions.rates(time[known], value[known], watch.window)
        value = rate
    limits = rulebook.limits_of([watch]).take(np.zeros(len(time), np.int64))
    truth = conditions.truths(limits, value, good)
    asked = time >= microseconds(since)
    return time[asked], truth[asked]


def _rows(channel: int, start: datetime, end: datetime) -> NDArray[np.void]:
    statement = COPY.format(channel=int(channel), start=start.isoformat(), end=end.isoformat())
    with binary.cursor() as cursor, cursor.copy(statement) as copy:
        raw = b"".join(bytes(block) for block in copy)
    return np.frombuffer(raw[HEAD : len(raw) - len(binary.COPY_TAIL)], ROW)


def _texts(watch: Watch, since: datetime, until: datetime) -> tuple[Int64s, Truths]:
    with connection.cursor() as cursor:
        cursor.execute(TEXTS, [watch.place.id, since, until])
        rows = cursor.fetchall()
    time = np.array([row[0] for row in rows], np.int64)
    truth = np.array(
        [
            rulebook.text_truth(watch, text, good=quality & QUALITY_MASK == Quality.GOOD)
            for _, text, quality in rows
        ],
        np.int8,
    )
    return time, truth


def _events(rule: Rule, since: datetime, until: datetime, found: Backtest) -> None:
    """Runs leave no trace of when they changed: only events of instruments are looked at."""
    if rule.event_kind.startswith("run."):
        raise Refused("history does not tell when a run changed its state")
    events = Event.objects.filter(time__gte=since, time__lt=until).select_related("instrument")
    if rule.event_kind:
        events = events.filter(kind=rule.event_kind)
    if rule.event_text:
        events = events.filter(text__icontains=rule.event_text)
    for event in events.order_by("time")[:READINGS_MAX]:
        found.readings += 1
        if rulebook.watches_instrument(rule, event.instrument):
            found.raised.append(Excursion(f"{event.instrument}: {event.text}"[:200], event.time, event.time))


def _connections(rule: Rule, since: datetime, until: datetime, found: Backtest) -> None:
    gaps = Gap.objects.filter(end__gt=since, start__lt=until, reason__in=AWAY, key="")
    delays = rulebook.delays_of(rule)
    for gap in gaps.exclude(instrument=None).select_related("instrument").order_by("start"):
        if gap.instrument and rulebook.watches_instrument(rule, gap.instrument):
            points = [(microseconds(gap.start), Truth.TRUE), (microseconds(gap.end), Truth.FALSE)]
            _add(found, gap.instrument.name, conditions.walk(Memory(), delays, points), until)


def _add(found: Backtest, what: str, turns: Iterable[Turn], until: datetime) -> None:
    """Each turn on with the one after it."""
    start: int | None = None
    for at, active in turns:
        if active:
            start = at
        elif start is not None:
            found.raised.append(Excursion(what, moment(start), moment(at)))
            found.standing += timedelta(microseconds=at - start)
            start = None
    if start is not None:
        found.raised.append(Excursion(what, moment(start), None))
        found.standing += until - moment(start)
