"""The schema of qs-monitor, for QuantStudios (protocol notes, quantstudio §7), with the machine's own times.

What a dashboard of it asks for is there as it was. Where qs-monitor lost what was no number (`Stage PRERUN`),
the stage's name is kept in `stage_name`; numbers within a message stay as the machine wrote them.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from devices.models import Channel
from telemetry.beside import StoredEvent
from telemetry.models import AnyVector, Event, Sink
from telemetry.sinks.directory import About, Directory, Source
from telemetry.sinks.lines import Value, line
from telemetry.sinks.schemas.base import NS, Place, Points, as_it_is, grouped, named
from telemetry.sinks.told import Told, apart
from telemetry.times import moment

DRIVER = "quantstudio"
FLUORESCENCE = "fluorescence."
ZONE = re.compile(r"(sample|block)\.(\d+)")
LAMP = {
    "led.temperature": "temperature",
    "led.current": "current",
    "led.voltage": "voltage",
    "led.junction": "junctemp",
}
COUNTED = {
    "stage": ("stage",),
    "cycle": ("cycle",),
    "step": ("step",),
    "acquiring": ("stage", "cycle", "point"),
    "collected": ("stage", "cycle", "step", "point"),
}
MEASURED = {
    "acquiring": ("temperature_zone_",),
    "holding": ("holdtime",),
    "ramping": ("rate_", "target_"),
}
WITH_MESSAGE = {"error", "ended", "aborted", "stopped", "starting"}
STATUS = {"stage", "cycle", "step"}

Fields = dict[str, Value | None]


class Exposure(NamedTuple):
    """One plate as one filter set saw it. `time`: µs of UTC."""

    instrument: UUID
    time: int
    filter_set: str


def form(told: Told, sink: Sink, directory: Directory) -> Points:
    """Temperatures, times, lamp, what a run does, and fluorescence of the QuantStudios the sink is for."""
    found = directory.sources(told.columns.channel.tolist())
    points = Points(
        grouped(told.columns, {number: list(_places(source, sink)) for number, source in found.items()})
    )
    machines = directory.instruments(UUID(event.instrument) for event in told.events)
    for event in told.events:
        of = machines.get(UUID(event.instrument))
        if event.kind == "run_action" and of is not None and is_for(of, sink):
            points.lines += filter(None, _action(event, of, sink))
    for exposure in _exposures(told, directory):
        of = directory.instruments([exposure.instrument]).get(exposure.instrument)
        if of is not None and is_for(of, sink):
            points.lines += filter(None, _fluorescence(exposure, of, sink, directory))
    return points


def is_for(of: About, sink: Sink) -> bool:
    """QuantStudios, and of them those that the sink is for."""
    return of.driver == DRIVER and of.is_of(sink.only)


def _named(measurement: str, of: About, sink: Sink, **tags: str) -> str:
    return named(measurement, {"machine": of.name, **tags}, sink, of)


# ---- what streams


def _places(source: Source, sink: Sink) -> Iterator[Place]:
    if not is_for(source.of, sink):
        return
    head = partial(_named, of=source.of, sink=sink)
    if zone := ZONE.fullmatch(source.key):
        of = head("temperature", loc="zones", zone=str(int(zone[2]) - 1))
        yield Place(of, zone[1], as_it_is)
    elif source.key in ("cover", "heatsink"):
        yield Place(head("temperature", loc=source.key), source.key, as_it_is)
    elif source.key in ("run.elapsed", "run.remaining", "run.active"):
        yield Place(head("run_time"), source.key.removeprefix("run."), as_it_is)
    elif source.key in LAMP:
        yield Place(head("lamp"), LAMP[source.key], as_it_is)


# ---- what a run does


def _action(event: StoredEvent, of: About, sink: Sink) -> Iterator[str]:
    """The points of one line of the run's log, without those that have no field."""
    said: dict[str, Any] = json.loads(event.fields)
    type_ = str(said.get("type", ""))
    time = event.time * NS
    fields: Fields = {name: said[name] for name in COUNTED.get(type_, ()) if isinstance(said.get(name), int)}
    fields |= {
        name: float(value)
        for name, value in said.items()
        if name.startswith(MEASURED.get(type_, ())) and isinstance(value, int | float)
    }
    if type_ in STATUS:
        yield line(_named("run_status", of, sink, type=type_), fields, time)
        if type_ == "stage" and not fields:
            fields["stage_name"] = _text(said, "stage_name")
    elif type_ in WITH_MESSAGE:
        fields["message"] = _text(said, "message")
    elif type_ not in COUNTED and type_ not in MEASURED:
        type_, time = "Other", time + apart(event.text)  # several may be of one time
        fields["message"] = event.text
    fields["run_name"] = _text(said, "run_name")
    yield line(_named("run_action", of, sink, type=type_), fields, time)


