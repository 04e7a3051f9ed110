"""Requests over HTTP against a server that does, byte for byte, what each test says."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from devices import links
from devices.errors import ConfigurationError, DriverError, LinkError, ReplyError
from devices.links.http import BODY_BYTES_MAX, Answer, HttpLink


class Server:
    """Answers each request with the next of `answers`: bytes, packets, or what a coroutine does."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.lost = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.requests.append(head + await reader.readexactly(int(length or 0)))
                answer = self.answers.pop(0)
                if answer is None:
                    return
                if callable(answer):
                    await answer(reader, writer)
                    continue
                for packet in [answer] if isinstance(answer, bytes) else answer:
                    writer.write(packet)
                    await writer.drain()
                    await asyncio.sleep(0.002)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.lost.set()
            writer.close()


@asynccontextmanager
async def linked(
    *answers: Any, base: str = "", deadline: float = 5.0, **wanted: Any
) -> AsyncIterator[tuple[HttpLink, Server]]:
    scripted = Server(*answers)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = await links.connect(links.check(f"http://127.0.0.1:{port}{base}"), deadline, wanted)
    assert isinstance(link, HttpLink)
    try:
        yield link, scripted
    finally:
        await link.close()
        server.close()


def said(body: bytes | str, status: str = "200 OK", **headers: str) -> bytes:
    text = body.encode() if isinstance(body, str) else body
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(text)}\r\n{more}\r\n".encode() + text


# ---- requests and answers


async def test_a_request_is_answered() -> None:
    async with linked(said('{"a": 1}', content_type="application/json")) as (link, server):
        answer = await link.get("/api/status")
        assert answer == Answer(200, {"content-length": "8", "content-type": "application/json"}, b'{"a": 1}')
        head = server.requests[0].lower()
        assert head.startswith(b"get /api/status http/1.1\r\n")
        assert b"\r\nhost: 127.0.0.1:" in head
        assert b"authorization" not in head


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("", "", b"/"),
        ("/", "/api", b"/api"),
        ("/lab/", "/api", b"/lab/api"),
        ("/lab/one?x=1&y=%20", "", b"/lab/one?x=1&y=%20"),
        ("/räume/a b", "", b"/r%C3%A4ume/a%20b"),
        ("/x?q=ä b", "", b"/x?q=%C3%A4%20b"),
    ],
)
async def test_paths_are_below_the_address(base: str, path: str, target: bytes) -> None:
    async with linked(said(""), base=base) as (link, server):
        await link.get(path)
        assert server.requests[0].split(b" ")[1] == target


async def test_one_connection_carries_many_requests() -> None:
    async with linked(said("1"), said("2"), said("3")) as (link, server):
        assert [(await link.get("/")).body for _ in range(3)] == [b"1", b"2", b"3"]
        assert server.connections == 1


async def test_json_is_posted() -> None:
    async with linked(said("{}", "202 Accepted")) as (link, server):
        assert (await link.request("POST", "/start", body=b'{"mode":"x"}')).status == 202
        assert b"content-type: application/json\r\n" in server.requests[0].lower()
        assert server.requests[0].endswith(b'\r\n\r\n{"mode":"x"}')


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        [b"HT", b"TP/1.1 200 OK\r\ncontent-le", b"ngth: 3\r\n\r", b"\na", b"bc"],
    ],
    ids=["chunked", "closing", "1.0", "early hints", "in pieces"],
)
async def test_answers_of_every_form_are_taken_and_the_next_one_too(answer: Any) -> None:
    async with linked(answer, said("next")) as (link, _):
        assert (await link.get("/")).body == b"abc"
        assert (await link.get("/")).body == b"next"


async def test_an_answer_may_end_with_its_connection() -> None:
    async def until_the_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        writer.close()

    async with linked(until_the_end) as (link, _):
        assert (await link.get("/")).body == b"abc"


async def test_errors_are_answers_too() -> None:
    async with linked(said("Job not found", "404 Not Found")) as (link, _):
        answer = await link.get("/api/jobs/0")
        assert (answer.status, answer.text) == (404, "Job not found")


# ---- who asks


@pytest.mark.parametrize(
    ("words", "header"),
    [
        ({"token": "abc"}, b"bearer abc"),
        ({"user": "me", "password": "pass:word"}, b"basic bwu6cgfzczp3b3jk"),
        ({}, b""),
    ],
)
async def test_who_asks_is_shown_with_each_request(words: dict[str, str], header: bytes) -> None:
    async with linked(said(""), said("")) as (link, server):
        link.authorise(**words)
        await link.get("/")
        await link.get("/")
        for request in server.requests:
            assert request.lower().partition(b"authorization: ")[2].partition(b"\r\n")[0] == header


@pytest.mark.parametrize("token", ["a\r\nx: y", "ä", "\0"])
async def test_a_token_that_no_header_can_carry_is_not_shown_in_the_message(token: str) -> None:
    async with linked() as (link, _):
        with pytest.raises(ConfigurationError) as caught:
            link.authorise(token=token)
        assert token not in str(caught.value)


# ---- connections that break


async def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    async with linked(said("1"), None, said("2")) as (link, server):
        await link.get("/")
        assert (await link.get("/")).body == b"2"
        assert server.connections == 2


