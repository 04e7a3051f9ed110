"""Readings as a program pushes them: JSON taken apart and put into a batch, as an edge would send it.

Any fault is told with the place where it stands, such as `readings[3].value`. No I/O.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from devices.drivers.base import UNSTORABLE
from devices.readings import Flag, Quality, finite
from devices.wire import Batch, VectorRow
from telemetry.beside import LABEL_MAX, TEXT_MAX, VALUES_MAX
from telemetry.parameters import EPOCH, time_of
from telemetry.roster import usable
from telemetry.times import TIME_MAX, moment

READINGS_MAX = 10_000  # in one request
NUMBERS_MAX = 100_000  # in all its vectors
FAULTS_MAX = 20  # told at once
NO_NUMBER = "A number or null is needed."
SOURCE_FIELDS = ("instrument", "readings")
FIELDS = ("key", "channel", "time", "value", "values", "labels", "quality")
QUALITIES = {quality.name.lower(): quality for quality in Quality}


class Wrong(Exception):
    """One place has not the form it must have."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True)
class Faults:
    """What was wrong, by place; a few of it."""

    found: dict[str, list[str]] = field(default_factory=dict)

    @contextmanager
    def noted(self, place: str) -> Iterator[None]:
        try:
            yield
        except Wrong as wrong:
            if len(self.found) < FAULTS_MAX:
                self.found.setdefault(f"{place}{wrong.place}", []).append(str(wrong))


class Source(NamedTuple):
    """The readings of one instrument, by its id or name; `place`: where in the request this stands."""

    place: str
    instrument: str
    readings: list[Any]


class Pushed(NamedTuple):
    """A reading that was pushed: a value, or a vector's `values`. The channel by key, or by number."""

    place: str
    instrument: UUID
    key: str
    time: int
    quality: int
    value: float | str | None
    kind: str
    values: list[float | None] | None = None
    labels: tuple[str, ...] = ()

    @property
    def moment(self) -> datetime:
        return moment(self.time)


def sources(content: object, faults: Faults) -> list[Source]:
    """The sources in a request: one object, or a list of them."""
    listed = content if isinstance(content, list) else [content]
    found = []
    for number, each in enumerate(listed):
        place = f"[{number}]." if isinstance(content, list) else ""
        with faults.noted(place):
            found.append(_source(each, place))
    if sum(len(source.readings) for source in found) > READINGS_MAX:
        with faults.noted(""):
            raise Wrong("readings", f"More than {READINGS_MAX} in one request.")
    return found


def _source(each: object, place: str) -> Source:
    if not isinstance(each, dict):
        raise Wrong("instrument", "An object with instrument and readings is needed.")
    _no_others(each, SOURCE_FIELDS)
    instrument, readings = each.get("instrument"), each.get("readings")
    if not isinstance(instrument, str) or not instrument:
        raise Wrong("instrument", "The id or the name of an instrument is needed.")
    if not isinstance(readings, list):
        raise Wrong("readings", "A list is needed.")
    return Source(place, instrument, readings)


def readings(
    source: Source, instrument: UUID, channels: Mapping[int, str], now: datetime, faults: Faults
) -> list[Pushed]:
    """The readings of a source; `channels`: the keys of its instrument's channels, by number."""
    found = []
    for number, each in enumerate(source.readings):
        place = f"{source.place}readings[{number}]"
        with faults.noted(f"{place}."):
            found.append(_reading(each, place, instrument, channels, now))
    return found


def _reading(
    each: object, place: str, instrument: UUID, channels: Mapping[int, str], now: datetime
) -> Pushed:
    if not isinstance(each, dict):
        raise Wrong("value", "An object with key and value is needed.")
    _no_others(each, FIELDS)
    key = _key(each, channels)
    own_time = each.get("time") is not None
    time = _time(each["time"]) if own_time else (now - EPOCH) // timedelta(microseconds=1)
    flags = Flag.INSTRUMENT_TIME if own_time else 0
    if "values" in each:
        if "value" in each:
            raise Wrong("values", "It has a value already.")
        values, labels = _values(each["values"]), _labels(each.get("labels"), each["values"])
        quality = _quality(each.get("quality"), Quality.GOOD)
        return Pushed(place, instrument, key, time, quality | flags, None, "vector", values, labels)
    if "labels" in each:
        raise Wrong("labels", "Only values have labels.")
    if "value" not in each:
        raise Wrong("value", "It is needed; null for none.")
    value, kind = _value(each["value"])
    quality = _quality(each.get("quality"), Quality.BAD if value is None else Quality.GOOD)
    if value is None and quality == Quality.GOOD:
        raise Wrong("quality", "Without a value it is not good.")
    return Pushed(place, instrument, key, time, quality | flags, value, kind)


