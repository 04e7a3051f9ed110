"""The statements behind a series: roll-ups as far as they are published and clean, readings for the rest.

A part row is what one roll-up or one reading adds to its bucket: channel_id, at, n, bad, low, high, total,
last, text. Each statement reads all its parts in one snapshot, which makes it exact: a mark of a late reading
comes with the reading, and goes with the roll-up that holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from telemetry.families import ALL_SAMPLES, ALL_VECTORS, FAMILIES, SUFFIXES
from telemetry.series.choice import ORIGIN, Resolution

# Of a channel the time before which raw readings were dropped, in whichever of its families: there roll-ups
# stand, whatever is marked.
GONE = """
SELECT c.id AS channel_id, max(least(m.through, f.until)) AS through
FROM devices_channel AS c
CROSS JOIN LATERAL (
    SELECT c.retention, 'infinity'::timestamptz AS until
    UNION ALL SELECT retention, until FROM former_class WHERE channel_id = c.id
) AS f
JOIN (VALUES {families}) AS family(retention, suffix) ON family.retention = f.retention
JOIN drop_mark AS m
    ON m.table_name = CASE c.kind WHEN 'vector' THEN 'vector_sample' ELSE 'sample' END || family.suffix
WHERE c.id = ANY({channels}) GROUP BY c.id
"""

STANDING = """
SELECT c.id, gone.through,
    (SELECT published FROM rollup_mark WHERE width = 'minute'),
    (SELECT published FROM rollup_mark WHERE width = 'hour')
FROM devices_channel AS c LEFT JOIN ({gone}) AS gone ON gone.channel_id = c.id WHERE c.id = ANY({channels})
"""

EXPECTED = """
SELECT coalesce(rolled.rows, 0) + tail.rows FROM unnest({channels}) AS asked(id)
LEFT JOIN (
    SELECT channel_id, sum(n + bad) AS rows FROM rollup_minute
    WHERE channel_id = ANY({channels}) AND bucket >= {start} AND bucket < {minutes} GROUP BY channel_id
) AS rolled ON rolled.channel_id = asked.id
CROSS JOIN LATERAL (
    SELECT count(*) AS rows FROM (
        SELECT FROM {table} WHERE channel_id = asked.id AND time >= {minutes} AND time < {end} LIMIT {most}
    ) AS counted
) AS tail
"""

DIRTY = """
dirty AS MATERIALIZED (
    SELECT DISTINCT d.channel_id, d.bucket FROM rollup_dirty AS d
    LEFT JOIN ({gone}) AS gone ON gone.channel_id = d.channel_id
    WHERE d.channel_id = ANY({channels}) AND d.bucket >= {start} AND d.bucket < {minutes} AND NOT (
        d.bucket < coalesce(gone.through, '-infinity') AND EXISTS (
            SELECT FROM rollup_minute AS r WHERE r.channel_id = d.channel_id AND r.bucket = d.bucket
                AND r.bucket >= {start} AND r.bucket < {minutes}
        )
    ) AND d.bucket >= coalesce(
        (SELECT through FROM drop_mark WHERE table_name = 'rollup_minute'), '-infinity'
    )
), dirty_hour AS MATERIALIZED (
    SELECT DISTINCT channel_id, date_trunc('hour', bucket, 'UTC') AS bucket FROM dirty
)
"""

ROLLED = """
SELECT r.channel_id, r.bucket AS at, r.n, r.bad, r.min AS low, r.max AS high, r.sum AS total, r.last, r.text
FROM {table} AS r
WHERE r.channel_id = ANY({channels}) AND r.bucket >= {start} AND r.bucket < {end} AND NOT EXISTS (
    SELECT FROM {dirty} AS d WHERE d.channel_id = r.channel_id AND d.bucket = r.bucket
)
"""
# Of an hour that waits to be computed again.
MINUTES_OF_DIRTY_HOURS = """
SELECT r.channel_id, r.bucket AS at, r.n, r.bad, r.min AS low, r.max AS high, r.sum AS total, r.last, r.text
FROM dirty_hour AS h JOIN rollup_minute AS r
    ON r.channel_id = h.channel_id AND r.bucket >= h.bucket AND r.bucket < h.bucket + interval '1 hour'
