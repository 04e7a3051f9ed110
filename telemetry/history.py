"""Questions about what was measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Q, QuerySet

from devices.models import Channel, Instrument, Run
from telemetry import series
from telemetry.models import Event, Gap
from telemetry.series import Resolution, Series

POINTS = series.POINTS  # of a channel in a chart; a screen shows no more

# Of each of so many spans of time: the lowest value at its first reading's time, the highest at its last
# one's, and the first that is no number, so that neither a peak nor a fault is lost.
_RECENT = """
WITH spans AS (
    SELECT channel_id, min(value) AS low, max(value) AS high, min(time) AS first, max(time) AS last,
        min(time) FILTER (WHERE value IS NULL) AS absent
    FROM samples WHERE channel_id = ANY(%(channels)s) AND time >= %(since)s
    GROUP BY channel_id, date_bin(%(width)s, time, %(since)s)
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


@dataclass(frozen=True)
class Recent:
    """For each channel the times (ms of UTC since 1970) and values of its points, in order.

    `apart`: how far two points may lie apart only because they were thinned.
    """

    points: dict[int, tuple[list[int], list[float | None]]]
    apart: timedelta


def recent(channels: Iterable[Channel], since: datetime, now: datetime, points: int = POINTS) -> Recent:
    """What channels said since then; where that is more than about `points`, the extremes of equal spans.

    Of a short time of readings, each extreme at its own time; of a long one of minutes or hours.
    """
    channels = list(channels)
    apart = max((now - since) / (points // 2), timedelta(milliseconds=1))
    if not channels:
        return Recent({}, apart)
    choice, _ = series.chosen(channels, since, now, now, points)
    if choice.resolution is Resolution.RAW:
        return Recent(_extremes([channel.pk for channel in channels], since, apart), apart)
    answer = series.ask(channels, since, now, now, points // 2, with_gaps=False)
    width = answer.choice.width or apart
    return Recent({each.channel.pk: _drawn(each, width) for each in answer.series}, width)


def _extremes(
    channels: Sequence[int], since: datetime, width: timedelta
) -> dict[int, tuple[list[int], list[float | None]]]:
    found: dict[int, tuple[list[int], list[float | None]]] = {number: ([], []) for number in channels}
    with connection.cursor() as cursor:
        asked: dict[str, Any] = {"channels": list(channels), "since": since, "width": width}
        cursor.execute(_RECENT, asked)
        return found | {number: (times, values) for number, times, values in cursor.fetchall()}


def _drawn(each: Series, width: timedelta) -> tuple[list[int], list[float | None]]:
    """Two points of each bucket, and one that is no number where any reading was bad."""
    third = width.total_seconds() * 1000 / 3
    times: list[int] = []
    values: list[float | None] = []
    for time, low, high, bad in zip(each.time, each.low, each.high, each.bad, strict=True):
        for part, value in enumerate((low, high, None)):
            if value is not None or (part == 2 and bad):
                times.append(round(time + part * third))
                values.append(value)
    return times, values


def gaps(instrument: Instrument, since: datetime) -> QuerySet[Gap]:
    """What is missing of an instrument since then, with what is missing of all its edge."""
    whole_edge = Q(instrument=None, edge=instrument.edge_id)
    return Gap.objects.filter(Q(instrument=instrument) | whole_edge, end__gt=since).order_by("start")


def within(events: QuerySet[Event], run: Run) -> QuerySet[Event]:
    """Those of the run's instrument from its start (or the last word on it) to its end (or now)."""
    of_time = events.filter(instrument=run.instrument_id, time__gte=run.start or run.told_at)
    return of_time if run.over_at is None else of_time.filter(time__lte=run.over_at)
