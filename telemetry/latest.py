"""The present state of channels and instruments, as the live track brings it, by order of arrival."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
from django.db import connection

from devices.readings import QUALITY_MASK, Flag, Quality
from telemetry import binary
from telemetry.columns import Bools, Columns
from telemetry.times import moment

UPSERT = """
INSERT INTO devices_latest (time, value, channel_id, quality, text, seen_at, stored_at)
SELECT r.time, r.value, r.channel_id, r.quality, {text}, r.time, %s FROM {rows}
ON CONFLICT (channel_id) DO UPDATE SET
    time = EXCLUDED.time, value = EXCLUDED.value, quality = EXCLUDED.quality, text = EXCLUDED.text,
    seen_at = EXCLUDED.seen_at, stored_at = EXCLUDED.stored_at
"""
PLAIN = UPSERT.format(text="NULL", rows=binary.ROWS)
WITH_TEXT = UPSERT.format(text="r.text", rows=binary.ROWS_WITH_TEXT)

# Of a channel that could not be read: its last value stays, with its time, and is bad. A text that comes
# instead of a number is the reason.
LOSE = """
INSERT INTO devices_latest AS last (time, value, channel_id, quality, text, seen_at, stored_at)
SELECT r.time, r.value, r.channel_id, r.quality, {text}, r.time, %s FROM {rows}
ON CONFLICT (channel_id) DO UPDATE SET
    time = CASE WHEN {has_value} THEN last.time ELSE EXCLUDED.time END,
    seen_at = CASE WHEN {has_value} THEN last.seen_at ELSE EXCLUDED.seen_at END,
    text = CASE WHEN last.value IS NULL THEN coalesce(EXCLUDED.text, last.text) ELSE EXCLUDED.text END,
    quality = EXCLUDED.quality, stored_at = EXCLUDED.stored_at
"""
HAS_VALUE = "last.value IS NOT NULL OR (last.text IS NOT NULL AND EXCLUDED.text IS NULL)"
LOSE_PLAIN = LOSE.format(text="NULL", rows=binary.ROWS, has_value=HAS_VALUE)
LOSE_WITH_TEXT = LOSE.format(text="r.text", rows=binary.ROWS_WITH_TEXT, has_value=HAS_VALUE)

SHOWN = """
SELECT channel_id, (extract(epoch FROM time) * 1000000)::int8 FROM devices_latest
WHERE channel_id = ANY(%s) AND quality & %s = 0
"""

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
    lost = _lost(columns)
    if not lost.any():
        _put(columns.newest(), PLAIN, WITH_TEXT, at)
        return
    _put(columns.take(~lost).newest(), PLAIN, WITH_TEXT, at)
    newest = columns.newest()
    _put(newest.take(_lost(newest)), LOSE_PLAIN, LOSE_WITH_TEXT, at)


def not_older(columns: Columns) -> Columns:
    """Those readings that are no older than what their channels show; what is far off counts for nothing."""
    with connection.cursor() as cursor:
        cursor.execute(SHOWN, [np.unique(columns.channel).tolist(), Flag.FAR])
        shown = dict(cursor.fetchall())
    newest = np.array([shown.get(channel, 0) for channel in columns.channel.tolist()], np.int64)
    return columns.take(columns.time >= newest)


def _lost(columns: Columns) -> Bools:
    """Which readings are bad and have no number."""
    is_bad: Bools = columns.quality & QUALITY_MASK == Quality.BAD
    return is_bad & np.isnan(columns.value)


def _put(newest: Columns, plain: str, with_text: str, at: datetime) -> None:
    """Write one reading a channel, by the statement for those without a text and the one for those with."""
    if newest.text is None:
        _execute(plain, newest, at)
        return
    without = newest.take(~newest.has_text)
    bare = Columns(without.time, without.value, without.channel, without.quality, without.family)
    _execute(plain, bare, at)
    _execute(with_text, newest.take(newest.has_text), at)


def _execute(statement: str, newest: Columns, at: datetime) -> None:
    if len(newest):
        with binary.cursor() as cursor:
            cursor.execute(statement, [at, *binary.arrays(newest)])


def see(instruments: Mapping[str, int], at: datetime) -> None:
    """These instruments answered at these times (µs of UTC) and had nothing new."""
    if instruments:
        times = [moment(time) for time in instruments.values()]
        with connection.cursor() as cursor:
            cursor.execute(SEEN, [list(instruments), times, at])
