"""The topics of the replaced UPS program, for instruments that are switched to it: its clients carry on.

`ups/telemetry`: one JSON object for each poll that was answered, QoS 1, not retained, `alarms` behind the
fields that were there before. `ups/availability`: online or offline, retained. A connection has one last will
only, so each has a connection of its own.
"""

import asyncio
import hashlib
import json
import logging
import time
from datetime import UTC, datetime

from labsite.mqtt.names import is_prefix
from labsite.mqtt.outlet import Outlet
from labsite.mqtt.present import Present
from labsite.mqtt.settings import Told
from labsite.mqtt.topics import OVER, is_available, value_of
from labsite.replaced import ups_fields

CLIENT_ID = "ups_monitor"
TOPIC = "ups/telemetry"
NEEDED = (*ups_fields.FLOATS, *ups_fields.INTS)  # a poll was answered if any of these is good

logger = logging.getLogger(__name__)


def availability(topic: str) -> str:
    """Beside the telemetry: `ups/telemetry` → `ups/availability`."""
    above, _slash, _last = topic.rpartition("/")
    return f"{above or topic}/availability"


def client_id(topic: str) -> str:
    """The replaced program's own; of further topics others."""
    return CLIENT_ID if topic == TOPIC else f"{CLIENT_ID}_{hashlib.sha256(topic.encode()).hexdigest()[:8]}"


class Ups:
    """One instrument on one topic."""

    def __init__(self, told: Told, instrument: str, topic: str) -> None:
        self.instrument, self.topic, self.status = instrument, topic, availability(topic)
        self.outlet = Outlet(told, client_id(topic), self.status)
        self.outlet.keep(self.status, "offline")
        self.began = time.monotonic()
        self.task: asyncio.Task[None] | None = None
        self._shown = 0  # the poll that was told last, in milliseconds of UTC

    def show(self, present: Present, now: datetime) -> None:
        """Tell the poll that was not told yet, and whether the instrument answers."""
        place = present.instruments.get(self.instrument)
        self.outlet.keep(self.status, "online" if place and is_available(present, place, now) else "offline")
        if payload := self._payload(present):
            self.outlet.happen(self.topic, payload)

    def blind(self) -> None:
        """Nobody knows how it is."""
        self.outlet.keep(self.status, "offline")

    def _payload(self, present: Present) -> str:
        place = present.instruments.get(self.instrument)
        channels = {channel.key: channel for channel in place.channels} if place else {}
        latest = {key: present.latest.get(channel.number) for key, channel in channels.items()}
        seen = max((now.seen for key in NEEDED if (now := latest.get(key)) and not now.bad), default=0)
        if seen <= self._shown:
            return ""
        self._shown = seen
        values = {key: value_of(channel, latest[key]) for key, channel in channels.items()}
        at = datetime.fromtimestamp(seen / 1000, UTC)
        fields = ups_fields.telemetry(values, at, time.monotonic() - self.began)
        alarms = [*ups_fields.alarms(values), *self._standing(present)]
        return json.dumps({**fields, "alarms": alarms}, ensure_ascii=False)

    def _standing(self, present: Present) -> list[str]:
        """What Labsite says of the instrument as a whole."""
        own = (alarm for alarm in present.alarms if alarm.instrument == self.instrument)
        return [alarm.text for alarm in own if alarm.channel is None and alarm.state not in OVER]


class AllUps:
    """Those that are switched on now."""

    def __init__(self, told: Told, group: asyncio.TaskGroup) -> None:
        self._told, self._group = told, group
        self._running: dict[str, Ups] = {}  # by topic

    def show(self, present: Present, now: datetime) -> None:
        self._follow(self._chosen(present))
        for each in self._running.values():
            each.show(present, now)

    def blind(self) -> None:
        for each in self._running.values():
            each.blind()

    def said(self) -> dict[str, str]:
        """How the connections stand, by topic."""
        return {topic: each.outlet.state for topic, each in self._running.items()}

    def _chosen(self, present: Present) -> dict[str, str]:
        """Topic → instrument; of two on one topic the one that was there first."""
        chosen: dict[str, str] = {}
        for instrument, topic in present.ups.items():
            if instrument in present.instruments and is_prefix(topic):
                chosen.setdefault(topic, instrument)
        return chosen

    def _follow(self, chosen: dict[str, str]) -> None:
        for topic, each in list(self._running.items()):
            if chosen.get(topic) != each.instrument and each.task is not None:
                each.task.cancel()
                del self._running[topic]
        for topic in chosen.keys() - self._running.keys():
            new = self._running[topic] = Ups(self._told, chosen[topic], topic)
            new.task = self._group.create_task(new.outlet.run())
            logger.info("MQTT: instrument %s is told on %s, too", chosen[topic], topic)
