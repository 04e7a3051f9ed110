"""Serial ports, each a pseudo-terminal whose other end does what the test says."""

import asyncio
import contextlib
import errno
import fcntl
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import serial
from hypothesis import given, strategies as st

from devices import links
from devices.errors import ConfigurationError, InUse, LinkError, ReplyError
from devices.links import serial as serial_link
from devices.links.base import Address
from devices.links.serial import Line, SerialLink
from tests.devices.links.plug import Plug, open_files


@pytest.fixture
async def plug(tmp_path: Path) -> AsyncIterator[Plug]:
    plug = Plug(tmp_path / "port")
    yield plug
    plug.pull()


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    """No port, file or thread outlives a test."""
    before = open_files(), threading.active_count()
    yield
    assert serial_link._ports == {}
    for thread in threading.enumerate():
        if thread.daemon and thread.name.startswith("/"):
            thread.join(5)
    assert (open_files(), threading.active_count()) <= before


@asynccontextmanager
async def linked(
    plug: Plug, query: str = "", deadline: float = 2.0, settings: dict[str, Any] | None = None
) -> AsyncIterator[SerialLink]:
    link = await links.connect(links.check(f"serial://{plug.path}{query}"), deadline, settings)
    assert isinstance(link, SerialLink)
    try:
        yield link
    finally:
        await link.close()


def anything(received: bytearray) -> bytes:
    return bytes(received)


async def test_a_line_is_answered_by_a_line(plug: Plug) -> None:
    async with linked(plug) as link:
        assert await link.ask(b"one\n") == b"one"
        assert await link.ask(b"two\n") == b"two"


async def test_lines_may_end_with_a_carriage_return(plug: Plug) -> None:
    """The terminal must not make another character of it, on the way out or in."""
    async with linked(plug, settings={"terminator": b"\r"}) as link:
        assert await link.ask(b"one\ntwo\r") == b"one\ntwo"
    assert plug.heard == [b"one\ntwo\r"]


async def test_all_bytes_go_through_as_they_are(plug: Plug) -> None:
    """None is taken for flow control, an interrupt, a line's end or the end of a file."""
    every = bytes(range(256))
    async with linked(plug) as link:
        assert (
            await link.exchange(every, lambda received: bytes(received) if len(received) >= 256 else None)
            == every
        )


async def test_a_long_request_goes_out_piece_by_piece(plug: Plug) -> None:
    plug.answers = lambda chunk: []
    async with linked(plug) as link:
        link.write(b"x" * 200_000)
        while sum(map(len, plug.heard)) < 200_000:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_who_listens_hears_everything_and_that_it_is_over(plug: Plug) -> None:
    heard: list[bytes] = []
    lost: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()
    async with linked(plug) as link:
        link.listen(heard.append, lost.set_result)
        assert link.listens
        link.write(b"hello")
        while b"".join(heard) != b"hello":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        plug.pull()
        async with asyncio.timeout(5):
            assert "unplugged" in str(await lost)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("serial://dev/ttyUSB0", "the whole path of the port"),
        ("serial://", "the whole path of the port"),
        ("serial:///", "the whole path of the port"),
        ("serial:///dev/ttyUSB0?baudrate=fast", "baudrate is 'fast'; there are 50 to"),
        ("serial:///dev/ttyUSB0?baudrate=0", "baudrate is '0'"),
        ("serial:///dev/ttyUSB0?baudrate=-9600", "baudrate is '-9600'"),
        ("serial:///dev/ttyUSB0?baudrate=9600.5", "baudrate is"),
        ("serial:///dev/ttyUSB0?baudrate=99999999999999999999", "baudrate is"),
        ("serial:///dev/ttyUSB0?parity=none", "parity is 'none'; there are N, E, O, M, S"),
        ("serial:///dev/ttyUSB0?stopbits=3", "stopbits is '3'; there are 1, 1.5, 2"),
        ("serial:///dev/ttyUSB0?bytesize=9", "bytesize is '9'; there are 5, 6, 7, 8"),
        ("serial:///dev/ttyUSB0?rtscts=yes", "rtscts is 'yes'; there are 0, 1"),
        ("serial:///dev/ttyUSB0?speed=9600", "has no speed, but baudrate"),
    ],
)
def test_an_address_that_cannot_work_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        links.check(url)


@given(st.text(max_size=60))
def test_whatever_an_address_says_is_taken_or_refused(query: str) -> None:
    for text in (query, f"baudrate={query}", f"stopbits={query}&parity={query}"):
        with contextlib.suppress(ConfigurationError):
            links.check(f"serial:///dev/ttyUSB0?{text}")