def _text(said: dict[str, Any], name: str) -> str | None:
    return str(said.get(name) or "") or None


# ---- fluorescence


def _exposures(told: Told, directory: Directory) -> list[Exposure]:
    """Of which there was a word: its vector or its event. Whichever is stored last finds the other."""
    sources = directory.sources(vector.channel for vector in told.vectors)
    seen = [
        Exposure(source.of.id, vector.time, source.key.removeprefix(FLUORESCENCE))
        for vector in told.vectors
        if (source := sources.get(vector.channel)) and source.key.startswith(FLUORESCENCE)
    ]
    for event in told.events:
        if event.kind == "filterdata":
            filter_set = json.loads(event.fields).get("filter_set", "")
            seen.append(Exposure(UUID(event.instrument), event.time, str(filter_set)))
    return list(dict.fromkeys(seen))


def _fluorescence(exposure: Exposure, of: About, sink: Sink, directory: Directory) -> Iterator[str]:
    """Each well, and what is in it. Nothing if only the vector or only the event is stored."""
    event = (
        Event.objects.filter(
            instrument=exposure.instrument,
            time=moment(exposure.time),
            kind="filterdata",
            fields__filter_set=exposure.filter_set,
        )
        .values_list("fields", flat=True)
        .first()
    )
    plate = _plate(exposure)
    if event is None or plate is None or not (event.get("rows") and event.get("columns")):
        return
    run_name = _text(event, "run_name")
    samples = _samples(exposure, run_name or "", directory)
    time = exposure.time * NS
    fields: Fields = {name: _whole(event.get(name)) for name in ("stage", "cycle", "step", "point")}
    fields["run_name"] = run_name
    for number, value in enumerate(plate[: event["rows"] * event["columns"]]):
        row, column = divmod(number, event["columns"])
        well = f"{row_name(row)}{column + 1}"
        place = {"row": row_name(row), "col": f"{column + 1:02}"}
        more = {
            "fluorescence": value,
            "sample": samples.get(well),
            "temperature_read": _of_zone(event.get("temperature_read"), column, event["columns"]),
            "temperature_set": _of_zone(event.get("temperature_set"), column, event["columns"]),
        }
        head = _named("filterdata", of, sink, filter_set=exposure.filter_set, **place)
        if value is not None:
            yield line(head, {**fields, **more}, time)
        if samples:
            head = _named("platesetup", of, sink, run_name=run_name or "", **place)
            yield line(head, {"sample": samples.get(well, "")}, time)


def _plate(exposure: Exposure) -> list[float | None] | None:
    channel = Channel.objects.filter(
        instrument=exposure.instrument, key=f"{FLUORESCENCE}{exposure.filter_set}"
    ).first()
    if channel is None:
        return None
    stored = AnyVector.objects.filter(channel_id=channel.pk, time=moment(exposure.time))
    return stored.values_list("values", flat=True).first()


def _samples(exposure: Exposure, run_name: str, directory: Directory) -> dict[str, str]:
    """What is in the wells of a run, by well; nothing if that is not known (yet)."""
    key = (exposure.instrument, run_name)
    if key not in directory.plates:
        told = Event.objects.filter(
            instrument=exposure.instrument, kind="platesetup", fields__run_name=run_name
        )
        fields = told.order_by("-time", "-id").values_list("fields", flat=True).first()
        directory.plates[key] = {well: str(name) for well, name in (fields or {}).get("samples", {}).items()}
    return directory.plates[key]


def _of_zone(values: Any, column: int, columns: int) -> float | None:
    """A zone's value for a column of the plate."""
    if not isinstance(values, list) or not values:
        return None
    zone = min(column * len(values) // columns, len(values) - 1)
    return float(values[zone]) if isinstance(values[zone], int | float) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def row_name(row: int) -> str:
    """A, B …; after Z AA."""
    return (row_name(row // 26 - 1) if row >= 26 else "") + chr(65 + row % 26)
