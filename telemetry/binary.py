"""PostgreSQL's binary formats from numpy: rows for COPY, arrays for parameters, and a cursor for both.

Source: PostgreSQL manual, COPY (Binary Format), and src/backend/utils/adt/arrayfuncs.c, array_recv.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray
from psycopg import Cursor, pq
from psycopg.adapt import Dumper

from telemetry.columns import Bools, Columns

POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01 in µs since 1970

# A row of `sample` in COPY: the count of its fields, then each with its length before it; -1 stands for NULL.
ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("time_length", ">i4"),
        ("time", ">i8"),
        ("value_length", ">i4"),
        ("value", ">f8"),
        ("channel_length", ">i4"),
        ("channel", ">i4"),
        ("quality_length", ">i4"),
        ("quality", ">i2"),
        ("text_length", ">i4"),
    ]
)
ROW_LENGTHS = {"fields": 5, "time_length": 8, "value_length": 8, "channel_length": 4, "quality_length": 2}
VALUE_PLACE = slice(ROW.fields["value"][1], ROW.fields["value"][1] + 8) if ROW.fields else slice(0)
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
COPY_TAIL = struct.pack(">h", -1)


def copy_rows(columns: Columns) -> Iterator[bytes]:
    """What `COPY … (time, value, channel_id, quality, text) FROM STDIN (FORMAT binary)` takes."""
    yield COPY_HEAD
    if columns.text is None:
        yield _plain_rows(columns)
    else:
        yield _plain_rows(columns.take(~columns.has_text))
        yield from _text_rows(columns.take(columns.has_text))
    yield COPY_TAIL


def _rows(columns: Columns) -> NDArray[Any]:
    rows = np.empty(len(columns), ROW)
    for name, length in ROW_LENGTHS.items():
        rows[name] = length
    rows["time"] = columns.time - POSTGRES_EPOCH_US
    rows["value"] = columns.value
    rows["channel"] = columns.channel
    rows["quality"] = columns.quality
    rows["text_length"] = -1
    return rows


def _plain_rows(columns: Columns) -> bytes:
    """Rows without text. A NULL has no bytes: they are cut out of the rows of fixed width."""
    rows = _rows(columns)
    absent = np.isnan(columns.value)
    if not absent.any():
        return rows.tobytes()
    rows["value_length"][absent] = -1
    kept = np.ones((len(rows), ROW.itemsize), np.bool_)
    kept[absent, VALUE_PLACE] = False
    return rows.view(np.uint8).reshape(len(rows), ROW.itemsize)[kept].tobytes()


def _text_rows(columns: Columns) -> Iterator[bytes]:
    for index, text in enumerate(() if columns.text is None else columns.text):
        encoded = text.encode()
        row = _plain_rows(columns.take(np.array([index])))
        yield row[:-4] + struct.pack(">i", len(encoded)) + encoded


class Array:
    """A numpy array as a parameter of a statement; nulls where `absent` says so."""

    oid: int  # of the array's type
    element: int  # of the elements' type
    dtype: str

    def __init__(self, elements: NDArray[Any], absent: Bools | None = None) -> None:
        self.elements = elements
        self.absent = absent if absent is not None and absent.any() else None

    def binary(self) -> bytes:
        """As array_recv takes it: dimensions, whether any is null, the element's type; then each element."""
        items = np.empty(len(self.elements), np.dtype([("length", ">i4"), ("item", self.dtype)]))
        items["length"] = np.dtype(self.dtype).itemsize
        items["item"] = self.elements
        head = struct.pack(">iIIii", 1, self.absent is not None, self.element, len(items), 1)
        if self.absent is None:
            return head + items.tobytes()
        items["length"][self.absent] = -1
        kept = np.ones((len(items), items.dtype.itemsize), np.bool_)
        kept[self.absent, 4:] = False
        return head + items.view(np.uint8).reshape(kept.shape)[kept].tobytes()


class Times(Array):
    """µs of UTC as timestamptz[]."""

    oid, element, dtype = 1185, 1184, ">i8"

    def __init__(self, elements: NDArray[np.int64]) -> None:
        super().__init__(elements - POSTGRES_EPOCH_US)


class Floats(Array):
    """float8[]; NaN is NULL."""

    oid, element, dtype = 1022, 701, ">f8"

    def __init__(self, elements: NDArray[np.float64]) -> None:
        super().__init__(elements, np.isnan(elements))


class Ints(Array):
    """int4[]."""

    oid, element, dtype = 1007, 23, ">i4"


class Shorts(Array):
    """int2[]."""

    oid, element, dtype = 1005, 21, ">i2"


class _ArrayDumper(Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.binary()


# Readings as a table, from what `arrays` gives; `n` counts them from 1.
ROWS = """
unnest(%s::timestamptz[], %s::float8[], %s::int4[], %s::int2[])
    WITH ORDINALITY AS r(time, value, channel_id, quality, n)
"""
ROWS_WITH_TEXT = """
unnest(%s::timestamptz[], %s::float8[], %s::int4[], %s::int2[], %s::text[])
    WITH ORDINALITY AS r(time, value, channel_id, quality, text, n)
"""


def arrays(columns: Columns) -> list[object]:
    """The parameters of ROWS, or of ROWS_WITH_TEXT if the columns have any text."""
    found: list[object] = [
        Times(columns.time),
        Floats(columns.value),
        Ints(columns.channel),
        Shorts(columns.quality),
    ]
    return found if columns.text is None else [*found, columns.text.tolist()]


_DUMPERS = {
    kind: type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": kind.oid})
    for kind in (Times, Floats, Ints, Shorts)
}


@contextmanager
def cursor() -> Iterator[Cursor[Any]]:
    """A cursor of psycopg's own on Django's connection: it binds on the server, copies, and takes arrays."""
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as found:
        for kind, dumper in _DUMPERS.items():
            found.adapters.register_dumper(kind, dumper)
        yield found
