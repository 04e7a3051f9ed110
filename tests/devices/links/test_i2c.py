"""I2C links: addresses, the real smbus2 on buses that umockdev plays, and the simulated bus behind TCP."""

import asyncio
import ctypes
import errno
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, strategies as st

from devices import links
from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Address
from devices.links.i2c_tcp import I2cTcpLink
from devices.links.registers import RegisterLink, TransferFailed
from tests.devices.links import mock_bus
from tests.devices.links.mock_bus import Failed, MockBuses, Program

PLACE = 0x40


class Memory:
    """A chip of 256 registers at 0x40; what is in `errors` happens to the next transfers, in turn."""

    def __init__(self) -> None:
        self.registers = bytearray(range(256))
        self.errors: list[int] = []
        self.transfers = 0
        self.pointer = 0

    def read(self, place: int, first: int, count: int) -> bytes:
        self._suffer(place)
        self.pointer = first + count
        return bytes(self.registers[first : first + count])

    def read_on(self, place: int, count: int) -> bytes:
        return self.read(place, self.pointer, count)

    def write(self, place: int, chunk: bytes) -> None:
        self._suffer(place)
        for register, value in zip(chunk[::2], chunk[1::2], strict=False):
            self.registers[register] = value

    def _suffer(self, place: int) -> None:
        self.transfers += 1
        if place != PLACE:
            raise OSError(errno.EREMOTEIO, "not acknowledged")
        if self.errors:
            raise OSError(self.errors.pop(0), "as told")


# ---- addresses


@pytest.mark.parametrize(
    ("url", "chip"),
    [
        ("i2c://1/0x76", 0x76),
        ("i2c://22/0x08", 0x08),
        ("i2c://1/0x77", 0x77),
        ("i2c://1/0x4A", 0x4A),
        ("i2c://1/auto", 0),
        ("i2c+tcp://127.0.0.1:7600/0x76", 0x76),
        ("i2c+tcp://[::1]:7600/0x76", 0x76),
        ("i2c+tcp://lab:7600/auto", 0),
    ],
)
def test_an_address_names_bus_and_chip(url: str, chip: int) -> None:
    address = links.check(url)
    link = links.load(address)(address, 1.0)
    assert isinstance(link, RegisterLink)
    assert link.chip == chip


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("i2c://1", "must end with the chip's own"),
        ("i2c://1/", "must end with the chip's own"),
        ("i2c://1/76", "must end with the chip's own"),
        ("i2c://1/0x7", "must end with the chip's own"),
        ("i2c://1/0x07", "0x08 to 0x77"),
        ("i2c://1/0x78", "0x08 to 0x77"),
        ("i2c://1/0x76/0x77", "must end with the chip's own"),
        ("i2c://1/0x76?speed=1", "must end with the chip's own"),
        ("i2c:///0x76", "number of a bus"),
        ("i2c://one/0x76", "number of a bus"),
        ("i2c://-1/0x76", "number of a bus"),
        ("i2c://1:2/0x76", "number of a bus"),
        ("i2c://1.0/0x76", "number of a bus"),
        ("i2c:///dev/i2c-1/0x76", "number of a bus"),
        ("i2c+tcp://127.0.0.1/0x76", "needs a host and a port"),
        ("i2c+tcp://127.0.0.1:7600", "must end with the chip's own"),
    ],
)
def test_an_address_that_cannot_work_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        links.check(url)


@pytest.mark.parametrize(
    ("one", "other", "take_turns"),
    [
        ("i2c://1/0x76", "i2c://1/0x77", True),
        ("i2c://1/0x76", "i2c://2/0x76", False),
        ("i2c+tcp://h:1/0x76", "i2c+tcp://h:1/0x77", True),
        ("i2c+tcp://h:1/0x76", "i2c+tcp://h:2/0x76", False),
    ],
)
def test_chips_on_one_bus_take_turns(one: str, other: str, take_turns: bool) -> None:
    assert (Address.parse(one).lane == Address.parse(other).lane) is take_turns


# ---- the real smbus2, as the kernel would answer it


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory()


@pytest.fixture(scope="module")
def buses(memory: Memory) -> Iterator[MockBuses]:
    mock_bus.require()
    buses = MockBuses(i2c_1=memory)
    yield buses
    buses.close()


@pytest.fixture(scope="module")
def running(buses: MockBuses) -> Iterator[Program]:
    program = Program(buses)
    yield program
    program.close()


