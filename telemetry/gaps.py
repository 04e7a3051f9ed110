"""What is missing, and why: gaps stored as edges tell them, and those that follow from what the centre knows.

A stored gap told of again has grown. When gaps are asked for, an instrument that is out of service, an edge
that is not heard and one that has readings left to send are gaps too; what is not over yet is `open`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from devices.models import PUSH_EDGE
from devices.readings import AWAY, GapReason

HEARD_WITHIN = timedelta(seconds=15)  # an edge that is at work says something every few seconds
TOLD_WITHIN = timedelta(seconds=90)  # one that grows is told again every 30 s
LATE_S = 10.0  # what an edge has not got rid of after that is on its way

# Two words of one gap in one statement would be a conflict with itself: the longest stands for both.
UPSERT = """
INSERT INTO gap (edge_id, instrument_id, key, start, "end", reason, count)
SELECT %s, instrument, key, start, max("end"), reason, max(count)
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::int[])
    AS told(instrument, key, start, "end", reason, count)
GROUP BY instrument, key, start, reason
ORDER BY instrument, key, start, reason
ON CONFLICT (edge_id, instrument_id, key, start, reason) DO UPDATE
SET "end" = greatest(gap."end", EXCLUDED."end"), count = greatest(gap.count, EXCLUDED.count)
"""

# A stored one is open while it is still told of, its edge is heard, and no channel has been read since.
STORED = """
SELECT 'g' || g.id AS ref, g.edge_id, g.instrument_id, g.key, g.start, g."end", g.reason, g.count,
    g.reason = ANY(%(away)s) AND g."end" >= %(told_since)s AND e.heard_at >= %(heard_since)s
    AND coalesce(i.in_service AND i.retired_at IS NULL, false)
    AND NOT EXISTS (
        SELECT FROM devices_latest l JOIN devices_channel c ON c.id = l.channel_id
        WHERE c.instrument_id = g.instrument_id AND l.quality & 3 <> 2 AND l.seen_at >= g.start
    ) AS open
FROM gap g JOIN devices_edge e ON e.id = g.edge_id LEFT JOIN devices_instrument i ON i.id = g.instrument_id
"""
# From a switch to the next one back; a retired instrument is missed no more.
OUT_OF_SERVICE = """
SELECT 'o' || c.id, c.edge_id, c.instrument_id, '', c.since, coalesce(back.since, %(now)s), %(out)s, 0,
    back.since IS NULL
FROM devices_cadence c JOIN devices_instrument i ON i.id = c.instrument_id
LEFT JOIN LATERAL (
    SELECT min(n.since) AS since FROM devices_cadence n
    WHERE n.instrument_id = c.instrument_id AND n.since > c.since AND n.in_service
) AS back ON true
WHERE c.polled AND NOT c.in_service AND (back.since IS NOT NULL OR i.retired_at IS NULL) AND c.since < %(now)s
    AND coalesce((
        SELECT p.in_service FROM devices_cadence p
        WHERE p.instrument_id = c.instrument_id AND p.since < c.since ORDER BY p.since DESC LIMIT 1
    ), true)
"""
SILENT = """
SELECT 's' || e.id, e.id, NULL::uuid, '', coalesce(e.heard_at, e.created_at), %(now)s, %(silent)s, 0, true
FROM devices_edge e
WHERE e.retired_at IS NULL AND e.name <> %(push)s AND coalesce(e.heard_at, e.created_at) < %(heard_since)s
    AND EXISTS (
        SELECT FROM devices_instrument i WHERE i.edge_id = e.id AND i.in_service AND i.retired_at IS NULL
    )
