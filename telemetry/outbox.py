"""What was stored, on its way to the sinks: one row for each transaction of ingest, written in it.

Rows are read in the order of (transaction, id), and only those of transactions that no open one can precede:
a serial number alone would be passed before the row of a slower transaction appears. What is up to the floor
is not here any more, or never was: nobody was to be fed then.
"""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
from django.db import connection

from telemetry import partitions
from telemetry.beside import StoredEvent, StoredRun, StoredVector
from telemetry.columns import Columns
from telemetry.deliveries import ROLLUP_LOCK

CHANNEL = "labsite_outbox"  # of NOTIFY
LEVEL = 1  # of compression

PUT = "INSERT INTO outbox (stored_at, payload) VALUES (%s, %s)"

NOTIFY = "SELECT pg_notify(%s, '')"

# Up to so many rows and so many bytes, but always one. The length of a payload is known without reading it.
READ = """
SELECT xid::text, id, stored_at, payload FROM (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY xid, id) - octet_length(payload) AS bytes_before
    FROM (
        SELECT xid, id, stored_at, payload FROM outbox
        WHERE (xid, id) > (%s::xid8, %s) AND xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY xid, id LIMIT %s
    ) AS following
) AS held WHERE bytes_before < %s ORDER BY xid, id
"""
PRESENT = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
# A number of a transaction that there was not yet is of another life of the database, before a restore.
IS_LOST = """
SELECT %(xid)s::numeric > pg_snapshot_xmax(pg_current_snapshot())::text::numeric
    OR EXISTS (SELECT FROM outbox_floor WHERE (xid, "row") > (%(xid)s::numeric, %(id)s))
"""
RAISE = """
INSERT INTO outbox_floor AS floor (id, xid, "row", moved_at) VALUES (1, %(xid)s, %(id)s, %(now)s)
ON CONFLICT (id) DO UPDATE SET xid = EXCLUDED.xid, "row" = EXCLUDED."row", moved_at = EXCLUDED.moved_at
WHERE (EXCLUDED.xid, EXCLUDED."row") > (floor.xid, floor."row")
    OR floor.xid > pg_snapshot_xmax(pg_current_snapshot())::text::numeric
"""
FORGET_FORMER_LIFE = "DELETE FROM outbox WHERE xid > pg_snapshot_xmax(pg_current_snapshot())"


class Position(NamedTuple):
    """A place in the order of the outbox: behind the row of this transaction and id."""

    xid: int
    id: int


class Row(NamedTuple):
    """A row of the outbox; `position` is behind it."""

    position: Position
    stored_at: datetime
    payload: bytes


class Entry(msgspec.Struct, array_like=True):
    """What one transaction stored. The columns of readings are bytes of little-endian arrays."""

    time: bytes  # int64, µs of UTC
    value: bytes  # float64, NaN for none
    channel: bytes  # int32
    quality: bytes  # int16
    texts: dict[int, str]  # by place among the readings
    vectors: list[tuple[Any, ...]]  # StoredVector
    events: list[tuple[Any, ...]]  # StoredEvent
    runs: list[tuple[Any, ...]]  # StoredRun


def put(
    columns: Columns,
    vectors: Sequence[StoredVector],
    events: Sequence[StoredEvent],
    runs: Sequence[StoredRun],
    now: datetime,
) -> None:
    """Add what the current transaction stores; whoever drains the outbox hears of it when that commits."""
    if not (len(columns) or vectors or events or runs):
        return
    texts = (
        {} if columns.text is None else {n: text for n, text in enumerate(columns.text) if text is not None}
    )
    entry = Entry(
        columns.time.astype("<i8").tobytes(),
        columns.value.astype("<f8").tobytes(),
        columns.channel.astype("<i4").tobytes(),
        columns.quality.astype("<i2").tobytes(),
        texts,
        list(vectors),
        list(events),
        list(runs),
    )
    partitions.ensure([partitions.holding("outbox", now.astimezone(UTC).date())])
    with connection.cursor() as cursor:
        cursor.execute(PUT, [now, zlib.compress(msgspec.msgpack.encode(entry), LEVEL)])
        cursor.execute(NOTIFY, [CHANNEL])


def wake() -> None:
    """Whoever feeds sinks looks at them at once, when this transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute(NOTIFY, [CHANNEL])


def taken(payload: bytes) -> tuple[Columns, list[StoredVector], list[StoredEvent], list[StoredRun]]:
    """What `put` was given. Families are not kept: all readings are as of the first."""
    entry = msgspec.msgpack.decode(zlib.decompress(payload), type=Entry)
    time = np.frombuffer(entry.time, "<i8")
    text = None
    if entry.texts:
        text = np.full(len(time), None, object)
        text[list(entry.texts)] = list(entry.texts.values())
    columns = Columns(
        time,
        np.frombuffer(entry.value, "<f8"),
        np.frombuffer(entry.channel, "<i4"),
        np.frombuffer(entry.quality, "<i2"),
        np.zeros(len(time), np.int8),
        text,
    )
    return (
        columns,
        [StoredVector(*row) for row in entry.vectors],
        [StoredEvent(*row) for row in entry.events],
        [StoredRun(*row) for row in entry.runs],
    )


def following(position: Position, rows: int, size: int) -> list[Row]:
    """The next rows in order, up to so many and so many bytes, of those that none can precede any more."""
    with connection.cursor() as cursor:
        cursor.execute(READ, [str(position.xid), position.id, rows, size])
        return [
            Row(Position(int(xid), number), stored_at, bytes(payload))
            for xid, number, stored_at, payload in cursor.fetchall()
        ]


def is_lost(position: Position) -> bool:
    """Whether rows after this position are gone, or were never written. Ask it after having read them."""
    with connection.cursor() as cursor:
        cursor.execute(IS_LOST, position._asdict())
        return bool(cursor.fetchone()[0])


def present(now: datetime, *, fed: bool) -> Position:
    """Where the outbox ends, within a transaction that holds up ingest until it commits: what is stored by
    then is before it or in the database only, what is stored later is behind it.

    `fed`: there were sinks to be fed all the time; if not, nobody can start from before this position.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ROLLUP_LOCK])
        cursor.execute(FORGET_FORMER_LIFE)
        cursor.execute(PRESENT)
        position = Position(int(cursor.fetchone()[0]), 0)
    if not fed:
        raise_floor(position, now)
    return position


def raise_floor(position: Position, now: datetime) -> None:
    """From now on the outbox has nothing up to this position."""
    with connection.cursor() as cursor:
        cursor.execute(RAISE, {**position._asdict(), "now": now})
