"""Labsite's own schema: each reading a point, with its quality; vectors by value, events, runs.

measurement = driver (or the sink's); tags instrument, channel, unit, of vectors label; fields value, text,
quality (0 good, 1 uncertain, 2 bad). `events`: tags instrument, kind; fields text, fields (JSON). `runs`:
tags instrument, kind; fields key, title, state, progress, end; at the run's start.
"""

import json
from collections.abc import Iterator
from math import isnan
from uuid import UUID

from django.db.models import Q

from devices.models import Run
from devices.readings import QUALITY_MASK
from telemetry.beside import StoredEvent, StoredVector
from telemetry.models import Sink
from telemetry.sinks import lines
from telemetry.sinks.delivery import BadPoint
from telemetry.sinks.directory import About, Directory, Source
from telemetry.sinks.schemas.base import NS, Points, named
from telemetry.sinks.told import Told, apart, labels_of, values_of

EVENTS, RUNS = "events", "runs"
VALUES_MOST = 2_000  # of a vector: each is a series of its own in InfluxDB


def is_for(of: About, sink: Sink) -> bool:
    """Those that the sink is for."""
    return of.is_of(sink.only)


def form(told: Told, sink: Sink, directory: Directory) -> Points:
    """All that there is of the instruments that the sink is for."""
    points = Points(list(_readings(told, sink, directory)))
    for vector in told.vectors:
        _vector(vector, sink, directory, points)
    points.lines += _events(told, sink, directory)
    points.lines += _runs(told, sink, directory)
    return points


# ---- readings


def _readings(told: Told, sink: Sink, directory: Directory) -> Iterator[str]:
    columns = told.columns
    heads = directory.heads
    for number, source in directory.news(columns.channel.tolist()).items():
        heads[number] = _head(source, sink)
    texts: list[str | None] = [None] * len(columns) if columns.text is None else columns.text.tolist()
    for time, value, channel, quality, text in zip(
        columns.time.tolist(),
        columns.value.tolist(),
        columns.channel.tolist(),
        columns.quality.tolist(),
        texts,
        strict=True,
    ):
        if of := heads.get(channel):
            yield f"{of} quality={quality & QUALITY_MASK}i{_said(value, text)} {time * NS}"


def _head(source: Source, sink: Sink, **more: str) -> str:
    """Empty for a channel that the sink is not for."""
    if not is_for(source.of, sink):
        return ""
    tags = {"instrument": source.of.name, "channel": source.key, "unit": source.unit, **more}
    return named(sink.measurement or source.of.driver, tags, sink, source.of)


def _said(value: float | None, text: str | None) -> str:
    """Value and text of a reading as further fields; of a bad one there may be neither."""
    said = "" if text is None else f",text={lines.text(text)}"
    if value is None or isnan(value) or value in (float("inf"), float("-inf")):
        return said
    return f"{said},value={lines.number(value)}"


def _vector(vector: StoredVector, sink: Sink, directory: Directory, points: Points) -> None:
    source = directory.sources([vector.channel]).get(vector.channel)
    if source is None or not (of := _head(source, sink)):
        return
    if vector.length > VALUES_MOST:
        points.refused.append(
            BadPoint(f"{of} {vector.time * NS}", f"{vector.length} values: more than {VALUES_MOST}")
        )
        return
    for label, value in zip(labels_of(vector), values_of(vector), strict=True):
        of = _head(source, sink, label=label)
        quality = vector.quality & QUALITY_MASK
        points.lines.append(f"{of} quality={quality}i{_said(value, None)} {vector.time * NS}")


# ---- what happens


def _events(told: Told, sink: Sink, directory: Directory) -> Iterator[str]:
    found = directory.instruments(UUID(event.instrument) for event in told.events)
    for event in told.events:
        of = found.get(UUID(event.instrument))
        if of is not None and is_for(of, sink):
            head = named(EVENTS, {"instrument": of.name, "kind": event.kind}, sink, of)
            yield lines.line(head, {"text": event.text, "fields": _fields(event)}, _time(event))


def _fields(event: StoredEvent) -> str | None:
    """As JSON, in one form wherever it comes from."""
    fields = json.loads(event.fields)
    return json.dumps(fields, sort_keys=True, ensure_ascii=False) if fields else None


def _time(event: StoredEvent) -> int:
    return event.time * NS + apart(event.text)


def _runs(told: Told, sink: Sink, directory: Directory) -> Iterator[str]:
    """Each as it stands now: words on it come in any order, and the last one counts. Always at its start."""
    if not told.runs:
        return
    wanted = Q()
    for word in told.runs:
        wanted |= Q(instrument=word.instrument, key=word.key)
    found = directory.instruments(word.instrument for word in told.runs)
    for run in Run.objects.filter(wanted, start__isnull=False).order_by("id"):
        of = found.get(run.instrument_id)
        if of is None or not of.is_of(sink.only) or run.start is None:
            continue
        head = named(RUNS, {"instrument": of.name, "kind": run.kind}, sink, of)
        end = run.end.timestamp() if run.end else None
        fields: dict[str, lines.Value | None] = {
            "key": run.key, "title": run.title, "state": run.state, "progress": run.progress, "end": end,
        }  # fmt: skip
        yield lines.line(head, fields, round(run.start.timestamp() * 1_000_000) * NS + apart(run.key))
