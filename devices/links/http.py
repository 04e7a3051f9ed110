"""HTTP/1.1, bare and under TLS: one request at a time, on a connection that is kept from one to the next.

h11 takes the protocol apart; the connection is that of every other link, so that no environment's proxies,
redirects or compression come into play. An answer is bounded, whatever it says of its own length.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import h11

from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Address, Link
from devices.links.stream import StreamLink
from devices.links.tcp import TcpLink, TlsLink

BODY_BYTES_MAX = 1 << 20
HEAD_BYTES_MAX = 32_768
PARTS_MAX = 4_096  # of a body: each costs some time, however small it is
REDIRECTS_MAX = 3
IN_A_PATH = "/%:@!$&'()*+,;=~"  # what a URL's path may hold beside letters and digits
IN_A_QUERY = IN_A_PATH + "?"
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. `headers` by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body, for a message to people."""
        return self.body[:200].decode("utf-8", "replace").strip()


class HttpLink(Link):
    """`http://host:port/base` or `https://…`. Settings: `redirects`, whether those to the same host and port
    are followed; `pin` and `verify` as of a TLS link."""

    schemes = ("http", "https")

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        parts = urlsplit(address.url)
        self._base = quote(parts.path.rstrip("/"), safe=IN_A_PATH)
        query = f"?{quote(parts.query, safe=IN_A_QUERY)}" if parts.query else ""
        self._target = (quote(parts.path, safe=IN_A_PATH) or "/") + query
        self._wire: Wire | None = None
        self._authorization = ""

    @classmethod
    def check(cls, address: Address) -> None:
        if not address.host or address.port == 0:
            raise ConfigurationError(
                f"address {address.url!r} needs a host: {address.scheme}://192.168.1.26:8080"
            )
        if "#" in address.url:
            raise ConfigurationError(f"address {address.url!r}: a # has no meaning here; write it as %23")
        try:
            _host_header(address)
        except UnicodeError:
            raise ConfigurationError(f"address {address.url!r}: {address.host!r} is no host name") from None

    def authorise(self, *, token: str = "", user: str = "", password: str = "") -> None:
        """Show a bearer token, or a user and a password, with every request. Raises ConfigurationError."""
        if token:
            word = f"Bearer {token}"
        elif user or password:
            word = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        else:
            word = ""
        if not word.isascii() or (word and not word.isprintable()):
            raise ConfigurationError(
                f"{self.address.url}: its token holds characters that no header can carry"
            )
        self._authorization = word

    async def open(self) -> None:
        await self.close()
        self._wire = await self._dial()

    async def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.stream.close()

    async def get(self, path: str = "", *, within: float | None = None) -> Answer:
        """The answer to GET of a path below the address, or of the address itself. `within` seconds, if that
        is less than the link's deadline; see `request`."""
        return await self.request("GET", path, within=within)

    async def request(
        self, method: str, path: str = "", *, body: bytes = b"", within: float | None = None
    ) -> Answer:
        """The answer, whatever its status; `body` is JSON.

        Raises LinkError where there is none in time, ReplyError where it is not HTTP or too much. A GET goes
        out again, once, if the connection that was kept turns out to have been closed meanwhile.
        """
        deadline = min(within or self.deadline, self.deadline)
        headers = [
            ("host", _host_header(self.address)),
            ("user-agent", "labsite"),
            ("accept", "application/json, */*;q=0.5"),
            ("accept-encoding", "identity"),
        ]
        if self._authorization:
            headers.append(("authorization", self._authorization))
        if body:
            headers.append(("content-type", "application/json"))
        if body or method not in ("GET", "HEAD"):
            headers.append(("content-length", str(len(body))))
        target = self._base + path if path else self._target
        try:
            async with asyncio.timeout(deadline):
                return await self._follow(h11.Request(method=method, target=target, headers=headers), body)
        except TimeoutError:
            raise LinkError(f"{self.address.url}: no answer within {deadline:g} s") from None

    async def _follow(self, request: h11.Request, body: bytes) -> Answer:
        """Where a redirect leads to, if it may be followed."""
        for _ in range(REDIRECTS_MAX + 1):
            answer = await self._ask(request, body)
            where = answer.headers.get("location", "")
            if not where or answer.status not in (301, 302, 303, 307, 308):
                return answer
            if not self.settings.get("redirects") or request.method not in (b"GET", b"HEAD"):
                return answer
            request = replace(request, target=self._own_target(request, where))
        raise ReplyError(f"{self.address.url}: more than {REDIRECTS_MAX} redirects, one after the other")

    def _own_target(self, request: h11.Request, where: str) -> bytes:
        """Of a redirect. Raises ReplyError if it leads to somewhere else."""
        try:
            found = urlsplit(urljoin(urljoin(self.address.url, request.target.decode()), where))
            place = found.scheme, (found.hostname or ""), found.port or PORTS.get(found.scheme)
        except ValueError:
            raise ReplyError(f"{self.address.url}: a redirect to {where!r:.200}") from None
        if place != (self.address.scheme, self.address.host, _port(self.address)):
            raise ReplyError(f"{self.address.url}: a redirect to {where!r:.200}: is that the right address?")
        query = f"?{quote(found.query, safe=IN_A_QUERY)}" if found.query else ""
        return (quote(found.path or "/", safe=IN_A_PATH) + query).encode()

    async def _ask(self, request: h11.Request, body: bytes) -> Answer:
        wire = self._wire
        if wire is not None and wire.is_reusable:
            try:
                return await self._ask_on(wire, request, body)
            except LinkError:
                if wire.heard or request.method not in (b"GET", b"HEAD"):
                    raise
        await self.close()
        self._wire = wire = await self._dial()
        return await self._ask_on(wire, request, body)

    async def _ask_on(self, wire: "Wire", request: h11.Request, body: bytes) -> Answer:
        """What breaks it closes the connection: no late answer meets another request."""
        done = False
        try:
            answer = await wire.ask(request, body)
            done = wire.is_reusable
        except ReplyError as error:
            raise ReplyError(f"{self.address.url}: {error}") from None
        finally:
            if not done:
                await self.close()
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise ReplyError(f"{self.address.url}: a compressed answer, which was not asked for")
        return answer

    async def _dial(self) -> "Wire":
        address, kind = self.address, TlsLink if self.address.scheme == "https" else TcpLink
        stream = kind(replace(address, port=_port(address)), self.deadline, self.settings)
        await stream.open()
        return Wire(stream)


