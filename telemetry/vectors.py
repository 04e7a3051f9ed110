"""Vectors in, once, however often delivered, as samples are; and out."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from django.db import DataError, connection
from psycopg import sql

from devices.models import Channel
from devices.readings import Flag
from telemetry import binary, store as samples
from telemetry.beside import StoredVector
from telemetry.columns import Columns
from telemetry.families import ALL_VECTORS, VECTORS

ROWS = """
unnest(%s::timestamptz[], %s::int4[], %s::int2[], %s::text[], %s::text[])
    WITH ORDINALITY AS r(time, channel_id, quality, "values", labels, n)
"""
INSERT = """
INSERT INTO {table} (time, channel_id, quality, "values", labels)
SELECT r.time, r.channel_id, r.quality, r."values"::float8[], r.labels::text[] FROM {rows}
ORDER BY r.n ON CONFLICT DO NOTHING
"""
# Which stand for another vector than the one that is stored under their key.
OTHERS = """
SELECT r.n - 1 FROM {rows} JOIN {table} AS s ON s.channel_id = r.channel_id AND s.time = r.time
WHERE (s."values", s.labels) IS DISTINCT FROM (r."values"::float8[], r.labels::text[]) ORDER BY r.n
"""
# What is stored under their keys, and whether it is something else.
FOUND = """
SELECT r.n - 1, (s."values", s.labels) IS DISTINCT FROM (r."values"::float8[], r.labels::text[])
FROM {rows} JOIN {table} AS s ON s.channel_id = r.channel_id AND s.time = r.time
"""

# Values only as far as a page may hold; of the rows after that the times alone.
_PAGE = """
SELECT time, quality, labels, CASE WHEN first OR held <= %(values)s THEN "values" END FROM (
    SELECT time, quality, labels, "values", row_number() OVER w = 1 AS first,
        sum(cardinality("values")) OVER w AS held
    FROM (
        SELECT * FROM {table} WHERE channel_id = %(channel)s AND time >= %(start)s AND time < %(end)s
        ORDER BY time LIMIT %(limit)s
    ) AS asked WINDOW w AS (ORDER BY time)
) AS counted ORDER BY time
"""


class FoundVector(NamedTuple):
    """A vector as it was stored; `values` None: it did not fit the page any more."""

    time: datetime
    quality: int
    labels: list[str] | None
    values: list[float | None] | None


def store(vectors: Sequence[StoredVector], now: datetime) -> list[StoredVector]:
    """Write vectors, inside a transaction. Those that are stored already stay as they are.

    Two of one channel with one time and the same values are one; other values are kept 1 µs later.
    Returns them as they are stored, in the order of tables. Raises DataError for what cannot be stored
    through its own fault.
    """
    by_table: dict[str, list[StoredVector]] = {}
    for vector in sorted(judged(vectors, now), key=lambda vector: vector[:2]):
        by_table.setdefault(table_of(vector), []).append(vector)
    return [vector for table in sorted(by_table) for vector in _merge(table, by_table[table])]


def judged(vectors: Sequence[StoredVector], now: datetime) -> list[StoredVector]:
    """The same, those of a time that cannot be right flagged as far off."""
    bounds = [samples.near(now, family) for family in range(len(VECTORS))]
    return [
        vector
        if bounds[vector.family][0] <= vector.time <= bounds[vector.family][1]
        else vector._replace(quality=vector.quality | Flag.FAR)
        for vector in vectors
    ]


def table_of(vector: StoredVector) -> str:
    """Where a vector that was judged is stored."""
    if vector.quality & Flag.FAR:
        return "vector_sample_far"
    return VECTORS[vector.family]


def shown(vectors: Sequence[StoredVector]) -> Columns:
    """What the latest reading of their channels says: how many values there are."""
    count = len(vectors)
    text = np.empty(count, object)
    text[:] = [f"{vector.length} value{'' if vector.length == 1 else 's'}" for vector in vectors]
    return Columns(
        np.array([vector.time for vector in vectors], np.int64),
        np.full(count, np.nan),
        np.array([vector.channel for vector in vectors], np.int32),
        np.array([vector.quality for vector in vectors], np.int16),
        np.array([vector.family for vector in vectors], np.int8),
        text,
    )


def _merge(table: str, vectors: list[StoredVector]) -> list[StoredVector]:
    """Write what is not stored yet; what finds other values under its key moves on until it is free."""
    stored: list[StoredVector] = []
    for _ in range(samples.MOVES_MAX):
        samples.ensure_partitions(table, np.array([vector.time for vector in vectors], np.int64))
        with binary.cursor() as cursor:
            cursor.execute(_statement(INSERT, table), arrays(vectors))
            conflicts = others(table, vectors) if cursor.rowcount < len(vectors) else []
        stored += [vector for vector in vectors if vector not in conflicts]
        if not conflicts:
            return stored
        vectors = [vector._replace(time=vector.time + 1) for vector in conflicts]
    raise DataError(f"more than {samples.MOVES_MAX} vectors of channel {vectors[0].channel} have one time")


def others(table: str, vectors: Sequence[StoredVector]) -> list[StoredVector]:
    """Those under whose key other values are stored."""
    with binary.cursor() as cursor:
        cursor.execute(_statement(OTHERS, table), arrays(vectors))
        return [vectors[number] for (number,) in cursor.fetchall()]


def standing(vectors: Sequence[StoredVector]) -> list[int]:
    """How each stands to what is stored, or to an earlier one of these: store.NEW, KNOWN or CONFLICT."""
    fate = [samples.NEW] * len(vectors)
    for table in (*VECTORS, "vector_sample_far") if vectors else ():
        with binary.cursor() as cursor:
            cursor.execute(_statement(FOUND, table), arrays(vectors))
            for number, other in cursor.fetchall():
                fate[number] = samples.CONFLICT if other else samples.KNOWN
    first: dict[tuple[int, int], StoredVector] = {}
    for number, vector in enumerate(vectors):
        before = first.setdefault(vector[:2], vector)
        if fate[number] == samples.NEW and before is not vector:
            same = (before.values, before.labels) == (vector.values, vector.labels)
            fate[number] = samples.KNOWN if same else samples.CONFLICT
    return fate


def arrays(vectors: Sequence[StoredVector]) -> list[object]:
    """The parameters of ROWS."""
    return [
        binary.Times(np.array([vector.time for vector in vectors], np.int64)),
        binary.Ints(np.array([vector.channel for vector in vectors], np.int32)),
        binary.Shorts(np.array([vector.quality for vector in vectors], np.int16)),
        [vector.values for vector in vectors],
        [vector.labels for vector in vectors],
    ]


def _statement(form: str, table: str) -> sql.Composed:
    return sql.SQL(form).format(table=sql.Identifier(table), rows=sql.SQL(ROWS))


def page(channel: Channel, start: datetime, end: datetime, limit: int, most: int) -> list[FoundVector]:
    """A channel's vectors from `start` until before `end`, the first `limit` or up to `most` values."""
    with connection.cursor() as cursor:
        cursor.execute(
            _PAGE.format(table=ALL_VECTORS),
            {"channel": channel.pk, "start": start, "end": end, "limit": limit, "values": most},
        )
        return [FoundVector(*row) for row in cursor.fetchall()]
