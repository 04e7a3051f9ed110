"""Modbus frames in streams of bytes: found among noise, echoes and late answers, and never made up."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pymodbus.framer import FramerRTU

from devices import links
from devices.errors import ConfigurationError, LinkError
from devices.links.modbus import ModbusLink, ModbusRefusal, rtu_answer, tcp_answer
from devices.links.modbus_serial import ModbusSerialLink
from devices.simulators.modbus import Modbus
from tests.devices.simulators.served import behind_a_door

Answers = Callable[[bytes], list[bytes]]


def rtu(content: str) -> bytes:
    """A frame of a serial line: these bytes and their checksum."""
    frame = bytes.fromhex(content)
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


@asynccontextmanager
async def linked(
    answers: Answers, scheme: str, deadline: float = 5.0, **settings: Any
) -> AsyncIterator[ModbusLink]:
    """A link to a server that answers each chunk so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1_000):
                for piece in answers(chunk):
                    writer.write(piece)
                    await asyncio.sleep(0.002)  # each by itself
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = await links.connect(links.check(f"{scheme}://127.0.0.1:{port}"), deadline, settings)
    assert isinstance(link, ModbusLink)
    try:
        yield link
    finally:
        await link.close()
        server.close()


def test_a_checksum_is_that_of_the_specification() -> None:
    assert rtu("01 04 02 ff ff").hex(" ") == "01 04 02 ff ff b8 80"  # Modbus over serial line, V1.02


# ---- by TCP


def tcp(number: int, content: str, unit: int = 1) -> bytes:
    pdu = bytes.fromhex(content)
    return struct.pack(">HHHB", number, 0, len(pdu) + 1, unit) + pdu


@pytest.mark.parametrize(
    "pieces",
    [
        lambda n: [tcp(n, "0304000a0014")],
        lambda n: [tcp(n, "0304000a0014")[:5], tcp(n, "0304000a0014")[5:]],
        lambda n: [tcp(n + 1, "030400000000") + tcp(n, "0304000a0014")],
        lambda n: [tcp(n - 1 & 0xFFFF, "030400000000"), tcp(n, "0304000a0014", unit=255)],
    ],
    ids=["whole", "in pieces", "another's before", "a late one before"],
)
async def test_the_answer_with_the_right_number_is_taken(pieces: Callable[[int], list[bytes]]) -> None:
    def answers(chunk: bytes) -> list[bytes]:
        assert chunk[2:] == bytes.fromhex("0000 0006 01 03 0064 0002")
        return pieces(int.from_bytes(chunk[:2], "big"))

    async with linked(answers, "modbus+tcp") as link:
        for _ in range(3):
            assert await link.read("holding", 100, 2) == [10, 20]


@pytest.mark.parametrize(
    ("table", "question", "answer", "count", "values"),
    [
        ("input", "04 0008 0001", "0402000a", 1, [10]),
        ("coil", "01 0008 000a", "0102cd01", 10, [1, 0, 1, 1, 0, 0, 1, 1, 1, 0]),
        ("discrete", "02 0008 0003", "020105", 3, [1, 0, 1]),
    ],
)
async def test_tables_have_functions(
    table: str, question: str, answer: str, count: int, values: list[int]
) -> None:
    def answers(chunk: bytes) -> list[bytes]:
        assert chunk[7:] == bytes.fromhex(question)
        return [tcp(int.from_bytes(chunk[:2], "big"), answer)]

    async with linked(answers, "modbus+tcp") as link:
        assert await link.read(table, 8, count) == values


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example ESMTP\r\n",
        b"\x00\x01\x00\x00\xff\xff\x01\x03\x04",
        tcp(1, "0402000a"),
        tcp(1, "0302000a"),
        tcp(1, "03040a"),
        tcp(1, "030400"),
        tcp(1, "8402"),
        tcp(1, "ff00"),
    ],
    ids=["no Modbus", "endless", "other function", "other size", "cut", "short", "other refused", "unknown"],
)
async def test_what_is_no_answer_ends_the_link(answer: bytes) -> None:
    async with linked(lambda _: [answer], "modbus+tcp", timeout=0.3) as link:
        with pytest.raises(LinkError, match="no answer"):
            await link.read("holding", 0, 2)


