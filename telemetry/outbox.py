"""What was stored, on its way to the sinks: one row for each transaction of ingest, written in it.

Rows are read in the order of (transaction, id), and only those of transactions that no open one can precede:
a serial number alone would be passed before the row of a slower transaction appears.
"""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from django.db import connection

from telemetry import partitions
from telemetry.beside import StoredEvent, StoredRun, StoredVector
from telemetry.columns import Columns

CHANNEL = "labsite_outbox"  # of NOTIFY
LEVEL = 1  # of compression

PUT = "INSERT INTO outbox (stored_at, payload) VALUES (%s, %s)"


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
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


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
