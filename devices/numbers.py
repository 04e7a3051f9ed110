"""Numbers, units and times as people read them; the pages' numbers.js says the same in the browser."""

import math
import re
from datetime import datetime
from functools import cache

from django.utils.translation import gettext as _

THIN_SPACE = "\u202f"  # does not break the line
MINUS = "−"
NOTHING = "–"
SIGNIFICANT = 6  # of a number whose instrument does not say how far it resolves

_UNITS = {
    "1": "",
    "Cel": "°C",
    "degC": "°C",
    "[degF]": "°F",
    "Ohm": "Ω",
    "deg": "°",
    "[ppm]": "ppm",
    "[ppth]": "‰",
    "[in_i'H2O]": "inH₂O",
}
_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LARGE_BYTES = re.compile(r"^([kMGT]i?)?By$")
_METRIC = re.compile(r"^([YZEPTGMkhdcmunpf])(Ohm|Cel)$")


@cache
def unit(ucum: str) -> str:
    """A UCUM code as it is printed: `Cel` → °C, `m3/h` → m³/h, `{readings}` → readings."""
    return "·".join("/".join(_atom(atom) for atom in part.split("/")) for part in ucum.split("."))


def _atom(code: str) -> str:
    """One factor of a unit."""
    code = re.sub(r"\{(.*)\}", r"\1", code)
    if code in _UNITS:
        return _UNITS[code]
    if _LARGE_BYTES.match(code):
        return code.replace("By", "B")
    if prefixed := _METRIC.match(code):
        return prefixed[1].replace("u", "µ") + _UNITS[prefixed[2]]
    micro = re.sub(r"^u(?=[a-zA-Z])", "µ", code)
    return re.sub(r"(?<=[a-zA-Z])-?\d+$", lambda power: power[0].translate(_POWERS), micro)


def number(value: float | None, digits: int | None = None) -> str:
    """A number to the instrument's resolution, thousands apart; – when there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if digits is not None and abs(value) < 1e15:
        text = f"{value:.{digits}f}"
    else:
        text = _significant(value)
    if not text.strip("-0."):
        text = text.lstrip("-")  # there is no minus zero
    mantissa, exponent, power = text.partition("e")
    return (_grouped(mantissa) + exponent + power).replace("-", MINUS)


def _significant(value: float) -> str:
    """Six significant digits, as a power of ten where plain digits would be long."""
    size = abs(value)
    if size and (size < 1e-4 or size >= 1e9):
        mantissa, power = f"{value:.{SIGNIFICANT - 1}e}".split("e")
        return f"{_trimmed(mantissa)}e{int(power)}"
    whole = len(str(int(size))) if size >= 1 else 0
    return _trimmed(f"{value:.{max(0, SIGNIFICANT - whole)}f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _grouped(text: str) -> str:
    """Thousands apart, before the point only."""
    whole, point, rest = text.partition(".")
    return re.sub(r"(?<=\d)(?=(\d{3})+$)", THIN_SPACE, whole) + point + rest


def shown(value: float | None, text: str | None, kind: str, digits: int | None) -> str:
    """What a channel of this kind says."""
    if kind == "text" or (value is None and text):
        return text or NOTHING
    if value is None:
        return NOTHING
    if kind == "bool":
        return _("yes") if value else _("no")
    return number(value, 0 if kind == "int" else digits)


def duration(seconds: float) -> str:
    """How long: `0.4 s`, `12 s`, `4 min 12 s`, `2 h 05 min`, `3 d 4 h`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def interval(seconds: float) -> str:
    """How often: `0.5 s`, `10 s`, `5 min`, `1 h 30 min`."""
    if seconds < 60:
        return f"{number(seconds)} s"
    parts = ((int(seconds) // 3600, "h"), (int(seconds) % 3600 // 60, "min"), (int(seconds) % 60, "s"))
    return " ".join(f"{count} {word}" for count, word in parts if count)


def age(then: datetime | None, now: datetime) -> str:
    """When it was, as the distance from now up to an hour, then as date and time with the zone."""
    if then is None:
        return _("never")
    seconds = (now - then).total_seconds()
    if seconds < 3600:
        return _("%(duration)s ago") % {"duration": duration(seconds)}
    return then.strftime("%Y-%m-%d %H:%M UTC")
