"""Questions about what was measured."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db import connection
from django.db.models import Q, QuerySet

from devices.models import Channel, Instrument, Run
from telemetry.models import Event, Gap

POINTS = 1200  # of a channel in a chart; a screen shows no more

# Of each of so many spans of time: the lowest value at its first reading's time, the highest at its last
# one's, and the first that is no number, so that neither a peak nor a fault is lost.
_RECENT = """
WITH spans AS (
    SELECT channel_id, min(value) AS low, max(value) AS high, min(time) AS first, max(time) AS last,
        min(time) FILTER (WHERE value IS NULL) AS absent
    FROM samples WHERE channel_id = ANY(%(channels)s) AND time >= %(since)s
    GROUP BY channel_id, date_bin(
        greatest((now() - %(since)s) / %(spans)s, interval '1 ms'), time, %(since)s
    )
), points AS (
    SELECT DISTINCT channel_id, (extract(epoch FROM time) * 1000)::int8 AS time, value
    FROM spans CROSS JOIN LATERAL (VALUES (first, low), (last, high), (absent, NULL)) AS point(time, value)
    WHERE time IS NOT NULL AND (value IS NOT NULL OR time = absent)
)
SELECT channel_id, array_agg(time ORDER BY time), array_agg(value ORDER BY time)
FROM points GROUP BY channel_id
"""

_SAMPLES = """
SELECT time, value, quality, text FROM samples
WHERE channel_id = %s AND time >= %s AND time < %s ORDER BY time LIMIT %s
"""


class StoredReading(NamedTuple):
    """A reading as it was stored; `quality` with its flags (devices.readings)."""

    time: datetime
    value: float | None
    quality: int
    text: str | None


def samples(channel: Channel, start: datetime, end: datetime, limit: int) -> list[StoredReading]:
    """A channel's readings from `start` until before `end`, the first `limit` of them, in order of time."""
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLES, [channel.pk, start, end, limit])
        return [StoredReading(*row) for row in cursor.fetchall()]


def recent(
    channels: Iterable[Channel], since: datetime, points: int = POINTS
) -> dict[int, tuple[list[int], list[float | None]]]:
    """For each channel the times (ms of UTC since 1970) and values since then, in order.

    Where there are more than about `points`, they are thinned to the extremes of equal spans of time.
    """
    series: dict[int, tuple[list[int], list[float | None]]] = {channel.pk: ([], []) for channel in channels}
    with connection.cursor() as cursor:
        cursor.execute(_RECENT, {"channels": list(series), "since": since, "spans": points // 2})
        series |= {number: (times, values) for number, times, values in cursor.fetchall()}
    return series


def gaps(instrument: Instrument, since: datetime) -> QuerySet[Gap]:
    """What is missing of an instrument since then, with what is missing of all its edge."""
    whole_edge = Q(instrument=None, edge=instrument.edge_id)
    return Gap.objects.filter(Q(instrument=instrument) | whole_edge, end__gt=since).order_by("start")


def within(events: QuerySet[Event], run: Run) -> QuerySet[Event]:
    """Those of the run's instrument from its start (or the last word on it) to its end (or now)."""
    of_time = events.filter(instrument=run.instrument_id, time__gte=run.start or run.told_at)
    return of_time if run.over_at is None else of_time.filter(time__lte=run.over_at)
