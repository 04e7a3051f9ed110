"""Floats as serde-json-core 0.1.0 prints them: Rust's `{:e}`, the shortest digits that read back the same."""

import math
import struct

_SINGLE = struct.Struct("<f")


def e64(number: float) -> str:
    """A 64-bit float: 25 → `2.5e1`, 0 → `0e0`, −0 → `-0e0`; `NaN`, `inf` and `-inf` as Rust has them."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else ("inf" if number > 0 else "-inf")
    return _scientific(repr(number))


def e32(number: float) -> str:
    """A 32-bit float, as `single` makes it: the shortest digits that a 32-bit float needs."""
    if not math.isfinite(number):
        return e64(number)
    for digits in range(9):
        text = f"{number:.{digits}e}"
        if single(float(text)) == number:
            break
    return _scientific(repr(float(text)))


def single(number: float) -> float:
    """The nearest 32-bit float."""
    try:
        rounded: float = _SINGLE.unpack(_SINGLE.pack(number))[0]
    except OverflowError:
        return math.copysign(math.inf, number)
    return rounded


def _scientific(text: str) -> str:
    """Python's repr of a finite float in scientific form without padding."""
    sign = ""
    if text[0] == "-":
        sign, text = "-", text[1:]
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{sign}{mantissa.removesuffix('.0')}e{int(exponent)}"
    whole, _, fraction = text.partition(".")
    if whole != "0":
        power = len(whole) - 1
        digits = (whole + fraction).rstrip("0")
    else:
        digits = fraction.lstrip("0")
        if not digits:
            return f"{sign}0e0"
        power = len(digits) - len(fraction) - 1
        digits = digits.rstrip("0")
    return f"{sign}{digits[0]}.{digits[1:]}e{power}" if len(digits) > 1 else f"{sign}{digits}e{power}"
