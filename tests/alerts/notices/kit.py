"""Where notices arrive in tests: a real web server, a real mail server; and who sends them."""

import json
import threading
from asyncio import Server
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage, Message as Mail
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from alerts import delivery, routing
from alerts.models import Notice, NoticeState
from alerts.words import Message
from devices.models import Instrument
from tests.alerts import factories
from tests.alerts.factories import NOW
from tests.telemetry.factories import edge, instrument, moment

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
class Hook:
    """A web server that takes what is posted. `answers`: what it says instead of 200, each once."""

    posts: list[Post] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    stall: threading.Event | None = None  # until it is set, nobody gets an answer
    server: ThreadingHTTPServer | None = None
    port: int = 0

    def start(self) -> "Hook":
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.take(self)

            def do_GET(self) -> None:
                hook.take(self)

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
def running(hook: Hook) -> Iterator[Hook]:
    hook.start()
    try:
        yield hook
    finally:
        if hook.stall is not None:
            hook.stall.set()
        hook.stop()


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
    controller = Controller(box, hostname="127.0.0.1", port=0, **options)
    controller.start()
    assert isinstance(controller.server, Server)
    controller.port = controller.server.sockets[0].getsockname()[1]
    try:
        yield controller
    finally:
        controller.stop()


# ---- fixtures


@pytest.fixture
def bath(db: None) -> Instrument:
    """An instrument with the channels a and b."""
    return instrument(edge())


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A web server that takes notices."""
    with running(Hook()) as started:
        yield started


@pytest.fixture
def kept(transactional_db: None) -> None:
    """What is written is seen by other threads and processes; the rules that come with Labsite are there."""
    factories.built_in_rules()
