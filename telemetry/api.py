"""The API of what was measured."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import BaseRouter

from devices.api import QualityField, finite, flag_names, quality_name
from devices.filters import check_parameters
from devices.models import Channel, Run
from devices.readings import RUN_STATES
from telemetry import history, vectors
from telemetry.filters import EventFilter, RunFilter
from telemetry.models import Event
from telemetry.parameters import asked, channel_of, time_of, up_to

PARAMETERS = ("channel", "from", "to")
DEFAULT_SPAN = timedelta(hours=1)
SAMPLES, SAMPLES_MAX = 1000, 10_000  # on a page: if nothing else is asked for, and at most
VECTORS, VECTORS_MAX = 100, 1000
PAGE_VALUES_MAX = 200_000  # of all vectors on a page, but for the first
EVENTS_OF_A_RUN = 1000


def questions(size: int, most: int, also: str = "") -> list[OpenApiParameter]:
    """The parameters of a question for what one channel said in some time."""
    return [
        OpenApiParameter("channel", int, required=True, description="The channel's `id`"),
        OpenApiParameter(
            "from", str, description="ISO 8601 or ms since 1970 (UTC); an hour before `to` if left out"
        ),
        OpenApiParameter("to", str, description="Until before this time; now if left out"),
        OpenApiParameter("page_size", int, description=f"Up to {most}; {size} if left out{also}"),
        OpenApiParameter("cursor", str, description="As the page before gives it in `next`"),
    ]


def question(request: Request, size: int, most: int) -> tuple[Channel, datetime, datetime, int]:
    """The channel, from when to when, and how many at most."""
    check_parameters(request, PARAMETERS)
    channel = asked(request, "channel", channel_of)
    end = asked(request, "to", time_of, timezone.now())
    start = asked(request, "from", time_of, end - DEFAULT_SPAN)
    size = asked(request, "page_size", up_to(most), size)
    if start > end:
        raise ValidationError({"from": ["It is later than `to`."]})
    return channel, max(start, asked(request, "cursor", time_of, start)), end, size


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

    @extend_schema(responses=SamplePageSerializer, parameters=questions(SAMPLES, SAMPLES_MAX))
    def list(self, request: Request) -> Response:
        channel, start, end, size = question(request, SAMPLES, SAMPLES_MAX)
        found = history.samples(channel, start, end, size + 1)
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


class VectorSerializer(serializers.Serializer[Any]):
    time = serializers.DateTimeField()
    values = serializers.ListField(child=serializers.FloatField(allow_null=True))
    labels = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="What each value is of"
    )
    quality = QualityField()
    flags = serializers.ListField(child=serializers.CharField())


class VectorPageSerializer(serializers.Serializer[Any]):
    next = serializers.URLField(allow_null=True, help_text="The page after this one")
    results = VectorSerializer(many=True)


class VectorViewSet(viewsets.ViewSet):
    """The stored vectors of one channel (of kind `vector`), in order of time."""

    @extend_schema(
        responses=VectorPageSerializer,
        parameters=questions(
            VECTORS, VECTORS_MAX, f"; a page ends before more than {PAGE_VALUES_MAX} numbers"
        ),
    )
    def list(self, request: Request) -> Response:
        channel, start, end, size = question(request, VECTORS, VECTORS_MAX)
        found = vectors.page(channel, start, end, size + 1, PAGE_VALUES_MAX)
        fit = [vector for vector in found[:size] if vector.values is not None]
        rows = [
            {
                "time": vector.time,
                "values": [finite(value) for value in vector.values or ()],
                "labels": vector.labels,
                "quality": quality_name(vector.quality),
                "flags": flag_names(vector.quality),
            }
            for vector in fit
        ]
        return Response({"next": next_page(request, found, end, len(fit)), "results": rows})


class EventSerializer(serializers.ModelSerializer[Event]):
    instrument_name = serializers.CharField(source="instrument.name")
    flags = serializers.SerializerMethodField()

    class Meta:
        model = Event
        fields: ClassVar = ["id", "instrument", "instrument_name", "time", "kind", "text", "fields", "flags"]

    def get_flags(self, event: Event) -> list[str]:
        return flag_names(event.flags)


class EventViewSet(viewsets.ReadOnlyModelViewSet[Event]):
    """What happened at instruments, as they said, newest first."""

    queryset = Event.objects.select_related("instrument")
    serializer_class = EventSerializer
    filterset_class = EventFilter
    ordering = ("-time", "-id")


class RunSerializer(serializers.ModelSerializer[Run]):
    instrument_name = serializers.CharField(source="instrument.name")
    state = serializers.ChoiceField(choices=RUN_STATES)
    flags = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields: ClassVar = [
            "id", "instrument", "instrument_name", "key", "kind", "title", "state", "progress",
            "start", "end", "fields", "told_at", "flags",
        ]  # fmt: skip
        extra_kwargs: ClassVar = {
            "key": {"help_text": "The instrument's own name of the run"},
            "progress": {"help_text": "0 to 1"},
            "told_at": {"help_text": "The time of the word that this is"},
        }

    def get_flags(self, run: Run) -> list[str]:
        return flag_names(run.flags)


class OneRunSerializer(RunSerializer):
    """A run with what happened in its time."""

    events = serializers.SerializerMethodField(
        help_text=f"Of its time, oldest first, up to {EVENTS_OF_A_RUN}; events/?run=… has them all"
    )

    class Meta(RunSerializer.Meta):
        fields: ClassVar = [*RunSerializer.Meta.fields, "events"]

    @extend_schema_field(EventSerializer(many=True))
    def get_events(self, run: Run) -> Any:
        events = history.within(Event.objects.select_related("instrument"), run).order_by("time", "id")
        return EventSerializer(events[:EVENTS_OF_A_RUN], many=True).data


class RunViewSet(viewsets.ReadOnlyModelViewSet[Run]):
    """The runs of instruments (qPCR runs, calibrations), those last begun first."""

    queryset = Run.objects.select_related("instrument")
    serializer_class = RunSerializer
    filterset_class = RunFilter
    ordering = "-id"

    def get_serializer_class(self) -> type[RunSerializer]:
        return OneRunSerializer if self.detail else RunSerializer


def register(router: BaseRouter) -> None:
    """Add this app's routes."""
    router.register("samples", SampleViewSet, basename="sample")
    router.register("vectors", VectorViewSet, basename="vector")
    router.register("events", EventViewSet)
    router.register("runs", RunViewSet)
