"""Partitions of the tables of readings, one a day: made ahead, made on demand, dropped when old."""

import logging
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import OperationalError, connection, transaction
from psycopg import errors, sql

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

logger = logging.getLogger(__name__)


class Partition(NamedTuple):
    """The readings of one UTC day in one sample table."""

    table: str
    day: date

    @property
    def name(self) -> str:
        return f"{self.table}_{self.day:%Y%m%d}"


def kept_days() -> dict[str, int]:
    """How many days each partitioned table is kept."""
    return {
        "sample": settings.RETENTION_DAYS,
        "sample_demo": settings.DEMO_RETENTION_DAYS,
        "vector_sample": settings.RETENTION_DAYS,
        "vector_sample_demo": settings.DEMO_RETENTION_DAYS,
    }


def ensure(wanted: Iterable[Partition]) -> None:
    """Make those that are missing, in the current transaction. Others neither wait for it nor fail by it."""
    wanted = sorted(wanted)
    if not _missing(wanted):
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
        for partition in _missing(wanted):
            cursor.execute(
                sql.SQL(MAKE).format(
                    parent=sql.Identifier(partition.table),
                    name=sql.Identifier(partition.name),
                    low=sql.Literal(_midnight(partition.day)),
                    high=sql.Literal(_midnight(partition.day + timedelta(days=1))),
                )
            )
            logger.info("partition %s made", partition.name)


def make_ahead(now: datetime) -> None:
    """Partitions of yesterday (clocks differ), today and the next days, for each sample table."""
    days = [now.astimezone(UTC).date() + timedelta(days=n) for n in range(-1, DAYS_AHEAD + 1)]
    ensure(Partition(table, day) for table in kept_days() for day in days)


def drop_expired(now: datetime) -> list[Partition]:
    """Drop each partition whose last reading is older than its table is kept. Returns those still in use."""
    today = now.astimezone(UTC).date()
    expired = [
        partition
        for table, days in kept_days().items()
        for partition in existing(table)
        if partition.day < today - timedelta(days=days)
    ]
    return [partition for partition in expired if not _dropped(partition)]


def existing(table: str) -> list[Partition]:
    """The partitions of a sample table, oldest first."""
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


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _dropped(partition: Partition) -> bool:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S)  # lets through what queued behind the last attempt
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(partition.name)))
        except OperationalError as error:
            if not isinstance(error.__cause__, errors.LockNotAvailable):
                raise
        else:
            logger.info("partition %s dropped: kept long enough", partition.name)
            return True
    logger.warning("partition %s is in use; it is dropped at a later try", partition.name)
    return False
