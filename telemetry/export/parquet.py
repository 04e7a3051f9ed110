"""An export as Parquet. Loaded by its name, once somebody asks for it: pyarrow takes 60 MB."""

import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from telemetry.export.question import Column, Kind

BLOCK = 4 << 20  # bytes of CSV that become one group of rows
TYPES = {
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.TEXT: pa.string(),
    Kind.NUMBER: pa.float64(),
    Kind.COUNT: pa.int64(),
}


class Parts:
    """A file that is taken away in parts while it is written."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """Everything is there at once."""

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def encoded(rows: Iterator[bytes], columns: Sequence[Column], legend: dict[str, Any]) -> Generator[bytes]:
    """Rows of CSV, of which each part is whole rows, as Parquet; the schema's metadata has the legend."""
    schema = pa.schema([(column.name, TYPES[column.kind]) for column in columns])
    schema = schema.with_metadata({"labsite": json.dumps(legend, ensure_ascii=False)})
    parts = Parts()
    with parquet.ParquetWriter(parts, schema, compression="zstd") as writer:
        for block in blocks(rows):
            writer.write_table(_table(block, schema), row_group_size=1 << 20)
            yield parts.take()
    yield parts.take()


def blocks(rows: Iterator[bytes]) -> Iterator[bytes]:
    """The same rows, more of them together."""
    held: list[bytes] = []
    size = 0
    for part in rows:
        held.append(part)
        size += len(part)
        if size >= BLOCK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _table(block: bytes, schema: pa.Schema) -> pa.Table:
    """COPY writes NULL as nothing and an empty text in quotes."""
    table = csv.read_csv(
        pa.BufferReader(block),
        read_options=csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=len(block) + 1),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return table.cast(schema)
