"""Which buckets must be computed again: marked by ingest, taken by the next round."""

from typing import Any

import numpy as np
from psycopg import Cursor

from devices.readings import Flag
from telemetry import binary
from telemetry.columns import Columns
from telemetry.families import FAMILIES, SAMPLES, VECTORS
from telemetry.rollups.buckets import HOUR, MINUTE_US, Late
from telemetry.times import moment

MARK = """
INSERT INTO rollup_dirty (channel_id, bucket)
SELECT channel, bucket FROM unnest(%s::int4[], %s::timestamptz[]) AS late(channel, bucket)
"""

# Where a channel's readings are, or were until its class changed; how far those tables were dropped.
TABLES = ", ".join(
    f"('{name}', false, '{samples}'), ('{name}', true, '{vectors}')"
    for name, samples, vectors in zip(FAMILIES, SAMPLES, VECTORS, strict=True)
)
TAKE = """
WITH taken AS (
    DELETE FROM rollup_dirty WHERE id IN (SELECT id FROM rollup_dirty ORDER BY id LIMIT %(most)s)
    RETURNING channel_id, bucket
), class AS (
    SELECT id AS channel_id, retention, timestamptz 'infinity' AS until, kind FROM devices_channel
    UNION ALL
    SELECT f.channel_id, f.retention, f.until, c.kind
    FROM former_class f JOIN devices_channel c ON c.id = f.channel_id
), gone AS (
    SELECT class.channel_id, least(class.until, m.through) AS through
    FROM class
    JOIN (VALUES {tables}) AS family(retention, vectors, table_name)
        ON family.retention = class.retention AND family.vectors = (class.kind = 'vector')
    JOIN drop_mark m ON m.table_name = family.table_name
)
SELECT DISTINCT t.channel_id, (extract(epoch FROM t.bucket) * 1000000)::int8,
    EXISTS (SELECT FROM gone g WHERE g.channel_id = t.channel_id AND t.bucket < g.through),
    t.bucket < coalesce((SELECT through FROM drop_mark WHERE table_name = 'rollup_minute'), '-infinity')
FROM taken t WHERE t.bucket < %(before)s
"""


def mark(columns: Columns, closing: int) -> None:
    """Note, inside the transaction that stores them, which of these stored readings came late: from before
    `closing`. Of vectors as of samples. In the order of tables, as storing returns them."""
    late = (columns.time < closing) & ((columns.quality & Flag.FAR) == 0)
    if not late.any():
        return
    channel, minute = columns.channel[late], columns.time[late] // MINUTE_US
    first = np.ones(len(channel), np.bool_)
    first[1:] = (channel[1:] != channel[:-1]) | (minute[1:] != minute[:-1])
    with binary.cursor() as cursor:
        cursor.execute(MARK, [binary.Ints(channel[first]), binary.Times(minute[first] * MINUTE_US)])


def take(cursor: Cursor[Any], most: int, before: int) -> tuple[Late, Late]:
    """Delete the oldest marks, up to so many; returns the minutes and the hours that they are of.

    Only those from before a time, µs of UTC: the others are yet to be computed anyway.
    """
    cursor.execute(TAKE.format(tables=TABLES), {"most": most, "before": moment(before)})
    rows = np.array(cursor.fetchall(), np.int64).reshape(-1, 4)
    channel, bucket = rows[:, 0], rows[:, 1]
    minutes = Late(channel, bucket, rows[:, 2].astype(np.bool_))
    hours = np.unique(np.stack([channel, bucket // HOUR.us * HOUR.us, rows[:, 3]], axis=1), axis=0)
    return minutes, Late(hours[:, 0], hours[:, 1], hours[:, 2].astype(np.bool_))


def is_left(cursor: Cursor[Any]) -> bool:
    """Whether there are marks that were not taken."""
    return cursor.execute("SELECT 1 FROM rollup_dirty LIMIT 1").fetchone() is not None