@pytest.fixture
def program(running: Program, memory: Memory) -> Iterator[Program]:
    memory.__init__()  # type: ignore[misc]  # as new
    yield running
    running.does("close")


def test_blocks_of_registers_are_read(program: Program) -> None:
    program.does("open", url="i2c://1/0x40")
    assert program.does("read", first=0x10, count=1) == "10"
    assert bytes.fromhex(program.does("read", first=0x80, count=32)) == bytes(range(0x80, 0xA0))


def test_pairs_are_written_in_one_transfer(program: Program, memory: Memory) -> None:
    program.does("open", url="i2c://1/0x40")
    program.does("write", pairs=[(0xF2, 1), (0xF4, 0x25), (0xF5, 0)])
    assert memory.transfers == 1
    assert (memory.registers[0xF2], memory.registers[0xF4], memory.registers[0xF5]) == (1, 0x25, 0)


@pytest.mark.parametrize("number", [errno.EREMOTEIO, errno.ENXIO, errno.EIO, errno.EAGAIN, errno.EBUSY])
def test_what_another_try_may_cure_is_tried_again(program: Program, memory: Memory, number: int) -> None:
    program.does("open", url="i2c://1/0x40")
    memory.errors = [number] * 3
    assert program.does("read", first=0x10, count=2) == "1011"
    assert memory.transfers == 4


@pytest.mark.parametrize(
    ("number", "kind", "words", "transfers"),
    [
        (errno.EREMOTEIO, "TransferFailed", "no chip acknowledges at 0x40", 4),
        (errno.ENXIO, "TransferFailed", "no chip acknowledges at 0x40", 4),
        (errno.EIO, "TransferFailed", "no chip acknowledges at 0x40", 4),
        (errno.EAGAIN, "TransferFailed", "0x40 is busy", 4),
        (errno.EBUSY, "TransferFailed", "in use by a kernel driver", 4),
        (errno.ETIMEDOUT, "LinkError", "the bus is stuck", 1),
        (errno.ENODEV, "LinkError", "adapter was unplugged", 1),
        (errno.ESHUTDOWN, "LinkError", "adapter was shut down", 1),
        (errno.EOPNOTSUPP, "LinkError", "cannot read blocks", 1),
        (errno.EPROTO, "LinkError", "protocol error", 1),
    ],
)
def test_errors_say_what_happened(
    program: Program, memory: Memory, number: int, kind: str, words: str, transfers: int
) -> None:
    program.does("open", url="i2c://1/0x40")
    memory.errors = [number] * 9
    with pytest.raises(Failed, match=words) as caught:
        program.does("read", first=0, count=1)
    assert caught.value.kind == kind
    assert caught.value.text.startswith("i2c://1/0x40: ")
    assert memory.transfers == transfers


def test_an_absent_chip_is_named(program: Program) -> None:
    program.does("open", url="i2c://1/0x41")
    with pytest.raises(Failed, match="no chip acknowledges at 0x41; look at its power"):
        program.does("read", first=0, count=1)


def test_a_bus_that_is_not_there(program: Program) -> None:
    with pytest.raises(Failed, match=r"there is no /dev/i2c-7: is I2C enabled"):
        program.does("open", url="i2c://7/0x40")


def test_no_rights_to_a_bus(buses: MockBuses) -> None:
    """Its own program: what has become nobody stays so."""
    program = Program(buses)
    try:
        if not program.does("become_nobody"):
            pytest.skip("only root can become somebody else")
        with pytest.raises(Failed, match=r"no permission for /dev/i2c-1: .* group i2c"):
            program.does("open", url="i2c://1/0x40")
    finally:
        program.close()


def test_a_link_leaves_nothing_open(program: Program) -> None:
    before = program.does("stands")["files"]
    for _ in range(3):
        program.does("open", url="i2c://1/0x40")
        program.does("read", first=0, count=1)
        assert program.does("stands")["threads"] == ["/dev/i2c-1"]
        program.does("close")
    stands = program.does("stands")
    assert (stands["files"], stands["threads"]) == (before, [])


