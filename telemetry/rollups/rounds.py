"""A round of rolling up: let buckets close, then compute them step by step, each step in one snapshot."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from django.db import OperationalError, transaction
from psycopg import Cursor, errors

from telemetry import binary, partitions
from telemetry.deliveries import ROLLUP_LOCK
from telemetry.families import SAMPLES, VECTORS
from telemetry.rollups import late
from telemetry.rollups.buckets import HOUR, HOUR_US, MINUTE, compute, compute_again
from telemetry.times import TIME_MAX, microseconds, moment

BEHIND = timedelta(seconds=10)  # the present: by then most readings of a minute are here
STEP_US = 6 * HOUR_US  # of data, in one transaction
LATE_MAX = 50_000  # marks of late readings, in one transaction
LONGEST_S = 50.0  # then the next round goes on
LOCK_TIMEOUT_MS = 500  # while a round waits to let buckets close, ingest waits behind it
ATTEMPTS = 3
PAUSE_S = 0.5
DAY_US = 24 * HOUR_US

MARKS = """
SELECT (extract(epoch FROM m.closing) * 1000000)::int8, (extract(epoch FROM m.published) * 1000000)::int8,
    (extract(epoch FROM h.published) * 1000000)::int8
FROM rollup_mark m JOIN rollup_mark h ON m.width = 'minute' AND h.width = 'hour'
"""
BEGIN = """
INSERT INTO rollup_mark (width, closing, published)
VALUES ('minute', %(closing)s, %(minutes)s), ('hour', %(hours)s, %(hours)s)
"""
CLOSE = "UPDATE rollup_mark SET closing = greatest(closing, %s) WHERE width = 'minute'"
PUBLISH = """
UPDATE rollup_mark m SET published = done.through, closing = greatest(m.closing, done.through)
FROM (VALUES ('minute', %(minutes)s::timestamptz), ('hour', %(hours)s::timestamptz)) AS done(width, through)
WHERE m.width = done.width
"""

logger = logging.getLogger(__name__)


class Busy(Exception):
    """Another round is under way, partitions are being dropped, or ingest leaves no gap."""


class Marks(NamedTuple):
    """µs of UTC: minutes are closed up to `closing` and computed up to `minutes`, hours up to `hours`."""

    closing: int
    minutes: int
    hours: int


def roll_up(now: datetime) -> None:
    """Compute all buckets that are closed, and again those that readings came late to.

    One process at a time; it may be killed at any point. What is not done within a minute is left to the
    next round, which begins where this one ended. Not within a transaction.
    """
    end = time.monotonic() + LONGEST_S
    try:
        close(now)
    except Busy as busy:
        logger.warning("no minute is closed now: %s", busy)
    try:
        while step() and time.monotonic() < end:
            pass
    except Busy as busy:
        logger.warning("rolling up is put off: %s", busy)


def close(now: datetime) -> None:
    """From here on readings from before the last full minute come late. Raises Busy."""
    closing = MINUTE.before(microseconds(now - BEHIND))
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with alone() as cursor:
                # Whoever has read the mark before has committed what was stored by it.
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ROLLUP_LOCK])
                _close(cursor, closing)
                return
        except Busy:
            if attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE_S)  # lets through what queued behind this attempt


def _close(cursor: Cursor[Any], closing: int) -> None:
    if _marks(cursor):
        cursor.execute(CLOSE, [moment(closing)])
        return
    begin = min(_oldest(), closing)
    given = {"closing": closing, "minutes": begin, "hours": HOUR.before(begin)}
    cursor.execute(BEGIN, {name: moment(time) for name, time in given.items()})


def _oldest() -> int:
    """The first day, µs of UTC, that there are stored readings of; else the end of time."""
    days = [
        microseconds(partitions.midnight(partition.day))
        for table in (*SAMPLES, *VECTORS)
        for partition in partitions.existing(table)
        if not partitions.is_empty(partition)
    ]
    return min(days, default=TIME_MAX)


def step() -> bool:
    """Compute the next closed buckets and those that are marked, and publish them, in one transaction.

    Returns whether more is to be done. Raises Busy.
    """
    with binary.cursor() as cursor:
        marks = _marks(cursor)
    if marks is None:
        return False
    _ensure([marks.minutes, marks.minutes + STEP_US])  # in a snapshot one would not see what others made
    with alone(in_one_snapshot=True) as cursor:
        return _step(cursor)


def _step(cursor: Cursor[Any]) -> bool:
    marks = _marks(cursor)
    if marks is None:
        return False
    minutes, hours = late.take(cursor, LATE_MAX, marks.minutes)
    _ensure(np.unique(minutes.bucket // DAY_US * DAY_US).tolist())
    through = min(marks.minutes + STEP_US, marks.closing)
    compute(cursor, MINUTE, marks.minutes, through)
    compute_again(cursor, MINUTE, minutes)
    compute(cursor, HOUR, marks.hours, HOUR.before(through))
    compute_again(cursor, HOUR, hours.before(marks.hours))
    cursor.execute(PUBLISH, {"minutes": moment(through), "hours": moment(HOUR.before(through))})
    return through < marks.closing or late.is_left(cursor)


def _marks(cursor: Cursor[Any]) -> Marks | None:
    found = cursor.execute(MARKS).fetchone()
    return Marks(*found) if found else None


def _ensure(times: Iterable[int]) -> None:
    days = {moment(time).date() for time in times}
    partitions.ensure(partitions.holding(width.table, day) for width in (MINUTE, HOUR) for day in days)


@contextmanager
def alone(*, in_one_snapshot: bool = False) -> Iterator[Cursor[Any]]:
    """A transaction beside which no other round, and no drop of what is rolled up, goes on. Raises Busy."""
    try:
        with transaction.atomic(durable=True), binary.cursor() as cursor:
            if in_one_snapshot:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # Locked before the first question is asked: the snapshot is of then.
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            cursor.execute(partitions.LOCK_ROLLUPS)
            cursor.execute("SET LOCAL jit = off")  # one statement for all channels looks worth compiling
            yield cursor
    except OperationalError as error:
        if isinstance(error.__cause__, errors.LockNotAvailable):
            raise Busy(str(error).strip()) from error
        raise
