"""Where notices arrive in tests: a real web server, a real mail server; and who sends them."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message as Mail
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from alerts.models import Notice, NoticeState
from alerts.notices import delivery, routing
from alerts.notices.words import Message
from devices.models import Instrument
from tests.alerts import factories
from tests.alerts.factories import NOW
from tests.telemetry.factories import edge, instrument, moment
from tests.web import free_port

EVERY = ("apprise", "email", "webhook", "matrix")


# ---- notices, without a transport


def told(at: float = 0.0, *, hand_over: bool = True) -> list[Message]:
    """What people are told at this moment (seconds from NOW), in order: each is taken at once."""
    now = moment(at)
    routing.dispatch(now)
    messages = []
    for notice in delivery.due(EVERY, now):
        message = delivery.begin(notice, now)
        if message is not None:
            messages.append(message)
            if hand_over:
                delivery.sent(notice, message, "", 0.01, now)
    return messages


def titles(at: float = 0.0) -> list[str]:
    return [message.title for message in told(at)]


def waiting() -> list[tuple[str, str, float]]:
    """(kind, contact, seconds from NOW) of what waits, in the order in which it is due."""
    found = Notice.objects.filter(state=NoticeState.WAITING).select_related("contact").order_by("due_at")
    return [(each.kind, each.contact.name, (each.due_at - NOW).total_seconds()) for each in found]


# ---- a web server


@dataclass
class Post:
    """A request that came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["X-Labsite-Notice"]


Answer = tuple[int, dict[str, str]]


@dataclass
class Receiver:
    """A web server that takes what is posted. `answers`: what it says instead of 200, each once."""

    posts: list[Post] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    stall: threading.Event | None = None  # until it is set, nobody gets an answer
    server: ThreadingHTTPServer | None = None
    port: int = 0

    def start(self) -> "Receiver":
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self)

            def do_GET(self) -> None:
                receiver.take(self)

            def log_message(self, *_words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        serving = {"poll_interval": 0.02}
        threading.Thread(target=self.server.serve_forever, kwargs=serving, daemon=True).start()
        return self

    def take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.posts.append(Post(request.path, dict(request.headers), body))
        if self.stall is not None:
            self.stall.wait(30)
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        request.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            request.send_header(name, value)
        request.end_headers()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [post.id for post in self.posts]

    @property
    def titles(self) -> list[str]:
        return [post.json["title"] for post in self.posts]


@contextmanager
def running(receiver: Receiver) -> Iterator[Receiver]:
    receiver.start()
    try:
        yield receiver
    finally:
        if receiver.stall is not None:
            receiver.stall.set()
        receiver.stop()


# ---- a mail server


@dataclass
class Box:
    """What a mail server has taken. `refuse`: by the command, what it answers instead of 250."""

    mails: list[Mail] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    users: list[str] = field(default_factory=list)
    drop_after_data: Callable[[SMTP], None] | None = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if answer := self.refuse.get("RCPT"):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        if answer := self.refuse.get("DATA"):
            return answer
        self.mails.append(BytesParser(policy=default).parsebytes(envelope.content))
        if self.drop_after_data is not None:
            self.drop_after_data(server)
        return "250 taken"

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    @property
    def ids(self) -> list[str]:
        return [str(mail["X-Labsite-Notice"]) for mail in self.mails]

    def body(self, kind: str = "plain") -> str:
        mail = self.mails[-1]
        assert isinstance(mail, EmailMessage)
        part = mail.get_body((kind,))
        assert part is not None
        return str(part.get_content())


@contextmanager
def mail_server(box: Box, **options: Any) -> Iterator[Controller]:
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()


def certificate(folder: Path) -> Path:
    """A file with a certificate of 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail server of tests")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    use = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=False, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(use, critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "mail.pem"
    file.write_bytes(made.public_bytes(pem) + written)
    return file


# ---- fixtures


@pytest.fixture
def bath(db: None) -> Instrument:
    """An instrument with the channels a and b."""
    return instrument(edge())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A web server that takes notices."""
    with running(Receiver()) as started:
        yield started


@pytest.fixture
def kept(transactional_db: None) -> None:
    """What is written is seen by other threads and processes; the rules that come with Labsite are there."""
    factories.built_in_rules()
