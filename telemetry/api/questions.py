"""What questions for stored readings have in common: a channel, a time, and pages."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from devices.filters import OF_PAGES, check_parameters
from devices.models import Channel
from telemetry import history, vectors
from telemetry.parameters import TIMES, asked, channel_of, span_asked, time_of, up_to

PARAMETERS = ("channel", "from", "to", *OF_PAGES)
DEFAULT_SPAN = timedelta(hours=1)


def questions(size: int, most: int, also: str = "") -> list[OpenApiParameter]:
    """The parameters of a question for what one channel said in some time."""
    return [
        OpenApiParameter("channel", int, required=True, description="The channel's `id`"),
        *times(),
        OpenApiParameter("page_size", int, description=f"Up to {most}; {size} if left out{also}"),
        OpenApiParameter("cursor", str, description="As the page before gives it in `next`"),
    ]


def times() -> list[OpenApiParameter]:
    """The parameters of a question for a time."""
    return [
        OpenApiParameter("from", str, description=f"{TIMES}; an hour before `to` if left out"),
        OpenApiParameter("to", str, description="Until before this time; now if left out"),
    ]


def question(request: Request, size: int, most: int) -> tuple[Channel, datetime, datetime, int]:
    """The channel, from when to when, and how many at most."""
    check_parameters(request, PARAMETERS)
    channel = asked(request, "channel", channel_of)
    start, end = span_asked(request, DEFAULT_SPAN)
    size = asked(request, "page_size", up_to(most), size)
    return channel, max(start, asked(request, "cursor", time_of, start)), end, size


def next_page(
    request: Request,
    found: Sequence[history.StoredReading | vectors.FoundVector],
    end: datetime,
    size: int,
) -> str | None:
    """The same question from the first that is left over; its end stands, whatever comes in."""
    if len(found) <= size:
        return None
    query = request.query_params.copy()
    query["cursor"] = found[size].time.isoformat()
    query["to"] = end.isoformat()
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
