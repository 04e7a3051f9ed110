"""What the API's questions of times and channels are made of."""

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from django.utils import timezone
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from devices.models import Channel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS_DIGITS = 14  # to the year 5138
FIRST_YEAR, LAST_YEAR = 1900, 5138
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
TIMES = "ISO 8601 (without a zone: UTC), ms since 1970, `now`, or a time from now as `-30m`, `-24h`, `-7d`"

_relative = re.compile(r"(?P<sign>[-+ ])(?P<count>\d{1,9})(?P<unit>[smhdw])", re.ASCII)
_without_unit = re.compile(r"[-+ ]\d{1,9}", re.ASCII)  # which no one means as ms since 1970

T = TypeVar("T")


class NoTime(ValueError):
    """What cannot be read as a time."""


def asked(request: Request, name: str, read: Callable[[str], T], default: T | None = None) -> T:
    """A parameter as `read` takes it. Raises ValidationError naming it."""
    given = request.query_params.getlist(name)
    if not given and default is not None:
        return default
    if len(given) != 1:
        raise ValidationError({name: ["It is given more than once." if given else "It is needed."]})
    try:
        return read(given[0])
    except ValueError as error:
        raise ValidationError({name: [str(error)]}) from None


def moment_of(text: str, now: datetime | None = None) -> datetime:
    """A time as a question gives it: as `time_of` takes it, or from now on (TIMES). Raises ValueError."""
    now = now or timezone.now()
    if text == "now":
        return now
    if found := _relative.fullmatch(text):
        seconds = int(found["count"]) * UNITS[found["unit"]]
        # A `+` that was not written as %2B arrives as a blank.
        ahead = -seconds if found["sign"] == "-" else seconds
        return _in_range(text, lambda: now + timedelta(seconds=ahead))
    try:
        return time_of("" if _without_unit.fullmatch(text) else text)
    except NoTime:
        raise ValueError(f"{text[:60]!r} is no time: it may be {TIMES}.") from None


def all_asked(request: Request, name: str, read: Callable[[list[str]], T]) -> T:
    """A parameter that may be given several times, as `read` takes it. Raises ValidationError naming it."""
    try:
        return read(request.query_params.getlist(name))
    except ValueError as error:
        raise ValidationError({name: [str(error)]}) from None


def span_asked(request: Request, default: timedelta) -> tuple[datetime, datetime]:
    """`from` and `to`; so much time before `to` and now, where they are left out."""
    now = timezone.now()
    read = partial(moment_of, now=now)
    end = asked(request, "to", read, now)
    start = asked(request, "from", read, end - default)
    if start > end:
        raise ValidationError({"from": ["It is later than `to`."]})
    return start, end


def time_of(text: str) -> datetime:
    """ISO 8601 (without a zone: UTC), or ms since 1970. Raises ValueError."""
    if text.removeprefix("-").isdecimal() and len(text) <= MS_DIGITS:
        return _in_range(text, lambda: EPOCH + timedelta(milliseconds=int(text)))
    # A `+` of a zone that was not written as %2B arrives as a blank.
    zoned = text[:11] + text[11:].replace(" ", "+")
    try:
        moment = datetime.fromisoformat(zoned)
    except ValueError:
        raise NoTime(f"{text[:60]!r} is neither ISO 8601 nor ms since 1970.") from None
    return _in_range(text, lambda: moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _in_range(text: str, made: Callable[[], datetime]) -> datetime:
    """Raises ValueError for a time of which it makes no sense to ask."""
    with suppress(OverflowError):
        if FIRST_YEAR <= (moment := made()).year <= LAST_YEAR:
            return moment
    raise ValueError(f"{text[:60]!r} is not between the years {FIRST_YEAR} and {LAST_YEAR}.")


def channel_of(text: str) -> Channel:
    channel = Channel.objects.filter(pk=int(text)).first() if text.isdecimal() and len(text) < 10 else None
    if channel is None:
        raise ValueError(f"There is no channel {text[:60]!r}.")
    return channel


def channels_of(given: Sequence[str], most: int) -> list[Channel]:
    """Channels as a parameter names them, several times or with commas; each once. Raises ValueError."""
    words = list(dict.fromkeys(word.strip() for text in given for word in text.split(",")))
    if not words or words == [""]:
        raise ValueError("It is needed: the `id` of a channel.")
    if len(words) > most:
        raise ValueError(f"There are {len(words)} channels; at most {most} can be asked for at once.")
    numbers = {int(word) for word in words if word.isdecimal() and len(word) < 10}
    found = Channel.objects.select_related("instrument").in_bulk(numbers)
    for word in words:
        if not (word.isdecimal() and len(word) < 10 and int(word) in found):
            raise ValueError(f"There is no channel {word[:60]!r}.")
    return list({int(word): found[int(word)] for word in words}.values())


def up_to(most: int) -> Callable[[str], int]:
    """Reads how many rows a page may have."""
    return from_to(1, most)


def from_to(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number."""

    def number_of(text: str) -> int:
        number = int(text) if text.isdecimal() and len(text) < 10 else least - 1
        if not least <= number <= most:
            raise ValueError(f"A number from {least} to {most} is needed.")
        return number

    return number_of


def one_of(words: Collection[str]) -> Callable[[str], str]:
    """Reads one of some words."""

    def word_of(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text[:60]!r} is none of {', '.join(words)}.")
        return text

    return word_of
