"""The heartbeat of ingest: what all its workers did so far, written once a second at most."""

import time
from collections import Counter
from datetime import datetime

import msgspec
from django.db import connection

EVERY_S = 1.0

# Several workers add to one row.
ADD = """
INSERT INTO devices_heartbeat (process, at, fields) VALUES ('ingest', %(at)s, %(counts)s::jsonb)
ON CONFLICT (process) DO UPDATE SET at = EXCLUDED.at, fields = devices_heartbeat.fields || (
    SELECT coalesce(jsonb_object_agg(key, n + coalesce(devices_heartbeat.fields -> key, '0')::int8), '{}')
    FROM (SELECT key, value::int8 AS n FROM jsonb_each_text(EXCLUDED.fields)) AS told
)
"""


class Pulse:
    """What this process did since it last wrote it down."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.told = float("-inf")

    def count(self, what: str, more: int = 1) -> None:
        self.counts[what] += more

    def beat(self, at: datetime) -> None:
        """Write it down, if it is time; else it is added later."""
        if time.monotonic() - self.told < EVERY_S:
            return
        with connection.cursor() as cursor:
            cursor.execute(ADD, {"at": at, "counts": msgspec.json.encode(self.counts).decode()})
        self.told = time.monotonic()
        self.counts.clear()


pulse = Pulse()
