"""Roll-ups of readings to minutes and hours: computed from stored readings of closed buckets, exact for late
ones too.

A reading that is stored into a bucket that is closing or closed marks it, in the same transaction; marked
buckets are computed again. `closing` moves before anything is computed, under a lock that ingest shares.
"""

from telemetry.rollups.late import mark
from telemetry.rollups.rounds import roll_up

__all__ = ["mark", "roll_up"]
