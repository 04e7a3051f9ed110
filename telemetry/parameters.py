"""What the API's questions of times and channels are made of."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from devices.models import Channel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS_DIGITS = 14  # to the year 5138
FIRST_YEAR, LAST_YEAR = 1900, 5138

T = TypeVar("T")


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


def time_of(text: str) -> datetime:
    """ISO 8601 (without a zone: UTC), or ms since 1970. Raises ValueError."""
    if text.removeprefix("-").isdecimal() and len(text) <= MS_DIGITS:
        return EPOCH + timedelta(milliseconds=int(text))
    # A `+` of a zone that was not written as %2B arrives as a blank.
    zoned = text[:11] + text[11:].replace(" ", "+")
    try:
        moment = datetime.fromisoformat(zoned)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is neither ISO 8601 nor ms since 1970.") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"{text!r} is not between the years {FIRST_YEAR} and {LAST_YEAR}.")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def channel_of(text: str) -> Channel:
    channel = Channel.objects.filter(pk=int(text)).first() if text.isdecimal() and len(text) < 10 else None
    if channel is None:
        raise ValueError(f"There is no channel {text[:60]!r}.")
    return channel


def up_to(most: int) -> Callable[[str], int]:
    """Reads how many rows a page may have."""

    def size_of(text: str) -> int:
        size = int(text) if text.isdecimal() and len(text) < 10 else 0
        if not 1 <= size <= most:
            raise ValueError(f"A number from 1 to {most} is needed.")
        return size

    return size_of
