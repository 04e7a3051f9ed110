"""Whatever publishes to an MQTT broker: topics as channels, told as soon as they come."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from paho.mqtt.client import MQTTMessage
from paho.mqtt.matcher import MQTTMatcher

from devices.drivers import json_paths
from devices.drivers.base import Channel, Driver, Option, Secret
from devices.drivers.declared import KindRow, rows
from devices.drivers.mqtt_in_payload import Payload, check_topic, time_of, value_of
from devices.errors import ConfigurationError, LinkError
from devices.links import pins
from devices.links.base import Link
from devices.links.mqtt import MqttLink
from devices.readings import Event, Reading

DELIVERIES_REMEMBERED = 256  # more than a broker has under way
TOPICS_REMEMBERED = 10_000


class Topic(KindRow, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel: on which topic it comes, and where in the payload it stands."""

    topic: str
    path: str = ""
    time: str = ""
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_topic(self.topic)
        for name, path in (("path", self.path), ("time", self.time)):
            if path:
                json_paths.check(path, name)

    def readings(self, payload: Payload) -> list[Reading]:
        """What a message says of this channel; nothing, maybe."""
        found = payload.find(self.path)
        if found is None:
            return []
        value = value_of(found, self.kind, self.scale, self.offset)
        time = time_of(payload.find(self.time)) if self.time else None
        return self.told(value, time)


class Claim:
    """Whose a client id is: of the session whose memory holds this."""


_claims: WeakValueDictionary[tuple[str, str], Claim] = WeakValueDictionary()


