"""What simulated instruments with an HTTP interface have in common: requests in, answers out.

They sit behind the doors of TCP and TLS; faults spoil the bytes of whole answers.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from random import Random
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from devices.simulators.base import Client, Simulator
from devices.simulators.faults import Faults

BODY_BYTES_MAX = 2 << 20
JSON = ("content-type", "application/json")
TEXT = ("content-type", "text/plain; charset=utf-8")
HTML = ("content-type", "text/html; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Request:
    """Of a client. `headers` by their names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """Of the instrument; `reading` as `Client.answer` takes it."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    reading: bool | str = False


@dataclass(slots=True)
class Pending:
    """A request of which not all has come."""

    head: h11.Request
    body: bytearray = field(default_factory=bytearray)


class HttpSimulator(Simulator):
    """One that answers requests. Its own clock is the host's, and goes on with the simulator's."""

    scheme = "http"
    settings: ClassVar[Mapping[str, str]] = {"tls": "on: https with a certificate of its own (default off)"}

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        if settings.get("tls") == "on":
            self.scheme = "https"
        self._begun_ns = time.time_ns()

    def respond(self, request: Request) -> Response:
        raise NotImplementedError

    def session(self, client: Client) -> "HttpSession":
        return HttpSession(self, client)

    def wall_ns(self) -> int:
        """Its clock, in ns of UTC."""
        return self._begun_ns + round(self.elapsed * 1e9)

    def garbage(self, answer: bytes, random: Random) -> bytes:
        """Noise, or an answer of which half is missing though it says that it is whole."""
        head, _, body = answer.partition(b"\r\n\r\n")
        if body and random.random() < 0.5:
            half = body[: len(body) // 2]
            lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
            return b"\r\n".join([*lines, b"content-length: %d" % len(half), b"", half])
        return b"\xff" + random.randbytes(random.randint(1, 200)) + b"\r\n\r\n"


class HttpSession:
    """One client's connection."""

    def __init__(self, simulator: HttpSimulator, client: Client) -> None:
        self.simulator = simulator
        self.client = client
        self._http = h11.Connection(h11.SERVER)
        self._pending: Pending | None = None

    def hear(self, chunk: bytes) -> None:
        try:
            self._http.receive_data(chunk)
            self._take_events()
        except h11.RemoteProtocolError:
            self.client.answer(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.client.close()

    def end(self) -> None:
        """The client is gone."""

    def _take_events(self) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._pending = Pending(event)
            elif isinstance(event, h11.Data) and self._pending:
                self._pending.body += event.data
                if len(self._pending.body) > BODY_BYTES_MAX:
                    self._answer(self._pending.head, Response(413, b"length limit exceeded", (TEXT,)))
                    self.client.close()
                    return
            elif isinstance(event, h11.EndOfMessage) and self._pending:
                pending, self._pending = self._pending, None
                self._answer(pending.head, self.simulator.respond(_request(pending)))
                if self._http.our_state is h11.MUST_CLOSE:
                    self.client.close()
                    return
                self._http.start_next_cycle()
            else:
                return

    def _answer(self, head: h11.Request, response: Response) -> None:
        reason = HTTPStatus(response.status).phrase.encode()
        date = formatdate(self.simulator.wall_ns() / 1e9, usegmt=True)
        headers = [*response.headers, ("content-length", str(len(response.body))), ("date", date)]
        chunks = [
            self._http.send(h11.Response(status_code=response.status, reason=reason, headers=headers)) or b""
        ]
        if head.method != b"HEAD" and response.body:
            chunks.append(self._http.send(h11.Data(data=response.body)) or b"")
        chunks.append(self._http.send(h11.EndOfMessage()) or b"")
        self.client.answer(b"".join(chunks), reading=response.reading)


def _request(pending: Pending) -> Request:
    parts = urlsplit(pending.head.target.decode("latin-1"))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pending.head.headers}
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    method = pending.head.method.decode("latin-1")
    return Request(method, unquote(parts.path), query, headers, bytes(pending.body))
