"""A stream of bytes in the two ways that are not lines: exchanges with an end of their own, and listening."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devices import links
from devices.errors import LinkError, ReplyError
from devices.links.stream import ANSWER_BYTES_MAX, StreamLink
from devices.links.thread import OwnThread

Answers = Callable[[bytes], list[bytes]]


class Peer(asyncio.Protocol):
    """Answers each chunk with the packets that a test chooses."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.made = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.made.set()

    def data_received(self, chunk: bytes) -> None:
        for packet in self.answers(chunk):
            self.transport.write(packet)


@asynccontextmanager
async def linked(
    answers: Answers, deadline: float = 5.0, settings: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[StreamLink, Peer]]:
    peer = Peer(answers)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: peer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = await links.connect(links.check(f"tcp://127.0.0.1:{port}"), deadline, settings)
    assert isinstance(link, StreamLink)
    await peer.made.wait()
    try:
        yield link, peer
    finally:
        await link.close()
        peer.transport.abort()
        server.close()


def four(received: bytearray) -> bytes | None:
    """Answers are four bytes behind a `<`; what comes before that is noise."""
    start = received.find(b"<")
    if start < 0:
        received.clear()
        return None
    del received[:start]
    if received.startswith(b"<bad"):
        raise ReplyError("bad")
    return bytes(received[1:5]) if len(received) >= 5 else None


async def test_the_driver_says_where_an_answer_ends() -> None:
    async with linked(lambda chunk: [b"noise<", b"ab", b"cdmore"]) as (link, _):
        assert await link.exchange(b"?", four) == b"abcd"
        assert await link.exchange(b"?", four) == b"abcd"  # what came behind the first is dropped


async def test_an_unusable_answer_keeps_the_link() -> None:
    answers = iter([[b"<bad!"], [b"<good"]])
    async with linked(lambda chunk: next(answers)) as (link, _):
        with pytest.raises(ReplyError):
            await link.exchange(b"?", four)
        assert await link.exchange(b"?", four) == b"good"


async def test_silence_ends_the_link() -> None:
    async with linked(lambda chunk: [b"<ab"], deadline=0.1) as (link, _):
        with pytest.raises(LinkError, match=r"no answer within 0\.1 s"):
            await link.exchange(b"?", four)
        with pytest.raises(LinkError):
            await link.exchange(b"?", four)


async def test_an_answer_without_end_is_refused() -> None:
    async with linked(lambda chunk: [b"<" + b"x" * (2 * ANSWER_BYTES_MAX)]) as (link, _):
        with pytest.raises(LinkError, match="an answer of more than"):
            await link.exchange(b"?", lambda received: None)


async def test_silence_may_cost_only_the_exchange() -> None:
    answers = iter([[], [b"<late"], [b"<good"]])
    async with linked(lambda chunk: next(answers)) as (link, _):
        with pytest.raises(ReplyError, match=r"no answer within 0\.05 s"):
            await link.exchange(b"?", four, within=0.05)
        assert await link.exchange(b"?", four, within=5) == b"late"
        assert await link.exchange(b"?", four) == b"good"


async def test_a_short_time_out_is_kept_behind_a_long_one() -> None:
    answers = iter([[b"<good"], []])
    async with linked(lambda chunk: next(answers)) as (link, _):
        await link.exchange(b"?", four)
        async with asyncio.timeout(2):  # the link's own deadline, 5 s, was set first
            with pytest.raises(ReplyError):
                await link.exchange(b"?", four, within=0.05)


async def test_what_comes_late_is_dropped_until_it_is_quiet() -> None:
    def answers(chunk: bytes) -> list[bytes]:
        loop = asyncio.get_running_loop()
        for number in range(4):
            loop.call_later(number * 0.03, peer.transport.write, b"<late")
        return []

    async with linked(answers) as (link, peer):
        with pytest.raises(ReplyError):
            await link.exchange(b"?", lambda received: None, within=0.01)
        await link.settle(0.06, 5.0)
        peer.answers = lambda chunk: [b"<good"]
        assert await link.exchange(b"?", four) == b"good"


async def test_settling_ends_though_it_never_gets_quiet() -> None:
    async with linked(lambda chunk: []) as (link, peer):
        babble = asyncio.create_task(_babble(peer))
        async with asyncio.timeout(2):
            await link.settle(0.1, 0.2)
        babble.cancel()


async def _babble(peer: Peer) -> None:
    while True:
        peer.transport.write(b"babble")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("terminator", [b"\r", b"\r\n", b"\r\r>"])
@pytest.mark.parametrize("cut", range(9))
async def test_a_line_may_end_otherwise(terminator: bytes, cut: int) -> None:
    """However the answer is cut, and whatever came before it unasked."""
    async with linked(lambda chunk: [], settings={"terminator": terminator}) as (link, peer):
        for answer in (b"one", b"a\nb"):
            asking = asyncio.create_task(link.ask(b"?"))
            await asyncio.sleep(0)
            whole = answer + terminator + b"stray" + terminator
            peer.transport.write(whole[:cut])
            await asyncio.sleep(0.003)  # the kernel sends each by itself
            peer.transport.write(whole[cut:])
            assert await asking == answer
            await asyncio.sleep(0.003)  # nothing tells this side that the stray line has come


async def test_who_listens_hears_everything_and_the_end() -> None:
    heard: list[bytes] = []
    lost: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()
    async with linked(lambda chunk: [chunk.upper()]) as (link, peer):
        link.listen(heard.append, lost.set_result)
        peer.transport.write(b"unasked ")
        link.write(b"echo ")
        peer.transport.write(b"more")
        async with asyncio.timeout(5):
            while b"".join(heard).count(b"ECHO") < 1 or b"more" not in b"".join(heard):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            peer.transport.close()
            assert "closed by the other side" in str(await lost)
        with pytest.raises(LinkError):
            link.write(b"too late")


async def test_a_peer_that_does_not_read_is_given_up() -> None:
    lost: list[LinkError] = []
    async with linked(lambda chunk: []) as (link, peer):
        peer.transport.pause_reading()
        link.listen(lambda chunk: None, lost.append)

        def flood() -> None:
            for _ in range(200):
                link.write(b"x" * 100_000)

        with pytest.raises(LinkError, match="does not read"):
            flood()
        assert len(lost) == 1


async def test_a_thread_of_its_own_runs_one_call_after_the_other() -> None:
    thread = OwnThread("bus")
    first = await thread.run(threading.get_ident)
    assert first == await thread.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    thread.close()


async def test_a_hung_call_costs_one_thread_and_holds_up_nobody() -> None:
    thread, release = OwnThread("bus"), threading.Event()
    before = threading.active_count()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await thread.run(release.wait)
    for _ in range(5):
        with pytest.raises(LinkError, match="still hangs"):
            await thread.run(int)
    assert threading.active_count() == before + 1
    release.set()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await thread.run(int, "7") == 7
                break
            except LinkError:
                await asyncio.sleep(0.005)
    thread.close()
