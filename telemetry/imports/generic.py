"""Any CSV with a column of times: which columns are which channels, and how times and numbers are written."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from telemetry.imports import texts
from telemetry.imports.base import Point, Refusal, Source, Told, Unreadable
from telemetry.imports.texts import Clock
from telemetry.imports.thermostat import OTHER_WIDTH


@dataclass(frozen=True)
class Form:
    """How a file is written. `channels`: keys by the names of columns; none: each column is a channel."""

    time: str  # the column's name
    clock: Clock
    channels: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    decimal_comma: bool = False
    encoding: str = "utf-8-sig"
    skip: int = 0  # lines before that with the names of columns
    absent: Sequence[str] = ("", "nan", "null", "none", "na", "n/a", "-")


class GenericCsv(Source):
    """A file of this form. Numbers are numbers; everything else is text."""

    def __init__(self, path: Path, form: Form) -> None:
        super().__init__()
        self._path, self._form = path, form

    def points(self) -> Iterator[Told]:
        form = self._form
        try:
            with self._path.open(encoding=form.encoding, errors="replace", newline="") as file:
                lines = (line.replace("\0", "") for line in islice(file, form.skip, None))
                yield from self._rows(csv.reader(lines, delimiter=form.delimiter))
        except (OSError, csv.Error, LookupError) as error:
            raise Unreadable(f"{self._path}: {getattr(error, 'strerror', None) or error}") from None

    def _rows(self, rows: Iterator[list[str]]) -> Iterator[Told]:
        header = [name.strip() for name in next(rows, [])]
        at, keys = self._columns(header)
        for place, row in enumerate(rows, start=self._form.skip + 2):
            if not any(row):
                continue
            if len(row) != len(header):
                yield Refusal(OTHER_WIDTH, place, self._form.delimiter.join(row)[:80])
                continue
            try:
                time = self._form.clock(row[at])
            except (ValueError, OverflowError) as error:
                is_known = str(error) == texts.NO_SUCH_TIME
                yield Refusal(texts.NO_SUCH_TIME if is_known else texts.NO_TIME, place, row[at][:80])
                continue
            for index, key in keys:
                cell = row[index].strip()
                if cell.lower() in self._form.absent:
                    self.blank += 1
                else:
                    yield Point(key, time, self._value(cell), place)

    def _columns(self, header: Sequence[str]) -> tuple[int, list[tuple[int, str]]]:
        """Where the time is, and which columns are channels. Raises Unreadable."""
        form = self._form
        if missing := [name for name in (form.time, *form.channels) if name not in header]:
            raise Unreadable(
                f"{self._path}: there is no column {', '.join(map(repr, missing))}; there are "
                f"{', '.join(map(repr, header))[:300]}"
            )
        channels = form.channels or {name: name for name in header if name and name != form.time}
        if others := [name for name in header if name not in channels and name != form.time]:
            self.notes.append(f"columns left out: {', '.join(others)[:200]}")
        return header.index(form.time), [
            (index, channels[name]) for index, name in enumerate(header) if name in channels
        ]

    def _value(self, cell: str) -> float | bool | str:
        """1.234,5 is 1234.5 where commas are decimal."""
        text = cell.replace(".", "").replace(",", ".") if self._form.decimal_comma else cell
        value = texts.number(text)
        return cell if value is None else value
