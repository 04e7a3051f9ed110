"""QuantStudio's wire against its protocol notes' transcripts (§10), and what no machine should say."""

import asyncio
import base64
import time
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise, repeat

import pytest
from hypothesis import given, strategies as st

from devices import links
from devices.drivers.quantstudio_wire import (
    ARRIVALS_APART,
    LINE_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    PIECE_BYTES,
    TAG_OPEN_MAX,
    Conversation,
    Decoder,
    Framer,
    Refusal,
    block_of,
    options_of,
    proof,
    quoted,
    words_of,
)
from devices.errors import DriverError, LinkError, ReplyError
from devices.links.stream import StreamLink

GREETING = b"READy -session=474800 -product=QuantStudio3_5 -version=1.3.0 -build=001 -capabilities=Index\n"
STREAM = (
    b"OK 20\n"
    b"MESSage LEDStatus 1763430787.712 Temperature:52.1012 Current:9.4774 Voltage:3.13747 JuncTemp:67.959\n"
    b'MESSage Run 1763430787.750 Collected -run="qslib-new-test" -stage=1 -cycle=1 -step=1 -point=1\n'
    b"MESSage Temperature 1763430787.793 -sample=25.0,25.0,25.0,25.0,25.0,25.0 -heatsink=27.8 -cover=105.0 "
    b"-block=25.0,25.0,25.0,25.0,25.0,25.0\n"
    b"OK 21 <quote.reply>\n"
    b"qslib-new-test/apldbio/sds/filter/S01_C001_T01_P0001_M1_X1_filterdata.xml\n"
    b"qslib-new-test/apldbio/sds/filter/S01_C001_T01_P0001_M2_X2_filterdata.xml\n"
    b"</quote.reply>\n"
    b"MESSage Time 1763430788.066 -elapsed=247 -active=57 -remaining=243\n"
    b"OK 22 <quote>\n"
    b"dGVzdCBmaWxlIGNvbnRlbnQ=\n"
    b"</quote>\n"
    b'ERRor 23 [IOError] -message="No such file or directory" -filename="none.xml" --> '
    b"No such file or directory: 'none.xml'\n"
    b"OK 24\n"
    b"NEXT 25\n"
    b"OK 25\n"
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def framed(*chunks: bytes) -> list[bytes]:
    told: list[bytes] = []
    framer = Framer(told.append, Clock())
    for chunk in chunks:
        framer.feed(chunk)
    return told


# ---- framing


def test_the_transcript_is_eleven_messages_of_which_two_have_many_lines() -> None:
    told = framed(STREAM)
    assert len(told) == 11
    assert [message.split(b"\n")[0][:6] for message in told if b"\n" in message] == [b"OK 21 ", b"OK 22 "]
    assert b"\n".join(told) + b"\n" == STREAM


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_however_it_is_cut_the_messages_are_the_same(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(STREAM)]
    assert framed(*(STREAM[a:b] for a, b in pairwise(bounds))) == framed(STREAM)


def test_byte_by_byte_the_messages_are_the_same() -> None:
    assert framed(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == framed(STREAM)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"OK 1 <a>\n<b>\nx\n</b>\n</a>\nOK 2\n", [b"OK 1 <a>\n<b>\nx\n</b>\n</a>", b"OK 2"]),
        (b"OK 1 <quote>x</quote>\n", [b"OK 1 <quote>x</quote>"]),
        (b"OK 1 <LOOPBACK,UP> 3 < 4 <>\nOK 2\n", [b"OK 1 <LOOPBACK,UP> 3 < 4 <>", b"OK 2"]),
        (b"OK 1 a<\nOK 2\n", [b"OK 1 a<", b"OK 2"]),
        (b"OK 1 <quote>\n< 3\n</quote>\n", [b"OK 1 <quote>\n< 3\n</quote>"]),
        (b"OK 1 </quote>\nOK 2\n", [b"OK 2"]),
        (b"OK 1 <quote>\n</other>\nx\nOK 2\n", [b"x", b"OK 2"]),
        (b"OK 1 <a>\n<b>\n</a>\n</b>\nOK 2\n", [b"OK 2"]),
        (b"OK 1 " + b"<a>" * 9_000 + b"\nOK 2\n", [b"OK 2"]),
        (b"\n\nOK 1\n", [b"", b"", b"OK 1"]),
    ],
    ids=[
        "nested",
        "in a line",
        "no tag",
        "lone",
        "lone in a tag",
        "not open",
        "wrong close",
        "crossed",
        "deep",
        "blank",
    ],
)
def test_tags_hold_lines_together(sent: bytes, told: list[bytes]) -> None:
    assert framed(sent) == told
    assert framed(*(sent[at : at + 1] for at in range(len(sent)))) == told


