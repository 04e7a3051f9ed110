"""MUST EP20-1000-Pro, an uninterruptible power supply: Modbus RTU over RS-232, as a rule behind a USB bridge.

Also sold as EP2000 Pro and under other names. It has no serial number and no model's name: what answers at
its unit, with values that can be, is one.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from devices.drivers.base import Channel, Driver, Option
from devices.drivers.must_ep20_alarms import ALARMS
from devices.drivers.must_ep20_registers import (
    ALARM_BITS,
    BATTERY_CLASSES,
    FAULTS,
    MORE_SETTINGS,
    OTHER_MODEL,
    SETTINGS,
    STATES,
    STATUS,
    STATUS_COUNT,
    STATUS_OF_STATE,
    STATUS_START,
    Register,
)
from devices.drivers.must_ep20_wire import Refusal, Reply, read_request
from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Link
from devices.links.stream import StreamLink
from devices.readings import Reading

logger = logging.getLogger(__name__)

POLL_WITHIN = 4.5  # seconds; a session gives up a poll after 5
QUIET, QUIET_WITHIN = 0.2, 0.5  # seconds without a byte between two attempts, and how long that is awaited
SETTINGS_WITHIN = 1.5  # seconds from the start of a poll; later, they wait for the next
SETTINGS_TIMEOUT = 1.0  # for each block, so that no poll lasts too long for the settings' sake
SETTINGS_TRIES = 3


@dataclass(slots=True)
class Block:
    """Registers that seldom change, and when (the loop's time) they are to be read again."""

    start: int
    registers: tuple[Register, ...]
    check: Callable[[list[int]], None] | None = None
    due: float = 0.0
    failures: int = 0

    @property
    def count(self) -> int:
        return self.registers[-1].index + 1


_SETTINGS_KEYS = {register.channel().key for register in (*SETTINGS, *MORE_SETTINGS)}


class MustEp20(Driver):
    """MUST EP20-1000-Pro and its like (EP2000 Pro), not the EP3000."""

    label = "MUST EP20-1000-Pro"
    schemes = ("serial",)
    example = "serial:///dev/ttyUSB0"
    options = (
        Option("unit", int, 10, "Its Modbus unit; the maker's is 10", low=1, high=247),
        Option("timeout", float, 1.0, "Seconds to wait for each reply", low=0.05, high=4.0),
        Option(
            "attempts",
            int,
            3,
            "How often to ask in one poll: it leaves some questions unanswered",
            low=1,
            high=10,
        ),
        Option("settings_every", float, 3600.0, "Seconds between readings of its settings", low=60.0),
    )
    channels = (
        Channel("status", "status", kind="text"),
        *(register.channel() for register in STATUS),
        Channel("fault", "fault", kind="text"),
        *(Channel(key, label, kind="bool") for key, label in ALARM_BITS.values()),
        *(register.channel() for register in (*SETTINGS, *MORE_SETTINGS)),
    )
    alarms = ALARMS
    link: StreamLink

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        self._blocks = [Block(31000, SETTINGS, _check_settings), Block(31016, MORE_SETTINGS)]

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        attempts, timeout = checked["attempts"], checked["timeout"]
        longest = attempts * timeout + (attempts - 1) * QUIET_WITHIN
        if longest > POLL_WITHIN:
            raise ConfigurationError(
                f"options attempts, timeout: {attempts} attempts of {timeout:g} s take up to {longest:g} s, "
                f"but {POLL_WITHIN:g} s is all there is"
            )
        return checked

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return key not in _SETTINGS_KEYS

    @classmethod
    def link_settings(cls, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003
        return {"baudrate": 9600, "bytesize": 8, "parity": "N", "stopbits": 1, "dtr": True, "rts": False}

    async def read(self) -> list[Reading]:
        now = asyncio.get_running_loop().time
        start = now()
        try:
            registers = await self._ask(STATUS_START, STATUS_COUNT, self.settings["attempts"], _check)
        except (ReplyError, LinkError):
            for block in self._blocks:  # their channels, too, are marked bad now
                if block.failures < SETTINGS_TRIES:
                    block.due = 0.0
            raise
        readings = list(status_readings(registers))
        for block in self._blocks:
            if block.due <= now() < start + SETTINGS_WITHIN:
                readings += await self._read_settings(block, now())
        return readings

    async def _read_settings(self, block: Block, now: float) -> list[Reading]:
        """Not every unit has all of them: a block that cannot be had is left alone for long."""
        try:
            registers = await self._ask(block.start, block.count, 1, block.check, SETTINGS_TIMEOUT)
        except (ReplyError, LinkError) as error:
            final = isinstance(error, Refusal) and not error.is_passing
            block.failures = SETTINGS_TRIES if final else block.failures + 1
            if block.failures >= SETTINGS_TRIES:
                logger.info("%s: its settings from %d on: %s", self.link.address.url, block.start, error)
                block.due = now + self.settings["settings_every"]
            return []
        block.failures = 0
        block.due = now + self.settings["settings_every"]
        return [register.reading(registers[register.index]) for register in block.registers]

    async def _ask(
        self,
        start: int,
        count: int,
        attempts: int,
        check: Callable[[list[int]], None] | None,
        longest: float = POLL_WITHIN,
    ) -> list[int]:
        """Registers. Raises LinkError if nothing is heard at all, else the reason of the last attempt."""
        unit, within = self.settings["unit"], min(self.settings["timeout"], longest)
        request = read_request(unit, start, count)
        heard, reason = False, ReplyError("")
        for attempt in range(attempts):
            if attempt:
                await self.link.settle(QUIET, QUIET_WITHIN)
            reply = Reply(unit, count)
            try:
                registers = _registers(await self.link.exchange(request, reply, within))
                if check is not None:
                    check(registers)
            except ReplyError as error:
                reason = error if reply.is_whole else _reason(reply)
                if isinstance(error, Refusal) and not error.is_passing:
                    raise
            else:
                return registers
            heard = heard or bool(reply.heard)
        if not heard:
            raise LinkError(f"{self.link.address.url}: unit {unit} does not answer; asked {attempts} times")
        raise reason


def _registers(payload: bytes) -> list[int]:
    return [int.from_bytes(payload[at : at + 2], "big") for at in range(0, len(payload), 2)]


def _reason(reply: Reply) -> ReplyError:
    return ReplyError(f"no reply that is whole, but {reply.heard.hex(' ')} …" if reply.heard else "no reply")


def _check(registers: list[int]) -> None:
    """Frames that are all zeros come with a good checksum, too. Raises ReplyError for one that cannot be."""
    if registers[0] == OTHER_MODEL:
        raise ReplyError("it says that it is an EP3000, whose registers have other meanings")
    if registers[2] not in STATES or registers[3] not in BATTERY_CLASSES or not registers[4]:
        raise ReplyError(
            f"a reply that cannot be: work state, battery class and rated power {registers[2:5]}"
        )


def _check_settings(registers: list[int]) -> None:
    if not all(registers[1:6]):
        raise ReplyError(f"settings that cannot be: voltages and charge current {registers[1:6]}")


def status_readings(registers: list[int]) -> Iterable[Reading]:
    """What the status block says: each register, and what follows from some."""
    yield Reading("status", STATUS_OF_STATE.get(registers[2], "unknown"))
    for register in STATUS:
        yield register.reading(registers[register.index])
    yield Reading("fault", _fault(registers[21]))
    for bit, (key, _) in ALARM_BITS.items():
        yield Reading(key, bool(registers[22] >> bit & 1))


def _fault(number: int) -> str:
    if not number:
        return "none"
    words = FAULTS.get(number)
    return f"fault {number}: {words}" if words else f"fault {number}"
