"""MQTT against a real broker, and against servers that are none."""

import asyncio
import contextlib
import gc
import hashlib
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessage

from devices import links
from devices.errors import ConfigurationError, LinkError
from devices.links.mqtt import PACKET_BYTES_MAX, MqttLink
from tests.devices import mosquitto
from tests.devices.mosquitto import Broker, until

pytestmark = mosquitto.needed
VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


class Heard:
    """What a link told; `until(n)` waits for so many messages."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._came = asyncio.Event()

    def __call__(self, message: MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload)))
        self._came.set()

    async def until(self, count: int) -> list[tuple[str, bytes]]:
        async with asyncio.timeout(5):
            while len(self.messages) < count:
                self._came.clear()
                await self._came.wait()
        return self.messages


@asynccontextmanager
async def linked(
    url: str, password: str = "", deadline: float = 3.0, **settings: Any
) -> AsyncIterator[tuple[MqttLink, Heard]]:
    link = await links.connect(links.check(url), deadline, {"expiry": 60, **settings})
    assert isinstance(link, MqttLink)
    heard = Heard()
    try:
        await link.log_in(password, heard)
        yield link, heard
    finally:
        await link.close()


async def publish(broker: Broker, topic: str, payload: bytes, **how: Any) -> None:
    """By another client, acknowledged by the broker."""
    async with linked(f"mqtt://127.0.0.1:{broker.port}", client_id="publisher", expiry=0) as (link, _):
        assert link._client is not None
        sent = link._client.publish(topic, payload, qos=1, **how)
        await until(sent.is_published)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with mosquitto.serving(tmp_path) as broker:
        yield broker


@VERSIONS
async def test_what_is_published_is_heard(broker: Broker, version: str) -> None:
    async with linked(f"mqtt://127.0.0.1:{broker.port}", version=version) as (link, heard):
        assert await link.subscribe(["lab/+/t", "other"]) == {}
        await publish(broker, "lab/1/t", b"21.5")
        await publish(broker, "lab/1/rh", b"40")
        await publish(broker, "other", b"x")
        assert await heard.until(2) == [("lab/1/t", b"21.5"), ("other", b"x")]
        link.check_alive()


@VERSIONS
async def test_the_broker_keeps_what_comes_while_nobody_is_here(broker: Broker, version: str) -> None:
    url = f"mqtt://127.0.0.1:{broker.port}"
    link = MqttLink(links.check(url), 3.0, {"expiry": 60, "version": version})
    heard = Heard()
    assert not await link.log_in("", heard)
    await link.subscribe(["lab/t"])
    await link.close()
    for number in range(50):
        await publish(broker, "lab/t", b"%d" % number)
    again = MqttLink(links.check(url), 3.0, {"expiry": 60, "version": version})
    assert await again.log_in("", heard)
    assert await heard.until(50) == [("lab/t", b"%d" % number) for number in range(50)]
    await again.close()


@VERSIONS
async def test_who_passes_by_leaves_nothing_behind(broker: Broker, version: str) -> None:
    link = MqttLink(links.check(f"mqtt://127.0.0.1:{broker.port}"), 3.0, {"expiry": 60, "version": version})
    for _ in range(2):
        assert not await link.log_in("", Heard(), passing=True)
        await link.subscribe(["lab/t"])
        await link.close()
    assert not await link.log_in("", Heard())
    await link.close()


async def test_the_client_id_stays_the_same_and_differs_by_subject(broker: Broker) -> None:
    address = links.check(f"mqtt://127.0.0.1:{broker.port}")
    ids = [MqttLink(address, 1.0, {"subject": subject}).client_id for subject in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]
    assert all(len(each) <= 23 for each in ids)
    assert MqttLink(address, 1.0, {"client_id": "own"}).client_id == "own"


@VERSIONS
async def test_a_broker_that_stops_is_noticed_at_once(broker: Broker, version: str) -> None:
    async with linked(f"mqtt://127.0.0.1:{broker.port}", version=version) as (link, _):
        await broker.stop()
        await until(lambda: link.lost is not None)
        with pytest.raises(LinkError, match="the connection ended"):
            link.check_alive()


async def test_a_broker_that_hangs_is_noticed(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.links.mqtt.KEEPALIVE", 1)
    monkeypatch.setattr("devices.links.mqtt.LOOK_EVERY", 0.05)
    async with linked(f"mqtt://127.0.0.1:{broker.port}") as (link, _):
        broker.freeze()
        try:
            await until(lambda: link.lost is not None)
        finally:
            broker.thaw()


async def test_another_client_of_the_same_name_is_named(broker: Broker) -> None:
    url = f"mqtt://127.0.0.1:{broker.port}"
    async with linked(url, client_id="same") as (first, _), linked(url, client_id="same"):
        await until(lambda: first.lost is not None)
        with pytest.raises(LinkError, match="is another client called same"):
            first.check_alive()


def add_user(passwords: Path, user: str, password: str) -> None:
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, user, password], check=True)


@VERSIONS
async def test_a_wrong_password_is_told_in_words(tmp_path: Path, version: str) -> None:
    passwords = tmp_path / "passwords"
    add_user(passwords, "edge", "right")
    async with mosquitto.serving(tmp_path, f"allow_anonymous false\npassword_file {passwords}") as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        async with linked(url, "right", user="edge", version=version) as (link, _):
            link.check_alive()
        with pytest.raises(LinkError, match=r"the broker refuses the connection: .*[Nn]ot authorized"):
            async with linked(url, "wrong", user="edge", version=version):
                pass


def certificate(folder: Path) -> tuple[str, str, str]:
    """Of a broker that nobody has signed: file, key and SHA-256."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=broker"
    subprocess.run([*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    return str(cert), str(key), hashlib.sha256(der).hexdigest()


async def test_tls_takes_only_the_certificate_that_is_pinned(tmp_path: Path) -> None:
    cert, key, pin = certificate(tmp_path)
    async with mosquitto.serving(tmp_path, f"allow_anonymous true\ncertfile {cert}\nkeyfile {key}") as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        async with linked(url, pin=pin) as (link, heard):
            await link.subscribe(["lab/t"])
            assert link._client is not None
            for number in range(200):
                link._client.publish("lab/t", b"%d" % number, qos=1)
            assert (await heard.until(200))[-1] == ("lab/t", b"199")
        with pytest.raises(LinkError, match="is it another machine"):
            async with linked(url, pin="0" * 64):
                pass
        with pytest.raises(LinkError, match="TLS: self-signed certificate"):
            async with linked(url):
                pass


async def test_nobody_there_is_a_link_error() -> None:
    with pytest.raises(LinkError, match="connection refused"):
        async with linked(f"mqtt://127.0.0.1:{mosquitto.free_port()}"):
            pass


Answer = Callable[[bytes], bytes | None]
CONNACK_3 = b"\x20\x02\x00\x00"


@asynccontextmanager
async def posing(answers: list[bytes]) -> AsyncIterator[int]:
    """A server that answers the first bytes it gets with these, whatever they are; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1_000)
            for answer in answers:
                writer.write(answer)
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\xff\xff\xff\xff\xff",
        b"\x20\x03\x00\x87\x00",
        b"\x20\x00",
        b"\x00" * 1_000,
        b"\xff" * 1_000,
    ],
)
@VERSIONS
async def test_what_is_no_broker_is_a_link_error(answer: bytes, version: str) -> None:
    async with posing([answer]) as port:
        with pytest.raises(LinkError):
            async with asyncio.timeout(5), linked(f"mqtt://127.0.0.1:{port}", deadline=0.3, version=version):
                pass


async def test_a_message_without_end_is_refused() -> None:
    huge = b"\x30" + b"\xff\xff\xff\x7f" + b"\x00\x01t" + b"x" * 100_000
    async with (
        posing([CONNACK_3, huge]) as port,
        linked(f"mqtt://127.0.0.1:{port}", version="3.1.1") as (link, _),
    ):
        await until(lambda: link.lost is not None)
        with pytest.raises(LinkError, match=f"more than {PACKET_BYTES_MAX} bytes"):
            link.check_alive()


async def test_nothing_is_left_behind(broker: Broker) -> None:
    before = threading.active_count()
    for _ in range(3):
        async with linked(f"mqtt://127.0.0.1:{broker.port}") as (link, _):
            await link.subscribe(["lab/t"])
        await link.close()
    assert len(asyncio.all_tasks()) == 1
    gc.collect()
    await until(lambda: threading.active_count() <= before)


def open_files() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(path.readlink()))
    return found


@pytest.mark.parametrize("after", [0.0, 0.0005, 0.001, 0.002, 0.004])
async def test_connecting_can_be_broken_off_at_any_time(broker: Broker, after: float) -> None:
    before, threads = open_files(), threading.active_count()
    gc.disable()  # what only the collector closes counts as left open
    try:
        for _ in range(10):
            link = await links.connect(links.check(f"mqtt://127.0.0.1:{broker.port}"), 3.0)
            assert isinstance(link, MqttLink)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(after):
                    await link.log_in("", Heard())
            await link.close()
        await until(lambda: threading.active_count() <= threads)
        await until(lambda: open_files() <= before)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "url", ["mqtt://host", "mqtt://:1883", "mqtts://host:8883/topic", "mqtt://host:1883?x=1"]
)
def test_an_address_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="mqtt"):
        links.check(url)
