"""Floats as serde-json-core 0.1.0 prints them: Rust's `{:e}`, the shortest digits that read back the same."""

import math
import struct

_WORDS = {"nan": "NaN", "inf": "inf"}
_SINGLE = struct.Struct("<f")


def e64(number: float) -> str:
    """A 64-bit float: 25 → `2.5e1`, 0 → `0e0`, −0 → `-0e0`; `NaN`, `inf` and `-inf` as Rust has them."""
    text = repr(number)
    if text[0] == "-":
        return "-" + e64(-number)
    whole, point, fraction = text.partition(".")
    if not point or "e" in fraction:
        return _WORDS.get(text) or _trimmed(text)
    if whole == "0":
        digits = fraction.lstrip("0")
        if not digits:
            return "0e0"
        power = len(digits) - len(fraction) - 1
    else:
        digits = whole + fraction
        power = len(whole) - 1
    rest = digits[1:].rstrip("0")
    return f"{digits[0]}.{rest}e{power}" if rest else f"{digits[0]}e{power}"


def e32(number: float) -> str:
    """A 32-bit float, as `single` makes it: the shortest digits that a 32-bit float needs."""
    for digits in range(9):
        shortest = float(f"{number:.{digits}e}")
        if single(shortest) == number:
            return e64(shortest)
    return e64(number)


def single(number: float) -> float:
    """The nearest 32-bit float."""
    try:
        rounded: float = _SINGLE.unpack(_SINGLE.pack(number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)
    return rounded


def _trimmed(text: str) -> str:
    """Python's scientific form without its padding: 1e-05 → `1e-5`, 1e+22 → `1e22`."""
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"
