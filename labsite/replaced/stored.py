"""The stored rows of a thermostat, in order of time, a window at a time: flat memory, whatever the span."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from django.db import connection

from devices.models import Instrument
from labsite.replaced.thermostat_rows import BOOLEAN, KEYS, Row, value

WINDOW = 2_000  # polls: some 50,000 readings
SHORTEST = timedelta(minutes=1)

_ROWS = """
SELECT time, array_agg(channel_id), array_agg(value) FROM samples
WHERE channel_id = ANY(%s) AND time >= %s AND time < %s GROUP BY time ORDER BY time
"""
_FIRST = """
SELECT min(found.time) FROM unnest(%s::int[]) AS wanted (id), LATERAL (
    SELECT time FROM samples WHERE channel_id = wanted.id AND time >= %s AND time < %s ORDER BY time LIMIT 1
) AS found
"""


def windows(instrument: Instrument, start: datetime, end: datetime) -> Iterator[list[Row]]:
    """All rows from `start` until before `end`, as they are stored."""
    keys = dict(instrument.channels.filter(key__in=KEYS).values_list("pk", "key"))
    span = max(WINDOW * timedelta(seconds=instrument.interval), SHORTEST)
    at = _first(keys, start, end)
    while at is not None:
        until = min(at + span, end)
        rows = [row for row in _rows(keys, at, until) if not row.is_empty]
        if rows:
            yield rows
        at = _first(keys, until, end)


def _rows(keys: Mapping[int, str], start: datetime, end: datetime) -> Iterator[Row]:
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [list(keys), start, end])
        for time, numbers, stored in cursor.fetchall():
            values = dict(zip(map(keys.__getitem__, numbers), stored, strict=True))
            yield Row(time, values | {key: value(key, values[key]) for key in BOOLEAN if key in values})


def _first(keys: Mapping[int, str], start: datetime, end: datetime) -> datetime | None:
    with connection.cursor() as cursor:
        cursor.execute(_FIRST, [list(keys), start, end])
        found: datetime | None = cursor.fetchone()[0]
    return found
