"""The outbox is forgotten a day at a time: once all sinks have passed it, or when it is kept long enough."""

import logging
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection
from psycopg import sql

from telemetry import outbox, partitions
from telemetry.models import Sink
from telemetry.outbox import Position
from telemetry.partitions import Partition

TABLE = "outbox"

LAST = "SELECT xid::text, id FROM {} ORDER BY xid DESC, id DESC LIMIT 1"
# A transaction that is open since before then may still write into that day.
SLOW = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xid IS NOT NULL AND xact_start < %s
)
"""

logger = logging.getLogger(__name__)


def prune(now: datetime) -> list[Partition]:
    """Drop the days that nobody needs any more; returns them. Whoever still needed one must be rebuilt."""
    today = now.astimezone(UTC).date()
    oldest = today - timedelta(days=settings.OUTBOX_DAYS)
    gone = []
    for partition in partitions.existing(TABLE):
        if partition.end > today or _is_written(partition):
            continue
        last = _last(partition)
        if partition.end > oldest and not _is_passed(last):
            continue
        if last is not None:
            outbox.raise_floor(last, now)  # before it goes: who reads meanwhile looks at the floor afterwards
        if partitions.dropped(partition):
            gone.append(partition)
    return gone


def _is_written(partition: Partition) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(SLOW, [partitions.midnight(partition.end)])
        return bool(cursor.fetchone()[0])


def _last(partition: Partition) -> Position | None:
    """The position behind the last row of a day."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(LAST).format(sql.Identifier(partition.name)))
        row = cursor.fetchone()
    return Position(int(row[0]), row[1]) if row else None


def _is_passed(last: Position | None) -> bool:
    """Whether every sink that can still go on from the outbox is past it."""
    if last is None:
        return True
    for xid, number in Sink.objects.filter(enabled=True).values_list("at_xid", "at_id"):
        at = Position(int(xid), number)
        if at < last and not outbox.is_lost(at):
            return False
    return True
