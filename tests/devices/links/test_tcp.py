"""Lines over TCP against a server that does what each test says."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest

from devices import links
from devices.errors import LinkError
from devices.links.base import Address
from devices.links.stream import LINE_BYTES_MAX
from devices.links.tcp import TcpLink

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def linked(handler: Handler, deadline: float = 5.0) -> AsyncIterator[TcpLink]:
    """An open link to a server whose connections `handler` looks after."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = await links.connect(links.check(f"tcp://127.0.0.1:{port}"), deadline)
    assert isinstance(link, TcpLink)
    try:
        yield link
    finally:
        await link.close()
        server.close()


def answering(*answers: list[bytes]) -> Handler:
    """For each line that comes, the next answer, packet by packet; then silence."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for packets in answers:
            await reader.readline()
            for packet in packets:
                writer.write(packet)
                await writer.drain()
                await asyncio.sleep(0.005)  # the kernel sends each by itself
        await reader.read()

    return handler


async def test_a_line_is_answered_by_a_line() -> None:
    async with linked(answering([b"one\n"], [b"two\n"])) as link:
        assert await link.ask(b"first\n") == b"one"
        assert await link.ask(b"second\n") == b"two"


async def test_an_answer_in_pieces_is_put_together() -> None:
    async with linked(answering([b"o", b"n", b"e\n"], [b"\n"])) as link:
        assert await link.ask(b"first\n") == b"one"
        assert await link.ask(b"second\n") == b""


@pytest.mark.parametrize(
    "packets",
    [[b"one\nstray\n"], [b"one\nstray\nmore\n"], [b"on", b"e\nstr", b"ay\n"], [b"one\n", b"stray\n"]],
    ids=["behind", "two behind", "torn", "later"],
)
async def test_what_nobody_asked_for_is_not_taken_for_an_answer(packets: list[bytes]) -> None:
    async with linked(answering(packets, [b"two\n"])) as link:
        assert await link.ask(b"first\n") == b"one"
        await asyncio.sleep(0.05)  # nothing tells this side that a stray line has come
        assert await link.ask(b"second\n") == b"two"


async def test_the_rest_of_a_torn_stray_line_is_dropped_too() -> None:
    async with linked(answering([b"one\nstr"], [b"ay\ntwo\n"], [b"three\n"])) as link:
        assert await link.ask(b"first\n") == b"one"
        assert await link.ask(b"second\n") == b"two"
        assert await link.ask(b"third\n") == b"three"


async def test_silence_ends_at_the_deadline_and_closes_the_link() -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with linked(silent, deadline=0.1) as link:
        before = time.monotonic()
        with pytest.raises(LinkError, match=r"no answer within 0\.1 s"):
            await link.ask(b"first\n")
        assert 0.09 < time.monotonic() - before < 20
        await asyncio.wait_for(gone.wait(), 5)
        with pytest.raises(LinkError, match="no answer"):
            await link.ask(b"second\n")


async def test_a_late_answer_meets_no_other_request() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await asyncio.sleep(0.2 if line == b"first\n" else 0)
            writer.write(b"answer to " + line)

    async with linked(late, deadline=0.1) as link:
        with pytest.raises(LinkError):
            await link.ask(b"first\n")
        await link.open()
        assert await link.ask(b"second\n") == b"answer to second"


async def test_an_exchange_that_is_broken_off_closes_the_link() -> None:
    async with linked(answering()) as link:
        asking = asyncio.create_task(link.ask(b"first\n"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        with pytest.raises(LinkError, match="broken off"):
            await link.ask(b"second\n")


async def test_a_close_that_is_broken_off_still_closes() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with linked(answering()) as link:
        leaving = asyncio.create_task(link.close())
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with pytest.raises(LinkError, match="not open"):
            await link.ask(b"first\n")
        await asyncio.sleep(0)
    assert complaints == []


@pytest.mark.parametrize("packets", [[b"x" * 200_000], [b"x" * 200_000 + b"\n"]], ids=["no end", "too long"])
async def test_a_line_without_end_is_given_up(packets: list[bytes]) -> None:
    async with linked(answering(packets)) as link:
        with pytest.raises(LinkError, match=f"more than {LINE_BYTES_MAX} bytes"):
            await link.ask(b"first\n")


async def test_the_longest_line_is_taken() -> None:
    async with linked(answering([b"x" * LINE_BYTES_MAX + b"\n"])) as link:
        assert len(await link.ask(b"first\n")) == LINE_BYTES_MAX


async def test_a_connection_closed_midway_is_a_link_error_at_once() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"half an ans")

    async with linked(rude) as link:
        with pytest.raises(LinkError, match="closed by the other side"):
            await link.ask(b"first\n")


async def test_a_connection_lost_between_requests_is_told_by_the_next() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Come and go."""

    async with linked(leave) as link:
        with pytest.raises(LinkError, match=r"closed by the other side|reset"):
            await link.ask(b"first\n")


async def test_nobody_there_is_refused_at_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with pytest.raises(LinkError, match="connection refused"):
        await links.connect(links.check(f"tcp://127.0.0.1:{port}"), 5.0)


async def test_a_host_that_does_not_answer_is_given_up_at_the_deadline() -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as full:
        host, port = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # more than the backlog takes: the next SYN is dropped
        for each in waiting:
            each.setblocking(False)
            each.connect_ex((host, port))
        with pytest.raises(LinkError, match=r"no connection within 0\.2 s"):
            await links.connect(links.check(f"tcp://{host}:{port}"), 0.2)
        for each in waiting:
            each.close()


async def test_a_name_that_is_no_host_is_a_link_error() -> None:
    for host in ("no-such-host.invalid", "a..b"):
        with pytest.raises(LinkError):
            await links.connect(links.check(f"tcp://{host}:23"), 5.0)


async def test_a_link_is_closed_as_often_as_one_likes() -> None:
    async with linked(answering()) as link:
        await link.close()
        await link.close()
        with pytest.raises(LinkError, match="not open"):
            await link.ask(b"first\n")


async def test_a_link_that_was_never_open_says_so() -> None:
    with pytest.raises(LinkError, match="not open"):
        await TcpLink(Address.parse("tcp://127.0.0.1:23"), 1.0).ask(b"first\n")


async def test_one_exchange_at_a_time() -> None:
    async with linked(answering([b"one\n"])) as link:
        first = asyncio.create_task(link.ask(b"first\n"))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one exchange at a time"):
            await link.ask(b"second\n")
        assert await first == b"one"
