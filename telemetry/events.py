"""Events in, once, however often they are told; and out of the store again when they are old."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection

from devices.readings import Flag
from telemetry import store as samples
from telemetry.beside import StoredEvent
from telemetry.times import moment

INSERT = """
INSERT INTO event (instrument_id, time, kind, text, fields, flags)
SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::jsonb[], %s::int2[])
    AS told(instrument, time, kind, text, fields, flags)
ORDER BY instrument, time, kind, text
ON CONFLICT DO NOTHING RETURNING instrument_id, time, kind, text
"""

# Far-off times are kept, as those of samples are: nobody knows how old the events are.
DELETE = """
DELETE FROM event WHERE id IN (
    SELECT e.id FROM event e JOIN devices_instrument i ON i.id = e.instrument_id
    WHERE e.time < %s AND e.flags & %s = 0 AND (e.time < %s OR i.demo) LIMIT %s
)
"""
ROWS_AT_ONCE = 10_000


class NewEvent(NamedTuple):
    """An event that was not known before."""

    instrument: UUID
    time: datetime
    kind: str
    text: str


def store(events: Sequence[StoredEvent], now: datetime) -> list[NewEvent]:
    """Write events, inside a transaction: the same kind, text and time of an instrument is the same event.

    Returns those that are new.
    """
    if not events:
        return []
    oldest, newest = samples.near(now)
    rows = [
        (
            event.instrument,
            moment(event.time),
            event.kind,
            event.text,
            event.fields,
            event.flags if oldest <= event.time <= newest else event.flags | Flag.FAR,
        )
        for event in events
    ]
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [list(column) for column in zip(*rows, strict=True)])
        return [NewEvent(*row) for row in cursor.fetchall()]


def drop_expired(now: datetime) -> None:
    """Delete those kept long enough, some at a time."""
    oldest = now - timedelta(days=settings.EVENT_RETENTION_DAYS)
    oldest_demo = now - timedelta(days=settings.DEMO_RETENTION_DAYS)
    with connection.cursor() as cursor:
        while True:
            cursor.execute(DELETE, [max(oldest, oldest_demo), Flag.FAR, oldest, ROWS_AT_ONCE])
            if cursor.rowcount < ROWS_AT_ONCE:
                return
