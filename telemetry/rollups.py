"""Roll-ups of readings to minutes and hours: computed from stored readings of closed buckets, exact for late
ones too.

A reading that is stored into a bucket that is closing or closed marks it, in the same transaction; marked
buckets are computed again. `closing` moves before anything is computed, under a lock that ingest shares.
"""

import numpy as np

from devices.readings import Flag
from telemetry import binary
from telemetry.columns import Columns

MINUTE_US = 60_000_000

MARK = """
INSERT INTO rollup_dirty (channel_id, bucket)
SELECT channel, bucket FROM unnest(%s::int4[], %s::timestamptz[]) AS late(channel, bucket)
"""


def mark(columns: Columns, closing: int) -> None:
    """Note, inside the transaction that stores them, which of these stored readings came late: from before
    `closing`. Of vectors as of samples."""
    late = (columns.time < closing) & ((columns.quality & Flag.FAR) == 0)
    if late.any():
        buckets = np.stack([columns.channel[late].astype(np.int64), columns.time[late] // MINUTE_US])
        channel, bucket = np.unique(buckets, axis=1)
        with binary.cursor() as cursor:
            cursor.execute(MARK, [binary.Ints(channel), binary.Times(bucket * MINUTE_US)])
