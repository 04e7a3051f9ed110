"""Any Modbus device, by TCP or serial line: its registers are declared in the options."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from devices.drivers import modbus_values
from devices.drivers.base import Channel, Driver, Option
from devices.drivers.declared import Row, rows, scaled
from devices.errors import ConfigurationError, ReplyError
from devices.links.base import Link
from devices.links.modbus import BITS, ModbusLink, ModbusRefusal
from devices.readings import Event, Quality, Reading, Value

BITS_PER_REGISTER = 16  # 2000 bits fit into an answer, or 125 registers
NOT_THERE = (1, 2, 3)  # exceptions that a part of what was asked may have caused
Order = Literal["", "big", "little"]


class Register(Row, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel: where it stands in the device, and how."""

    address: int
    table: Literal["holding", "input", "coil", "discrete"] = "holding"
    type: str = "uint16"
    byte_order: Order = ""
    word_order: Order = ""
    scale: float = 1.0
    offset: float = 0.0
    bit: int | None = None
    enum: dict[str, str] = {}
    none: float | None = None  # the raw value that stands for "there is none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.address <= 65_535:
            raise ValueError(
                "address is from 0 to 65535, as on the wire: what manuals call 40001 is 0 of holding"
            )
        if self.address + self.size > 65_536:
            raise ValueError("its last register is beyond 65535")
        if self.bit is not None and not 0 <= self.bit < 16 * self.size:
            raise ValueError(f"bit is from 0 (the least) to {16 * self.size - 1}")
        if self.bit is not None and (
            self.is_bit or self.type not in modbus_values.FORMATS or "float" in self.type
        ):
            raise ValueError("bit is for registers of a type of whole numbers")
        if self.enum and (self.is_bit or "int" not in self.type):
            raise ValueError("enum is for registers of a type of whole numbers")
        if not all(key.lstrip("-").isdecimal() for key in self.enum):
            raise ValueError('enum has whole numbers, as texts, and their words: {"0": "off", "1": "on"}')

    @property
    def is_bit(self) -> bool:
        return self.table in BITS

    @property
    def size(self) -> int:
        """Registers, or bits, that it takes."""
        return 1 if self.is_bit else modbus_values.registers(self.type)

    @property
    def channel_kind(self) -> str:
        if self.is_bit or self.type == "bool" or self.bit is not None:
            return "bool"
        if self.enum or self.type.startswith("string"):
            return "text"
        whole = "int" in self.type and self.scale == 1 and self.offset == 0
        return "int" if whole else "float"

    def reading(self, words: list[int], byte_order: str, word_order: str) -> Reading:
        """What its registers say; the orders are those of the device."""
        content = modbus_values.raw(words, self.byte_order or byte_order, self.word_order or word_order)
        value, quality = self._value(content)
        return Reading(self.key, value, Quality.BAD if value is None else quality)

    def _value(self, content: bytes) -> tuple[Value, Quality]:
        if self.type.startswith("string") and not self.is_bit:
            return modbus_values.text(self.type, content), Quality.GOOD
        if self.bit is not None:
            return bool(int.from_bytes(content, "big") >> self.bit & 1), Quality.GOOD
        if self.channel_kind == "bool":
            return any(content), Quality.GOOD
        return self._number(modbus_values.number(self.type, content))

    def _number(self, number: float | None) -> tuple[Value, Quality]:
        if number is None or number == self.none:
            return None, Quality.BAD
        if self.enum:
            word = self.enum.get(str(number))
            return (word, Quality.GOOD) if word is not None else (str(number), Quality.UNCERTAIN)
        if self.channel_kind == "int":
            return number, Quality.GOOD
        return scaled(number, self.scale, self.offset), Quality.GOOD


class Block(NamedTuple):
    """Neighbours that are read with one question."""

    table: str
    start: int
    size: int
    registers: tuple[Register, ...]

    def __str__(self) -> str:
        last = self.start + self.size - 1
        return f"{self.table} {self.start}" + (f" to {last}" if last > self.start else "")


