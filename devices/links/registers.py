"""What links to chips with registers have in common: an I2C bus of this host, or one behind TCP."""

import asyncio
import errno
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from devices.errors import ConfigurationError, LinkError
from devices.links.base import Address, Link
from devices.links.stream import words

T = TypeVar("T")

CHIP = re.compile("/0x([0-9a-fA-F]{2})")
ANY_CHIP = "/auto"  # the driver knows at which addresses its chip may be
LOWEST, HIGHEST = 0x08, 0x77  # what is below and above is reserved by the I2C specification

# Not acknowledged; by ENXIO and EIO on some adapters. The bus itself may be well.
UNHEARD = {errno.EREMOTEIO, errno.ENXIO, errno.EIO}
BUSY = {errno.EAGAIN, errno.EBUSY}
RETRIES = {errno.EREMOTEIO: (0.01, 0.05, 0.2), errno.EBUSY: (0.002, 0.005, 0.01)}  # seconds before each

MEANINGS = {
    errno.ETIMEDOUT: "the bus is stuck: a chip holds its lines low, or stretches the clock too long",
    errno.ENODEV: "the bus is gone; its adapter was unplugged",
    errno.ESHUTDOWN: "the bus is gone; its adapter was shut down",
    errno.EOPNOTSUPP: "this adapter cannot read blocks of registers",
    errno.ENOTTY: "this is no I2C bus",
}


class TransferFailed(LinkError):
    """One chip could not be talked to, after several tries; its bus seems to be well."""


class RegisterLink(Link):
    """A link to one chip on a bus, by its registers of one byte each.

    `chip` is its 7-bit address. Where the link's address says `auto` it is 0, and the driver sets it.
    """

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        self.chip = chip_of(address)

    async def read_registers(self, first: int, count: int) -> bytes:
        """What `count` (≤ 32) registers from `first` on hold, read in one go. Raises LinkError."""
        return await self._tried(lambda: self._read(self.chip, first, count))

    async def write_registers(self, *pairs: tuple[int, int]) -> None:
        """Write (register, value) pairs, in this order, in one go. Raises LinkError."""
        flat = bytes(byte for pair in pairs for byte in pair)
        await self._tried(lambda: self._write(self.chip, flat))

    async def _read(self, chip: int, first: int, count: int) -> bytes:
        """One attempt. Raises OSError for what the bus reports."""
        raise NotImplementedError

    async def _write(self, chip: int, pairs: bytes) -> None:
        """One attempt; a register, its value, the next register … Raises OSError."""
        raise NotImplementedError

    async def _tried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Transfers are tried again where that may help: reading or writing a register twice does no harm."""
        failed = 0
        while True:
            try:
                return await attempt()
            except OSError as error:
                number = error.errno or errno.ETIMEDOUT
                pauses = RETRIES[errno.EREMOTEIO if number in UNHEARD else errno.EBUSY]
                if number not in UNHEARD | BUSY or failed == len(pauses):
                    raise self._in_words(number, error) from None
            await asyncio.sleep(pauses[failed])
            failed += 1

    def _in_words(self, number: int, error: OSError) -> LinkError:
        url, chip = self.address.url, f"0x{self.chip:02x}"
        if number in UNHEARD:
            return TransferFailed(
                f"{url}: no chip acknowledges at {chip}; look at its power, its wires and its address"
            )
        if number in BUSY:
            return TransferFailed(
                f"{url}: {chip} is busy: in use by a kernel driver, which must be unloaded, or the bus is"
            )
        return LinkError(f"{url}: {MEANINGS.get(number) or words(error)}")


def chip_of(address: Address) -> int:
    """The chip's address on its bus; 0 for `auto`. Raises ConfigurationError."""
    if address.path == ANY_CHIP:
        return 0
    found = CHIP.fullmatch(address.path)
    chip = int(found[1], 16) if found else 0
    if not LOWEST <= chip <= HIGHEST or address.query:
        raise ConfigurationError(
            f"address {address.url!r} must end with the chip's own, 0x{LOWEST:02x} to 0x{HIGHEST:02x}, "
            "as in …/0x76, or with auto if its driver knows where to look"
        )
    return chip
