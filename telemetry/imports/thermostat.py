"""The thermostat logger's CSV: `time,ts`, then a column for each field and channel of the thermostat.

One row for both channels: `temperature_ch0,temperature_ch1,i_tec_ch0,…` (protocol notes, thermostat §11).
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from telemetry.imports import texts
from telemetry.imports.base import Point, Refusal, Source, Told, Unreadable

FIELDS = (
    "temperature", "i_tec", "pid_output", "adc", "sens", "i_set", "dac_value", "dac_feedback", "tec_i",
    "tec_u_meas", "pid_engaged", "current_swapped", "interval",
)  # fmt: skip
HEADER = ["time", "ts", *(f"{field}_ch{channel}" for field in FIELDS for channel in (0, 1))]
_column = re.compile(r"(\w+)_ch([01])")
OTHER_WIDTH = "a line with more or fewer cells than the first"


class ThermostatCsv(Source):
    """A `data.csv`, with its first line or without it. A torn last line is refused, not read wrong."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def points(self) -> Iterator[Told]:
        try:
            with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                yield from self._rows(csv.reader(line.replace("\0", "") for line in file))
        except (OSError, csv.Error) as error:
            raise Unreadable(f"{self._path}: {getattr(error, 'strerror', None) or error}") from None

    def _rows(self, rows: Iterator[list[str]]) -> Iterator[Told]:
        header: list[str] = []
        keys: list[tuple[int, str]] = []
        for place, row in enumerate(rows, start=1):
            if not header:
                header = self._header(row)
                keys = [(index, key) for index, name in enumerate(header) if (key := key_of(name))]
                if row == header:
                    continue
            if not any(row):
                continue
            if len(row) != len(header):
                yield Refusal(OTHER_WIDTH, place, ",".join(row))
                continue
            time = _time(row, header)
            if time is None:
                yield Refusal(texts.NO_TIME, place, ",".join(row[:2]))
                continue
            yield from self._cells(row, keys, time, place)

    def _header(self, row: Sequence[str]) -> list[str]:
        """The first line, or, where it is a row already, what the logger always writes."""
        if "time" in row or "ts" in row:
            names = [name.strip() for name in row]
            if others := [name for name in names if name not in ("time", "ts") and not key_of(name)]:
                self.notes.append(f"columns left out: {', '.join(others)[:200]}")
            return names
        if len(row) != len(HEADER):
            raise Unreadable(
                f"{self._path}: its first line is neither the names of columns, `time,ts,…`, nor a row of "
                f"{len(HEADER)} cells: is it the logger's file?"
            )
        return HEADER

    def _cells(
        self, row: Sequence[str], keys: list[tuple[int, str]], time: int, place: int
    ) -> Iterator[Told]:
        for index, key in keys:
            cell = row[index]
            if not cell:
                self.blank += 1
                continue
            value = texts.number(cell)
            yield Refusal(texts.NO_NUMBER, place, cell) if value is None else Point(key, time, value, place)


def key_of(name: str) -> str:
    """Our channel of a column: `temperature_ch0` → `ch0.temperature`; "" for none."""
    found = _column.fullmatch(name)
    return f"ch{found[2]}.{found[1]}" if found else ""


def _time(row: Sequence[str], header: Sequence[str]) -> int | None:
    """By the time as it is written, which is finer; else by the milliseconds beside it."""
    for name, read in (("time", texts.iso), ("ts", texts.epoch("ms"))):
        if name in header:
            try:
                return read(row[header.index(name)])
            except (ValueError, OverflowError):
                continue
    return None
