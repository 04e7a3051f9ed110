"""The API of what was measured."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import BaseRouter

from devices.api import QualityField, finite, flag_names, quality_name
from devices.filters import check_parameters
from devices.models import Channel
from telemetry import history

PARAMETERS = ("channel", "from", "to")
DEFAULT_SPAN = timedelta(hours=1)
PAGE_SIZE = 1000
PAGE_SIZE_MAX = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS_DIGITS = 14  # to the year 5138
FIRST_YEAR, LAST_YEAR = 1900, 5138

T = TypeVar("T")


class SampleSerializer(serializers.Serializer[Any]):
    time = serializers.DateTimeField()
    value = serializers.FloatField(allow_null=True)
    quality = QualityField()
    flags = serializers.ListField(child=serializers.CharField())
    text = serializers.CharField(allow_null=True)


class SamplePageSerializer(serializers.Serializer[Any]):
    next = serializers.URLField(allow_null=True, help_text="The page after this one")
    results = SampleSerializer(many=True)


class SampleViewSet(viewsets.ViewSet):
    """The stored readings of one channel, in order of time."""

    @extend_schema(
        responses=SamplePageSerializer,
        parameters=[
            OpenApiParameter("channel", int, required=True, description="The channel's `id`"),
            OpenApiParameter(
                "from", str, description="ISO 8601 or ms since 1970 (UTC); an hour before `to` if left out"
            ),
            OpenApiParameter("to", str, description="Until before this time; now if left out"),
            OpenApiParameter("page_size", int, description=f"Up to {PAGE_SIZE_MAX}; {PAGE_SIZE} if left out"),
            OpenApiParameter("cursor", str, description="As the page before gives it in `next`"),
        ],
    )
    def list(self, request: Request) -> Response:
        check_parameters(request, PARAMETERS)
        channel = asked(request, "channel", channel_of)
        end = asked(request, "to", time_of, timezone.now())
        start = asked(request, "from", time_of, end - DEFAULT_SPAN)
        size = asked(request, "page_size", page_size_of, PAGE_SIZE)
        if start > end:
            raise ValidationError({"from": ["It is later than `to`."]})
        cursor = asked(request, "cursor", time_of, start)
        found = history.samples(channel, max(start, cursor), end, size + 1)
        return Response({"next": next_page(request, found, end, size), "results": told(found[:size])})


def told(found: list[history.StoredReading]) -> list[dict[str, Any]]:
    """As SampleSerializer describes it, without its cost for each of thousands of rows."""
    return [
        {
            "time": reading.time,
            "value": finite(reading.value),
            "quality": quality_name(reading.quality),
            "flags": flag_names(reading.quality),
            "text": reading.text,
        }
        for reading in found
    ]


def next_page(request: Request, found: list[history.StoredReading], end: datetime, size: int) -> str | None:
    """The same question from the first reading that is left over; its end stands, whatever comes in."""
    if len(found) <= size:
        return None
    query = request.query_params.copy()
    query["cursor"] = found[size].time.isoformat()
    query["to"] = end.isoformat()
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


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
        raise ValueError(f"{text!r} is neither ISO 8601 nor ms since 1970.") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"{text!r} is not between the years {FIRST_YEAR} and {LAST_YEAR}.")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def channel_of(text: str) -> Channel:
    channel = Channel.objects.filter(pk=int(text)).first() if text.isdecimal() and len(text) < 10 else None
    if channel is None:
        raise ValueError(f"There is no channel {text!r}.")
    return channel


def page_size_of(text: str) -> int:
    size = int(text) if text.isdecimal() and len(text) < 10 else 0
    if not 1 <= size <= PAGE_SIZE_MAX:
        raise ValueError(f"A number from 1 to {PAGE_SIZE_MAX} is needed.")
    return size


def register(router: BaseRouter) -> None:
    """Add this app's routes."""
    router.register("samples", SampleViewSet, basename="sample")