async def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    plug = Plug(tmp_path / "50 % of #1?")
    address = links.check(f"serial://{quote(str(plug.path))}?baudrate=19200")
    link = await links.connect(address, 2.0)
    assert isinstance(link, SerialLink)
    assert await link.ask(b"one\n") == b"one"
    await link.close()
    plug.pull()


@pytest.mark.parametrize(
    ("query", "settings", "line"),
    [
        ("", {}, Line(9600, 8, "N", 1)),
        ("", {"baudrate": 19200, "parity": "E", "rts": False}, Line(19200, 8, "E", 1, rts=False)),
        ("?baudrate=2400", {"baudrate": 19200, "parity": "E"}, Line(2400, 8, "E", 1)),
        ("?parity=o&stopbits=1.5&bytesize=7", {}, Line(9600, 7, "O", 1.5)),
        ("?rtscts=1&xonxoff=1&dtr=0", {}, Line(rtscts=True, xonxoff=True, dtr=False)),
    ],
)
def test_the_address_stands_above_what_the_driver_wants(
    query: str, settings: dict[str, Any], line: Line
) -> None:
    assert Line.of(Address.parse(f"serial:///dev/ttyUSB0{query}"), settings) == line


@pytest.mark.parametrize(
    ("query", "speed", "flags"),
    [
        ("", termios.B19200, termios.CS8),
        (
            "?baudrate=2400&bytesize=7&parity=E&stopbits=2",
            termios.B2400,
            termios.CS7 | termios.PARENB | termios.CSTOPB,
        ),
        ("?baudrate=115200&parity=O", termios.B115200, termios.CS8 | termios.PARENB | termios.PARODD),
    ],
)
async def test_the_port_is_set_as_it_should_be(plug: Plug, query: str, speed: int, flags: int) -> None:
    async with linked(plug, query, settings={"baudrate": 19200}):
        _, _, control, _, speed_in, speed_out, _ = termios.tcgetattr(plug.slave)
    assert (speed_in, speed_out) == (speed, speed)
    # A terminal without a wire has eight bits and no parity, whatever is asked for.
    mask = termios.CSTOPB
    assert control & mask == flags & mask


# ---- what does not open


async def test_a_port_that_is_not_there_is_named() -> None:
    with pytest.raises(LinkError, match=r"^serial:///dev/ttyNONE: there is no such port: is it plugged in\?"):
        await links.connect(links.check("serial:///dev/ttyNONE"), 2.0)


async def test_a_port_in_use_by_another_program_is_named(plug: Plug) -> None:
    """By a real one: it holds the port while we try, and lets go."""
    program = (
        "import serial, sys; port = serial.Serial(sys.argv[1], exclusive=True); "
        "print('open', flush=True); input()"
    )
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", program, str(plug.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert await asyncio.to_thread(other.stdout.readline) == b"open\n"
        with pytest.raises(InUse, match=f"^serial://{plug.path}: another program has this port open") as told:
            await links.connect(links.check(f"serial://{plug.path}"), 2.0)
        assert "\n" not in str(told.value)
        other.communicate(b"\n")
    async with linked(plug) as link:
        assert await link.ask(b"one\n") == b"one"


async def test_another_program_finds_the_port_locked(plug: Plug) -> None:
    async with linked(plug):
        with pytest.raises(serial.SerialException, match="exclusively lock"):
            serial.Serial(str(plug.path), exclusive=True)
    serial.Serial(str(plug.path), exclusive=True).close()


async def test_a_file_in_place_of_the_port_is_named(tmp_path: Path) -> None:
    """As left by `echo >/dev/ttyUSB0` while the cable was out."""
    (tmp_path / "ttyUSB0").write_text("oops")
    with pytest.raises(LinkError, match="is no serial port: was something copied to it"):
        await links.connect(links.check(f"serial://{tmp_path}/ttyUSB0"), 2.0)


async def test_a_device_that_is_no_port_is_named() -> None:
    with pytest.raises(LinkError, match=r"^serial:///dev/null: inappropriate ioctl"):
        await links.connect(links.check("serial:///dev/null"), 2.0)


