"""Partitions of the tables that grow: made ahead, made on demand, dropped when old."""

import logging
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import NamedTuple

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import errors, sql

from telemetry.families import SAMPLES, VECTORS

DAYS_AHEAD = 7
LOCK_TIMEOUT_MS = 500  # while a DROP waits for a slow reader, writers wait behind it
ATTEMPTS = 3
PAUSE_S = 1.0
PARTITIONS_LOCK = 0x1AB_5A3  # advisory; one process at a time makes partitions

# CREATE TABLE … PARTITION OF would lock the parent against readers and writers; ATTACH does not.
MAKE = """
CREATE TABLE {name} (LIKE {parent} INCLUDING ALL);
ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})
"""

ROLLED_UP = (*SAMPLES, *VECTORS, "rollup_minute")  # these are dropped only once they are rolled up
# One at a time rolls up, or drops what is rolled up. Whoever only asks what is rolled up does not wait.
LOCK_ROLLUPS = "LOCK TABLE rollup_mark IN SHARE ROW EXCLUSIVE MODE"
IS_ROLLED_UP = """
SELECT EXISTS (SELECT FROM rollup_mark WHERE width = 'hour' AND published >= %(end)s)
    AND NOT EXISTS (SELECT FROM rollup_dirty WHERE bucket >= %(start)s AND bucket < %(end)s)
"""
MARK = """
INSERT INTO drop_mark AS mark (table_name, through) VALUES (%s, %s)
ON CONFLICT (table_name) DO UPDATE SET through = greatest(mark.through, EXCLUDED.through)
"""

logger = logging.getLogger(__name__)


class NotRolledUp(Exception):
    """A partition has readings that are not in the roll-ups yet."""


class Span(Enum):
    """How much time one partition holds, in UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def start(self, day: date) -> date:
        """The first day of the span that this day is in."""
        if self is Span.WEEK:
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self is Span.MONTH else day

    def end(self, start: date) -> date:
        """The first day after the span that starts on this one."""
        days = {Span.DAY: 1, Span.WEEK: 7, Span.MONTH: 31}[self]
        return self.start(start + timedelta(days=days))


class Kept(NamedTuple):
    """How many days rows of a table are kept, and how much one partition holds."""

    days: int
    span: Span


class Partition(NamedTuple):
    """The rows of one span of days, which begins with `day`, in one table."""

    table: str
    day: date

    @property
    def name(self) -> str:
        return f"{self.table}_{self.day:%Y%m%d}"

    @property
    def end(self) -> date:
        """The first day after it."""
        return tables()[self.table].span.end(self.day)


def tables() -> dict[str, Kept]:
    """The partitioned tables."""
    standard, demo = Kept(settings.RETENTION_DAYS, Span.DAY), Kept(settings.DEMO_RETENTION_DAYS, Span.DAY)
    long = Kept(settings.LONG_RETENTION_DAYS, Span.MONTH)
    return {
        "sample": standard,
        "sample_demo": demo,
        "sample_long": long,
        "vector_sample": standard,
        "vector_sample_demo": demo,
        "vector_sample_long": long,
        "rollup_minute": Kept(settings.MINUTE_RETENTION_DAYS, Span.WEEK),
        "rollup_hour": Kept(settings.HOUR_RETENTION_DAYS, Span.MONTH),
        "outbox": Kept(settings.OUTBOX_DAYS, Span.DAY),
    }


def holding(table: str, day: date) -> Partition:
    """The partition of a table that rows of this day belong to."""
    return Partition(table, tables()[table].span.start(day))


def ensure(wanted: Iterable[Partition]) -> None:
    """Make those that are missing, in the current transaction. Others neither wait for it nor fail by it."""
    wanted = sorted(set(wanted))
    if not _missing(wanted):
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
        for partition in _missing(wanted):
            cursor.execute(
                sql.SQL(MAKE).format(
                    parent=sql.Identifier(partition.table),
                    name=sql.Identifier(partition.name),
                    low=sql.Literal(midnight(partition.day)),
                    high=sql.Literal(midnight(partition.end)),
                )
            )
            logger.info("partition %s made", partition.name)


def make_ahead(now: datetime) -> None:
    """Partitions of yesterday (clocks differ), today and the next days, for each table."""
    days = [now.astimezone(UTC).date() + timedelta(days=n) for n in range(-1, DAYS_AHEAD + 1)]
    ensure(holding(table, day) for table in tables() for day in days)


def drop_expired(now: datetime) -> list[Partition]:
    """Drop each partition whose last row is older than its table is kept.

    Returns those that are still in use, or not rolled up yet.
    """
    today = now.astimezone(UTC).date()
    expired = [
        partition
        for table, kept in tables().items()
        for partition in existing(table)
        if partition.end <= today - timedelta(days=kept.days)
    ]
    return [partition for partition in expired if not dropped(partition)]


def existing(table: str) -> list[Partition]:
    """The partitions of a table, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = to_regclass(%s)",
            [table],
        )
        names = [name for (name,) in cursor.fetchall()]
    return sorted(
        Partition(table, datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date()) for name in names
    )


def _missing(wanted: list[Partition]) -> list[Partition]:
    # Not by to_regclass: it may answer from a cache that does not know yet what another has just committed.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class"
            " WHERE relname = ANY(%s) AND relnamespace = current_schema()::regnamespace",
            [[partition.name for partition in wanted]],
        )
        there = {name for (name,) in cursor.fetchall()}
    return [partition for partition in wanted if partition.name not in there]


def midnight(day: date) -> datetime:
    """When a day begins, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def dropped(partition: Partition) -> bool:
    """Drop a partition, if nobody is at it and its readings are rolled up; returns whether it is gone."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S)  # lets through what queued behind the last attempt
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                _drop(cursor, partition)
        except NotRolledUp:
            logger.warning("partition %s is not rolled up; it is dropped at a later try", partition.name)
            return False
        except OperationalError as error:
            if not isinstance(error.__cause__, errors.LockNotAvailable):
                raise
        else:
            logger.info("partition %s dropped: kept long enough", partition.name)
            return True
    logger.warning("partition %s is in use; it is dropped at a later try", partition.name)
    return False


def _drop(cursor: CursorWrapper, partition: Partition) -> None:
    """Raises NotRolledUp. An empty one just goes, and leaves no mark."""
    if partition.table in ROLLED_UP:
        cursor.execute(LOCK_ROLLUPS)
        # Which dropping takes too: from here on nobody adds readings, or marks of late ones.
        cursor.execute(sql.SQL("LOCK TABLE ONLY {}").format(sql.Identifier(partition.table)))
        if partition in existing(partition.table) and not is_empty(partition):
            _check(cursor, partition)
            cursor.execute(MARK, [partition.table, midnight(partition.end)])
    cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(partition.name)))


def _check(cursor: CursorWrapper, partition: Partition) -> None:
    cursor.execute(IS_ROLLED_UP, {"start": midnight(partition.day), "end": midnight(partition.end)})
    if not cursor.fetchone()[0]:
        raise NotRolledUp


def is_empty(partition: Partition) -> bool:
    """Whether it holds no row."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(sql.Identifier(partition.name)))
        return bool(cursor.fetchone()[0])
