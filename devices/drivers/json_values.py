"""Values in somebody's JSON, taken leniently: what is none of its kind is None, and no exception."""

import json
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from devices.errors import ReplyError
from devices.readings import INT_MAX

RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,18}))?\s*([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decoded(body: bytes) -> Any:
    """JSON, with what is no JSON number (NaN, 1e999) as None. Raises ReplyError."""
    try:
        return json.loads(body, parse_constant=_nothing, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ReplyError(f"an answer that is not JSON, {body[:200]!r}: {error!s:.200}") from None


def _nothing(_constant: str) -> None:
    """NaN and the infinities, which Python's parser takes for numbers."""


def _finite(text: str) -> float | None:
    number = float(text)
    return number if abs(number) < float("inf") else None


def number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def whole(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > INT_MAX:
        return None
    return value


def truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def text(value: Any) -> str | None:
    """Without what no database's text can hold."""
    if not isinstance(value, str):
        return None
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def moment(value: Any) -> int | None:
    """An RFC 3339 time as µs of UTC, with any number of digits (cut, not rounded); without a zone: UTC."""
    found = RFC3339.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    leap = second == 60  # the second after which the minute is over
    try:
        at = datetime(year, month, day, hour, minute, second - leap, tzinfo=_zone(found[8]))
        at += timedelta(seconds=leap)
        since = at - EPOCH
    except (ValueError, OverflowError):
        return None
    return max((since.days * 86_400 + since.seconds) * 1_000_000 + int(f"{found[7] or '0':0<6}"[:6]), 0)


def unix(value: Any) -> int | None:
    """Seconds since 1970 as µs."""
    seconds = number(value)
    return round(seconds * 1e6) if seconds is not None and 0 <= seconds < 253_402_300_800 else None


def _zone(text: str | None) -> timezone:
    if text in (None, "Z", "z"):
        return UTC
    digits = str(text).replace(":", "")
    return timezone(
        (-1 if digits[0] == "-" else 1) * timedelta(hours=int(digits[1:3]), minutes=int(digits[3:]))
    )
