"""What Modbus registers hold: numbers over several registers in either order, bits, texts."""

import math
import re
import struct
from collections.abc import Sequence

from devices.readings import INT_MAX

FORMATS = {
    "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "uint64": ">Q",
    "float32": ">f", "float64": ">d",
}  # fmt: skip
STRING = re.compile(r"string\((\d{1,3})\)")
TYPES = (*FORMATS, "bool", "string(n)")


def registers(type_name: str) -> int:
    """How many registers a value takes. Raises ValueError, in words, for an unknown type."""
    if type_name == "bool":
        return 1
    if found := STRING.fullmatch(type_name):
        count = (int(found[1]) + 1) // 2
        if not 1 <= count <= 125:
            raise ValueError(f"type {type_name}: a string has from 1 to 250 characters")
        return count
    if type_name not in FORMATS:
        raise ValueError(f"type {type_name!r:.60} is none of {', '.join(TYPES)}")
    return struct.calcsize(FORMATS[type_name]) // 2


def raw(words: Sequence[int], byte_order: str, word_order: str) -> bytes:
    """The bytes of registers, most significant first. Orders are `big` (as Modbus has them) or `little`."""
    if word_order == "little":
        words = words[::-1]
    order = "<" if byte_order == "little" else ">"
    return struct.pack(f"{order}{len(words)}H", *words)


def number(type_name: str, content: bytes) -> float | int | None:
    """None for what is no number, or none that a sample holds exactly."""
    value: float | int = struct.unpack(FORMATS[type_name], content)[0]
    if isinstance(value, int):
        return value if abs(value) <= INT_MAX else None
    return value if math.isfinite(value) else None


def text(type_name: str, content: bytes) -> str:
    """Up to the first NUL; what is not ASCII becomes a replacement character."""
    length = int(STRING.fullmatch(type_name)[1])  # type: ignore[index]
    return content[:length].partition(b"\0")[0].decode("ascii", "replace").strip()
