"""Buckets computed from what they are of: minutes from stored readings, hours from minutes."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import Cursor

from telemetry import binary
from telemetry.columns import Bools, Int64s
from telemetry.times import moment

MINUTE_US = 60_000_000
HOUR_US = 3_600_000_000

ALL = """
SELECT id, %(low)s::timestamptz, %(high)s::timestamptz, false, false, kind = 'text' FROM devices_channel
"""
LATE = """
SELECT channel_id, low, low + %(width)s * interval '1 microsecond', true, stands,
    coalesce((SELECT kind = 'text' FROM devices_channel WHERE id = channel_id), false)
FROM unnest(%(channel)s::int4[], %(low)s::timestamptz[], %(stands)s::bool[]) AS late(channel_id, low, stands)
"""

# The buckets of one channel in one span of time. An infinity is no number; a sum stays one in any case. A
# text without a number counts only where `words` are what the channel says.
OF_READINGS = """
SELECT date_bin('1 minute', time, timestamptz '2000-01-01 00:00+00') AS bucket,
    (count(*) FILTER (WHERE value IS NOT NULL OR vector OR (s.words AND text IS NOT NULL)))::int4 AS n,
    (count(*) FILTER (WHERE bad))::int4 AS bad,
    min(value) AS min, max(value) AS max,
    sum(least(greatest(value, -1e300), 1e300)) FILTER (WHERE value IS NOT NULL) AS sum,
    (array_agg(value ORDER BY time DESC) FILTER (WHERE value IS NOT NULL))[1] AS last,
    (array_agg(text ORDER BY time DESC) FILTER (WHERE text IS NOT NULL))[1] AS text
FROM (
    SELECT time, quality & 3 = 2 AS bad, false AS vector,
        CASE WHEN quality & 3 <> 2 AND value > '-infinity' AND value < 'infinity' THEN value END AS value,
        CASE WHEN quality & 3 <> 2 THEN text END AS text
    FROM samples WHERE channel_id = s.channel_id AND time >= s.low AND time < s.high
    UNION ALL
    SELECT time, quality & 3 = 2, quality & 3 <> 2, NULL, NULL
    FROM vector_samples WHERE channel_id = s.channel_id AND time >= s.low AND time < s.high
) AS reading GROUP BY 1
"""
OF_MINUTES = """
SELECT date_bin('1 hour', bucket, timestamptz '2000-01-01 00:00+00') AS bucket,
    sum(n)::int4 AS n, sum(bad)::int4 AS bad, min(min) AS min, max(max) AS max, sum(sum) AS sum,
    (array_agg(last ORDER BY bucket DESC) FILTER (WHERE last IS NOT NULL))[1] AS last,
    (array_agg(text ORDER BY bucket DESC) FILTER (WHERE text IS NOT NULL))[1] AS text
FROM rollup_minute WHERE channel_id = s.channel_id AND bucket >= s.low AND bucket < s.high GROUP BY 1
"""

# One channel after the other by its key. What has nothing to say has no row. A row that `stands` is of
# readings that are no longer there. Returned: rows whose buckets have become empty.
COMPUTE = """
WITH span(channel_id, low, high, again, stands, words) AS ({spans}), fresh AS (
    SELECT s.channel_id, coalesce(b.bucket, s.low) AS bucket,
        coalesce(b.n, 0) AS n, coalesce(b.bad, 0) AS bad, b.min, b.max, b.sum, b.last, b.text,
        s.stands, coalesce(old.is_there, false) AS is_there
    FROM span s
    LEFT JOIN LATERAL ({source}) AS b ON true
    LEFT JOIN LATERAL (
        SELECT true AS is_there FROM {table} t
        WHERE s.again AND t.channel_id = s.channel_id AND t.bucket = s.low LIMIT 1
    ) AS old ON true
), computed AS (
    INSERT INTO {table} (channel_id, bucket, n, bad, min, max, sum, last, text)
    SELECT channel_id, bucket, n, bad, min, max, sum, last, text FROM fresh
    WHERE n + bad > 0 AND NOT (stands AND is_there)
    ON CONFLICT (channel_id, bucket) DO UPDATE SET n = EXCLUDED.n, bad = EXCLUDED.bad, min = EXCLUDED.min,
        max = EXCLUDED.max, sum = EXCLUDED.sum, last = EXCLUDED.last, text = EXCLUDED.text
)
SELECT channel_id, bucket FROM fresh WHERE n + bad = 0 AND is_there AND NOT stands
"""
DELETE = "DELETE FROM {table} WHERE channel_id = %s AND bucket = %s"


class Width(NamedTuple):
    """Buckets of one width: how long, in which table, and computed from what."""

    name: str
    us: int
    table: str
    source: str

    def before(self, time: int) -> int:
        """The start of the bucket that this time, µs of UTC, is in."""
        return time // self.us * self.us


MINUTE = Width("minute", MINUTE_US, "rollup_minute", OF_READINGS)
HOUR = Width("hour", HOUR_US, "rollup_hour", OF_MINUTES)


@dataclass(frozen=True, slots=True, eq=False)
class Late:
    """Buckets to be computed again. `bucket`: µs of UTC; `stands`: not of what is stored, if it is there."""

    channel: Int64s
    bucket: Int64s
    stands: Bools

    def before(self, time: int) -> "Late":
        """Those from before a time, µs of UTC."""
        index = self.bucket < time
        return Late(self.channel[index], self.bucket[index], self.stands[index])


def compute(cursor: Cursor[Any], width: Width, low: int, high: int) -> None:
    """All buckets of all channels from `low` to `high`, in the current transaction."""
    if low < high:
        statement = COMPUTE.format(spans=ALL, table=width.table, source=width.source)
        cursor.execute(statement, {"low": moment(low), "high": moment(high)})


def compute_again(cursor: Cursor[Any], width: Width, late: Late) -> None:
    """These buckets, in the current transaction."""
    if not len(late.bucket):
        return
    statement = COMPUTE.format(spans=LATE, table=width.table, source=width.source)
    given = {
        "channel": binary.Ints(late.channel),
        "low": binary.Times(late.bucket),
        "stands": late.stands.tolist(),
        "width": width.us,
    }
    emptied = cursor.execute(statement, given).fetchall()
    if emptied:
        cursor.executemany(DELETE.format(table=width.table), emptied)
