"""InfluxDB 1: `SELECT *` over HTTP, in chunks, so that neither side holds all of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import requests

from telemetry.imports import texts
from telemetry.imports.base import Point, Refusal, Source, Told, Unreadable
from telemetry.imports.schemas import Schema

CHUNK = 10_000
TIMEOUT = (10.0, 120.0)  # s, to connect and between two pieces of the answer
NOT_A_VALUE = "neither a number nor a text"


@dataclass(frozen=True)
class Asked:
    """What of a server: points of these measurements (none: of all) with these tags, from when to when."""

    url: str
    database: str  # of InfluxDB 2: the bucket
    schema: Schema
    measurements: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None


class InfluxQl(Source):
    """A database of InfluxDB 1."""

    place = "point"

    def __init__(self, asked: Asked, user: str = "", password: str = "") -> None:
        super().__init__()
        self._asked = asked
        self._auth = (user, password) if user else None
        self._place = 0
        self._left_out: set[str] = set()

    def points(self) -> Iterator[Told]:
        try:
            with requests.get(
                f"{self._asked.url.rstrip('/')}/query",
                {"db": self._asked.database, "q": self._question(), "epoch": "ns",
                 "chunked": "true", "chunk_size": str(CHUNK)},
                auth=self._auth, stream=True, timeout=TIMEOUT, allow_redirects=False,
            ) as answer:  # fmt: skip
                if answer.status_code != requests.codes.ok:
                    raise Unreadable(f"{self._asked.url}: {answer.status_code} {_reason(answer)}")
                for line in answer.iter_lines(chunk_size=1 << 16):
                    if line:
                        yield from self._piece(line)
        except (requests.RequestException, ValueError) as error:
            raise Unreadable(f"{self._asked.url}: {type(error).__name__}: {error!s:.200}") from None
        if self._left_out:
            self.notes.append(f"fields left out: {', '.join(sorted(self._left_out))[:300]}")

    def _question(self) -> str:
        asked = self._asked
        wanted = [f"{_name(name)} = {_text(value)}" for name, value in asked.tags.items()]
        wanted += [f"time >= '{_rfc(asked.start)}'"] if asked.start else []
        wanted += [f"time < '{_rfc(asked.end)}'"] if asked.end else []
        where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
        names = [_name(each) for each in asked.measurements] or ["/.*/"]
        # One statement each: of several measurements every row would have the columns of all.
        return "; ".join(f"SELECT * FROM {name}{where} GROUP BY *" for name in names)  # noqa: S608 - quoted

    def _piece(self, line: bytes) -> Iterator[Told]:
        told = json.loads(line)
        for result in told.get("results", [told]):
            if error := result.get("error"):
                raise Unreadable(f"{self._asked.url}: {error!s:.300}")
            for series in result.get("series", ()):
                yield from self._series(series)

    def _series(self, series: Mapping[str, Any]) -> Iterator[Told]:
        measurement, tags = series["name"], series.get("tags") or {}
        columns: list[str] = series["columns"]
        at = columns.index("time")
        keys = []
        for index, name in enumerate(columns):
            key = self._asked.schema(measurement, tags, name) if index != at else None
            if key is not None:
                keys.append((index, key))
            elif index != at and any(row[index] is not None for row in series["values"]):
                self._left_out.add(f"{measurement}.{name}")
        keys.sort(key=lambda each: columns[each[0]] == "text")  # beside a value it is only the reason
        quality = columns.index("quality") if "quality" in columns else -1
        for row in series["values"]:
            self._place += 1
            trust = row[quality] if quality >= 0 and row[quality] in (0, 1, 2) else 0
            said: set[str] = set()
            for index, key in keys:
                told = told_of(key, row[at] // 1000, row[index], self._place, trust)
                if told is not None and key not in said:
                    said.add(key)
                    yield told


def told_of(key: str, time: int, value: Any, place: int, quality: int = 0) -> Told | None:
    """A value of InfluxDB as a reading; None for one that is not there."""
    if value is None:
        return None
    if isinstance(value, float) and not isfinite(value):
        return Refusal(texts.NO_NUMBER, place, f"{key}={value}")
    if not isinstance(value, int | float | str):
        return Refusal(NOT_A_VALUE, place, f"{key}={value!r}"[:80])
    return Point(key, time, value, place, quality)


def _reason(answer: requests.Response) -> str:
    try:
        return str(answer.json().get("error", ""))[:300]
    except (ValueError, AttributeError):
        return answer.reason or ""


def _name(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _rfc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
