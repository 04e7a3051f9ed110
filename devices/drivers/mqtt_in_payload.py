"""What an MQTT message says of a channel: the payload as it is, or a place in its JSON; and when."""

import json
import math
import re
from functools import cached_property
from typing import Any

import msgspec

from devices.drivers import json_paths
from devices.drivers.declared import scaled, storable, vector_of, whole
from devices.drivers.json_values import moment
from devices.readings import Value, Vector

TOPIC_MAX = 1_000
NUMBER = re.compile(r"\s*[+-]?(?:\d{1,400}\.?\d{0,400}|\.\d{1,400})(?:[eE][+-]?\d{1,9})?\s*", re.ASCII)
TRUE = {"1", "on", "true", "yes", "online", "open"}
FALSE = {"0", "off", "false", "no", "offline", "closed"}
# A bare number of time is in seconds, ms or µs since 1970, by its size.
SECONDS_BELOW, MILLISECONDS_BELOW = 1e11, 1e14
TIME_MAX = 253_402_300_799 * 1_000_000  # µs; the end of the year 9999


class Payload:
    """A message's, decoded once for all channels that are in it."""

    def __init__(self, payload: bytes) -> None:
        self._bytes = payload

    @cached_property
    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace")

    @cached_property
    def tree(self) -> Any:
        """The JSON in it; a `Broken` if there is none."""
        try:
            return msgspec.json.decode(self._bytes)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Broken

    def find(self, path: str) -> Any:
        """What is at a place: None if nothing is; Broken if the payload is no JSON, or the path does not
        work in it."""
        if not path:
            return self.text
        if self.tree is Broken:
            return Broken
        return json_paths.look(path, self.tree, otherwise=Broken)


class Broken:
    """Stands for what cannot be read."""


def check_topic(topic: str) -> None:
    """Raises ValueError, in words."""
    levels = topic.split("/")
    if not topic or len(topic) > TOPIC_MAX or not topic.isprintable():
        raise ValueError(f"topic {topic!r:.60}: 1 to {TOPIC_MAX} printable characters")
    if levels[0] == "$share":
        raise ValueError("topic: a shared subscription would give each edge only a part of the messages")
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        raise ValueError(
            f"topic {topic!r:.60}: + stands for one whole level, # for all that follow, at the end"
        )


def value_of(found: Any, kind: str, scale: float, offset: float) -> Value:
    """What was found as a channel's kind; None if it is not."""
    if found is Broken or found is None:
        return None
    if kind == "text":
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
        return storable(text)
    if kind == "bool":
        return truth(found)
    if kind == "vector":
        return vector(found, scale, offset)
    value = number(found)
    if kind == "int":
        return whole(value)
    return scaled(value, scale, offset)


def number(found: Any) -> float | None:
    try:
        if isinstance(found, str):
            found = float(found) if NUMBER.fullmatch(found) else math.nan
        value = float(found) if isinstance(found, int | float) else math.nan
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def truth(found: Any) -> bool | None:
    if isinstance(found, str):
        word = found.strip().lower()
        if word in TRUE or word in FALSE:
            return word in TRUE
    value = number(found)
    return None if value is None else value != 0


def vector(found: Any, scale: float, offset: float) -> Vector | None:
    """A list of numbers, also one in text: `1,2,3`. None where one is none."""
    parts = found.strip("[] \n").split(",") if isinstance(found, str) else found
    if not isinstance(parts, list) or not 0 < len(parts) <= 100_000:
        return None
    return vector_of(map(number, parts), scale, offset)


def time_of(found: Any) -> int | None:
    """µs of UTC: of a number since 1970, or of an ISO 8601 text (UTC if it names no zone). None if it is
    neither."""
    if isinstance(found, str) and not NUMBER.fullmatch(found):
        return moment(found) or None
    value = number(found)
    if value is None or isinstance(found, bool):
        return None
    factor = 1e6 if value < SECONDS_BELOW else 1e3 if value < MILLISECONDS_BELOW else 1.0
    time = round(value * factor)
    return time if 0 < time <= TIME_MAX else None
