"""Which channel a field of an InfluxDB measurement is: in the schemas of the replaced monitors, in our own,
or as it is said."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Tags = Mapping[str, str]
Schema = Callable[[str, Tags, str], str | None]  # measurement, tags, field: the channel's key; None: none

LAMP = {
    "temperature": "led.temperature",
    "current": "led.current",
    "voltage": "led.voltage",
    "junctemp": "led.junction",
}
ZONED = ("sample", "block", "target")
COUNTED = ("stage", "cycle", "step")
FILAMENT_BOX = {"temperature_c": "temperature", "humidity": "humidity"}  # °F is the same once more

_rule = re.compile(r"(?P<measurement>[^.{}=]+)\.(?P<field>[^{}=]+)(\{(?P<tags>[^{}]*)\})?=(?P<key>.+)")


def qs_monitor(measurement: str, tags: Tags, field: str) -> str | None:
    """Temperatures, times, lamp and where a run was (protocol notes, quantstudio §7); not its log."""
    if measurement == "temperature":
        return _temperature(tags, field)
    if measurement == "run_time" and field in ("elapsed", "remaining", "active"):
        return f"run.{field}"
    if measurement == "lamp":
        return LAMP.get(field)
    if measurement == "run_status" and field in COUNTED:
        return f"run.{field}"
    return None


def _temperature(tags: Tags, field: str) -> str | None:
    where, zone = tags.get("loc", ""), tags.get("zone", "")
    if where == "zones" and field in ZONED and zone.isdecimal():
        return f"{field}.{int(zone) + 1}"  # theirs count from 0
    if where in ("cover", "heatsink"):
        return where if field == where else None
    return None


def filament_box(_measurement: str, _tags: Tags, field: str) -> str | None:
    """Of one sensor: where there are several, a tag tells them apart, by which to ask."""
    return FILAMENT_BOX.get(field)


def labsite(_measurement: str, tags: Tags, field: str) -> str | None:
    """Our own: a channel's name is a tag, its value a field."""
    return tags.get("channel") if field in ("value", "text") else None


SCHEMAS: Mapping[str, Schema] = {"qs-monitor": qs_monitor, "filament-box": filament_box, "labsite": labsite}
MEASUREMENTS: Mapping[str, tuple[str, ...]] = {
    "qs-monitor": ("temperature", "run_time", "lamp", "run_status"),
    "filament-box": ("environment",),
    "labsite": (),
}


class Rule(NamedTuple):
    """One field of a measurement, of points with these tags, is one channel."""

    measurement: str
    field: str
    tags: Tags
    key: str


def rule_of(text: str) -> Rule:
    """`measurement.field=key`, or `measurement.field{tag=value,…}=key`. Raises ValueError."""
    found = _rule.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not of the form measurement.field=channel or …{{tag=value}}=channel")
    pairs = [pair.partition("=") for pair in (found["tags"] or "").split(",") if pair]
    tags = {name.strip(): value.strip() for name, _, value in pairs}
    return Rule(found["measurement"], found["field"], tags, found["key"])


def by_rules(rules: Sequence[Rule]) -> Schema:
    """The first rule that fits counts; what none fits is left out."""

    def key_of(measurement: str, tags: Tags, field: str) -> str | None:
        for rule in rules:
            if (rule.measurement, rule.field) == (measurement, field) and rule.tags.items() <= tags.items():
                return rule.key
        return None

    return key_of
