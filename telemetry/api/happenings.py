"""Events and runs."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers, viewsets

from devices.api import flag_names
from devices.models import Run
from devices.readings import RUN_STATES
from telemetry import history
from telemetry.filters import EventFilter, RunFilter
from telemetry.models import Event

EVENTS_OF_A_RUN = 1000


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