@pytest.mark.parametrize(
    ("code", "words"), [(2, "illegal data address"), (11, "behind the gateway"), (77, "77")]
)
async def test_a_refusal_says_why(code: int, words: str) -> None:
    def answers(chunk: bytes) -> list[bytes]:
        return [tcp(int.from_bytes(chunk[:2], "big"), f"83{code:02x}")]

    async with linked(answers, "modbus+tcp") as link:
        for _ in range(2):
            with pytest.raises(ModbusRefusal, match=words) as refused:
                await link.read("holding", 0, 1)
            assert refused.value.code == code


# ---- on a serial line

QUESTION = rtu("05 03 0064 0002")
GOOD = rtu("05 03 04 000a 0014")


@pytest.mark.parametrize(
    "pieces",
    [
        [GOOD],
        [GOOD[:4], GOOD[4:]],
        [GOOD[:1], GOOD[1:2], GOOD[2:8], GOOD[8:]],
        [QUESTION + GOOD],
        [QUESTION[:3], QUESTION[3:] + GOOD[:2], GOOD[2:]],
        [b"\x00\xff\x05\x03" + GOOD],
        [b"\x05", GOOD],
        [b"\x05\x03\x04", b"\x00\x00\x00\x00\x12\x34" + GOOD],
        [rtu("06 03 04 0001 0002") + GOOD],
        [rtu("05 03 02 0001") + GOOD],
        [rtu("05 04 04 0001 0002") + GOOD],
        [b"\xff" * 3_000 + GOOD],
    ],
    ids=[
        "whole", "two pieces", "four pieces", "echo", "echo in pieces", "noise", "a byte of noise",
        "wrong sum before", "another's", "another size", "another function", "much noise",
    ],
)  # fmt: skip
async def test_the_answer_is_found_among_other_bytes(pieces: list[bytes]) -> None:
    def answers(chunk: bytes) -> list[bytes]:
        assert chunk == QUESTION
        return pieces

    async with linked(answers, "modbus+rtu+tcp", unit=5, timeout=2.0) as link:
        for _ in range(2):
            assert await link.read("holding", 100, 2) == [10, 20]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        QUESTION,
        GOOD[:-1],
        GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
        rtu("06 03 04 000a 0014"),
        rtu("05 03 02 000a"),
        rtu("05 83 02")[:-1],
    ],
    ids=["nothing", "echo alone", "cut", "wrong sum", "another's", "another size", "cut refusal"],
)
async def test_what_is_no_answer_is_none(answer: bytes) -> None:
    async with linked(lambda _: [answer], "modbus+rtu+tcp", unit=5, timeout=0.05) as link:
        with pytest.raises(LinkError, match=r"unit 5: no answer within 0\.05 s"):
            await link.read("holding", 100, 2)


async def test_a_refusal_on_a_serial_line() -> None:
    async with linked(lambda _: [QUESTION + rtu("05 83 06")], "modbus+rtu+tcp", unit=5) as link:
        with pytest.raises(ModbusRefusal, match="busy"):
            await link.read("holding", 100, 2)


async def test_a_spoiled_answer_is_asked_for_again() -> None:
    replies = iter([[GOOD[:-2] + b"\x00\x00"], [GOOD]])
    async with linked(lambda _: next(replies), "modbus+rtu+tcp", unit=5, timeout=0.1, retries=1) as link:
        assert await link.read("holding", 100, 2) == [10, 20]


