"""How runs stand: of all words on a run the latest counts, in whatever order they come."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection

from devices.models import Run
from devices.readings import RUN_ENDED, Flag
from telemetry import store as samples
from telemetry.beside import StoredRun
from telemetry.times import moment

# Two words of one time: an end is later than what was before it, and more progress later than less. The
# rest only makes the outcome the same whatever came first.
RANK = """(
    {0}.told_at, {0}.state IN {ended}, coalesce({0}.progress, -1),
    coalesce({0}."end", '-infinity'), coalesce({0}.start, '-infinity'),
    {0}.state, {0}.kind, {0}.title, {0}.fields, {0}.flags
)"""
NEWER = """
WITH told AS (
    SELECT * FROM unnest(
        %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::float8[], %s::timestamptz[],
        %s::timestamptz[], %s::jsonb[], %s::timestamptz[], %s::int2[]
    ) AS t(instrument_id, key, kind, title, state, progress, start, "end", fields, told_at, flags)
)
INSERT INTO devices_run AS run
    (instrument_id, key, kind, title, state, progress, start, "end", fields, told_at, flags)
SELECT DISTINCT ON (instrument_id, key) * FROM told ORDER BY instrument_id, key, {told} DESC
ON CONFLICT (instrument_id, key) DO UPDATE SET
    kind = EXCLUDED.kind, title = EXCLUDED.title, state = EXCLUDED.state, progress = EXCLUDED.progress,
    start = EXCLUDED.start, "end" = EXCLUDED."end", fields = EXCLUDED.fields, told_at = EXCLUDED.told_at,
    flags = EXCLUDED.flags
WHERE {new} > {stored}
RETURNING instrument_id, key, id, coalesce(nullif(title, ''), key), state, told_at, start, "end"
"""
# Held until the commit, so that what is written is a change of what was read.
BEFORE = """
SELECT r.instrument_id, r.key, r.state FROM devices_run r
JOIN unnest(%s::uuid[], %s::text[]) AS told(instrument, key)
    ON r.instrument_id = told.instrument AND r.key = told.key
ORDER BY r.id FOR NO KEY UPDATE OF r
"""
UPSERT = NEWER.format(
    told=RANK.format("told", ended=RUN_ENDED),
    new=RANK.format("EXCLUDED", ended=RUN_ENDED),
    stored=RANK.format("run", ended=RUN_ENDED),
)


class RunChange(NamedTuple):
    """A newer word on a run than there was. `before`: the state it was in; "" if it is new."""

    instrument: UUID
    run: int
    title: str
    before: str
    after: str
    time: datetime
    start: datetime | None
    end: datetime | None


def store(runs: Sequence[StoredRun], now: datetime) -> list[RunChange]:
    """Write words on runs, inside a transaction; one that is older than what is stored changes nothing.

    A word that is ahead of the centre's clock counts as of now: it must not outlast those that follow.
    Returns what has changed; of several words on one run only the latest.
    """
    if not runs:
        return []
    oldest, newest = samples.near(now)
    rows = [
        (
            *run[:-2],
            now if run.time > newest else moment(run.time),
            run.flags if oldest <= run.time <= newest else run.flags | Flag.FAR,
        )
        for run in runs
    ]
    with connection.cursor() as cursor:
        cursor.execute(BEFORE, [[run.instrument for run in runs], [run.key for run in runs]])
        before = {(instrument, key): state for instrument, key, state in cursor.fetchall()}
        cursor.execute(UPSERT, [list(column) for column in zip(*rows, strict=True)])
        return [
            RunChange(instrument, run, title, before.get((instrument, key), ""), *rest)
            for instrument, key, run, title, *rest in cursor.fetchall()
        ]


def drop_expired(now: datetime) -> None:
    """Forget the demo lab's old runs; those of real instruments are kept."""
    oldest = now - timedelta(days=settings.DEMO_RETENTION_DAYS)
    Run.objects.filter(instrument__demo=True, told_at__lt=oldest).delete()
