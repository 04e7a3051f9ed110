"""One connection to the broker that publishes, on the event loop, with a last will.

A connection that is lost is given up for good: paho would send again what was under way, however old it is
by then. Its successor begins anew with the present.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from devices.links.mqtt import MqttLink
from devices.links.mqtt_tls import Handshake
from labsite.mqtt.settings import Told

DEADLINE_S = 10.0
UNDER_WAY = 64  # messages that the broker has not confirmed (QoS 1), or the network not taken (QoS 0)
BYTES_MAX = 1 << 20  # of a message


@dataclass(frozen=True, slots=True)
class Message:
    """What a topic is told. An empty payload that is retained takes back what was."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


class Connection(MqttLink):
    """`sent(number, reason)` hears what became of each message ("": it went well); `ended`: it is over."""

    def __init__(self, told: Told, client_id: str, will: Message) -> None:
        names = {"client_id": client_id, "version": told.version, "user": told.user}
        super().__init__(told.address, DEADLINE_S, names)
        self.window = UNDER_WAY
        self.bytes_max = BYTES_MAX
        self.sent: Callable[[int, str], None] = lambda _number, _reason: None
        self.ended = self._loop.create_future()
        self._authority = told.authority
        self._will = will

    def publish(self, message: Message) -> int | None:
        """Its number; None: it cannot be sent, as the connection is about to be lost."""
        client = self._client
        if client is None or self.lost is not None:
            return None
        made = client.publish(message.topic, message.payload, message.qos, message.retain)
        return made.mid if made.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def _new_client(self, password: str, *, passing: bool) -> Client:
        client = super()._new_client(password, passing=passing)
        will = self._will
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.max_inflight_messages_set(UNDER_WAY)
        client.on_publish = self._on_publish
        if self._authority and self.address.scheme == "mqtts":
            context = Handshake(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self._authority)
            client._ssl_context = context  # noqa: SLF001 - paho sets one only once
        return client

    def _on_connect(self, client: Client, _: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        self.window = min(UNDER_WAY, getattr(properties, "ReceiveMaximum", UNDER_WAY))
        self.bytes_max = min(BYTES_MAX, getattr(properties, "MaximumPacketSize", BYTES_MAX))
        super()._on_connect(client, _, flags, code, properties)

    def _on_publish(self, _: Client, __: Any, number: int, code: ReasonCode, ___: Any) -> None:
        self.sent(number, str(code) if code.is_failure else "")

    def _give_up(self, reason: str, client: Client) -> None:
        super()._give_up(reason, client)
        if not self.ended.done():
            self.ended.set_result(None)