async def test_who_may_not_open_the_port_reads_what_to_do() -> None:
    """A real refusal, by the kernel; root, whom it refuses nothing, steps down for that."""
    master, slave = pty.openpty()
    os.chmod(slave, 0)  # noqa: PTH101
    user = os.geteuid()
    if not user:
        os.seteuid(65_534)
    try:
        with pytest.raises(LinkError, match=r"permission denied: .*usermod -aG dialout"):
            await links.connect(links.check(f"serial://{os.ttyname(slave)}"), 2.0)
    finally:
        os.seteuid(user)
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "usermod -aG dialout"),
        (errno.EBUSY, "another program has this port open"),
        (errno.EIO, "nothing is at this port"),
        (errno.ENXIO, "nothing is at this port"),
        (errno.ELOOP, "too many levels"),
    ],
)
async def test_each_reason_has_its_words(
    plug: Plug, number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's answers that no test can provoke."""

    def refuse(device: serial.Serial) -> None:
        raise serial.SerialException(number, "pyserial's own words")

    monkeypatch.setattr(serial.Serial, "open", refuse)
    with pytest.raises(LinkError, match=words):
        await links.connect(links.check(f"serial://{plug.path}"), 2.0)


@pytest.mark.parametrize("request_code", ["TIOCMBIS", "TIOCMBIC"])
async def test_a_terminal_without_control_lines_does(plug: Plug, request_code: str) -> None:
    """On a pseudo-terminal, setting DTR and RTS is refused with error 25."""
    with pytest.raises(OSError, match="25") as refused:
        fcntl.ioctl(plug.slave, getattr(termios, request_code), b"\2\0\0\0")
    assert refused.value.errno == errno.ENOTTY
    async with linked(plug, "?dtr=0&rts=0") as link:
        assert await link.ask(b"one\n") == b"one"


async def test_an_opening_that_hangs_costs_one_thread(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    release, opened = threading.Event(), serial.Serial.open
    tries = []

    def hang(device: serial.Serial) -> None:
        tries.append(device)
        release.wait(10)
        opened(device)

    monkeypatch.setattr(serial.Serial, "open", hang)
    address = links.check(f"serial://{plug.path}")
    before = threading.active_count()
    with pytest.raises(LinkError, match=r"does not open within 0\.05 s"):
        await links.connect(address, 0.05)
    for _ in range(3):
        with pytest.raises(LinkError, match="an earlier call still hangs"):
            await links.connect(address, 0.05)
    assert threading.active_count() == before + 1
    assert len(tries) == 1
    release.set()
    while serial_link._ports:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert not tries[0].is_open  # what nobody wanted any more is not left open
    async with linked(plug) as link:
        assert await link.ask(b"one\n") == b"one"


# ---- what happens while it is open


async def test_a_stale_line_is_not_taken_for_the_answer(plug: Plug) -> None:
    async with linked(plug) as link:
        os.write(plug.master, b"late\n")  # the loop has no turn to read it before the next question
        assert await link.ask(b"one\n") == b"one"


async def test_the_rest_of_a_stale_line_is_dropped_too(plug: Plug) -> None:
    async with linked(plug) as link:
        os.write(plug.master, b"la")
        await asyncio.sleep(0.01)
        os.write(plug.master, b"te\n")
        assert await link.ask(b"one\n") == b"one"
        os.write(plug.master, b"la")
        plug.answers = lambda chunk: [b"te\n" + chunk]
        assert await link.ask(b"two\n") == b"two"


async def test_silence_within_an_exchange_keeps_the_port_open(plug: Plug) -> None:
    plug.answers = lambda chunk: []
    async with linked(plug) as link:
        with pytest.raises(ReplyError, match="no answer within"):
            await link.exchange(b"one", anything, within=0.02)
        plug.answers = lambda chunk: [chunk]
        assert await link.exchange(b"two", anything, within=1.0) == b"two"


@pytest.mark.parametrize("when", ["idle", "asking"])
async def test_an_unplugged_port_is_lost_at_once_and_opens_again(plug: Plug, when: str) -> None:
    """Also where its path, like those under /dev/serial/by-id, leads elsewhere the next time."""
    first = plug.path.readlink()
    async with linked(plug, deadline=5.0) as link:
        assert await link.ask(b"one\n") == b"one"
        plug.answers = lambda chunk: []
        if when == "asking":
            asyncio.get_running_loop().call_later(0.02, plug.pull)
        else:
            plug.pull()
        async with asyncio.timeout(1):
            with pytest.raises(LinkError, match=r"unplugged|no such port|closed"):
                await link.ask(b"two\n")
        with pytest.raises(LinkError, match=r"no such port: is it plugged in\?"):
            await link.open()
        reserved = os.openpty()  # takes the number that the port had
        plug.answers = lambda chunk: [chunk]
        plug.put_in()
        assert plug.path.readlink() != first
        await link.open()
        assert await link.ask(b"three\n") == b"three"
        for end in reserved:
            os.close(end)


async def test_a_link_is_closed_as_often_as_one_likes(plug: Plug) -> None:
    async with linked(plug) as link:
        await link.close()
        await link.close()
        for use in (link.ask(b"one\n"), link.exchange(b"one", anything)):
            with pytest.raises(LinkError, match="not open"):
                await use
        with pytest.raises(LinkError, match="not open"):
            link.write(b"one")


# ---- instruments that share a port


async def test_instruments_on_one_line_share_the_port(plug: Plug) -> None:
    async with linked(plug) as first:
        files = open_files()
        async with linked(plug) as second:
            assert open_files() == files
            assert await first.ask(b"one\n") == b"one"
            assert await second.ask(b"two\n") == b"two"
        assert await first.ask(b"three\n") == b"three"


async def test_each_that_shares_a_port_has_line_ends_of_its_own(plug: Plug) -> None:
    async with linked(plug) as first, linked(plug, settings={"terminator": b"\r"}) as second:
        for _ in range(2):
            assert await first.ask(b"one\rtwo\n") == b"one\rtwo"
            assert await second.ask(b"one\ntwo\r") == b"one\ntwo"


async def test_those_that_share_a_port_take_turns(plug: Plug) -> None:
    async with linked(plug) as first, linked(plug) as second:
        asked = [link.ask(b"%d\n" % number) for number in range(10) for link in (first, second)]
        assert await asyncio.gather(*asked) == [b"%d" % number for number in range(10) for _ in "12"]


async def test_what_one_loses_the_other_opens_again(plug: Plug) -> None:
    plug.answers = lambda chunk: [] if chunk == b"silent\n" else [chunk]
    async with linked(plug) as first, linked(plug, deadline=0.05) as second:
        with pytest.raises(LinkError, match="no answer"):
            await second.ask(b"silent\n")
        assert await first.ask(b"one\n") == b"one"
        assert await second.ask(b"two\n") == b"two"


async def test_other_settings_for_an_open_port_are_refused(plug: Plug) -> None:
    async with linked(plug, "?baudrate=19200") as first:
        words = "another instrument has this port open with 19200 8N1, not with 9600 8E1"
        with pytest.raises(LinkError, match=words):
            await links.connect(links.check(f"serial://{plug.path}?parity=E"), 2.0)
        assert await first.ask(b"one\n") == b"one"
    async with linked(plug, "?parity=E") as second:
        assert await second.ask(b"two\n") == b"two"


async def test_the_same_port_under_two_names_is_told(plug: Plug, tmp_path: Path) -> None:
    other = tmp_path / "by-id"
    other.symlink_to(plug.path.readlink())
    async with linked(plug):
        with pytest.raises(LinkError, match=f"has the same port open as {plug.path}: give both the same"):
            await links.connect(links.check(f"serial://{other}"), 2.0)


async def test_nobody_else_uses_a_port_that_somebody_listens_to(plug: Plug) -> None:
    async with linked(plug) as first:
        first.listen(lambda chunk: None, lambda error: None)
        with pytest.raises(LinkError, match="listens to this port all the time"):
            await links.connect(links.check(f"serial://{plug.path}"), 2.0)
        first.write(b"still mine")


async def test_a_port_may_be_opened_while_it_is_being_closed(plug: Plug) -> None:
    async with linked(plug) as first:
        leaving = asyncio.create_task(first.close())
        await asyncio.sleep(0)
        async with linked(plug) as second:
            await leaving
            assert await second.ask(b"one\n") == b"one"


@pytest.mark.parametrize("reopens", [False, True])
@pytest.mark.parametrize("ends", ["cancelled", "in silence"])
async def test_a_late_answer_meets_no_other_question(plug: Plug, ends: str, reopens: bool) -> None:
    """Though closing a port, unlike a connection, hangs up on nobody."""
    loop = asyncio.get_running_loop()

    def late(chunk: bytes) -> list[bytes]:
        loop.call_later(0.1, os.write, plug.master, chunk)
        return []

    plug.answers = late
    async with linked(plug, deadline=0.05 if ends == "in silence" else 2.0) as link:
        asking = asyncio.create_task(link.ask(b"one\n"))
        await asyncio.sleep(0.02)
        if ends == "cancelled":
            asking.cancel()
        with pytest.raises((asyncio.CancelledError, LinkError)):
            await asking
        if reopens:
            await link.open()
        link.deadline = 2.0
        assert await link.ask(b"two\n") == b"two"
