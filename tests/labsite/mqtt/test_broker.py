"""A broker that is stopped, hung, slow, suspicious or behind TLS; and a bridge that is killed."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.db import connection
from django.utils import timezone

from devices import files
from devices.links import mqtt
from devices.models import Channel, Heartbeat, Instrument
from labsite.mqtt import bridge, outlet
from labsite.mqtt.present import Database
from labsite.mqtt.record import Record
from telemetry.models import Event
from tests import factories
from tests.devices.mosquitto import needed
from tests.labsite.mqtt.kit import Ear, Mosquitto, Running, add_user, retained
from tests.onebox import ROOT
from tests.servers import Process, dying_with_tests
from tests.waiting import until
from tests.web import database_url, notify, store

pytestmark = [needed, pytest.mark.django_db(transaction=True)]

VERSIONS = pytest.mark.parametrize("version", ["3.1.1", "5"])
BATH = "labsite/local/Bath 1"
VALUE = f"{BATH}/ch0.temperature"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker to be stopped."""
    with Mosquitto(tmp_path / "own").start() as broker:
        yield broker


@pytest.fixture
def bath() -> Channel:
    return factories.instrument("Bath 1", interval=1.0).channels.get(key="ch0.temperature")


def told(of: Channel, value: float) -> None:
    store(of, value)
    notify()


def happened(of: Instrument, text: str) -> None:
    Event.objects.create(instrument=of, time=timezone.now(), kind="note", text=text)
    notify()


@VERSIONS
def test_after_an_outage_of_the_broker_the_present_is_told_once(
    own: Mosquitto, bath: Channel, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "PAUSE_MOST", 1.0)
    store(bath, 1.0)
    with Running(own.port, tmp_path / "data", version=version) as running:
        with Ear(own.port) as ear:
            ear.until(VALUE, "1.0")
        own.stop()
        until(lambda: running.bridge.outlet.state == "away", 5, "it has noticed")
        for value in range(2, 8):
            told(bath, float(value))
            until(lambda value=value: known(running, bath) == value, 5, "it knows the value")  # type: ignore[misc]
        happened(bath.instrument, "while the broker was away")
        until(lambda: running.bridge.present._events, 5, "it knows the event")
        assert running.bridge.outlet.waiting == 0
        own.start()
        with Ear(own.port) as ear:
            ear.until(VALUE, "7.0")
            ear.until("labsite/status", "online")
            told(bath, 8.0)
            ear.until(VALUE, "8.0")
            assert [value for value in ear.of(VALUE) if value not in ("1.0", "7.0", "8.0")] == []
            assert ear.of(f"{BATH}/event") == []
            assert len(ear.of(VALUE)) <= 3


def known(running: Running, channel: Channel) -> float | None:
    now = running.bridge.present.latest.get(channel.pk)
    return now and now.value


@VERSIONS
def test_a_broker_that_hangs_fills_no_memory_and_is_told_the_newest_when_it_goes_on(
    own: Mosquitto, bath: Channel, tmp_path: Path, version: str
) -> None:
    store(bath, 1.0)
    with Running(own.port, tmp_path / "data", version=version) as running, Ear(own.port) as ear:
        ear.until(VALUE, "1.0")
        ear.until("labsite/status", "online")
        there = running.bridge.outlet
        until(lambda: there.waiting == 0, 5, "all is told")
        topics = len(there._kept)
        own.send(signal.SIGSTOP)
        try:
            flood(running, 20_000)
            assert there.waiting <= topics + outlet.HAPPENINGS_MOST + 64
            link = there._connection
            assert link is not None
            assert link._client is not None
            assert len(link._client._out_packet) <= 64
        finally:
            own.send(signal.SIGCONT)
        ear.until(VALUE, "20000.0")
        ear.until(f"{BATH}/event", "20000")
        assert there.dropped > 0  # happenings: nobody hears of those later
        assert len(ear.of(VALUE)) < 1000


def flood(running: Running, count: int) -> None:
    """Much more than the database would ever tell so fast, on the bridge's own loop."""

    def tell() -> None:
        for number in range(1, count + 1):
            running.bridge.outlet.keep(VALUE, f"{number}.0", qos=0)
            running.bridge.outlet.happen(f"{BATH}/event", str(number))

    running.call(tell)


