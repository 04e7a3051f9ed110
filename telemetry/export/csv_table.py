"""An export as CSV: as COPY writes it, below its legend and a line of names."""

import csv
import io
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from telemetry.export.legend import comments
from telemetry.export.question import Column
from telemetry.export.statements import escaped


def encoded(rows: Iterator[bytes], columns: Sequence[Column], legend: dict[str, Any]) -> Generator[bytes]:
    """The whole file, in parts."""
    names = io.StringIO()
    csv.writer(names).writerow([escaped(column.name) for column in columns])
    yield comments(legend) + names.getvalue().removesuffix("\r\n").encode() + b"\n"
    yield from rows
