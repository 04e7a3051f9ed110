"""MQTT by paho-mqtt, on the event loop: what the broker sends is heard at once.

paho cannot connect without blocking: looking the broker up, TCP, TLS and the first packet happen in a thread
of the link's own, everything after it on the loop. A lost connection is not made again by paho but by the
session, which opens a new link: by the same client id, so that the broker hands over what came meanwhile.
"""

import asyncio
import contextlib
import hashlib
import platform
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from devices.errors import ConfigurationError, LinkError
from devices.links.base import Address, Link
from devices.links.mqtt_tls import WrongCertificate, handshake
from devices.links.stream import words
from devices.links.tcp import keep_alive
from devices.links.thread import OwnThread

T = TypeVar("T")

KEEPALIVE = 10  # seconds; a broker that says nothing for twice as long is gone
LOOK_EVERY = 1.0  # seconds between looks at paho's own timers
IN_FLIGHT = 64  # messages that the broker may send before the first of them is acknowledged
PACKET_BYTES_MAX = 1 << 20
PACKETS_PER_TURN = 100

Hear = Callable[[MQTTMessage], None]


class MqttLink(Link):
    """`mqtt://host:port`, `mqtts://host:port`. Settings: `client_id` (without one it is made of this host's
    name, the address and `subject`); `version`, `5` or `3.1.1`; `expiry`, seconds for which the broker is to
    keep what comes while nobody is connected; `user`; `verify` and `pin` as for `tls://`."""

    schemes = ("mqtt", "mqtts")

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        self.client_id = str(self.settings.get("client_id") or self._own_client_id())
        self.lost: str | None = "the link is not open"  # why it cannot be used
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._hear: Hear | None = None
        self._waits: asyncio.Future[Any] | None = None  # for the broker's word on the connection, or topics
        self._look_timer: asyncio.TimerHandle | None = None
        self._watched = -1  # the socket's number, where the loop looks after it

    @classmethod
    def check(cls, address: Address) -> None:
        if not address.host or not address.port:
            port = 8883 if address.scheme == "mqtts" else 1883
            raise ConfigurationError(
                f"address {address.url!r} needs a host and a port: {address.scheme}://192.168.1.9:{port}"
            )
        if address.path.strip("/") or address.query:
            raise ConfigurationError(
                f"address {address.url!r}: nothing belongs behind the port; topics belong to the channels"
            )

    @property
    def listens(self) -> bool:
        return True

    async def log_in(self, password: str, hear: Hear, *, passing: bool = False) -> bool:
        """Connect; from then on `hear(message)` is called with what the broker sends. Whether the broker
        remembers this client and its topics. `passing`: by a name of the moment, leaving nothing behind.

        Raises LinkError.
        """
        await self.close()
        client = self._new_client(password, passing=passing)
        thread = OwnThread(f"mqtt {self.address.host}")
        self._client, self._hear, self.lost = client, hear, None
        waits = self._waits = self._loop.create_future()
        try:
            async with asyncio.timeout(self.deadline):
                await thread.run(self._connect, client, not passing)
                self._watch(client)
                return bool(await waits)
        except TimeoutError:
            self._raise(f"no connection within {self.deadline:g} s")
        except (
            OSError,
            ValueError,
            WrongCertificate,
        ) as error:  # ValueError: a name that cannot be looked up
            self._raise(words(error))
        finally:
            self._waits = None
            thread.close()

    async def subscribe(self, topics: Sequence[str]) -> dict[str, str]:
        """Ask for these, with QoS 1; of those that the broker refuses, its reason. Raises LinkError."""
        client = self._ready()
        wanted: Any = [(topic, SubscribeOptions(qos=1) if self._is_v5 else 1) for topic in topics]
        waits = self._waits = self._loop.create_future()
        try:
            async with asyncio.timeout(self.deadline):
                client.subscribe(wanted)
                codes: list[ReasonCode] = await waits
        except TimeoutError:
            self._raise(f"no answer within {self.deadline:g} s to what was subscribed")
        finally:
            self._waits = None
        return {topic: str(code) for topic, code in zip(topics, codes, strict=False) if code.is_failure}

    def check_alive(self) -> None:
        """Raises LinkError if the connection is lost."""
        self._ready()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.disconnect()
                client.loop_write()
            self._give_up("the link was closed", client)

    # ---- connecting

    def _new_client(self, password: str, *, passing: bool) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"labsite-{secrets.token_hex(8)}" if passing else self.client_id,
            clean_session=None if self._is_v5 else passing or not self._expiry,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self.deadline
        if user := self.settings.get("user"):
            client.username_pw_set(user, password or None)
        if self.address.scheme == "mqtts":
            client.tls_set_context(
                handshake(str(self.settings.get("pin") or ""), verify=self.settings.get("verify", True))
            )
        client.on_socket_open = self._check_socket
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _connect(self, client: Client, keeps: bool) -> None:
        """In the thread. Leaves nothing open if nobody waits for it any more."""
        try:
            self._send_connect(client, keeps)
        except BaseException:
            _close_socket(client)
            raise
        if self._client is not client:
            _close_socket(client)

    def _send_connect(self, client: Client, keeps: bool) -> None:
        host, port = self.address.host, self.address.port or 0
        if not self._is_v5:
            client.connect(host, port, KEEPALIVE)
            return
        wishes: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wishes.SessionExpiryInterval = self._expiry if keeps else 0
        wishes.ReceiveMaximum = IN_FLIGHT
        wishes.MaximumPacketSize = PACKET_BYTES_MAX
        clean = not (keeps and self._expiry)
        client.connect(host, port, KEEPALIVE, clean_start=clean, properties=wishes)

    def _check_socket(self, client: Client, _: Any, sock: Any) -> None:
        """In the thread, before the first packet, which may hold a password."""
        if self._client is not client:
            raise LinkError("nobody waits for this connection any more")
        keep_alive(sock)

    # ---- on the loop

    def _watch(self, client: Client) -> None:
        sock = client.socket()
        if sock is None or self.lost is not None:
            self._raise(self.lost or "the connection was closed at once")
        self._watched = sock.fileno()
        self._loop.add_reader(self._watched, self._read, client)
        client.on_socket_close = lambda *_: self._unwatch()
        client.on_socket_register_write = lambda *_: self._write(client)
        client.on_socket_unregister_write = lambda *_: self._write_no_more()
        if client.want_write():
            self._write(client)
        self._look(client)

    def _read(self, client: Client) -> None:
        """A packet; over TLS all that is decrypted already, which makes the socket readable no more."""
        for _ in range(PACKETS_PER_TURN):
            self._guarded(client, client.loop_read)
            packet = client._in_packet  # noqa: SLF001 - paho has no bound of its own
            if packet["remaining_length"] > PACKET_BYTES_MAX:
                self._give_up(f"a message of more than {PACKET_BYTES_MAX} bytes", client)
            sock = client.socket()
            if self.lost is not None or not isinstance(sock, ssl.SSLSocket) or not sock.pending():
                return
        self._loop.call_soon(self._read, client)

    def _write(self, client: Client) -> None:
        if self._watched >= 0:
            self._loop.add_writer(self._watched, self._guarded, client, client.loop_write)

    def _write_no_more(self) -> None:
        if self._watched >= 0:
            self._loop.remove_writer(self._watched)

    def _look(self, client: Client) -> None:
        self._look_timer = self._loop.call_later(LOOK_EVERY, self._look, client)
        self._guarded(client, client.loop_misc)

    def _guarded(self, client: Client, step: Callable[[], object]) -> None:
        """paho raises what it likes for packets that are none."""
        if self.lost is not None:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001
            self._give_up(f"what the broker sent is no MQTT: {words(error)}", client)

    def _unwatch(self) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        number, self._watched = self._watched, -1
        if number >= 0:
            self._loop.remove_reader(number)
            self._loop.remove_writer(number)

    def _give_up(self, reason: str, client: Client) -> None:
        if self.lost is None:
            self.lost = reason
        self._hear = None
        self._unwatch()
        if self._waits is not None and not self._waits.done():
            self._waits.set_exception(LinkError(f"{self.address.url}: {self.lost}"))
        client.on_socket_close = client.on_socket_register_write = client.on_socket_unregister_write = None
        _close_socket(client)

    # ---- called by paho, on the loop

    def _on_connect(self, client: Client, _: Any, flags: Any, code: ReasonCode, __: Any) -> None:
        if code.is_failure:
            self._give_up(f"the broker refuses the connection: {code}", client)
        else:
            self._settle(flags.session_present)

    def _on_subscribe(self, _: Client, __: Any, ___: int, codes: list[ReasonCode], ____: Any) -> None:
        self._settle(codes)

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        if self._hear is not None:
            self._hear(message)

    def _on_disconnect(self, client: Client, _: Any, __: Any, code: ReasonCode, ___: Any) -> None:
        reason = str(code)
        if reason in ("Unspecified error", "Session taken over"):  # some brokers end the older one silently
            reason = f"closed by the broker; if again and again: is another client called {self.client_id}?"
        self._give_up(f"the connection ended: {reason}", client)

    def _settle(self, result: object) -> None:
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(result)

    # ----

    def _ready(self) -> Client:
        if self._client is None or self.lost is not None:
            self._raise(self.lost or "the link is not open")
        return self._client

    def _raise(self, reason: str) -> NoReturn:
        raise LinkError(f"{self.address.url}: {reason}") from None

    @property
    def _is_v5(self) -> bool:
        return bool(self.settings.get("version", "5") == "5")

    @property
    def _expiry(self) -> int:
        return int(self.settings.get("expiry", 0))

    def _own_client_id(self) -> str:
        """The same after a restart, another for another instrument or edge. At most 23 characters, which all
        brokers take."""
        of = f"{platform.node()} {self.address.url} {self.settings.get('subject', '')}"
        return "labsite" + hashlib.sha256(of.encode()).hexdigest()[:16]


def _close_socket(client: Client) -> None:
    sock = client.socket()
    if sock is not None:
        sock.close()
