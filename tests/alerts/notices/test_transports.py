"""Each way to tell somebody something, against a real server."""

import hashlib
import hmac
import logging
import socket
import ssl
from asyncio import WriteTransport
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from alerts.models import Contact, Priority
from alerts.notices import transports
from alerts.notices.transports import TransportError, apprise, email, webhook
from alerts.notices.words import AlarmSaid, HappeningSaid, Message
from devices.errors import ConfigurationError
from devices.logs import configuration
from tests.alerts.factories import NOW
from tests.alerts.notices.kit import Box, Receiver, certificate, mail_server
from tests.web import free_port

ID = "6f1d9d2c-52f1-4d0f-9a52-61b7c6a8a001"
PASSWORD = "sesam:@/open"

ALARM = AlarmSaid(
    id=17, text="UPS rack A input voltage below 180 V", state="unacknowledged", priority=2,
    instrument="UPS rack A", channel="input_voltage", unit="V", value=176.2, raised_at=NOW, cleared_at=None,
    acknowledged_at=None, acknowledged_by="", guidance="Look at the mains.", suppressed=3,
)  # fmt: skip
MESSAGE = Message(
    id=ID,
    kind="alarm",
    title="▲ 2 high · UPS rack A input voltage below 180 V",
    lines=("raised 12:00 UTC, value 176.2 V", "Look at the mains."),
    text="▲ 2 high · UPS rack A input voltage below 180 V\nraised 12:00 UTC, value 176.2 V\nnotice 6f1d9d2c",
    html="<p><strong>▲ 2 high · UPS rack A</strong></p>",
    priority=Priority.HIGH,
    alarms=(ALARM,),
    count=1,
    standing=1,
)
HAPPENING = HappeningSaid("qPCR", "run.completed", "plate 7", NOW)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABSITE_SECRET_HOOK", "whsec 1")


# ---- what all have in common


Reach = Callable[[str], Contact]


@pytest.fixture
def reach(receiver: Receiver, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reach]:
    """A contact of each transport that can be told."""
    box = Box()
    with mail_server(box) as server:
        settings.SMTP_URL, settings.MAIL_FROM = f"smtp://127.0.0.1:{server.port}", "Lab <lab@example.org>"
        monkeypatch.setenv("LABSITE_SECRET_APPRISE", f"json://127.0.0.1:{receiver.port}/apprise")

        def make(transport: str) -> Contact:
            return {
                "webhook": Contact(name="hook", transport="webhook", address=receiver.url, secret="HOOK"),
                "email": Contact(name="mail", transport="email", address="anna@example.org"),
                "apprise": Contact(name="any", transport="apprise", secret="APPRISE"),
            }[transport]

        yield make


@pytest.mark.parametrize("name", list(transports.TABLE))
def test_each_transport_hands_a_message_over(reach: Reach, name: str) -> None:
    contact = reach(name)
    transports.TABLE[name].check(contact)
    assert isinstance(transports.TABLE[name].send(contact, MESSAGE), str)


@pytest.mark.parametrize("name", list(transports.TABLE))
def test_each_transport_says_what_is_missing(settings: Any, name: str) -> None:
    settings.SMTP_URL = settings.MAIL_FROM = ""
    with pytest.raises(ConfigurationError):
        transports.TABLE[name].check(Contact(name="nothing", transport=name))


def test_matrix_is_a_known_name() -> None:
    assert transports.MATRIX in transports.NAMES
    assert transports.MATRIX not in transports.TABLE


# ---- webhooks


def hooked(receiver: Receiver, secret: str = "HOOK") -> Contact:
    return Contact(name="hook", transport="webhook", address=receiver.url, secret=secret)


def test_a_webhook_gets_signed_json(receiver: Receiver) -> None:
    assert webhook.send(hooked(receiver), replace(MESSAGE, happenings=(HAPPENING,))) == "200"
    (post,) = receiver.posts
    assert post.headers["X-Labsite-Notice"] == post.headers["Idempotency-Key"] == ID
    assert post.headers["Content-Type"] == "application/json"
    stamp, signed = (part.partition("=")[2] for part in post.headers["X-Labsite-Signature"].split(","))
    expected = hmac.new(b"whsec 1", f"{stamp}.".encode() + post.body, hashlib.sha256).hexdigest()
    assert signed == expected
    said = post.json
    assert (said["version"], said["id"], said["kind"], said["priority"]) == (1, ID, "alarm", 2)
    assert said["alarms"][0]["raised_at"] == "2026-11-20T12:00:00+00:00"
    assert said["alarms"][0]["value"] == 176.2
    assert said["happenings"][0]["kind"] == "run.completed"


def test_without_a_secret_there_is_no_signature(receiver: Receiver) -> None:
    webhook.send(hooked(receiver, secret=""), MESSAGE)
    assert "X-Labsite-Signature" not in receiver.posts[0].headers


