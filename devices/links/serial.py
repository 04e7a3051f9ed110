"""Serial ports, by pyserial: locked for this program, open once for all instruments on one line.

The stream of bytes is ours (`descriptor.py`): pyserial-asyncio-fast closes ports on the loop's shared threads
(one that hangs holds up others), fails in a task of its own when it is given up twice, and reports an
unplugged cable as an unhandled error.
"""

import asyncio
import contextlib
import errno
import stat
import termios
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import serial

from devices.errors import ConfigurationError, InUse, LinkError, ReplyError
from devices.links.base import Address
from devices.links.descriptor import DescriptorTransport
from devices.links.stream import TERMINATOR, Connection, StreamLink, Take, words
from devices.links.thread import OwnThread

EXAMPLE = "serial:///dev/ttyUSB0?baudrate=9600"
BAUDRATES = (50, 4_000_000)
BOOLEAN = {"0": False, "1": True}
VALUES: Mapping[str, Mapping[str, Any]] = {
    "bytesize": {"5": 5, "6": 6, "7": 7, "8": 8},
    "parity": {"N": "N", "E": "E", "O": "O", "M": "M", "S": "S"},
    "stopbits": {"1": 1, "1.5": 1.5, "2": 2},
    **dict.fromkeys(("xonxoff", "rtscts", "dtr", "rts"), BOOLEAN),
}
NOT_THERE = "nothing is at this port: is it plugged in?"
NOT_ALLOWED = (
    "permission denied: let the user who runs the edge into the group dialout "
    "(sudo usermod -aG dialout USER) and start the edge anew"
)
IN_USE = "another program has this port open: close that one first"
GONE = (errno.EIO, errno.ENXIO, errno.ENODEV)
REASONS = {
    errno.ENOENT: "there is no such port: is it plugged in?",
    **dict.fromkeys(GONE, NOT_THERE),
    **dict.fromkeys((errno.EACCES, errno.EPERM), NOT_ALLOWED),
    **dict.fromkeys((errno.EBUSY, errno.EAGAIN), IN_USE),
}
STALE_READS_MAX = 16
ANSWERED_WITHIN = 5.0  # seconds after which what was asked in vain is not answered any more
QUIET, QUIET_WITHIN = 0.2, 1.0  # seconds without a byte until the next question; how long that is awaited


@dataclass(frozen=True, slots=True)
class Line:
    """How bytes go over the wire. `dtr`, `rts`: how these two lines are set while the port is open."""

    baudrate: int = 9600
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    xonxoff: bool = False
    rtscts: bool = False
    dtr: bool = True
    rts: bool = True

    @classmethod
    def of(cls, address: Address, settings: Mapping[str, Any]) -> "Line":
        """What the address says, then what the driver wants, then the usual. Raises ConfigurationError."""
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(address.query) - set(names)):
            raise ConfigurationError(
                f"address {address.url!r}: a serial port has no {', '.join(unknown)}, but {', '.join(names)}"
            )
        wanted = {name: settings[name] for name in names if name in settings}
        return cls(**{**wanted, **_parsed(address)})

    def __str__(self) -> str:
        return f"{self.baudrate} {self.bytesize}{self.parity}{self.stopbits:g}"


def _parsed(address: Address) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in address.query.items():
        if name == "baudrate":
            low, high = BAUDRATES
            allowed = f"{low} to {high}"
            value = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
            found[name] = value if low <= value <= high else None
        else:
            allowed = ", ".join(VALUES[name])
            found[name] = VALUES[name].get(text.upper())
        if found[name] is None:
            raise ConfigurationError(f"address {address.url!r}: {name} is {text!r}; there are {allowed}")
    return found


class SerialLink(StreamLink):
    """`serial:///dev/ttyUSB0?baudrate=19200&parity=N&stopbits=1&bytesize=8`. Settings: those of `Line`, for
    which the address' own stand in first, and `terminator`.

    What one link loses is opened again by the next that uses the port, so that an instrument that is silent
    costs the others on its line only time.
    """

    schemes = ("serial",)

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        self._port: Port | None = None

    @classmethod
    def check(cls, address: Address) -> None:
        if address.host or address.port or not address.path.strip("/"):
            raise ConfigurationError(
                f"address {address.url!r} is to be serial://, then the whole path of the port: {EXAMPLE}"
            )
        Line.of(address, {})

    async def open(self) -> None:
        await self.close()
        port = self._port = self._join()
        try:
            async with self._in_time(), port.turn:
                await self._connect_to(port)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        port, self._port, self._connection = self._port, None, None
        if port is not None:
            port.links -= 1
            await port.close_if_unused()

    def _join(self) -> "Port":
        line = Line.of(self.address, self.settings)
        path = unquote(self.address.path)
        port = _ports.get(path)
        if port is None:
            port = _ports[path] = Port(path, line)
        if not port.links:
            port.line = line
        if port.line != line:
            # No ConfigurationError: of two orders that change together, one always comes first.
            raise LinkError(
                f"{self.address.url}: another instrument has this port open with {port.line}, not with "
                f"{line}; all on one line need the same settings"
            )
        port.links += 1
        return port

    async def _connect_to(self, port: "Port") -> Connection:
        try:
            connection = self._connection = await port.connected()
        except (OSError, termios.error) as error:
            reason = port.reason(error)
            kind = InUse if reason == IN_USE else LinkError
            raise kind(f"{self.address.url}: {reason}") from None
        except ValueError as error:
            raise ConfigurationError(
                f"{self.address.url}: this port cannot do {port.line}: {error}"
            ) from None
        if connection.hear is not None:
            raise LinkError(f"{self.address.url}: another instrument listens to this port all the time")
        return connection

    async def _exchange(self, request: bytes, take: Take | None, within: float | None = None) -> bytes:
        port = self._port
        if port is None:
            raise LinkError(f"{self.address.url}: the link is not open")
        async with port.turn:
            async with self._in_time():
                connection = await self._connect_to(port)
            connection.terminator = self.settings.get("terminator", TERMINATOR)
            port.drop_what_came()
            try:
                if port.path in _asked_in_vain:
                    await self._await_quiet(_asked_in_vain.pop(port.path))
                return await super()._exchange(request, take, within)
            except (LinkError, asyncio.CancelledError):
                _asked_in_vain[port.path] = asyncio.get_running_loop().time()
                raise

    async def _await_quiet(self, asked: float) -> None:
        """Closing a port hangs up on nobody: what was asked in vain may be answered yet."""
        now = asyncio.get_running_loop().time
        end = now() + QUIET_WITHIN
        with contextlib.suppress(ReplyError):
            while now() < end and now() - asked < ANSWERED_WITHIN:
                await super()._exchange(b"", bytes, QUIET)

    def _ready(self) -> Connection:
        if self._port is not None:
            self._connection = self._port.connection  # another link may have opened it again
        return super()._ready()

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.deadline):
                yield
        except TimeoutError:
            raise LinkError(
                f"{self.address.url}: the port does not open within {self.deadline:g} s"
            ) from None