WHERE h.bucket < {end} AND r.bucket >= {start} AND r.bucket < {end} AND NOT EXISTS (
    SELECT FROM dirty AS d WHERE d.channel_id = r.channel_id AND d.bucket = r.bucket
)
"""
READINGS = """
SELECT channel_id, time AS at, ({fit})::int AS n, ((quality & 3) = 2)::int AS bad,
    number AS low, number AS high,
    CASE WHEN number IS NOT NULL THEN least(greatest(number, -1e300), 1e300) END AS total, -- which stays one
    number AS last, text
FROM (SELECT s.channel_id, s.time, s.quality, {number} AS number, {text} AS text FROM {source}) AS reading
"""
OF_TIME = "{table} AS s WHERE s.channel_id = ANY({channels}) AND s.time >= {start} AND s.time < {end}"
OF_DIRTY = """
dirty AS d JOIN {table} AS s
    ON s.channel_id = d.channel_id AND s.time >= d.bucket AND s.time < d.bucket + interval '1 minute'
WHERE s.time >= {start} AND s.time < {end}
"""

BUCKETS = """
SELECT channel_id, {bucket} AS bucket, sum(n)::int8 AS n, sum(bad)::int8 AS bad, min(low) AS low,
    max(high) AS high, sum(total) / nullif(sum(n), 0) AS mean, {last} AS last, {text} AS text
