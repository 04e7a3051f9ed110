"""The schema of the filament box's collector: one point with temperature_c, temperature_f and humidity.

Its points are of one sensor; where a sink has several, a tag must tell them apart.
"""

from telemetry.models import Sink
from telemetry.sinks.directory import About, Directory, Source
from telemetry.sinks.schemas.base import Place, Points, as_it_is, grouped, named
from telemetry.sinks.told import Told

MEASUREMENT = "environment"
ONLY = {"driver": "bme280"}  # where the sink does not say which instruments


def is_for(of: About, sink: Sink) -> bool:
    """Those that the sink is for; BME280s where it does not say."""
    return of.is_of(sink.only or ONLY)


def fahrenheit(celsius: float) -> float:
    return celsius * 9 / 5 + 32


def form(told: Told, sink: Sink, directory: Directory) -> Points:
    """Readings of temperature and humidity."""
    found = directory.sources(told.columns.channel.tolist())
    places = {number: _places(source, sink) for number, source in found.items()}
    return Points(grouped(told.columns, places))


def _places(source: Source, sink: Sink) -> list[Place]:
    if not is_for(source.of, sink):
        return []
    of = named(sink.measurement or MEASUREMENT, {}, sink, source.of)
    if (source.key, source.unit) == ("temperature", "Cel"):
        return [Place(of, "temperature_c", as_it_is), Place(of, "temperature_f", fahrenheit)]
    return [Place(of, "humidity", as_it_is)] if (source.key, source.unit) == ("humidity", "%") else []
