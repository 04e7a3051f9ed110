"""Labsite's own topics: `<prefix>/<edge>/<instrument>/…`, and what is told there."""

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from alerts.lifecycle import State
from alerts.models import Priority
from devices import numbers
from devices.readings import QUALITY_MASK, Quality
from labsite.mqtt.names import channel as channel_level, level
from labsite.mqtt.present import Alarm, Channel, Event, Instrument, Present, Run, Vector
from labsite.pages.standing import Now

ALARMS_SHOWN = 100  # of the whole lab; how many there are is told, too
OVER = (State.RETURNED,)  # it stands until somebody acknowledges it, but is over
SLACK_S = 10.0


class Topics:
    """Where things are told, below a prefix."""

    def __init__(self, prefix: str) -> None:
        self.status = f"{prefix}/status"
        self.alarms = f"{prefix}/alarms"
        self._prefix = prefix

    def of(self, instrument: Instrument, what: str) -> str:
        """`state`, `availability`, `alarms`, `run` or `event`."""
        return f"{self._prefix}/{level(instrument.edge)}/{level(instrument.name)}/{what}"

    def value(self, instrument: Instrument, channel: Channel) -> str:
        return self.of(instrument, channel_level(channel.key))


def silent_after(interval: float) -> float:
    """Seconds without an answer, three polls and a little, after which an instrument counts as away."""
    return 3 * interval + SLACK_S


def is_available(present: Present, instrument: Instrument, now: datetime) -> bool:
    """Whether it is polled and answers, with at least one value."""
    standing = present.standing(instrument)
    if not instrument.in_service or standing.seen is None:
        return False
    if standing.bad and standing.bad == standing.read:
        return False
    return now.timestamp() - standing.seen / 1000 <= silent_after(instrument.interval)


def value_of(channel: Channel, now: Now | None) -> float | int | bool | str | None:
    """What the channel says; None while it is bad: the last value there was is not the present."""
    if now is None or now.bad:
        return None
    if channel.kind == "text":
        return now.text
    if now.value is None or not math.isfinite(now.value):
        return None
    if channel.kind == "bool":
        return bool(now.value)
    return int(now.value) if channel.kind == "int" else now.value


def plain(channel: Channel, now: Now | None) -> str:
    """The value and nothing else; "": there is none."""
    value = value_of(channel, now)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def state(present: Present, instrument: Instrument) -> str:
    """All channels but vectors, of one moment."""
    latest = {channel: present.latest.get(channel.number) for channel in instrument.channels}
    seen = max((now.seen for now in latest.values() if now is not None), default=None)
    rows = {channel.key: _row(channel, now) for channel, now in latest.items() if channel.kind != "vector"}
    return _json({"time": None if seen is None else _ms(seen), "channels": rows})


def _row(channel: Channel, now: Now | None) -> dict[str, Any]:
    row: dict[str, Any] = {"value": value_of(channel, now)}
    if channel.unit:
        row["unit"] = numbers.unit(channel.unit)
    if now is None:
        return {**row, "quality": None, "time": None}
    quality = Quality(min(now.quality & QUALITY_MASK, Quality.BAD)).name.lower()
    return {**row, "quality": quality, "time": _ms(now.read)}


def vector(channel: Channel, told: Vector) -> str:
    """The newest of a channel with many numbers."""
    content: dict[str, Any] = {"values": [_finite(value) for value in told.values]}
    if channel.unit:
        content["unit"] = numbers.unit(channel.unit)
    return _json(content | ({"labels": told.labels} if told.labels else {}))


def run(told: Run) -> str:
    return _json(
        {
            "run": told.key,
            "kind": told.kind,
            "title": told.title or told.key,
            "state": told.state,
            "progress": told.progress,
            "start": _iso(told.start),
            "end": _iso(told.end),
            "fields": told.fields,
            "time": _iso(told.told_at),
        }
    )


def event(told: Event) -> str:
    return _json({"kind": told.kind, "text": told.text, "time": _iso(told.time), "fields": told.fields})


def alarms(standing: Iterable[Alarm]) -> str:
    """Those of an instrument, the most important first. `active`: how many are not over."""
    found = list(standing)
    highest = min((alarm.priority for alarm in found), default=None)
    return _json(
        {
            "active": sum(alarm.state not in OVER for alarm in found),
            "standing": len(found),
            "highest": None if highest is None else _priority(highest),
            "alarms": [_alarm(alarm) for alarm in found[:ALARMS_SHOWN]],
        }
    )


def _alarm(alarm: Alarm) -> dict[str, Any]:
    return {
        "id": alarm.number,
        "rule": alarm.rule,
        "state": alarm.state,
        "priority": _priority(alarm.priority),
        "text": alarm.text,
        "channel": alarm.channel,
        "value": _finite(alarm.value),
        "raised": _iso(alarm.raised_at),
        "since": _iso(alarm.since),
        "guidance": alarm.guidance,
    }


def _priority(number: int) -> str:
    return Priority(number).name.lower()


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _ms(milliseconds: int) -> str:
    return str(_iso(datetime.fromtimestamp(milliseconds / 1000, UTC)))


def _iso(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(content: object) -> str:
    return msgspec.json.encode(content).decode()