FROM ({parts}) AS part GROUP BY 1, 2 HAVING sum(n + bad) > 0
"""
TOLD = """
SELECT channel_id, date_part('epoch', bucket) * 1000, n, bad, low, high, mean, last, text
FROM ({buckets}) AS answer
ORDER BY channel_id, bucket
"""
NEWEST_VECTOR = """
SELECT asked.id, found.time FROM unnest({channels}) AS asked(id) CROSS JOIN LATERAL (
    SELECT time FROM {table} WHERE channel_id = asked.id AND time >= {start} AND time < {end}
    ORDER BY time DESC LIMIT 1
) AS found
"""
NEWEST = "(array_agg({column} ORDER BY at DESC) FILTER (WHERE n > 0))[1]"


@dataclass(frozen=True)
class Form:
    """How readings of some kinds of channels are counted and told; SQL over a row `s`, which is not bad."""

    table: str
    number: str = "NULL::float8"
    text: str = "NULL::text"
    fit: str = "number IS NOT NULL"  # whether it counts among the n
    last: bool = False  # whether the last number is told
    rolled: bool = True  # whether there are roll-ups of it


VALUE = "CASE WHEN (s.quality & 3) <> 2 AND abs(s.value) < 'infinity' THEN s.value END"
TEXT = "CASE WHEN (s.quality & 3) <> 2 THEN s.text END"

NUMBERS = Form(ALL_SAMPLES, number=VALUE)
STATES = Form(ALL_SAMPLES, number=VALUE, last=True)
TEXTS = Form(ALL_SAMPLES, text=TEXT, fit="text IS NOT NULL")
VECTORS = Form(ALL_VECTORS, fit="(quality & 3) <> 2")

ELEMENT = """
CASE WHEN (s.quality & 3) <> 2 AND abs(s."values"[{0}]) < 'infinity' THEN s."values"[{0}] END
"""


def element(place: int | str) -> Form:
    """One number of each vector: the one at a place, counted from 0, or the one of a label."""
    named = sql.SQL("array_position(s.labels, {})").format(place)
    subscript = named if isinstance(place, str) else sql.Literal(place + 1)
    return Form(ALL_VECTORS, number=sql.SQL(ELEMENT).format(subscript).as_string(), rolled=False)


@dataclass(frozen=True)
class Published:
    """How far there are roll-ups of minutes and hours."""

    minutes: datetime
    hours: datetime


@dataclass(frozen=True)
class Asked:
    """Whose buckets, of which time (whole buckets), and made from what. No `width`: one by one."""

    channels: Sequence[int]
    start: datetime
    end: datetime
    resolution: Resolution
    width: timedelta | None
    published: Published


def standing(channels: Sequence[int]) -> sql.Composed:
    """For each channel its id, before when its readings are gone, and how far minutes and hours are there."""
    named = {"channels": _ids(channels)}
    return sql.SQL(STANDING).format(gone=_gone(channels), **named)


def expected(
    channels: Sequence[int], start: datetime, end: datetime, minutes: datetime, table: str, most: int
) -> sql.Composed:
    """About how many readings each channel has in a time, counted no further than it matters."""
    return sql.SQL(EXPECTED).format(
        channels=_ids(channels),
        start=start,
        minutes=min(max(minutes, start), end),
        end=end,
        table=sql.Identifier(table),
        most=most,
    )


def buckets(asked: Asked, form: Form) -> sql.Composed:
    """Rows of channel_id, bucket, n, bad, low, high, mean, last and text, in no order."""
    bucket = sql.SQL("at") if asked.width is None else _bin(asked.width)
    absent = sql.SQL("NULL")
    named = {
        "bucket": bucket,
        "last": sql.SQL(NEWEST).format(column=sql.Identifier("last")) if form.last else absent,
        "text": sql.SQL(NEWEST).format(column=sql.Identifier("text")) if form.text != Form.text else absent,
    }
    common, parts = _parts(asked, form)
    return common + sql.SQL(BUCKETS).format(parts=sql.SQL(" UNION ALL ").join(parts), **named)


def told(asked: Asked, form: Form) -> sql.Composed:
    """The same, in order, with times as ms of UTC since 1970."""
    return sql.SQL(TOLD).format(buckets=buckets(asked, form))


def newest(channels: Sequence[int], start: datetime, end: datetime) -> sql.Composed:
    """For each channel that has any vectors in a time, when the last one was read."""
    table = sql.Identifier(ALL_VECTORS)
    return sql.SQL(NEWEST_VECTOR).format(channels=_ids(channels), table=table, start=start, end=end)


def _parts(asked: Asked, form: Form) -> tuple[sql.Composed, list[sql.Composable]]:
    """The statement's common tables, and what its part rows come from."""
    start, end = asked.start, asked.end
    rolled = form.rolled and asked.resolution is not Resolution.RAW
    minutes = min(max(asked.published.minutes, start), end) if rolled else start
    hours = min(max(asked.published.hours, start), minutes)
    if asked.resolution is not Resolution.HOUR:
        hours = start
    parts: list[sql.Composable] = []
    common = sql.Composed([])
    if start < minutes:
        common = sql.SQL("WITH ") + sql.SQL(DIRTY).format(
            gone=_gone(asked.channels), channels=_ids(asked.channels), start=start, minutes=minutes
        )
        parts.append(_readings(form, OF_DIRTY, start=start, end=minutes))
    if start < hours:
        parts.append(_rolled("rollup_hour", "dirty_hour", asked.channels, start, hours))
        parts.append(sql.SQL(MINUTES_OF_DIRTY_HOURS).format(start=start, end=hours))
    if hours < minutes:
        parts.append(_rolled("rollup_minute", "dirty", asked.channels, hours, minutes))
    if minutes < end or not parts:
        parts.append(_readings(form, OF_TIME, channels=_ids(asked.channels), start=minutes, end=end))
    return common, parts


def _rolled(table: str, dirty: str, channels: Sequence[int], start: datetime, end: datetime) -> sql.Composed:
    return sql.SQL(ROLLED).format(
        table=sql.Identifier(table),
        dirty=sql.Identifier(dirty),
        channels=_ids(channels),
        start=start,
        end=end,
    )


def _readings(form: Form, source: str, **named: object) -> sql.Composed:
    return sql.SQL(READINGS).format(
        number=sql.SQL(form.number),
        text=sql.SQL(form.text),
        fit=sql.SQL(form.fit),
        source=sql.SQL(source).format(table=sql.Identifier(form.table), **named),
    )


def _gone(channels: Sequence[int]) -> sql.Composed:
    families = [sql.SQL("({}, {})").format(name, SUFFIXES[name]) for name in FAMILIES]
    return sql.SQL(GONE).format(families=sql.SQL(", ").join(families), channels=_ids(channels))


def _ids(channels: Sequence[int]) -> sql.Composed:
    return sql.SQL("{}::int4[]").format(list(channels))


def _bin(width: timedelta) -> sql.Composed:
    return sql.SQL("date_bin({}, at, {})").format(width, ORIGIN)