Patience = tuple[int, int] | None


def test_no_log_tells_the_address(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    loggers = configuration("DEBUG", "text")["loggers"]
    caplog.set_level(loggers["urllib3"]["level"], "urllib3")
    webhook.send(Contact(name="hook", address=f"http://127.0.0.1:{receiver.port}/T0K3N"), MESSAGE)
    assert receiver.posts[0].path == "/T0K3N"
    assert "T0K3N" not in caplog.text


def in_a_minute() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)


@pytest.mark.parametrize(
    ("status", "headers", "final", "unsure", "patience"),
    [
        (400, {}, True, False, None),
        (401, {}, True, False, None),
        (404, {}, True, False, None),
        (410, {}, True, False, None),
        (408, {}, False, False, None),
        (429, {"Retry-After": "30"}, False, False, (30, 30)),
        (429, {}, False, False, None),
        (503, {"Retry-After": "http date"}, False, False, (50, 61)),
        (503, {"Retry-After": "soon"}, False, False, None),
        (503, {"Retry-After": "86400000"}, False, False, (3600, 3600)),
        (500, {}, False, True, None),
        (504, {}, False, True, None),
        (302, {"Location": "/elsewhere"}, False, False, None),
    ],
)
def test_what_a_webhook_answers_decides_what_becomes_of_it(
    receiver: Receiver,
    status: int,
    headers: dict[str, str],
    final: bool,
    unsure: bool,
    patience: tuple[int, int] | None,
) -> None:
    receiver.answers = [
        (status, {name: in_a_minute() if value == "http date" else value for name, value in headers.items()})
    ]
    with pytest.raises(TransportError, match=f"127.0.0.1 answered {status}") as caught:
        webhook.send(hooked(receiver), MESSAGE)
    error = caught.value
    assert (error.final, error.unsure, error.away) == (final, unsure, False)
    if patience is None:
        assert error.retry_after is None
    else:
        assert patience[0] <= (error.retry_after or 0) <= patience[1]
    assert len(receiver.posts) == 1, "nothing else was asked"


def test_a_webhook_that_is_not_there_was_not_told() -> None:
    contact = Contact(name="gone", address=f"http://user:{'geheim'}@127.0.0.1:{free_port()}/T0K3N")
    with pytest.raises(TransportError, match="cannot be reached") as caught:
        webhook.send(contact, MESSAGE)
    assert (caught.value.unsure, caught.value.away, caught.value.final) == (False, True, False)
    assert "geheim" not in str(caught.value)
    assert "T0K3N" not in str(caught.value)


def test_a_webhook_that_breaks_off_may_have_been_told() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        connection.recv(65_536)
        connection.close()

    thread = Thread(target=serve)
    thread.start()
    gone = Contact(name="x", address=f"http://127.0.0.1:{listening.getsockname()[1]}/")
    with pytest.raises(TransportError, match="broke off") as caught:
        webhook.send(gone, MESSAGE)
    assert (caught.value.unsure, caught.value.away) == (True, True)
    thread.join(10)
    listening.close()


def test_a_webhook_that_does_not_answer_may_have_been_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.stall = Event()
    monkeypatch.setattr(webhook, "PATIENCE", (1.0, 0.2))
    with pytest.raises(TransportError, match=r"no answer of 127.0.0.1 within 0.2 s") as caught:
        webhook.send(hooked(receiver), MESSAGE)
    assert (caught.value.unsure, caught.value.away) == (True, True)


# ---- e-mail


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def mailing(settings: Any) -> Reach:
    """A contact, with a mail server at this URL."""

    def make(url: str) -> Contact:
        settings.SMTP_URL, settings.MAIL_FROM = url, "Labsite <labsite@example.org>"
        return Contact(name="Anna", transport="email", address="anna@example.org")

    return make


def test_a_mail_says_the_same_as_text_and_as_html(box: Box, mailing: Reach) -> None:
    with mail_server(box) as server:
        reference = email.send(
            mailing(f"smtp://127.0.0.1:{server.port}"), replace(MESSAGE, follows="another")
        )
    (mail,) = box.mails
    assert reference == mail["Message-ID"] == f"<{ID}@example.org>"
    assert mail["Subject"] == MESSAGE.title
    assert (mail["From"], mail["To"]) == ("Labsite <labsite@example.org>", "anna@example.org")
    assert mail["X-Labsite-Notice"] == ID
    assert mail["In-Reply-To"] == mail["References"] == "<another@example.org>"
    assert (mail["Importance"], mail["Auto-Submitted"]) == ("high", "auto-generated")
    assert box.body().splitlines() == MESSAGE.text.splitlines()
    assert box.body("html").strip() == MESSAGE.html


