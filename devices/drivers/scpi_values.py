"""What an answer in SCPI's notation says: numbers, booleans, strings (SCPI-99 vol. 1, §7; IEEE 488.2, §8)."""

import math
import re

from devices.drivers.declared import scaled, storable, vector_of, whole
from devices.readings import Value, Vector

# SCPI has no infinity on the wire: 9.9E37 stands for it (overload), 9.91E37 for "not a number".
NO_NUMBER_FROM = 9.9e37
FIELDS_MAX = 100_000  # as many as a vector may have

# A number, and the unit that some instruments write behind it (`+1.23E+00 VDC`, `21.5%`). No unit begins with
# an E close to the digits: such is a torn number.
NUMBER = re.compile(
    r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"(?:(?:\s+[^\W\d_]|[^\W\d_eE]|\s*[%°])[^\d\s,;.+-]{0,20})?\s*"
)
BASED = {"#H": 16, "#Q": 8, "#B": 2}
TRUE, FALSE = {"1", "ON", "TRUE", "YES"}, {"0", "OFF", "FALSE", "NO"}


def number(text: str) -> float | None:
    """None for what is none: overload, NaN, words."""
    base = BASED.get(text.strip()[:2].upper())
    try:
        if base:
            value = float(int(text.strip()[2:66], base))
        else:
            found = NUMBER.fullmatch(text[:1_000])
            value = float(found[1]) if found else math.nan
    except (ValueError, OverflowError):
        return None
    return value if abs(value) < NO_NUMBER_FROM else None  # false for NaN, too


def truth(text: str) -> bool | None:
    word = text.strip().upper()
    if word in TRUE or word in FALSE:
        return word in TRUE
    value = number(text)
    return None if value is None else value != 0


def unquoted(text: str) -> str:
    """A string without the quotes around it; doubled ones within stand for one."""
    text = text.strip()
    quote = text[:1]
    if len(text) >= 2 and quote in {'"', "'"} and text.endswith(quote):
        return text[1:-1].replace(quote * 2, quote)
    return text


def fields(text: str) -> list[str]:
    """An answer at its commas, but for those within quotes."""
    if '"' not in text and "'" not in text:
        return text.split(",")
    parts, start, quote = [], 0, ""
    for at, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign == ",":
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def vector(text: str, scale: float, offset: float) -> Vector | None:
    """Numbers between commas; None where one is none."""
    parts = text.split(",")
    if not text.strip() or len(parts) > FIELDS_MAX:
        return None
    return vector_of(map(number, parts), scale, offset)


def value_of(text: str, kind: str, scale: float = 1.0, offset: float = 0.0) -> Value:
    """An answer, or the part of it that a channel is about, as the channel's kind; None if it is not."""
    if kind == "text":
        return storable(unquoted(text))
    if kind == "bool":
        return truth(text)
    if kind == "int":
        return whole(number(text))
    if kind == "vector":
        return vector(text, scale, offset)
    return scaled(number(text), scale, offset)


def error_of(answer: str) -> tuple[int, str] | None:
    """Code and words of an answer to `SYST:ERR?`; None if there is no error, or it cannot be understood."""
    found = re.match(r"""\s*([+-]?\d{1,6})\s*(?:,\s*(.*))?\Z""", answer[:1_000], re.DOTALL)
    if found is None or int(found[1]) == 0:
        return None
    return int(found[1]), storable(unquoted(found[2] or ""))
