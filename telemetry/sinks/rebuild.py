"""A sink is filled from PostgreSQL: readings and vectors day by day, events, runs; a page at a time.

The points are those that it would have been fed, with the same times, so that it can be done again and again.
How far it has come is kept with the sink: what was interrupted goes on from the last day of an instrument.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from django.db import connection, transaction
from django.db.models import F, Min
from django.utils import timezone

from devices.errors import Refused
from devices.models import Channel, Instrument, Run
from devices.readings import Flag
from telemetry import outbox, partitions
from telemetry.beside import StoredEvent, StoredVector
from telemetry.columns import Columns, joined
from telemetry.families import SAMPLES, VECTORS
from telemetry.models import Event, Sink
from telemetry.outbox import Position
from telemetry.sinks import drain, schemas
from telemetry.sinks.client import Client
from telemetry.sinks.delivery import BadPoint, Delivery, Kept
from telemetry.sinks.directory import Directory, about
from telemetry.sinks.outcome import wait_after
from telemetry.sinks.told import RunNamed, Told, near

PAGE = 10_000  # rows
VECTORS_OF_A_PAGE = 200
AHEAD = timedelta(minutes=5)  # a reading may be stored that is a little ahead of the clock
NONE = joined([])

READINGS = """
SELECT (extract(epoch FROM time) * 1000000)::int8, value, channel_id, quality, text FROM samples
WHERE channel_id = ANY(%s) AND time >= %s AND time < %s ORDER BY time, channel_id
"""
STORED_VECTORS = """
SELECT channel_id, (extract(epoch FROM time) * 1000000)::int8, quality, "values"::text, labels::text,
    cardinality("values"), 0
FROM vector_samples
WHERE channel_id = ANY(%s) AND time >= %s AND time < %s ORDER BY time, channel_id
"""
EVENTS = """
SELECT instrument_id::text, (extract(epoch FROM time) * 1000000)::int8, kind, text, fields::text, flags,
    time, id