def test_a_tag_that_is_never_closed_costs_its_own_line_only() -> None:
    clock, told = Clock(), list[bytes]()
    framer = Framer(told.append, clock)
    framer.feed(b"MESSage Info <quote> was typed\nOK 5\nMESSage Time 1763430788.066 -elapsed=247\n")
    assert told == []
    clock.now += TAG_OPEN_MAX + 1
    framer.feed(b"OK 6\n")
    assert told == [b"OK 5", b"MESSage Time 1763430788.066 -elapsed=247", b"OK 6"]


def test_what_waited_within_a_tag_knows_how_long_whatever_chunks_it_came_in() -> None:
    clock, told = Clock(), list[tuple[bytes, float]]()
    framer = Framer(lambda message: told.append((message, framer.held_for)), clock)
    for at, chunk in enumerate([b"A\nB <quote>\nC\nD", b"1\nE\n", b"", b"F"]):
        clock.now = 10.0 * at
        framer.feed(chunk)
    clock.now = TAG_OPEN_MAX + 5
    framer.feed(b"G\n")
    assert told == [(b"A", 0.0), (b"C", 35.0), (b"D1", 25.0), (b"E", 25.0), (b"FG", 0.0)]


def test_arrivals_within_a_tag_are_remembered_in_few_places() -> None:
    clock = Clock()
    framer = Framer(lambda message: None, clock)
    framer.feed(b"<quote>\n")
    for _ in range(10_000):
        clock.now += TAG_OPEN_MAX / 10_001
        framer.feed(b"x")
    assert len(framer._arrived) <= TAG_OPEN_MAX / ARRIVALS_APART + 1


