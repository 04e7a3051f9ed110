"""Sinks in a lab file.

    [[sink]]
    name = "influx"
    api = "v2"                        # or v1, for InfluxDB before 1.8
    url = "http://influx.lab:8086"
    org = "lab"
    bucket = "instruments"            # v1: the database
    secret = "INFLUX"                 # LABSITE_SECRET_INFLUX at the centre: the token, or password
    schema = "labsite"                # or qs-monitor, filament-box
    tags = { site = "Berlin" }
    only = { tag = "room-214" }       # of driver, edge, tag and instrument those that are named

What else there is to say of one is in docs/influxdb.md.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from devices.lab_file import Change, Entry, Kind, Lab
from devices.lab_file.changes import added, changed
from devices.lab_file.force import said
from devices.lab_file.tables import suggestion
from devices.services import Person
from telemetry.models import Sink
from telemetry.sinks import editing

WORDS = {"api": Sink.Api.values, "schema": Sink.Schema.values}


def _faults(entry: Entry) -> Iterable[str]:
    for key, words in WORDS.items():
        word = entry.table.get(key)
        if isinstance(word, str) and word not in words:
            yield entry.error(f"{key}: {word!r} is none{suggestion(word, words)}", key)


KEYS = {
    "name": str, "enabled": bool, "api": str, "url": str, "org": str, "bucket": str, "user": str,
    "secret": str, "schema": str, "measurement": str, "tags": dict, "only": dict, "batch_size": int,
    "flush_interval": float, "gzip": bool, "alert_threshold": int,
}  # fmt: skip
SINK = Kind("sink", KEYS, required=("name",), faults=_faults)
PLAIN = tuple(key for key in KEYS if key != "name")


class Sinks:
    """Where copies of what is stored go."""

    kinds = (SINK,)

    def apply(self, lab: Lab, by: Person, *, prune: bool) -> list[Change]:
        known = {sink.name: sink for sink in Sink.objects.all()}
        entries = {entry.name: entry for entry in lab.of("sink")}
        changes = [change for entry in entries.values() for change in _put(entry, known, by)]
        if prune:
            for name in sorted(known.keys() - entries.keys()):
                editing.delete_sink(known[name], by)
                changes.append(Change("−", "sink", name))
        return changes

    def export(self) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
        yield "sink", [{"name": sink.name, **_written(sink)} for sink in Sink.objects.order_by("name")]


SINKS = Sinks()


def _put(entry: Entry, known: Mapping[str, Sink], by: Person) -> list[Change]:
    """Make or change one as its entry says; what the entry leaves out stays."""
    sink = known.get(entry.name)
    was = None if sink is None else _shown(sink)
    sink = sink or Sink(name=entry.name)
    for key in PLAIN:
        if key in entry.table:
            setattr(sink, key, entry.table[key])
    now = _shown(sink)
    if now == was:
        return []
    said(entry, lambda field, _: field, partial(editing.save_sink, sink, by))
    if was is None:
        return [added("sink", entry.name, _written(sink))]
    return [changed("sink", entry.name, was, now)]


def _shown(sink: Sink) -> dict[str, Any]:
    return {key: getattr(sink, key) for key in PLAIN}


def _written(sink: Sink) -> dict[str, Any]:
    """What is otherwise than where nothing is said."""
    usual = _shown(Sink())
    return {key: value for key, value in _shown(sink).items() if value != usual[key]}