def test_a_broker_that_hangs_for_good_is_given_up(
    own: Mosquitto, bath: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE", 1)
    store(bath, 1.0)
    with Running(own.port, tmp_path / "data") as running:
        with Ear(own.port) as ear:
            ear.until(VALUE, "1.0")
        own.send(signal.SIGSTOP)
        try:
            until(lambda: running.bridge.outlet.state == "away", 30, "it has noticed")
        finally:
            own.send(signal.SIGCONT)
        until(lambda: running.bridge.outlet.state == "connected", 20, "it is back")


@VERSIONS
def test_user_and_password_are_asked_for_and_never_told(
    bath: Channel, tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    passwords = tmp_path / "passwords"
    add_user(passwords, "labsite", "right-word")
    with Mosquitto(tmp_path / "own", f"allow_anonymous false\npassword_file {passwords}").start() as broker:
        wrong = {"user": "labsite", "password": "wrong-word", "version": version}
        with Running(broker.port, tmp_path / "data", **wrong) as running:
            until(lambda: "refuses the connection" in running.bridge.outlet.reason, 5, "it is refused")
            until(lambda: Heartbeat.objects.filter(process="mqtt").exists(), 5, "status/ tells of it")
        assert "wrong-word" not in caplog.text + json.dumps(Heartbeat.objects.get(process="mqtt").fields)
        assert f"MQTT: not connected, it is tried again: mqtt://127.0.0.1:{broker.port}" in caplog.text
        right = {"user": "labsite", "password": "right-word", "version": version}
        with Running(broker.port, tmp_path / "data", **right) as running:
            until(lambda: running.bridge.outlet.state == "connected", 5, "it is let in")
        assert "right-word" not in caplog.text + repr(running.told)


def authority(folder: Path, name: str) -> Path:
    """A throw-away authority, and a certificate of its own for 127.0.0.1; the folder of both."""
    folder.mkdir()
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {name}")])
    root = certificate(root_name, root_name, root_key, root_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    leaf = certificate(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), root_name, key, root_key
    ).add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    for file, builder in (("ca.pem", root), ("broker.pem", leaf)):
        (folder / file).write_bytes(builder.sign(root_key, hashes.SHA256()).public_bytes(pem))
    (folder / "broker.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder


def certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuers: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers.public_key()), critical=False
        )
    )


@VERSIONS
def test_over_tls_only_a_broker_of_the_named_authority_is_believed(
    bath: Channel, tmp_path: Path, version: str
) -> None:
    ours, others = authority(tmp_path / "ours", "broker"), authority(tmp_path / "others", "other")
    tls = f"allow_anonymous true\ncertfile {ours}/broker.pem\nkeyfile {ours}/broker.key"
    store(bath, 25.0)
    with Mosquitto(tmp_path / "own", tls).start() as broker:
        for authorities in ("", str(others / "ca.pem")):
            given = {"scheme": "mqtts", "authority": authorities, "version": version}
            with Running(broker.port, tmp_path / "data", **given) as running:
                until(lambda running=running: running.bridge.outlet.reason, 5, "it is tried")  # type: ignore[misc]
                assert "certificate" in running.bridge.outlet.reason.lower()
                assert running.bridge.outlet.published == 0
        given = {"scheme": "mqtts", "authority": str(ours / "ca.pem"), "version": version}
        with Running(broker.port, tmp_path / "data", **given) as running:
            until(lambda: running.bridge.outlet.published > 30, 5, "it tells")
            assert running.bridge.outlet.state == "connected"


# ---- the process


class Bridge(Process):
    """`manage.py mqttbridge` on the test's database."""

    def __init__(self, port: int, folder: Path, **more: str) -> None:
        settings = {
            "LABSITE_MQTT_URL": f"mqtt://127.0.0.1:{port}",
            "LABSITE_DATA": str(folder),
            "LABSITE_DATABASE_URL": database_url(),
            "LABSITE_WITHOUT_DOORS": "1",
            **more,
        }
        command = dying_with_tests([sys.executable, str(ROOT / "manage.py"), "mqttbridge"])
        super().__init__(command, folder / "bridge.log", {**os.environ, **settings})


def test_killed_it_is_offline_and_started_again_it_goes_on(
    mosquitto: Mosquitto, ear: Ear, bath: Channel, tmp_path: Path
) -> None:
    store(bath, 25.0)
    with Bridge(mosquitto.port, tmp_path) as running:
        running.start()
        ear.until("labsite/status", "online", within=20)
        ear.until(VALUE, "25.0")
        assert psutil.Process(running.pid).memory_info().rss < 120 << 20
        running.kill()
        ear.until("labsite/status", "offline", within=20)
        assert retained(mosquitto.port)["labsite/status"] == "offline"
        running.start()
        ear.until("labsite/status", "online", within=20)
        told(bath, 26.0)
        ear.until(VALUE, "26.0")
        with pytest.raises(files.Held):
            Record(tmp_path / "mqtt", "mqtt://other")
        assert running.stop() == 0
        ear.until("labsite/status", "offline")
    assert "Traceback" not in running.output


def test_without_the_database_it_says_that_it_knows_nothing(
    mosquitto: Mosquitto, ear: Ear, bath: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "BLIND_AFTER", 2.0)
    store(bath, 25.0)
    with Running(mosquitto.port, tmp_path):
        ear.until("labsite/status", "online")
        monkeypatch.setattr(bridge, "_connect", unreachable)
        cut()
        ear.until("labsite/status", "offline")
        monkeypatch.undo()
        ear.until("labsite/status", "online", within=10)
        told(bath, 26.0)
        ear.until(VALUE, "26.0")


def cut() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            [bridge.APPLICATION],
        )


async def unreachable() -> Database:
    raise OSError("the database is away")