@pytest.mark.parametrize(
    ("start", "filling", "most"),
    [(b"OK 1 ", b"x" * 65_536, LINE_BYTES_MAX), (b"OK 1 <quote>\n", b"QUJD\n" * 13_000, MESSAGE_BYTES_MAX),
     (b"OK 1 <quote>\n", b"<abc>x</abc>" * 5_000, MESSAGE_BYTES_MAX)],
    ids=["line", "block", "tags"],
)  # fmt: skip
def test_a_hundred_megabytes_without_an_end_are_refused_within_a_bound(
    start: bytes, filling: bytes, most: int
) -> None:
    framer = Framer(lambda message: None, Clock())
    framer.feed(start)
    tracemalloc.start()
    with pytest.raises(LinkError, match="without an end"):
        deque(map(framer.feed, repeat(filling, 100_000_000 // len(filling))), maxlen=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * most + 16 * len(filling)


def test_a_long_block_is_handed_on_in_pieces_and_never_held() -> None:
    body = base64.encodebytes(bytes(range(256)) * 40_000)
    pieces: list[int] = []
    told: list[bytes] = []

    def spill(head: bytes, piece: bytes) -> bool:
        assert head == b"OK 7 <quote>"
        pieces.append(len(piece))
        return True

    framer = Framer(told.append, Clock(), spill)
    sent = b"OK 7 <quote>\n" + body + b"</quote>\nOK 8\n"
    tracemalloc.start()
    for at in range(0, len(sent), 50_000):
        framer.feed(sent[at : at + 50_000])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(told) == 2
    assert told[0].startswith(b"OK 7 <quote>\n")
    assert told[1] == b"OK 8"
    assert sum(pieces) + len(told[0]) == len(sent) - len(b"\nOK 8\n")
    assert max(pieces) <= PIECE_BYTES + 50_000
    assert peak < 1_000_000


lines = st.binary(max_size=60) | st.sampled_from(
    [
        b"<quote>",
        b"</quote>",
        b"<a>",
        b"</a>",
        b"\n",
        b"<",
        b">",
        b"</",
        b"OK 1 ",
        b"MESSage Run ",
        b"\xff",
        b"\r",
    ]
)


@given(st.lists(lines, max_size=40))
def test_no_bytes_do_more_than_a_link_error(chunks: list[bytes]) -> None:
    clock, told = Clock(), list[bytes]()
    framer = Framer(told.append, clock)
    for chunk in chunks:
        framer.feed(chunk)
    clock.now += TAG_OPEN_MAX + 1
    framer.feed(b"")
    framer.feed(b"\n")
    framer.feed(b"OK 99\n")
    assert told[-1] == b"OK 99"


# ---- words and values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Running", ["Running"]),
        ("25.0 007 1e5 On", ["25.0", "007", "1e5", "On"]),
        (r'"a \"b\" c\\ \n" d', ['a "b" c\\ \n', "d"]),
        (r"'raw \n' d", [r"raw \n", "d"]),
        ('-a="b c" -flag -d=', ["-a=b c", "-flag", "-d="]),
        ("<quote>\na b\n</quote>", ["<quote>\na b\n</quote>"]),
        ("  ", []),
        ('"open', ['"open']),
        ("<LOOPBACK,UP> -", ["<LOOPBACK,UP>", "-"]),
    ],
)
def test_a_reply_is_taken_apart_into_words_as_they_are_written(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_options_come_by_name_and_words_in_order() -> None:
    options, words = options_of("-stealth=False -exclusive=False Observer")
    assert (options, words) == ({"stealth": "False", "exclusive": "False"}, ["Observer"])
    options, _ = options_of('-blockDescription="96 wells perform" -runModes=Direct,Fast,Standard -flag')
    assert options == {"blockDescription": "96 wells perform", "runModes": "Direct,Fast,Standard", "flag": ""}
    assert options_of("-1 -") == ({}, ["-1", "-"])


@given(st.text(max_size=400) | st.text(alphabet="<>/\"'\\ -=ab", max_size=400))
def test_no_text_does_more_than_a_reply_error(text: str) -> None:
    for take in (words_of, options_of, block_of):
        try:
            take(text)
        except ReplyError:
            assert take is block_of


@pytest.mark.parametrize(
    "text", ['"\\"' * 20_000, "<a>" * 20_000, "<a></b>" * 9_000, "'" * 60_000, "-a=" * 20_000]
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    options_of(text)
    assert time.process_time() - begun < 3  # what grows by the square takes minutes


def test_a_text_too_long_for_words_is_refused() -> None:
    with pytest.raises(ReplyError, match="where words were expected"):
        words_of("x" * 70_000)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("qslib-new-test/apldbio/sds/note.txt", "qslib-new-test/apldbio/sds/note.txt"),
        ("my run/x.xml", '"my run/x.xml"'),
        ('a "b"\\', '"a \\"b\\"\\\\"'),
        ("Prüfung é/x", '"Prüfung é/x"'),
    ],
)
def test_names_are_quoted_where_they_need_it(name: str, written: str) -> None:
    assert quoted(name) in {written, name}
    assert words_of(quoted(name)) == [name]


@pytest.mark.parametrize("name", ["$(QUIT)", "${RunTitle}", "a\nQUIT", "<quote>", "a\0b"])
def test_what_the_machine_would_carry_out_is_never_asked_for(name: str) -> None:
    with pytest.raises(ReplyError, match="cannot be asked for"):
        quoted(name)


@pytest.mark.parametrize(
    ("password", "challenge", "argument"),
    [
        ("correctpassword", "deadbeef12345678", "450c59efa3953545bdf75fb50eb6e09e"),
        ("testpassword", "deadbeef12345678", "1c7a788019fd5bf7aa5ab93b86142942"),
        ("wrongpassword", "deadbeef12345678", "5d1997d0ae2fce381068f8570e805045"),
        ("correctpassword", "9f86d081884c7d65", "54b43cfbcc763c262713ce694a5ad384"),
    ],
)
def test_the_proof_of_a_password_is_that_of_the_notes(password: str, challenge: str, argument: str) -> None:
    assert proof(password, challenge) == argument


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('[InsufficientAccess] -requiredAccess="Observer" --> This operation requires', "InsufficientAccess"),
        ("[AuthError] --> Authentication failed", "AuthError"),
        ("Aborted", "Aborted"),
        ("", ""),
    ],
)
def test_a_refusal_knows_its_class_with_or_without_brackets(text: str, kind: str) -> None:
    assert Refusal("ISTAT?", text).kind == kind


