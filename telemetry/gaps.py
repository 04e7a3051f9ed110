"""What is missing, stored: a gap told of again has grown."""

from collections.abc import Iterable

from django.db import connection

from telemetry.intake import NamedGap

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


def store(edge: int, gaps: Iterable[NamedGap]) -> None:
    """Write these gaps of one edge."""
    if columns := [list(column) for column in zip(*gaps, strict=True)]:
        with connection.cursor() as cursor:
            cursor.execute(UPSERT, [edge, *columns])