class Wire:
    """A client's side of HTTP on one connection."""

    def __init__(self, stream: StreamLink) -> None:
        self.stream = stream
        self.heard = False  # anything since the last request
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._answer: asyncio.Future[Answer] | None = None
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._parts = 0
        self._is_over = False
        stream.listen(self._hear, self._end)

    @property
    def is_reusable(self) -> bool:
        return not self._is_over and self._http.our_state is h11.IDLE

    async def ask(self, request: h11.Request, body: bytes) -> Answer:
        """Raises LinkError, or ReplyError for what is no answer in HTTP."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answer, self._head, self._parts, self.heard = answer, None, 0, False
        self._body.clear()
        chunks = [self._http.send(request)]
        if body:
            chunks.append(self._http.send(h11.Data(data=body)))
        chunks.append(self._http.send(h11.EndOfMessage()))
        self.stream.write(b"".join(chunk for chunk in chunks if chunk))
        try:
            return await answer
        finally:
            self._answer = None

    def _hear(self, chunk: bytes) -> None:
        if self._answer is None or self._answer.done():
            # Unasked: it might be taken for the answer to the next request, or have no end.
            self.stream.break_off("it spoke unasked")
            return
        self.heard = True
        self._feed(chunk, self._answer)

    def _end(self, error: LinkError) -> None:
        self._is_over = True
        answer = self._answer
        if answer is None or answer.done():
            return
        if self._head is not None:  # an answer may end with its connection
            self._feed(b"", answer, error)
        if not answer.done():
            answer.set_exception(error)

    def _feed(self, chunk: bytes, answer: asyncio.Future[Answer], error: Exception | None = None) -> None:
        try:
            self._http.receive_data(chunk)
            self._take(answer)
        except h11.RemoteProtocolError as reason:
            answer.set_exception(error or ReplyError(f"an answer that is not HTTP: {reason!s:.200}"))
        except ReplyError as reason:
            answer.set_exception(reason)

    def _take(self, answer: asyncio.Future[Answer]) -> None:
        """All events there are so far. Raises ReplyError for too much."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                self._head = event
                _refuse_what_is_too_long(event)
            elif isinstance(event, h11.Data):
                self._body += event.data
                self._parts += 1
                if len(self._body) > BODY_BYTES_MAX:
                    raise ReplyError(f"an answer of more than {BODY_BYTES_MAX} bytes")
                if self._parts > PARTS_MAX:
                    raise ReplyError(f"an answer in more than {PARTS_MAX} pieces")
            elif isinstance(event, h11.EndOfMessage):
                self._finish(answer)
                return
            elif not isinstance(event, h11.InformationalResponse):  # needs more, or is at its end
                return

    def _finish(self, answer: asyncio.Future[Answer]) -> None:
        head = self._head
        assert head is not None  # noqa: S101 - h11 ends no message that it did not begin
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._is_over = bool(self._http.trailing_data[0])
        else:
            self._is_over = True
        answer.set_result(Answer(head.status_code, headers, bytes(self._body)))
        self._body.clear()


def _refuse_what_is_too_long(head: h11.Response) -> None:
    for name, value in head.headers:
        if name == b"content-length" and int(value) > BODY_BYTES_MAX:
            raise ReplyError(f"an answer of {int(value)} bytes; at most {BODY_BYTES_MAX} are taken")


def _port(address: Address) -> int:
    return address.port or PORTS[address.scheme]


def _host_header(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host.encode("idna").decode()
    return host if address.port is None else f"{host}:{address.port}"
