"""The filament box's `unsent_batches.db`: batches of points that InfluxDB did not take (protocol notes,
bme280 §9).

The collector did not stamp its points. Those without a time lie before the moment their batch was put by, as
far apart as it read; they are marked as uncertain.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from math import isfinite
from pathlib import Path
from typing import Any

from devices.readings import Flag, Quality
from telemetry.imports import schemas, texts
from telemetry.imports.base import Point, Refusal, Source, Told, Unreadable

INTERVAL = 0.25  # s, its default
GUESSED = Quality.UNCERTAIN | Flag.CLOCK_UNSURE
NO_JSON = "no list of points in JSON"
NO_POINT = "no point with fields"
ROWS = "SELECT id, persisted_at, batch_json FROM unsent_batches ORDER BY id"


class UnsentBatches(Source):
    """The file, read only. `interval`: seconds between two points that have no time."""

    place = "batch"

    def __init__(self, path: Path, interval: float = INTERVAL) -> None:
        super().__init__()
        self._path, self._step = path, round(interval * 1_000_000)

    def points(self) -> Iterator[Told]:
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as database:
                database.text_factory = lambda data: data.decode(errors="replace")
                for place, persisted_at, text in database.execute(ROWS):
                    yield from self._batch(place, persisted_at, text)
        except sqlite3.Error as error:
            raise Unreadable(f"{self._path}: {error}: is it the collector's file?") from None

    def _batch(self, place: int, persisted_at: Any, text: str) -> Iterator[Told]:
        try:
            batch = json.loads(text)
            end = round(float(persisted_at) * 1_000_000)
        except (ValueError, TypeError, OverflowError, RecursionError):
            batch, end = None, 0
        if not isinstance(batch, list):
            yield Refusal(NO_JSON, place, str(text)[:80])
            return
        for number, point in enumerate(batch):
            fields = point.get("fields") if isinstance(point, dict) else None
            if not isinstance(fields, dict) or not fields:
                yield Refusal(NO_POINT, place, str(point)[:80])
                continue
            time = _time(point)
            quality = 0 if time is not None else GUESSED
            if time is None:
                time = end - (len(batch) - 1 - number) * self._step
            yield from self._fields(fields, time, quality, place)

    def _fields(self, fields: Mapping[str, Any], time: int, quality: int, place: int) -> Iterator[Told]:
        for name, value in fields.items():
            key = schemas.filament_box("", {}, name)
            if key is None:
                continue
            if isinstance(value, int | float) and isfinite(value):
                yield Point(key, time, value, place, quality)
            else:
                yield Refusal(texts.NO_NUMBER, place, f"{name}={value!r}"[:80])


def _time(point: Mapping[str, Any]) -> int | None:
    """As influxdb's client takes it: ISO 8601, or ns since 1970."""
    given = point.get("time")
    try:
        if isinstance(given, str):
            return texts.iso(given)
        return given // 1000 if isinstance(given, int) and not isinstance(given, bool) else None
    except (ValueError, OverflowError):
        return None
