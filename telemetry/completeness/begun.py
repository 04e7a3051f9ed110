"""Since when new instruments are there: the first that was heard of them, be it that they are missing."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from devices.edges import microseconds
from telemetry.families import ALL_SAMPLES, ALL_VECTORS
from telemetry.gaps import FoundGap

FIRST = f"""
SELECT c.instrument_id, min(least(
    (SELECT min(bucket) FROM rollup_hour WHERE channel_id = c.id
        AND bucket >= %(start)s AND bucket < %(end)s),
    (SELECT min(time) FROM {ALL_SAMPLES} WHERE channel_id = c.id AND time >= %(start)s AND time < %(end)s),
    (SELECT min(time) FROM {ALL_VECTORS} WHERE channel_id = c.id AND time >= %(start)s AND time < %(end)s)
)) FROM devices_channel c WHERE c.instrument_id = ANY(%(instruments)s) GROUP BY c.instrument_id
"""  # noqa: S608 - of our own words


def first_signs(
    instruments: Collection[UUID], gaps: Sequence[FoundGap], start: datetime, end: datetime
) -> dict[UUID, int]:
    """When (µs) the first reading was read or the first gap began, of those that gave any sign."""
    with connection.cursor() as cursor:
        cursor.execute(FIRST, {"instruments": list(instruments), "start": start, "end": end})
        found = {instrument: microseconds(first) for instrument, first in cursor.fetchall() if first}
    for gap in gaps:
        if gap.instrument in instruments:
            began = microseconds(gap.start)
            found[gap.instrument] = min(began, found.get(gap.instrument, began))
    return found