async def test_a_late_answer_does_not_meet_the_next_question() -> None:
    loop = asyncio.get_running_loop()
    first = loop.create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(100)
        await asyncio.sleep(0.25)  # later than the time-out
        writer.write(rtu("05 03 02 0001"))
        question = await reader.read(100)
        first.set_result(question)
        writer.write(rtu("05 03 02 0002"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = await links.connect(
        links.check(f"modbus+rtu+tcp://127.0.0.1:{port}"), 5.0, {"unit": 5, "timeout": 0.2}
    )
    assert isinstance(link, ModbusLink)
    with pytest.raises(LinkError):
        await link.read("holding", 1, 1)
    assert await link.read("holding", 2, 1) == [2]
    assert (await first)[2:4] == b"\x00\x02"
    await link.close()
    server.close()


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_noise_is_never_an_answer(chunks: list[bytes]) -> None:
    """But for one in 65536 that the checksum lets through; none of those is as long as this answer."""
    take = rtu_answer(rtu("05 03 0064 0040"), 128)
    received = bytearray()
    for chunk in chunks:
        received += chunk
        found = take(received)
        assert found is None or len(found) == 2
        assert len(received) <= 300


@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 300))
def test_an_answer_is_found_behind_any_noise(before: bytes, after: bytes, cut: int) -> None:
    answer = rtu("05 03 80" + "1234" * 64)
    take = rtu_answer(rtu("05 03 0064 0040"), 128)
    stream = before + answer + after
    received = bytearray(stream[:cut])
    found = take(received)
    received += stream[cut:]
    found = found or take(received)
    assert found is not None
    assert found == answer[1:-2] or len(found) == 2


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_bytes_by_tcp_do_harm(chunks: list[bytes]) -> None:
    take = tcp_answer(b"\x00\x07\x00\x00\x00\x06\x01\x03\x00\x00\x00\x01")
    received = bytearray()
    for chunk in chunks:
        received += chunk
        if take(received) is not None:
            return
    assert len(received) < 400


def test_much_noise_takes_little_time() -> None:
    take = rtu_answer(rtu("05 03 0064 0040"), 128)
    received = bytearray()
    before = time.process_time()
    for _ in range(100):
        received += b"\x05\x03\x80" * 400
        take(received)
    assert time.process_time() - before < 3


# ---- ports


async def test_a_silent_device_costs_the_others_on_its_line_only_time() -> None:
    async with behind_a_door(Modbus, settings={"wire": "serial"}) as door:
        address = links.check(door.address)
        first = await links.connect(address, 5.0, {"unit": 1, "timeout": 1.0})
        second = await links.connect(address, 5.0, {"unit": 2, "timeout": 0.05})
        assert isinstance(first, ModbusSerialLink)
        assert isinstance(second, ModbusSerialLink)
        assert await first.read("holding", 10, 4)
        with pytest.raises(LinkError, match="unit 2"):
            await second.read("holding", 10, 4)
        assert await first.read("holding", 10, 4)
        await second.close()
        assert await first.read("holding", 10, 4)
        await first.close()


async def test_instruments_on_one_port_need_the_same_settings() -> None:
    async with behind_a_door(Modbus, settings={"wire": "serial"}) as door:
        first = await links.connect(links.check(f"{door.address}?baudrate=9600"), 5.0)
        with pytest.raises(LinkError, match="all on one line need the same settings"):
            await links.connect(links.check(f"{door.address}?baudrate=19200"), 5.0)
        await first.close()


@pytest.mark.parametrize(
    ("url", "silence"),
    [
        ("modbus+serial:///dev/ttyUSB0?baudrate=9600", 38.5 / 9600),
        ("modbus+serial:///dev/ttyUSB0?baudrate=115200&parity=E", 0.00175),
    ],
)
async def test_frames_are_kept_apart_as_the_speed_asks(url: str, silence: float) -> None:
    link = ModbusSerialLink(links.check(url), 1.0)
    assert link.silence == pytest.approx(silence)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("modbus+tcp://192.168.1.50", "needs a host and a port"),
        ("modbus+tcp://192.168.1.50:502/1", "nothing else"),
        ("modbus+rtu+tcp://:502", "needs a host and a port"),
        ("modbus+serial://ttyUSB0", "modbus\\+serial://"),
        ("modbus+serial:///dev/ttyUSB0?speed=9600", "no speed"),
    ],
)
def test_an_address_that_cannot_work_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        links.check(url)