"""
ON_ITS_WAY = """
SELECT 'w' || e.id, e.id, NULL::uuid, '', e.heard_at - age * interval '1 s', %(now)s, %(on_its_way)s, 0, true
FROM devices_edge e, LATERAL (
    SELECT CASE WHEN jsonb_typeof(e.status -> 'spool_age') = 'number'
        THEN least((e.status ->> 'spool_age')::float8, 3e8) END AS age
) AS said
WHERE e.retired_at IS NULL AND e.name <> %(push)s AND e.heard_at >= %(heard_since)s AND age > %(late)s
"""
# One of all the edge is missing at an instrument if it was there then.
FOUND = """
SELECT x.ref, x.edge_id, e.name, x.instrument_id, i.name, x.key, x.start, x."end", x.reason, x.count, x.open
FROM ({gaps}) AS x
JOIN devices_edge e ON e.id = x.edge_id LEFT JOIN devices_instrument i ON i.id = x.instrument_id
WHERE (%(start)s::timestamptz IS NULL OR x."end" >= %(start)s)
    AND (%(end)s::timestamptz IS NULL OR x.start < %(end)s)
    AND (%(edges)s::int8[] IS NULL OR x.edge_id = ANY(%(edges)s))
    AND (%(reason)s::text IS NULL OR x.reason = %(reason)s)
    AND (%(open)s::bool IS NULL OR x.open = %(open)s)
    AND (%(key)s::text IS NULL OR x.key IN ('', %(key)s))
    AND (%(instruments)s::uuid[] IS NULL OR x.instrument_id = ANY(%(instruments)s)
        OR (x.instrument_id IS NULL AND EXISTS (
            SELECT FROM devices_assignment a JOIN devices_instrument mine ON mine.id = a.instrument_id
            WHERE a.instrument_id = ANY(%(instruments)s) AND a.edge_id = x.edge_id AND a.since < x."end"
                AND coalesce(a.until, 'infinity') > x.start AND mine.created_at <= x."end"
        )))
    AND (%(before)s::timestamptz IS NULL OR (x.start, x.ref) < (%(before)s, %(before_ref)s))
ORDER BY x.start DESC, x.ref DESC LIMIT %(limit)s
""".format(gaps=" UNION ALL ".join((STORED, OUT_OF_SERVICE, SILENT, ON_ITS_WAY)))


class NamedGap(NamedTuple):
    """A gap as it is stored. `instrument` None: all of the edge."""

    instrument: str | None
    key: str
    start: datetime
    end: datetime
    reason: str
    missed: int


class FoundGap(NamedTuple):
    """A gap as it is told. `ref`: its name; no instrument: all of the edge's; no key: all channels."""

    ref: str
    edge: int
    edge_name: str
    instrument: UUID | None
    instrument_name: str | None
    key: str
    start: datetime
    end: datetime
    reason: str
    missed: int
    open: bool


@dataclass(frozen=True, slots=True)
class Question:
    """Which gaps: those that touch start … end, of these instruments or edges; None: any.

    `before`: only what comes after this one in the order of the answer, newest first.
    """

    start: datetime | None = None
    end: datetime | None = None
    instruments: Collection[UUID] | None = None
    edges: Collection[int] | None = None
    key: str | None = None
    reason: str | None = None
    open: bool | None = None
    before: tuple[datetime, str] | None = None
    limit: int | None = None


def store(edge: int, gaps: Iterable[NamedGap]) -> None:
    """Write these gaps of one edge."""
    if columns := [list(column) for column in zip(*gaps, strict=True)]:
        with connection.cursor() as cursor:
            cursor.execute(UPSERT, [edge, *columns])


def found(question: Question, now: datetime) -> list[FoundGap]:
    """Gaps, those that began last first, the computed ones among them."""
    before, before_ref = question.before or (None, "")
    parameters = {
        "start": question.start,
        "end": question.end,
        "instruments": None if question.instruments is None else list(question.instruments),
        "edges": None if question.edges is None else list(question.edges),
        "key": question.key,
        "reason": question.reason,
        "open": question.open,
        "before": before,
        "before_ref": before_ref,
        "limit": question.limit,
        "now": now,
        "away": [str(reason) for reason in AWAY],
        "told_since": now - TOLD_WITHIN,
        "heard_since": now - HEARD_WITHIN,
        "late": LATE_S,
        "push": PUSH_EDGE,
        "out": str(GapReason.OUT_OF_SERVICE),
        "silent": str(GapReason.EDGE_SILENT),
        "on_its_way": str(GapReason.ON_ITS_WAY),
    }
    with connection.cursor() as cursor:
        cursor.execute(FOUND, parameters)
        return [FoundGap(*row) for row in cursor.fetchall()]