def test_a_file_is_decoded_as_it_comes() -> None:
    content = bytes(range(256)) * 300
    body = base64.encodebytes(content)
    for size in (1, 7, 76, 5_000):
        held = bytearray()
        decoder = Decoder(held.extend)
        for at in range(0, len(body), size):
            decoder.feed(body[at : at + size])
        decoder.end("<quote>\n</quote>")
        assert held == content


@pytest.mark.parametrize("body", ["dGVzd", "d=Vz", "????"])
def test_a_damaged_file_is_a_reply_error(body: str) -> None:
    decoder = Decoder(lambda piece: None)
    with pytest.raises(ReplyError, match="damaged"):
        decoder.end(f"<quote>\n{body}\n</quote>")


# ---- numbered commands


@asynccontextmanager
async def talking(
    *answers: bytes, greeting: bytes = GREETING
) -> AsyncIterator[tuple[Conversation, list[tuple[str, str]], list[bytes]]]:
    """A machine that greets and answers each line with what comes next; what was logged, what was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        waiting = list(answers)
        while line := await reader.readline():
            asked.append(line)
            if waiting:
                writer.write(waiting.pop(0))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = await links.connect(links.check(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"), 5.0)
    assert isinstance(link, StreamLink)
    logged: list[tuple[str, str]] = []
    try:
        yield Conversation(link, lambda topic, text: logged.append((topic, text))), logged, asked
    finally:
        await link.close()
        server.close()


async def test_the_greeting_tells_what_it_is() -> None:
    async with talking() as (conversation, _, _):
        greeting = await conversation.greeted()
    assert greeting["product"] == "QuantStudio3_5"
    assert greeting["version"] == "1.3.0"


async def test_what_greets_otherwise_is_no_quantstudio() -> None:
    async with talking(greeting=b"220 mail.example ESMTP\n") as (conversation, _, _):
        with pytest.raises(LinkError, match="no QuantStudio greets with '220'"):
            await conversation.greeted()


async def test_replies_find_their_commands_whatever_their_order() -> None:
    async with talking(b"", b"", b"OK 2 c\nOK 9 nobody\nNEXT 0\nWARNing 1 b\nOK 0 a\n") as (
        conversation,
        _,
        asked,
    ):
        await conversation.greeted()
        answers = await asyncio.gather(*(conversation.ask(name) for name in ("A?", "B?", "C?")))
    assert answers == ["a", "b", "c"]
    assert asked == [b"0 A?\n", b"1 B?\n", b"2 C?\n"]


async def test_log_lines_come_between_a_command_and_its_reply() -> None:
    answer = b"MESSage Time 1763430788.066 -elapsed=247\nOK 0 Running\n"
    async with talking(answer) as (conversation, logged, _):
        assert await conversation.ask("ISTAT?") == "Running"
    assert logged == [("Time", "1763430788.066 -elapsed=247")]


async def test_an_error_is_a_refusal_with_its_reason() -> None:
    answer = b"ERRor 0 [IOError] -message=\"x\" --> No such file or directory: 'none.xml'\n"
    async with talking(answer, b"OK 1\n") as (conversation, _, _):
        with pytest.raises(Refusal, match=r"READ\?.*refused with IOError: No such file"):
            await conversation.ask("EXP:READ? none.xml")
        assert await conversation.ask("ISTAT?") == ""


async def test_a_late_reply_meets_nobody() -> None:
    async with talking(b"", b"OK 0 late\nOK 1 mine\n") as (conversation, _, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await conversation.ask("A?")
        assert await conversation.ask("B?") == "mine"


async def test_a_lost_link_is_told_to_all_who_wait() -> None:
    async with talking(b"", b"x" * 200_000) as (conversation, _, _):
        answers = await asyncio.gather(conversation.ask("A?"), conversation.ask("B?"), return_exceptions=True)
        assert all(isinstance(answer, LinkError) and "without an end" in str(answer) for answer in answers)
        with pytest.raises(LinkError):
            await conversation.ask("C?")


@given(st.lists(lines, max_size=30))
async def test_no_bytes_break_a_conversation(chunks: list[bytes]) -> None:
    async with talking(b"".join(chunks) + b"\n") as (conversation, _, _):
        await conversation.greeted()
        try:
            async with asyncio.timeout(0.01):
                await conversation.ask("A?")
        except (DriverError, TimeoutError):
            pass