async def test_what_is_posted_goes_out_once() -> None:
    async with linked(said("1"), None, said("2")) as (link, server):
        await link.get("/")
        with pytest.raises(LinkError, match="closed by"):
            await link.request("POST", "/start", body=b"{}")
        assert len(server.requests) == 2
        assert (await link.get("/")).body == b"2"


async def test_a_connection_closed_midway_is_a_link_error() -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        writer.close()

    async with linked(half) as (link, server):
        with pytest.raises(LinkError, match="closed by"):
            await link.get("/")
        assert len(server.requests) == 1


async def test_nobody_there_is_a_link_error() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(LinkError, match=rf"http://127.0.0.1:{port}: connection refused"):
        await links.connect(links.check(f"http://127.0.0.1:{port}"), 1.0)


async def test_no_answer_in_time_closes_the_connection() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with linked(silence, deadline=0.05) as (link, server):
        with pytest.raises(LinkError, match=r"no answer within 0\.05 s"):
            await link.get("/")
        await asyncio.wait_for(server.lost.wait(), 5)


async def test_a_request_may_be_given_less_time_than_the_link_has() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with linked(silence, deadline=60) as (link, _):
        with pytest.raises(LinkError, match=r"no answer within 0\.05 s"):
            await link.get("/", within=0.05)


async def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(said("late"))

    async with linked(late, said("right"), deadline=0.05) as (link, _):
        with pytest.raises(LinkError):
            await link.get("/")
        link.deadline = 5.0
        assert (await link.get("/")).body == b"right"


async def test_an_answer_that_nobody_asked_for_is_not_taken() -> None:
    async with linked(said("1") + said("stray"), said("2")) as (link, server):
        assert (await link.get("/")).body == b"1"
        assert (await link.get("/")).body == b"2"
        assert server.connections == 2


async def test_one_that_goes_on_talking_is_hung_up_on() -> None:
    async def chatter(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said("1"))
        await asyncio.sleep(0.02)
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with linked(chatter) as (link, server):
        assert (await link.get("/")).body == b"1"
        await asyncio.wait_for(server.lost.wait(), 5)


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with linked(silence, said("next")) as (link, server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await link.get("/")
        assert (await link.get("/")).body == b"next"
        assert server.connections == 2


# ---- what is no answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"hello\r\n\r\n", "not HTTP"),
        (b"\xff\xfe\x00\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
        (said("", content_encoding="gzip"), "compressed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\nabc", "an answer of 104857600 bytes"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000, "4096 pieces"),
    ],
    ids=["text", "noise", "length", "head too long", "chunks", "compressed", "100 MB", "crumbs"],
)
async def test_what_is_no_answer_is_a_reply_error_and_the_next_one_is_good(answer: bytes, words: str) -> None:
    async with linked(answer, said("next")) as (link, _):
        with pytest.raises(ReplyError, match=words):
            await link.get("/")
        assert (await link.get("/")).body == b"next"


async def test_an_answer_without_an_end_is_refused_early() -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 100 << 20:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await writer.drain()

    async with linked(flood) as (link, server):
        with pytest.raises(ReplyError, match=f"more than {BODY_BYTES_MAX} bytes"):
            await link.get("/")
        await asyncio.wait_for(server.lost.wait(), 5)
        assert sent < 20 << 20  # what the kernel holds in between


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300), prefix=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", said("ok")]))
async def test_nothing_but_a_drivers_own_errors_comes_of_noise(noise: bytes, prefix: bytes) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(prefix + noise)
        writer.close()

    before = time.monotonic()
    async with linked(answer, deadline=1.0) as (link, _):
        with suppress(DriverError):
            assert isinstance(await link.get("/"), Answer)
    assert time.monotonic() - before < 20


# ---- redirects


async def test_a_redirect_is_not_followed_unless_said() -> None:
    async with linked(said("", "302 Found", location="/other")) as (link, _):
        assert (await link.get("/")).status == 302


async def test_a_redirect_to_the_same_place_is_followed_when_said() -> None:
    answers = [
        said("", "302 Found", location="/other?x=1"),
        said("", "301 Moved", location="last"),
        said("x"),
    ]
    async with linked(*answers, redirects=True) as (link, server):
        assert (await link.get("/a/b")).body == b"x"
        assert [request.split(b" ")[1] for request in server.requests] == [b"/a/b", b"/other?x=1", b"/last"]


@pytest.mark.parametrize(
    "where", ["http://elsewhere.example/", "https://127.0.0.1/", "http://[x", "//host/x"]
)
async def test_a_redirect_to_elsewhere_is_never_followed(where: str) -> None:
    async with linked(said("", "302 Found", location=where), redirects=True) as (link, _):
        link.authorise(token="secret")
        with pytest.raises(ReplyError, match="redirect"):
            await link.get("/")


async def test_redirects_in_a_circle_come_to_an_end() -> None:
    answers = [said("", "302 Found", location="/x")] * 10
    async with linked(*answers, redirects=True) as (link, server):
        with pytest.raises(ReplyError, match="more than 3 redirects"):
            await link.get("/")
        assert len(server.requests) == 4


# ---- addresses


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://", "needs a host"),
        ("http://:80/x", "needs a host"),
        ("http://host:0/", "needs a host"),
        ("https://host/#part", "has no meaning"),
        ("http://user:word@host/", "no user or password"),
        ("http://" + "x" * 70 + ".lab/", "no host name"),
    ],
)
def test_an_address_that_cannot_work_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        links.check(url)