def test_a_bus_that_hangs_costs_one_thread_and_holds_nobody_up(program: Program, buses: MockBuses) -> None:
    before = program.does("stands")["files"]
    program.does("open", url="i2c://1/0x40", deadline=0.5)
    buses.hang()
    try:
        with pytest.raises(Failed, match=r"i2c://1/0x40: no answer within 0\.5 s"):
            program.does("read", first=0, count=1)
        for _ in range(3):
            with pytest.raises(Failed, match="a transfer on /dev/i2c-1 still hangs"):
                program.does("open", url="i2c://1/0x40", deadline=0.5)
        stands = program.does("stands")
        assert stands["threads"] == ["/dev/i2c-1"]
        assert stands["waited"] < 0.4
    finally:
        buses.go_on()
    for _ in range(100):
        if not program.does("stands")["threads"]:
            break
    program.does("open", url="i2c://1/0x40")
    assert program.does("read", first=1, count=1) == "01"
    program.does("close")
    assert program.does("stands")["files"] == before


# ---- a simulated bus behind TCP


@asynccontextmanager
async def answering(*lines: bytes) -> AsyncIterator[tuple[RegisterLink, list[bytes]]]:
    """A link to a bus that gives these answers; and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            asked.append(await reader.readline())
            writer.write(line)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        link = await links.connect(Address.parse(f"i2c+tcp://127.0.0.1:{port}/0x76"), 0.5)
        assert isinstance(link, RegisterLink)
        try:
            yield link, asked
        finally:
            await link.close()


async def test_the_line_protocol() -> None:
    async with answering(b"ok 655ac07eed007649\n", b"ok\n", b"error 121\n", b"ok 60\n") as (link, asked):
        assert (await link.read_registers(0xF7, 8)).hex() == "655ac07eed007649"
        await link.write_registers((0xF2, 1), (0xF4, 0x25))
        assert await link.read_registers(0xD0, 1) == b"\x60"
    assert asked == [b"read 76 f7 8\n", b"write 76 f201f425\n", b"read 76 d0 1\n", b"read 76 d0 1\n"]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"ok 655ac0\n", ReplyError, "3 bytes instead of 1"),
        (b"ok\n", ReplyError, "0 bytes instead of 1"),
        (b"ok 6\n", ReplyError, "unusable answer"),
        (b"ok 6G\n", ReplyError, "unusable answer"),
        (b"OK 60\n", ReplyError, "unusable answer"),
        (b"error\n", ReplyError, "unusable answer"),
        (b"error 0\n", ReplyError, "unusable answer"),
        (b"error -1\n", ReplyError, "unusable answer"),
        (b"\xff\xfe\n", ReplyError, "unusable answer"),
        (b"\n", ReplyError, "unusable answer"),
        (b"error 110\n", LinkError, "the bus is stuck"),
        (b"error 19\n", LinkError, "the bus is gone"),
        (b"error 999\n", LinkError, "unknown error 999"),
        (b"ok" + b" " * 70_000 + b"\n", LinkError, "a line of more than"),
        (b"", LinkError, "no answer within"),
    ],
)
async def test_an_answer_that_is_of_no_use(answer: bytes, error: type[Exception], words: str) -> None:
    async with answering(answer) as (link, _):
        with pytest.raises(error, match=words):
            await link.read_registers(0xD0, 1)


async def test_bytes_in_answer_to_a_write() -> None:
    async with answering(b"ok 00\n") as (link, _):
        with pytest.raises(ReplyError, match="bytes in answer to a write"):
            await link.write_registers((0xF4, 0))


async def test_after_all_tries_the_transfer_has_failed() -> None:
    async with answering(*[b"error 11\n"] * 4) as (link, asked):
        with pytest.raises(TransferFailed):
            await link.read_registers(0xD0, 1)
    assert len(asked) == 4


@given(st.one_of(st.binary(max_size=80), st.from_regex(rb"(ok|error) ?[0-9a-f]{0,20}")), st.integers(1, 32))
def test_no_answer_makes_it_raise_anything_else(line: bytes, count: int) -> None:
    class Told(I2cTcpLink):
        async def ask(self, request: bytes) -> bytes:
            return line

    link = Told(Address.parse("i2c+tcp://127.0.0.1:1/0x76"), 0.5)

    async def attempt() -> None:
        with suppress(ReplyError, OSError):
            assert len(await link._read(0x76, 0, count)) == count

    with pytest.raises(StopIteration):  # it waits for nothing
        attempt().send(None)


@pytest.mark.parametrize(("ci", "ends"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_umockdev_ci_fails_and_others_are_told(
    ci: str, ends: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ends, match="umockdev is missing"):
        mock_bus.require()


def test_nothing_of_this_is_left_in_this_process() -> None:
    assert not [each for each in threading.enumerate() if each.name.startswith("/dev/")]