def _no_others(each: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in each:
        if name not in known:
            raise Wrong(str(name)[:60], f"There is no such field; there are {', '.join(known)}.")


def _key(each: Mapping[str, Any], channels: Mapping[int, str]) -> str:
    key, channel = each.get("key"), each.get("channel")
    if (key is None) == (channel is None):
        raise Wrong("key", "Either a key is needed, or a channel's number.")
    if channel is not None:
        if isinstance(channel, bool) or not isinstance(channel, int) or channel not in channels:
            raise Wrong("channel", "The instrument has no channel of this number.")
        return channels[channel]
    if not isinstance(key, str) or not usable(key):
        raise Wrong("key", "A text of 1 to 100 printable characters is needed.")
    return key


def _time(given: object) -> int:
    if isinstance(given, str):
        try:
            time = (time_of(given) - EPOCH) // timedelta(microseconds=1)
        except (ValueError, OverflowError) as error:
            raise Wrong("time", str(error)) from None
    elif isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < TIME_MAX / 1000:
        time = round(given * 1000)
    else:
        raise Wrong("time", "ISO 8601 or ms since 1970 is needed.")
    if not 0 <= time < TIME_MAX:
        raise Wrong("time", "It is before 1970 or after the year 9998.")
    return time


def _quality(given: object, default: Quality) -> Quality:
    if given is None:
        return default
    if not isinstance(given, str) or given not in QUALITIES:
        raise Wrong("quality", f"One of {', '.join(QUALITIES)} is needed.")
    return QUALITIES[given]


def _value(given: object) -> tuple[float | str | None, str]:
    """The value as it is stored, and what kind of channel it makes; "" if that cannot be said."""
    if given is None:
        return None, ""
    if isinstance(given, str):
        return _text(given, "value", TEXT_MAX), "text"
    if isinstance(given, bool):
        return float(given), "bool"
    return _number(given, "value"), "float"


def _text(given: object, place: str, most: int) -> str:
    if not isinstance(given, str) or len(given) > most or UNSTORABLE.search(given):
        raise Wrong(place, f"A text of up to {most} characters is needed, without NUL.")
    return given


def _number(given: object, place: str) -> float:
    number = finite(given)
    if number is not None:
        return number
    raise Wrong(place, "A number, a text, true, false or null is needed." if place == "value" else NO_NUMBER)


def _values(given: object) -> list[float | None]:
    if not isinstance(given, list) or len(given) > VALUES_MAX:
        raise Wrong("values", f"A list of up to {VALUES_MAX} numbers is needed.")
    return [None if each is None else _number(each, f"values[{number}]") for number, each in enumerate(given)]


def _labels(given: object, values: Sequence[Any]) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) != len(values):
        raise Wrong("labels", "A list of texts is needed, one for each value.")
    return tuple(_text(each, f"labels[{number}]", LABEL_MAX) for number, each in enumerate(given))


def kinds(pushed: Sequence[Pushed]) -> dict[tuple[str, str], set[str]]:
    """Of what kind a channel is, should it be new: by its first value. The keys, by (instrument, kind)."""
    first: dict[tuple[str, str], str] = {}
    for each in pushed:
        place = (str(each.instrument), each.key)
        first[place] = first.get(place) or each.kind
    found: dict[tuple[str, str], set[str]] = {}
    for (instrument, key), kind in first.items():
        found.setdefault((instrument, kind or "float"), set()).add(key)
    return found


def batch(pushed: Sequence[Pushed]) -> tuple[Batch, list[Pushed], list[Pushed]]:
    """What an edge would have made of it; and which of these its readings and its vectors are, in order."""
    single = [each for each in pushed if each.values is None]
    vectors = [each for each in pushed if each.values is not None]
    instruments: dict[UUID, int] = {}
    keysets: dict[str, int] = {}
    labelsets: dict[tuple[str, ...], int] = {}
    rows, before = [], 0
    for each in single:
        instrument = instruments.setdefault(each.instrument, len(instruments))
        rows += [instrument, keysets.setdefault(each.key, len(keysets)), each.time - before]
        before = each.time
    vector_rows = [
        VectorRow(
            instruments.setdefault(each.instrument, len(instruments)),
            each.key,
            each.time,
            each.values or [],
            labelsets.setdefault(each.labels, len(labelsets)) if each.labels else -1,
            each.quality,
        )
        for each in vectors
    ]
    made = Batch(
        [str(instrument) for instrument in instruments],
        [[key] for key in keysets],
        rows,
        [each.value if isinstance(each.value, float) else None for each in single],
        [each.quality for each in single],
        {str(number): each.value for number, each in enumerate(single) if isinstance(each.value, str)},
        vectors=vector_rows,
        labels=[list(labels) for labels in labelsets],
    )
    return made, single, vectors
