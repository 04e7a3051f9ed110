"""A simulated I2C bus behind TCP, for instruments of `devices.simulators`: a host with no bus can have one.

One line asks, one line answers; numbers are hexadecimal but for the count and the errno:

    read 76 f7 8        ok 655ac07eed007649     registers of chip 0x76 from 0xf7 on
    write 76 f201f425   ok                      0x01 into 0xf2, then 0x25 into 0xf4
    read 77 d0 1        error 121               the errno that Linux gives, here: not acknowledged
"""

import re

from devices.errors import ConfigurationError, ReplyError
from devices.links.base import Address
from devices.links.registers import RegisterLink, chip_of
from devices.links.tcp import TcpLink

ANSWER = re.compile(rb"ok(?: ((?:[0-9a-f]{2})+))?|error ([1-9][0-9]{0,2})")


class I2cTcpLink(TcpLink, RegisterLink):
    """`i2c+tcp://host:port/0x76`."""

    schemes = ("i2c+tcp",)

    @classmethod
    def check(cls, address: Address) -> None:
        if not address.host or not address.port:
            raise ConfigurationError(
                f"address {address.url!r} needs a host and a port: i2c+tcp://127.0.0.1:7600/0x76"
            )
        chip_of(address)

    async def _read(self, chip: int, first: int, count: int) -> bytes:
        answer = await self._asked(f"read {chip:02x} {first:02x} {count}")
        if len(answer) != count:
            raise ReplyError(f"{self.address.url}: {len(answer)} bytes instead of {count}")
        return answer

    async def _write(self, chip: int, pairs: bytes) -> None:
        if await self._asked(f"write {chip:02x} {pairs.hex()}"):
            raise ReplyError(f"{self.address.url}: bytes in answer to a write")

    async def _asked(self, request: str) -> bytes:
        line = await self.ask(request.encode() + b"\n")
        found = ANSWER.fullmatch(line)
        if found is None:
            raise ReplyError(f"{self.address.url}: unusable answer {line!r:.100}")
        if found[2]:
            raise OSError(int(found[2]), "reported by the simulated bus")
        return bytes.fromhex((found[1] or b"").decode())