class Modbus(Driver):
    """A device whose registers are declared. Neighbours are read with one question; what the device refuses
    costs only the channels that lie there."""

    label = "Modbus device"
    schemes = ("modbus+tcp", "modbus+serial", "modbus+rtu+tcp")
    example = "modbus+tcp://192.168.1.50:502"
    options = (
        Option(
            "channels",
            list,
            [{"key": "register_0", "label": "Register 0", "table": "holding", "address": 0}],
            "What is read: objects with key and address (0 to 65535, as on the wire), and if need be label, "
            "unit (UCUM), table (holding, input, coil, discrete), type (int16, uint16, int32, uint32, int64, "
            "uint64, float32, float64, bool, string(n)), scale, offset, bit (0 is the least), enum "
            '({"0": "off"}), none (the raw value for "no value"), byte_order, word_order, digits, low, high',
        ),
        Option("unit", int, 1, "Number of the device on its line, or behind its gateway", low=0, high=255),
        Option(
            "word_order",
            str,
            "big",
            "Of values over several registers: big if the first register holds the most significant part",
            choices=("big", "little"),
        ),
        Option("byte_order", str, "big", "Within a register; big is Modbus's own", choices=("big", "little")),
        Option("block", int, 125, "Registers read with one question at most", low=1, high=125),
        Option(
            "gap",
            int,
            0,
            "Registers in between that may be read along, where the device allows it, to ask less often",
            low=0,
            high=100,
        ),
        Option("timeout", float, 1.0, "Seconds to wait for an answer", low=0.05, high=4.5),
        Option("retries", int, 1, "How often to ask again on a serial line", low=0, high=5),
    )
    link: ModbusLink

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        registers = rows("channels", self.settings["channels"], Register)
        self._blocks = blocks(registers, self.settings["block"], self.settings["gap"])
        self._regrouped: set[str] = set()  # blocks, by their names
        self._refused: dict[str, str] = {}  # block → why, to be told when it changes

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        registers = rows("channels", checked["channels"], Register)
        if not registers:
            raise ConfigurationError("option channels: declare at least one")
        for register in registers:
            if not register.is_bit and register.size > checked["block"]:
                raise ConfigurationError(
                    f"option block: {register.key} alone takes {register.size} registers"
                )
        return checked

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        declared = options.get("channels", cls.options[0].default)
        return tuple(register.channel() for register in rows("channels", declared, Register))

    @classmethod
    def link_settings(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: options[name] for name in ("unit", "timeout", "retries")}

    async def read(self) -> list[Reading]:
        readings: list[Reading] = []
        refused: dict[str, str] = {}
        try:
            for block in tuple(self._blocks):
                readings += await self._read(block, refused)
        except BaseException:
            self.tell(readings)  # what was answered before the link broke is not lost
            raise
        self._tell_refused(refused)
        if len(refused) == len(self._blocks):
            raise ReplyError(f"the device refuses all that is asked: {'; '.join(refused.values()):.300}")
        return readings

    async def _read(self, block: Block, refused: dict[str, str]) -> list[Reading]:
        try:
            words = await self.link.read(block.table, block.start, block.size)
        except ModbusRefusal as refusal:
            parts = blocks(block.registers, self.settings["block"], apart=True)
            if refusal.code in NOT_THERE and len(parts) > 1:
                return await self._read_apart(block, parts, refused)
            refused[str(block)] = f"{block}: {refusal}"
            return [Reading(register.key, None, Quality.BAD) for register in block.registers]
        return [
            register.reading(
                words[register.address - block.start :][: register.size],
                self.settings["byte_order"],
                self.settings["word_order"],
            )
            for register in block.registers
        ]

    async def _read_apart(self, block: Block, parts: list[Block], refused: dict[str, str]) -> list[Reading]:
        """A register that the device does not have must not cost its neighbours: from now on it is asked for
        by itself. Where that does not help, each is."""
        readings = [reading for part in parts for reading in await self._read(part, refused)]
        at = self._blocks.index(block)
        alone = [part for part in parts if str(part) in refused or str(block) in self._regrouped]
        others = [register for part in parts if part not in alone for register in part.registers]
        together = blocks(others, self.settings["block"])
        self._regrouped.update(map(str, together))
        self._blocks[at : at + 1] = [*together, *alone]
        return readings

    def _tell_refused(self, refused: dict[str, str]) -> None:
        news = [text for block, text in refused.items() if self._refused.get(block) != text]
        self._refused = refused
        if news:
            self.tell([Event("modbus_refused", f"the device refuses {text}") for text in news])


def blocks(registers: Iterable[Register], most: int, gap: int = 0, *, apart: bool = False) -> list[Block]:
    """The questions that read these registers; `apart`: one for each, but for those within another."""
    made: list[Block] = []
    for register in sorted(registers, key=lambda each: (each.table, each.address, each.size)):
        end = register.address + register.size
        limit = most * BITS_PER_REGISTER if register.is_bit else most
        last = made[-1] if made and made[-1].table == register.table else None
        reach = 0 if last is None else last.start + last.size
        fits = end <= reach if apart else register.address <= reach + gap
        if last is not None and fits and end - last.start <= limit:
            size = max(last.size, end - last.start)
            made[-1] = Block(last.table, last.start, size, (*last.registers, register))
        else:
            made.append(Block(register.table, register.address, register.size, (register,)))
    return made
