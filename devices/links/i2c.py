"""I2C buses of this host (`/dev/i2c-1`), by smbus2, which blocks: each link has a thread of its own."""

import asyncio
import errno
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from smbus2 import SMBus

from devices.errors import ConfigurationError, LinkError
from devices.links.base import Address
from devices.links.registers import RegisterLink, chip_of
from devices.links.stream import words
from devices.links.thread import OwnThread

T = TypeVar("T")


class I2cLink(RegisterLink):
    """`i2c://BUS/ADDRESS`: `i2c://1/0x76` is the chip at 0x76 on `/dev/i2c-1`.

    A transfer that hangs costs its thread; until it has come back the bus is not opened again.
    """

    schemes = ("i2c",)

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        self._path = f"/dev/i2c-{address.host}"
        self._adapter: Adapter | None = None

    @classmethod
    def check(cls, address: Address) -> None:
        if not address.host.isdecimal() or address.port is not None:
            raise ConfigurationError(
                f"address {address.url!r} needs the number of a bus, as in i2c://1/0x76 for /dev/i2c-1"
            )
        chip_of(address)

    async def open(self) -> None:
        await self.close()
        if _hanging(self._path):
            raise LinkError(f"{self.address.url}: a transfer on {self._path} still hangs; reset the bus")
        self._adapter = Adapter(self._path)
        try:
            await self._run(SMBus.open, self._path)
        except OSError as error:
            await self.close()
            raise LinkError(f"{self.address.url}: {self._why_not(error)}") from None

    async def close(self) -> None:
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.give_up()

    async def _read(self, chip: int, first: int, count: int) -> bytes:
        return bytes(await self._run(SMBus.read_i2c_block_data, chip, first, count))

    async def _write(self, chip: int, pairs: bytes) -> None:
        await self._run(SMBus.write_i2c_block_data, chip, pairs[0], list(pairs[1:]))

    async def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        if self._adapter is None:
            raise LinkError(f"{self.address.url}: the link is not open")
        try:
            async with asyncio.timeout(self.deadline):
                return await self._adapter.run(call, *arguments)
        except TimeoutError as error:
            if error.errno:  # the bus says so itself
                raise
            await self.close()
            raise LinkError(f"{self.address.url}: no answer within {self.deadline:g} s") from None

    def _why_not(self, error: OSError) -> str:
        if error.errno == errno.ENOENT:
            return f"there is no {self._path}: is I2C enabled, its adapter plugged in, the number right?"
        if error.errno in {errno.EACCES, errno.EPERM}:
            return f"no permission for {self._path}: add the edge's user to the group i2c, restart the edge"
        return f"{self._path}: {words(error)}"


class Adapter:
    """One opening of a bus, used in its own thread only."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._bus = SMBus()
        self._thread = OwnThread(path)
        self._lock = threading.Lock()  # held over a glance at the two below, never over a transfer
        self._is_at_work = False
        self._is_given_up = False

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        return await self._thread.run(self._work, call, arguments)

    def give_up(self) -> None:
        """Close it: now, or by its own thread once a transfer that hangs comes back."""
        with self._lock:
            self._is_given_up = True
            if self._is_at_work:
                _given_up.append(self)
            else:
                self._bus.close()
        self._thread.close()

    def hangs(self) -> bool:
        return self._is_at_work

    def _work(self, call: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        with self._lock:
            self._is_at_work = True
        try:
            return call(self._bus, *arguments)
        finally:
            with self._lock:
                self._is_at_work = False
                if self._is_given_up:
                    self._bus.close()


_given_up: list[Adapter] = []  # in mid-transfer


def _hanging(path: str) -> bool:
    _given_up[:] = [adapter for adapter in _given_up if adapter.hangs()]
    return any(adapter.path == path for adapter in _given_up)
