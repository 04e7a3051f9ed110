"""The present state of channels and instruments, as the live track brings it, by order of arrival."""

from collections.abc import Mapping
from datetime import datetime

from django.db import connection

from telemetry import binary
from telemetry.columns import Columns
from telemetry.intake import moment

UPSERT = """
INSERT INTO devices_latest (time, value, channel_id, quality, text, seen_at, stored_at)
SELECT r.time, r.value, r.channel_id, r.quality, {text}, r.time, %s FROM {rows}
ON CONFLICT (channel_id) DO UPDATE SET
    time = EXCLUDED.time, value = EXCLUDED.value, quality = EXCLUDED.quality, text = EXCLUDED.text,
    seen_at = EXCLUDED.seen_at, stored_at = EXCLUDED.stored_at
"""
PLAIN = UPSERT.format(text="NULL", rows=binary.ROWS)
WITH_TEXT = UPSERT.format(text="r.text", rows=binary.ROWS_WITH_TEXT)

# Locked in the order of their numbers, as every writer of these rows does.
SEEN = """
WITH told AS (
    SELECT c.id, s.time FROM unnest(%s::uuid[], %s::timestamptz[]) AS s(instrument, time)
    JOIN devices_channel c ON c.instrument_id = s.instrument
), held AS (
    SELECT l.channel_id, told.time FROM devices_latest l JOIN told ON told.id = l.channel_id
    ORDER BY l.channel_id FOR NO KEY UPDATE OF l
)
UPDATE devices_latest l SET seen_at = held.time, stored_at = %s FROM held WHERE l.channel_id = held.channel_id
"""


def show(columns: Columns, at: datetime) -> None:
    """Make the last reading of each channel its latest. `columns` are in the order of arrival."""
    newest = columns.newest()
    if newest.text is None:
        _show(newest, at)
        return
    plain = newest.take(~newest.has_text)
    _show(Columns(plain.time, plain.value, plain.channel, plain.quality, plain.demo), at)
    _show(newest.take(newest.has_text), at)


def _show(newest: Columns, at: datetime) -> None:
    if len(newest):
        with binary.cursor() as cursor:
            cursor.execute(PLAIN if newest.text is None else WITH_TEXT, [at, *binary.arrays(newest)])


def see(instruments: Mapping[str, int], at: datetime) -> None:
    """These instruments answered at these times (µs of UTC) and had nothing new."""
    if instruments:
        times = [moment(time) for time in instruments.values()]
        with connection.cursor() as cursor:
            cursor.execute(SEEN, [list(instruments), times, at])