class Port:
    """A port, open once for all links to its path. Whoever finds it lost opens it again."""

    def __init__(self, path: str, line: Line) -> None:
        self.path, self.line = path, line
        self.links = 0
        self.turn = asyncio.Lock()  # to open it or to use it
        self.connection: Connection | None = None
        self._transport: DescriptorTransport | None = None
        self._thread = OwnThread(path, self._forget_if_unused)  # an opening may be given up halfway

    async def connected(self) -> Connection:
        """Raises OSError, termios.error, ValueError (a speed it does not have) and LinkError."""
        if self.connection is not None:
            if self.connection.lost is None:
                return self.connection
            await asyncio.wait([self.connection.gone])
        device = await self._opened()
        connection = self.connection = Connection(loop := asyncio.get_running_loop())
        self._transport = DescriptorTransport(
            loop,
            device.fileno(),
            connection,
            lambda: self._thread.run(_close, device),  # the kernel may wait for what is to be sent yet
            lambda error: connection.give_up(_why_lost(error)),
        )
        connection.gone.add_done_callback(lambda _: self._forget_if_unused())
        return connection

    async def close_if_unused(self) -> None:
        if not self.links and self.connection is not None:
            self.connection.give_up("the link was closed")
            await asyncio.wait([self.connection.gone])
        self._forget_if_unused()

    def drop_what_came(self) -> None:
        """What waits to be read was not asked for by what is asked next."""
        if self._transport is not None:
            for _ in range(STALE_READS_MAX):
                if not self._transport.read():
                    break

    def reason(self, error: Exception) -> str:
        """Why it does not open, in words."""
        number = _number(error)
        if number == errno.EAGAIN:
            for port in _ports.values():
                if (
                    port is not self
                    and port.connection
                    and Path(port.path).resolve() == Path(self.path).resolve()
                ):
                    return f"this edge has the same port open as {port.path}: give both the same address"
        return REASONS.get(number, "") or words(OSError(number, "") if number else error)

    async def _opened(self) -> serial.Serial:
        line = self.line
        device = serial.Serial(
            baudrate=line.baudrate,
            bytesize=line.bytesize,
            parity=line.parity,
            stopbits=line.stopbits,
            xonxoff=line.xonxoff,
            rtscts=line.rtscts,
            exclusive=True,
            inter_byte_timeout=0,  # VMIN 1: that there is nothing to read is told from the end
        )
        device.port, device.dtr, device.rts = self.path, line.dtr, line.rts
        unwanted = threading.Event()
        try:
            await self._thread.run(_open, device, unwanted)
        except asyncio.CancelledError:
            unwanted.set()
            raise
        return device

    def _forget_if_unused(self) -> None:
        """A thread that hangs is kept: there is to be one for a port, not one for each try to open it."""
        closed = self.connection is None or self.connection.gone.done()
        if not self.links and closed and not self._thread.is_busy and _ports.get(self.path) is self:
            del _ports[self.path]
            self._thread.close()


_ports: dict[str, Port] = {}
_asked_in_vain: dict[str, float] = {}  # path: when (the loop's time) its last exchange was broken off


def _open(device: serial.Serial, unwanted: threading.Event) -> None:
    if not stat.S_ISCHR(Path(device.port or "").stat().st_mode):
        raise LinkError(f"{device.port} is no serial port: was something copied to it while it was away?")
    device.open()
    if unwanted.is_set():
        device.close()


def _close(device: serial.Serial) -> None:
    with contextlib.suppress(termios.error, OSError):
        termios.tcflush(device.fileno(), termios.TCOFLUSH)
    device.close()


def _why_lost(error: OSError | None) -> str:
    if error is None or error.errno in GONE:
        return "the port is gone: was it unplugged?"
    return words(error)


def _number(error: BaseException | None) -> int:
    """The system's number for an error. pyserial hides some of them in words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if isinstance(error, termios.error) and error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__context__
    return 0
