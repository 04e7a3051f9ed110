"""What schemas have in common: the sink's own tags, and readings of one time as fields of one point."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from devices.readings import QUALITY_MASK, Quality
from telemetry.columns import Columns
from telemetry.models import Sink
from telemetry.sinks.delivery import BadPoint
from telemetry.sinks.directory import About
from telemetry.sinks.lines import head, line

NS = 1000  # in a µs


@dataclass(slots=True)
class Points:
    """Points as lines, and what cannot be one, with the reason."""

    lines: list[str] = field(default_factory=list)
    refused: list[BadPoint] = field(default_factory=list)


class Place(NamedTuple):
    """Where a channel's values go: the head of a point, a field of it, and in which form."""

    head: str
    field: str
    value: Callable[[float], float]


def as_it_is(value: float) -> float:
    return value


def named(measurement: str, tags: Mapping[str, str], sink: Sink, of: About) -> str:
    """The head of points of an instrument; the sink's own tags are added, and win."""
    own = {key: filled(value, of) for key, value in sink.tags.items()}
    return head(measurement, {**tags, **own})


def filled(words: str, of: About) -> str:
    """A tag's value, with the names that it asks for."""
    for what in ("instrument", "driver", "edge"):
        words = words.replace(f"{{{what}}}", of.name if what == "instrument" else getattr(of, what))
    return words


def grouped(columns: Columns, places: Mapping[int, Iterable[Place]]) -> list[str]:
    """Readings of these channels; those of one time in one point. The bad ones are no measurement."""
    points: dict[tuple[str, int], dict[str, float]] = {}
    for time, value, channel, quality in zip(
        columns.time.tolist(),
        columns.value.tolist(),
        columns.channel.tolist(),
        columns.quality.tolist(),
        strict=True,
    ):
        if quality & QUALITY_MASK < Quality.BAD:
            for place in places.get(channel, ()):
                points.setdefault((place.head, time), {})[place.field] = place.value(value)
    formed = (line(of, fields, time * NS) for (of, time), fields in points.items())
    return [each for each in formed if each]