@pytest.mark.parametrize(
    ("refuse", "final"),
    [
        ({"RCPT": "550 no such user"}, True),
        ({"RCPT": "450 mailbox busy"}, False),
        ({"DATA": "554 this is spam"}, True),
        ({"DATA": "451 try later"}, False),
    ],
    ids=str,
)
def test_what_a_mail_server_refuses(box: Box, mailing: Reach, refuse: dict[str, str], final: bool) -> None:
    box.refuse = refuse
    (words,) = refuse.values()
    with mail_server(box) as server, pytest.raises(TransportError, match=words) as caught:
        email.send(mailing(f"smtp://127.0.0.1:{server.port}"), MESSAGE)
    assert (caught.value.final, caught.value.unsure, caught.value.away) == (final, False, False)


def test_a_mail_server_that_is_not_there_was_not_told(mailing: Reach) -> None:
    contact = mailing(f"smtp://user:geheim@127.0.0.1:{free_port()}")
    with pytest.raises(TransportError, match="cannot be reached") as caught:
        email.send(contact, MESSAGE)
    assert (caught.value.unsure, caught.value.away) == (False, True)
    assert "geheim" not in str(caught.value)


def test_a_mail_server_that_breaks_off_after_the_mail_may_have_taken_it(box: Box, mailing: Reach) -> None:
    def drop(server: SMTP) -> None:
        assert isinstance(server.transport, WriteTransport)
        server.transport.abort()

    box.drop_after_data = drop
    with mail_server(box) as server, pytest.raises(TransportError, match="broke off") as caught:
        email.send(mailing(f"smtp://127.0.0.1:{server.port}"), MESSAGE)
    assert (caught.value.unsure, caught.value.away) == (True, True)
    assert len(box.mails) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it is inside of TLS
def test_login_and_encryption(
    box: Box, mailing: Reach, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own)

    def allow(_server: object, _session: object, _envelope: object, _how: str, said: object) -> AuthResult:
        assert isinstance(said, LoginPassword)
        box.users.append(said.login.decode())
        is_right = said.password == PASSWORD.encode()
        return AuthResult(success=is_right, handled=is_right)

    user = f"anna:{quote(PASSWORD, safe='')}"
    login = {"authenticator": allow, "auth_required": True}
    with mail_server(box, tls_context=context, require_starttls=True, **login) as server:
        url = f"smtp+starttls://{user}@127.0.0.1:{server.port}"
        email.send(mailing(f"{url}?ca={own}"), MESSAGE)
        assert (box.users, len(box.mails)) == (["anna"], 1)
        with pytest.raises(TransportError, match="cannot be reached"):
            email.send(mailing(url), MESSAGE)  # signed by nobody whom this machine trusts
        wrong = f"smtp+starttls://anna:verkehrt@127.0.0.1:{server.port}?ca={own}"
        with pytest.raises(TransportError, match="answered 535") as caught:
            email.send(mailing(wrong), MESSAGE)
        assert "verkehrt" not in str(caught.value)
    with mail_server(box, ssl_context=context, auth_require_tls=False, **login) as server:
        email.send(mailing(f"smtps://{user}@127.0.0.1:{server.port}?ca={own}"), MESSAGE)
    assert len(box.mails) == 2
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "url", ["mail.example.org", "http://mail.example.org", "smtp://", "smtp://host:nine"]
)
def test_a_mail_server_that_is_none(mailing: Reach, url: str) -> None:
    with pytest.raises(ConfigurationError, match="LABSITE_SMTP_URL must be like smtps://"):
        email.check(mailing(url))


# ---- Apprise


def test_apprise_tells_whatever_it_speaks(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABSITE_SECRET_CHAT", f"json://user:geheim@127.0.0.1:{receiver.port}/chat")
    apprise.send(Contact(name="chat", secret="CHAT"), MESSAGE)
    (post,) = receiver.posts
    assert post.path == "/chat"
    assert post.json["title"] == MESSAGE.title
    assert post.json["message"] == MESSAGE.text.partition("\n")[2]
    assert post.json["type"] == "failure"


def test_what_apprise_cannot_hand_over_is_said_without_its_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LABSITE_SECRET_CHAT", f"json://user:geheim@127.0.0.1:{receiver.port}/T0K3N")
    receiver.answers = [(500, {})]
    with pytest.raises(TransportError) as caught:
        apprise.send(Contact(name="chat", secret="CHAT"), MESSAGE)
    assert (caught.value.final, caught.value.unsure) == (False, False)
    for word in ("geheim", "T0K3N"):
        assert word not in str(caught.value)
        assert not [
            record for record in caplog.records if word in record.getMessage() and record.name == "apprise"
        ]


def test_a_secret_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABSITE_SECRET_CHAT", "nothing://geheim")
    with pytest.raises(ConfigurationError, match="CHAT is no URL that Apprise understands") as caught:
        apprise.check(Contact(name="chat", secret="CHAT"))
    assert "geheim" not in str(caught.value)