class MqttIn(Driver):
    """Listens to a broker. Messages come with QoS 1, and the broker keeps them while the edge is away.

    A message without anything at a channel's `path` says nothing of that channel; one that cannot be
    understood makes a bad reading.
    """

    label = "MQTT topics"
    schemes = ("mqtt", "mqtts")
    example = "mqtt://192.168.1.9:1883"
    options = (
        Option(
            "channels",
            list,
            [{"key": "value", "label": "Value", "topic": "lab/value"}],
            "What is listened to: objects with key and topic (+ and # as wildcards: all that comes there is "
            "of this channel), and if need be path (JMESPath into a JSON payload: temperature, "
            "sensors[0].value), time (JMESPath to its own time: ISO 8601, or s, ms, µs since 1970), label, "
            "unit (UCUM), kind (float, int, bool, text, vector), scale, offset, digits, low, high",
        ),
        Option("user", str, "", "User name at the broker"),
        Option("password", Secret, "", "The password that belongs to the user name"),
        Option("pin", str, "", "mqtts only: SHA-256 of the one certificate to be accepted, in hexadecimal"),
        Option("verify", bool, True, "mqtts only: the certificate must be signed by a known authority"),
        Option(
            "retained",
            str,
            "state",
            "What a broker has retained and sends on connecting: state (told, as the present state), changed "
            "(told if other than what was told last) or ignored",
            choices=("state", "changed", "ignored"),
        ),
        Option(
            "silent_after",
            float,
            0.0,
            "Seconds without a message after which a channel is bad; 0: never",
            low=0.0,
            high=604_800.0,
        ),
        Option(
            "expiry",
            int,
            86_400,
            "Seconds for which the broker is to keep what comes while the edge is away (MQTT 3.1.1: as long "
            "as the broker likes); 0: not at all",
            low=0,
            high=2_592_000,
        ),
        Option("client_id", str, "", "Name of the edge at the broker, one for each; empty: made by itself"),
        Option("version", str, "5", "MQTT's", choices=("5", "3.1.1")),
    )
    link: MqttLink

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        self._topics = _topics(self.settings)
        self._matcher: Any = MQTTMatcher()  # type: ignore[no-untyped-call]
        for topic in {row.topic for row in self._topics}:
            self._matcher[topic] = [row for row in self._topics if row.topic == topic]
        self._came: dict[str, bytes] = {}  # topic → the payload that came last on this connection

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        if not _topics(checked):
            raise ConfigurationError("option channels: declare at least one")
        pins.check(checked["pin"])
        if checked["password"] and not checked["user"]:
            raise ConfigurationError("option password: there is no user it belongs to")
        return checked

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        return tuple(row.channel() for row in _topics({"channels": cls.options[0].default, **options}))

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return False

    @classmethod
    def link_settings(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        topics = sorted({row.topic for row in _topics(options)})
        names = ("user", "pin", "verify", "expiry", "client_id", "version")
        return {"subject": json.dumps(topics), **{name: options[name] for name in names}}

    async def open(self) -> None:
        remembered = await self.link.log_in(
            self.secrets.get("password", ""), self._hear, passing=not self._is_claimed()
        )
        if self.memory.get("was_here") and self.settings["expiry"] and not remembered:
            self.tell([Event("mqtt_session_lost", "the broker has not kept what came while nobody was here")])
        topics = sorted({row.topic for row in self._topics})
        refused = await self.link.subscribe(topics)
        if len(refused) == len(topics):
            raise LinkError(f"{self.link.address.url}: the broker refuses all topics: {_words(refused)}")
        if refused:
            self.tell([Event("mqtt_refused", f"the broker refuses {_words(refused)}"), *self._bad(refused)])
        self.memory["was_here"] = True

    async def read(self) -> list[Reading]:
        """Whether the connection stands; channels that have been silent for too long."""
        self.link.check_alive()
        limit = self.settings["silent_after"]
        if not limit:
            return []
        now = asyncio.get_running_loop().time()
        heard = self.memory.setdefault("heard", {})
        silent = {row.key for row in self._topics if now - heard.setdefault(row.key, now) > limit}
        for key in silent:
            heard[key] = float("inf")  # told once
        return [reading for row in self._topics if row.key in silent for reading in row.told(None)]

    def _hear(self, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        if not message.payload or self._is_known(message, topic):
            return
        payload = Payload(bytes(message.payload))
        rows = [row for some in self._matcher.iter_match(topic) for row in some]
        readings = [reading for row in rows for reading in row.readings(payload)]
        heard, now = self.memory.setdefault("heard", {}), asyncio.get_running_loop().time()
        for reading in readings:
            heard[reading.key] = now
        self.tell(readings)

    def _is_known(self, message: MQTTMessage, topic: str) -> bool:
        """Whether it was told already: delivered twice (QoS 1), or retained besides."""
        digest = hashlib.blake2b(message.payload, digest_size=12).digest()
        delivered = self.memory.setdefault("delivered", {})
        if message.qos and message.dup and delivered.get(message.mid) == (topic, digest):
            return True
        last = self.memory.setdefault("last", {}) if self.settings["retained"] == "changed" else self._came
        if message.retain and (self.settings["retained"] == "ignored" or last.get(topic) == digest):
            return True
        _remember(last, topic, digest, TOPICS_REMEMBERED)
        if message.qos:
            _remember(delivered, message.mid, (topic, digest), DELIVERIES_REMEMBERED)
        return False

    def _bad(self, topics: Mapping[str, str]) -> list[Reading]:
        return [reading for row in self._topics if row.topic in topics for reading in row.told(None)]

    def _is_claimed(self) -> bool:
        """Whether the client id is this session's. Somebody who only tries the connection meanwhile must take
        neither the connection nor the messages from it."""
        claim = self.memory.setdefault("claim", Claim())
        return _claims.setdefault((self.link.address.url, self.link.client_id), claim) is claim


def _topics(options: Mapping[str, Any]) -> tuple[Topic, ...]:
    return rows("channels", options["channels"], Topic)


def _words(refused: Mapping[str, str]) -> str:
    return "; ".join(f"{topic} ({reason})" for topic, reason in refused.items())[:500]


def _remember(memory: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """As the newest; the oldest goes when there are too many."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > most:
        del memory[next(iter(memory))]
