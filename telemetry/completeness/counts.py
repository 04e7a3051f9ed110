"""How many readings of channels are stored, hour by hour: from roll-ups as far as they stand, else counted.

Where a late reading has marked a bucket both are looked at and the greater counts: readings only come in, and
where raw ones were dropped the roll-up is what is left.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from telemetry.families import ALL_SAMPLES, ALL_VECTORS

# In one statement, which is one snapshot: a roll-up's mark of how far it goes, and what it does not hold yet.
COUNTS = f"""
WITH marks AS (
    SELECT coalesce(max(published) FILTER (WHERE width = 'hour'), '-infinity') AS hour,
        coalesce(max(published) FILTER (WHERE width = 'minute'), '-infinity') AS minute
    FROM rollup_mark
), dirty AS (
    SELECT DISTINCT d.channel_id, d.bucket, date_trunc('hour', d.bucket, 'UTC') AS start
    FROM rollup_dirty d, marks
    WHERE d.channel_id = ANY(%(channels)s) AND d.bucket >= %(start)s AND d.bucket < %(end)s
        AND d.bucket < greatest(marks.hour, marks.minute)
), hours AS (
    SELECT h.channel_id, h.bucket, h.n, h.bad FROM rollup_hour h, marks
    WHERE h.channel_id = ANY(%(channels)s) AND h.bucket >= %(start)s AND h.bucket < least(%(end)s, marks.hour)
), counted AS (
    SELECT s.channel_id, s.time, s.quality & 3 = 2 AS bad,
        s.text IS NOT NULL OR (s.value > '-infinity' AND s.value < 'infinity') AS told
    FROM {ALL_SAMPLES} s
    WHERE s.channel_id = ANY(%(channels)s) AND s.time >= greatest(%(start)s, (SELECT minute FROM marks))
        AND s.time < %(end)s
    UNION ALL
    SELECT v.channel_id, v.time, v.quality & 3 = 2, true FROM {ALL_VECTORS} v
    WHERE v.channel_id = ANY(%(channels)s) AND v.time >= greatest(%(start)s, (SELECT minute FROM marks))
        AND v.time < %(end)s
    UNION ALL
    SELECT d.channel_id, s.time, s.bad, s.told FROM dirty d, marks, LATERAL (
        SELECT s.time, s.quality & 3 = 2 AS bad,
            s.text IS NOT NULL OR (s.value > '-infinity' AND s.value < 'infinity') AS told
        FROM {ALL_SAMPLES} s
        WHERE s.channel_id = d.channel_id AND s.time >= d.bucket AND s.time < d.bucket + interval '1 min'
        UNION ALL
        SELECT v.time, v.quality & 3 = 2, true FROM {ALL_VECTORS} v
        WHERE v.channel_id = d.channel_id AND v.time >= d.bucket AND v.time < d.bucket + interval '1 min'
    ) AS s WHERE d.bucket < marks.minute
), minutes AS (
    SELECT channel_id, bucket, max(n) AS n, max(bad) AS bad FROM (
        SELECT m.channel_id, m.bucket, m.n, m.bad FROM rollup_minute m, marks
        WHERE m.channel_id = ANY(%(channels)s) AND m.bucket >= greatest(%(start)s, marks.hour)
            AND m.bucket < least(%(end)s, marks.minute)
        UNION ALL
        SELECT m.channel_id, m.bucket, m.n, m.bad
        FROM (SELECT DISTINCT channel_id, dirty.start FROM dirty, marks WHERE dirty.start < marks.hour) AS d
        JOIN rollup_minute m ON m.channel_id = d.channel_id
            AND m.bucket >= d.start AND m.bucket < d.start + interval '1 h'
        UNION ALL
        SELECT channel_id, date_trunc('minute', time, 'UTC'),
            count(*) FILTER (WHERE told AND NOT bad), count(*) FILTER (WHERE bad)
        FROM counted GROUP BY 1, 2
    ) AS either GROUP BY channel_id, bucket
)
SELECT channel_id, bucket, max(n)::int8, max(bad)::int8 FROM (
    SELECT channel_id, bucket, n, bad FROM hours
    UNION ALL
    SELECT channel_id, date_trunc('hour', bucket, 'UTC'), sum(n), sum(bad) FROM minutes GROUP BY 1, 2
) AS either GROUP BY channel_id, bucket
"""  # noqa: S608 - of our own words
UNSTORED = """
SELECT channel_id, bucket, n FROM unstored
WHERE channel_id = ANY(%(channels)s) AND bucket >= %(start)s AND bucket < %(end)s
"""


class Count(NamedTuple):
    """Of a channel and an hour: readings that are not bad, with those a storage policy left out; bad ones."""

    received: int
    bad: int
    unstored: int = 0


Counts = dict[tuple[int, datetime], Count]


def of(channels: Collection[int], start: datetime, end: datetime) -> Counts:
    """By channel and hour (UTC). `start` is a whole hour; an hour that holds `end` is counted up to it."""
    asked: dict[str, Any] = {"channels": list(channels), "start": start, "end": end}
    with connection.cursor() as cursor:
        cursor.execute(COUNTS, asked)
        found = {(channel, bucket): Count(n, bad) for channel, bucket, n, bad in cursor.fetchall()}
        cursor.execute(UNSTORED, asked)
        for channel, bucket, n in cursor.fetchall():
            before = found.get((channel, bucket), Count(0, 0))
            found[channel, bucket] = Count(before.received + n, before.bad, n)
    return found
