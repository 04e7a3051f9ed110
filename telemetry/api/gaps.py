"""What is missing, and why."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from devices.filters import OF_PAGES, check_parameters
from devices.models import Edge, Instrument
from devices.readings import GapReason
from telemetry import gaps
from telemetry.parameters import TIMES, asked, channel_of, one_of, span_asked, time_of, up_to

GAPS, GAPS_MAX = 100, 1000  # on a page: if nothing else is asked for, and at most
DEFAULT_SPAN = timedelta(days=7)
PARAMETERS = ("channel", "instrument", "edge", "reason", "from", "to", "open", *OF_PAGES)
WORDS = [str(reason) for reason in GapReason]


class GapSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="ref")
    edge = serializers.CharField(source="edge_name")
    instrument = serializers.UUIDField(allow_null=True, help_text="null: all instruments of the edge")
    instrument_name = serializers.CharField(allow_null=True)
    key = serializers.CharField(allow_blank=True, help_text="The channel's; empty: all channels")
    start = serializers.DateTimeField()
    end = serializers.DateTimeField(help_text="Of a gap that is open: as far as is known, it goes on")
    reason = serializers.ChoiceField(choices=WORDS)
    means = serializers.SerializerMethodField(help_text="The reason in a sentence")
    missed = serializers.IntegerField(help_text="Polls, where the edge counted them; else 0")
    open = serializers.BooleanField()

    def get_means(self, gap: gaps.FoundGap) -> str:
        return GapReason(gap.reason).means if gap.reason in WORDS else ""


class GapPageSerializer(serializers.Serializer[Any]):
    next = serializers.URLField(allow_null=True, help_text="The page after this one")
    results = GapSerializer(many=True)


def _text(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, str, description=description)


QUESTION = [
    OpenApiParameter("channel", int, description="A channel's `id`: its own gaps and its instrument's"),
    _text("instrument", "An instrument's id or name: with the gaps of all its edge"),
    _text("edge", "An edge's name"),
    OpenApiParameter("reason", str, enum=WORDS),
    _text("from", f"Gaps that ended after this time; a week before `to` if left out. {TIMES}"),
    _text("to", "Gaps that began before this time; now if left out"),
    OpenApiParameter("open", OpenApiTypes.BOOL, description="Only those that are not over, or that are"),
    OpenApiParameter("page_size", int, description=f"Up to {GAPS_MAX}; {GAPS} if left out"),
    _text("cursor", "As the page before gives it in `next`"),
]


class GapViewSet(viewsets.ViewSet):
    """When readings are missing, and why; those that began last first.

    With what follows from the present beside what edges told: instruments out of service, edges that are not
    heard, and readings that an edge has not sent yet.
    """

    @extend_schema(responses=GapPageSerializer, parameters=QUESTION)
    def list(self, request: Request) -> Response:
        check_parameters(request, PARAMETERS)
        now = timezone.now()
        size = asked(request, "page_size", up_to(GAPS_MAX), GAPS)
        question = _question(request, size + 1)
        found = gaps.found(question, now)
        told = GapSerializer(found[:size], many=True).data
        return Response({"next": _next(request, found, question, size), "results": told})


def _question(request: Request, limit: int) -> gaps.Question:
    start, end = span_asked(request, DEFAULT_SPAN)
    given = request.query_params
    of = asked(request, "channel", channel_of) if "channel" in given else None
    edge = asked(request, "edge", edge_of) if "edge" in given else None
    return gaps.Question(
        start=start,
        end=end,
        instruments=_instruments(request) if of is None else [of.instrument_id],
        edges=None if edge is None else [edge.pk],
        key=None if of is None else of.key,
        reason=asked(request, "reason", one_of(WORDS)) if "reason" in given else None,
        open=asked(request, "open", one_of(("true", "false"))) == "true" if "open" in given else None,
        before=asked(request, "cursor", _place) if "cursor" in given else None,
        limit=limit,
    )


def _instruments(request: Request) -> list[UUID] | None:
    if "instrument" not in request.query_params:
        return None
    return [asked(request, "instrument", instrument_of).pk]


def instrument_of(text: str) -> Instrument:
    """An instrument by its id or its name. Raises ValueError."""
    try:
        wanted = Instrument.objects.filter(pk=UUID(text))
    except ValueError:
        wanted = Instrument.objects.filter(name=text[:80])
    found = wanted.first()
    if found is None:
        raise ValueError(f"There is no instrument {text[:80]!r}.")
    return found


def edge_of(text: str) -> Edge:
    """An edge by its name. Raises ValueError."""
    found = Edge.objects.filter(name=text[:60]).first()
    if found is None:
        raise ValueError(f"There is no edge {text[:60]!r}.")
    return found


def _place(text: str) -> tuple[datetime, str]:
    """Where a page ended: what its `next` says."""
    start, _, ref = text.partition("~")
    if not ref.isalnum():
        raise ValueError("It is no cursor of this list.")
    return time_of(start), ref


def _next(request: Request, found: list[gaps.FoundGap], question: gaps.Question, size: int) -> str | None:
    """The same question from the last one told on; its times stand, whatever comes in."""
    if len(found) <= size:
        return None
    query = request.query_params.copy()
    last = found[size - 1]
    query["cursor"] = f"{last.start.isoformat()}~{last.ref}"
    query["from"], query["to"] = (str(moment) for moment in (question.start, question.end))
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