FROM event WHERE (time, id) > (%s, %s) AND time < %s AND flags & %s = 0 ORDER BY time, id LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is filled, and how far that is. `day` and `instrument`: those done last; `asked`: as it was asked
    for, by which an interrupted one is known; `is_whole`: afterwards nothing is missing."""

    asked: tuple[str, str]
    start: datetime
    end: datetime
    is_whole: bool
    day: date
    instrument: str = ""
    are_readings_done: bool = False

    def written(self) -> dict[str, Any]:
        """As the sink keeps it."""
        return {
            "asked": list(self.asked),
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "is_whole": self.is_whole,
            "day": self.day.isoformat(),
            "instrument": self.instrument,
            "are_readings_done": self.are_readings_done,
        }

    @classmethod
    def read(cls, kept: dict[str, Any]) -> "Plan":
        return cls(
            (kept["asked"][0], kept["asked"][1]),
            datetime.fromisoformat(kept["start"]),
            datetime.fromisoformat(kept["end"]),
            kept["is_whole"],
            date.fromisoformat(kept["day"]),
            kept["instrument"],
            kept["are_readings_done"],
        )


class Filled(NamedTuple):
    """What came of it: points written and refused, from when on."""

    points: int
    refused: int
    start: datetime
    end: datetime


class Rebuild:
    """Fills one sink. `tell` hears of each day; `pause(seconds)` waits for a server that takes nothing."""

    def __init__(self, sink: Sink, tell: Callable[[str], object], pause: Callable[[float], object]) -> None:
        self.sink, self._tell, self._pause = sink, tell, pause
        self._client = Client(sink)
        self._directory = Directory()
        self._delivery = Delivery(self._client.write, self._client.make_database, sink.batch_size)
        self._lines: list[str] = []
        self._aside: list[BadPoint] = []
        self.points = self.refused = 0

    def fill(self, start: datetime | None, end: datetime | None) -> Filled:
        """Raises Refused if the server takes nothing for long, or more is missing meanwhile."""
        plan = _begun(self.sink, start, end)
        try:
            plan = self._readings(plan)
            self._events(plan)
            self._runs(plan)
            self._flush()
        finally:
            self._client.close()
        _done(self.sink, plan)
        return Filled(self.points, self.refused, plan.start, plan.end)

    # ---- what is stored

    def _readings(self, plan: Plan) -> Plan:
        if plan.are_readings_done:
            return plan
        chosen = _chosen(self.sink)
        for day in _days(plan):
            after = plan.instrument if day == plan.day else ""
            for instrument, channels in chosen.items():
                if str(instrument) > after:
                    self._day(channels, *_span(plan, day))
                    self._flush()
                    plan = replace(plan, day=day, instrument=str(instrument))
                    _keep(self.sink, plan)
            self._tell(f"{day}: {self.points} points so far")
        plan = replace(plan, are_readings_done=True)
        _keep(self.sink, plan)
        return plan

    def _day(self, channels: list[int], start: datetime, end: datetime) -> None:
        for rows in _pages(READINGS, [channels, start, end], PAGE):
            self._write(Told(near(_columns(rows)), (), (), ()))
        if self.sink.schema == Sink.Schema.LABSITE:  # of others the events bring them
            for rows in _pages(STORED_VECTORS, [channels, start, end], VECTORS_OF_A_PAGE):
                self._write(Told(NONE, [StoredVector(*row) for row in rows], (), ()))

    def _events(self, plan: Plan) -> None:
        at, number = plan.start, -1
        while True:
            with connection.cursor() as cursor:
                cursor.execute(EVENTS, [at, number, plan.end, int(Flag.FAR), PAGE])
                rows = cursor.fetchall()
            self._write(Told(NONE, (), [StoredEvent(*row[:6]) for row in rows], ()))
            if len(rows) < PAGE:
                return
            at, number = rows[-1][6:]

    def _runs(self, plan: Plan) -> None:
        found = Run.objects.filter(start__gte=plan.start, start__lt=plan.end).order_by("id")
        words: list[RunNamed] = []
        for instrument, key in found.values_list("instrument_id", "key").iterator(chunk_size=1000):
            words.append(RunNamed(instrument, key))
            if len(words) == 500:
                self._write(Told(NONE, (), (), words))
                words = []
        self._write(Told(NONE, (), (), words))

    # ---- into the sink

    def _write(self, told: Told) -> None:
        points = schemas.form(told, self.sink, self._directory)
        self._aside += points.refused
        self._lines += points.lines
        if len(self._lines) >= self.sink.batch_size:
            self._flush()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        failures = 0
        taken = 0
        while lines:
            self._delivery.refused.clear()
            try:
                taken = self._delivery.deliver(lines)
            except Kept as kept:
                failures += 1
                if failures >= self.sink.alert_threshold:
                    raise Refused(f"{kept.words}; what is done is kept: run it again to go on") from None
                wait = wait_after(failures, kept.wait, random.random())  # noqa: S311 - no secret
                self._tell(f"{kept.words}: tried again in {wait:.0f} s")
                self._pause(wait)
            else:
                break
        self.points += taken
        refused, self._aside = [*self._aside, *self._delivery.refused], []
        self.refused += sum(each.count for each in refused)
        drain.set_aside(self.sink, refused)
        self._delivery.refused.clear()
        if taken:
            Sink.objects.filter(pk=self.sink.pk).update(points=F("points") + taken)


# ---- its beginning and its end


@transaction.atomic
def _begun(sink: Sink, start: datetime | None, end: datetime | None) -> Plan:
    """The plan, or what was interrupted of the same. What is stored from now on is fed from the outbox."""
    now = timezone.now()
    current = Sink.objects.select_for_update().get(pk=sink.pk)
    asked = (start.isoformat() if start else "", end.isoformat() if end else "")
    at = Position(int(current.at_xid), current.at_id)
    if current.rebuild and not (current.must_rebuild and outbox.is_lost(at)):
        plan = Plan.read(current.rebuild)
        if plan.asked == asked:
            return plan
    first = start or _oldest(now)
    is_whole = start is None and end is None  # of what came late, times tell nothing
    plan = Plan(asked, first, end or now + AHEAD, is_whole, first.astimezone(UTC).date())
    present = outbox.present(now, fed=Sink.objects.filter(enabled=True).exists())
    if current.must_rebuild:
        Sink.objects.filter(pk=sink.pk).update(at_xid=present.xid, at_id=present.id)
    _keep(sink, plan)
    return plan


def _keep(sink: Sink, plan: Plan) -> None:
    Sink.objects.filter(pk=sink.pk).update(rebuild=plan.written())


@transaction.atomic
def _done(sink: Sink, plan: Plan) -> None:
    """Feed it again, if nothing is missing now."""
    current = Sink.objects.select_for_update().get(pk=sink.pk)
    current.rebuild = {}
    is_short = current.must_rebuild and outbox.is_lost(Position(int(current.at_xid), current.at_id))
    if current.must_rebuild and plan.is_whole and not is_short:
        current.must_rebuild = False
        current.failures, current.retry_at, current.error = 0, None, ""
    current.save(update_fields=["rebuild", "must_rebuild", "failures", "retry_at", "error"])
    outbox.wake()
    sink.refresh_from_db()


def _oldest(now: datetime) -> datetime:
    """When what is stored begins."""
    days = [partition.day for table in (*SAMPLES, *VECTORS) for partition in partitions.existing(table)]
    first = partitions.midnight(min(days)) if days else now
    near_events = Event.objects.annotate(far=F("flags").bitand(int(Flag.FAR))).filter(far=0)
    found: list[datetime | None] = [
        near_events.aggregate(first=Min("time"))["first"],
        Run.objects.aggregate(first=Min("start"))["first"],
    ]
    return min([first, *(each for each in found if each is not None)])


# ---- what is looked at


def _chosen(sink: Sink) -> dict[UUID, list[int]]:
    """The instruments that the sink is for, in order, with their channels."""
    instruments = Instrument.objects.select_related("edge").order_by("id")
    wanted = {each.pk for each in instruments if schemas.is_for(about(each), sink)}
    found: dict[UUID, list[int]] = {}
    rows = Channel.objects.filter(instrument__in=wanted).order_by("instrument", "id")
    for instrument, number in rows.values_list("instrument_id", "pk"):
        found.setdefault(instrument, []).append(number)
    return {instrument: found[instrument] for instrument in sorted(found, key=str)}


def _days(plan: Plan) -> Iterator[date]:
    """The days of which there are partitions, from the plan's on."""
    spans = {
        (partition.day, partition.end)
        for table in (*SAMPLES, *VECTORS)
        for partition in partitions.existing(table)
    }
    day = plan.day
    while partitions.midnight(day) < plan.end:
        if any(first <= day < end for first, end in spans):
            yield day
        day += timedelta(days=1)


def _span(plan: Plan, day: date) -> tuple[datetime, datetime]:
    """Of a day what is to be filled."""
    start = partitions.midnight(day)
    return max(start, plan.start), min(start + timedelta(days=1), plan.end)


def _pages(statement: str, parameters: list[Any], size: int) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of an answer, some at a time; the server holds the rest."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, parameters)
        while rows := cursor.fetchmany(size):
            yield rows


def _columns(rows: Iterable[tuple[Any, ...]]) -> Columns:
    time, value, channel, quality, text = zip(*rows, strict=True)
    return Columns(
        np.array(time, np.int64),
        np.array([np.nan if each is None else each for each in value], np.float64),
        np.array(channel, np.int32),
        np.array(quality, np.int16),
        np.zeros(len(time), np.int8),
        np.array(text, object) if any(each is not None for each in text) else None,
    )
