"""Alarms as they stand, what people do with them, and their journal."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db.models import CharField, F, Func, QuerySet, Value
from django.db.models.functions import Cast, Coalesce, Concat, LPad
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from alerts import services
from alerts.api.filters import AlarmFilter
from alerts.api.permissions import ReadOrRight
from alerts.api.words import PriorityField, Username, said
from alerts.models import Alarm, AlarmEvent, Source
from devices.api import finite

CONSEQUENCES = 100  # that one alarm tells of
MINUTES_MOST = services.SHELVED_MOST / timedelta(minutes=1)
HOURS_MOST = services.OUT_MOST / timedelta(hours=1)


def in_order(alarms: QuerySet[Alarm]) -> QuerySet[Alarm]:
    """With `place`: digits that sort as the list does, and are each alarm's own, as pages need it.

    By priority, then those raised first; what was never raised comes last.
    """
    raised = Func(F("raised_at"), Value("YYYYMMDDHH24MISSUS"), function="to_char", output_field=CharField())
    return alarms.annotate(
        place=Concat(
            Cast("priority", CharField()),
            Coalesce(raised, Value("9" * 20)),
            LPad(Cast("pk", CharField()), 19, Value("0")),
            output_field=CharField(),
        )
    )


class ShortAlarmSerializer(serializers.ModelSerializer[Alarm]):
    class Meta:
        model = Alarm
        fields: ClassVar = ["id", "text", "state"]


class AlarmSerializer(serializers.ModelSerializer[Alarm]):
    rule_name = serializers.CharField(source="rule.name", read_only=True)
    kind = serializers.CharField(source="rule.kind", read_only=True, help_text="Of the rule")
    guidance = serializers.CharField(source="rule.guidance", read_only=True, help_text="What to do")
    edge = serializers.CharField(source="edge.name", default=None, read_only=True, allow_null=True)
    instrument_name = serializers.CharField(
        source="instrument.name", default=None, read_only=True, allow_null=True
    )
    key = serializers.CharField(source="channel.key", default=None, read_only=True, allow_null=True)
    unit = serializers.CharField(source="channel.unit", default=None, read_only=True, allow_null=True)
    priority = PriorityField(read_only=True)
    value = serializers.SerializerMethodField(
        method_name="known_value", help_text="The newest that was judged, if it is a number"
    )
    acknowledged_by = Username(read_only=True)
    aside_by = Username(read_only=True, help_text="Who shelved it or took it out of service")

    class Meta:
        model = Alarm
        fields: ClassVar = [
            "id", "text", "state", "since", "priority", "rule", "rule_name", "kind", "guidance", "edge",
            "instrument", "instrument_name", "channel", "key", "unit", "contact", "sink", "value", "reason",
            "active", "raised_at", "cleared_at", "acknowledged_at", "acknowledged_by", "aside_by",
            "aside_reason", "aside_until", "cause",
        ]  # fmt: skip
        read_only_fields: ClassVar = fields

    def known_value(self, alarm: Alarm) -> float | None:
        return finite(alarm.value)


class OneAlarmSerializer(AlarmSerializer):
    """An alarm with its cause, and with what is suppressed because of it."""

    cause = ShortAlarmSerializer(read_only=True)
    consequences = serializers.SerializerMethodField(
        help_text=f"Up to {CONSEQUENCES}; alarms/?cause=…&standing=any has them all"
    )
    consequence_count = serializers.SerializerMethodField()

    class Meta(AlarmSerializer.Meta):
        fields: ClassVar = [*AlarmSerializer.Meta.fields, "consequences", "consequence_count"]
        read_only_fields: ClassVar = fields

    @extend_schema_field(ShortAlarmSerializer(many=True))
    def get_consequences(self, alarm: Alarm) -> Any:
        found = alarm.consequences.order_by("priority", "id")[:CONSEQUENCES]
        return ShortAlarmSerializer(found, many=True).data

    def get_consequence_count(self, alarm: Alarm) -> int:
        return alarm.consequences.count()


class RemarkSerializer(serializers.Serializer[Any]):
    comment = serializers.CharField(required=False, default="", max_length=1000, allow_blank=True)


class CommentSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=1000)


class AsideSerializer(serializers.Serializer[Any]):
    """Until when an alarm is put aside, and why."""

    until = serializers.DateTimeField(required=False)
    reason = serializers.CharField(max_length=400)
    span: ClassVar[tuple[str, timedelta]]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        name, unit = self.span
        if ("until" in attrs) == (name in attrs):
            raise serializers.ValidationError({"until": [f"Either this or `{name}` is needed."]})
        until: datetime = attrs.get("until") or timezone.now() + unit * attrs[name]
        return {"until": until, "reason": attrs["reason"]}


class ShelveSerializer(AsideSerializer):
    """For how long an alarm is shelved (up to 7 days), and why."""

    minutes = serializers.FloatField(required=False, min_value=1.0, max_value=MINUTES_MOST)
    span = ("minutes", timedelta(minutes=1))


class RemoveSerializer(AsideSerializer):
    """For how long an alarm is out of service (up to 90 days), and why."""

    hours = serializers.FloatField(required=False, min_value=0.01, max_value=HOURS_MOST)
    span = ("hours", timedelta(hours=1))


class AlarmViewSet(viewsets.ReadOnlyModelViewSet[Alarm]):
    """Alarms: one for each rule and thing that ever was in trouble, by priority, then those raised first.

    Lists those that stand, unless `standing` or `state` asks for others. What cannot be done where an alarm
    stands (any more), such as a second acknowledgement, is refused with 409.
    """

    queryset = Alarm.objects.select_related(
        "rule", "edge", "instrument", "channel", "acknowledged_by", "aside_by", "cause"
    )
    serializer_class = AlarmSerializer
    permission_classes = (ReadOrRight,)
    rights: ClassVar = {
        "acknowledge": services.ACKNOWLEDGE,
        "reset": services.ACKNOWLEDGE,
        "comment": services.ACKNOWLEDGE,
        "shelve": services.SHELVE,
        "unshelve": services.SHELVE,
        "out_of_service": services.REMOVE,
        "return_to_service": services.REMOVE,
    }
    filterset_class = AlarmFilter
    ordering = "place"

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filters are the list's: one alarm is there however it stands."""
        return queryset if self.detail else in_order(super().filter_queryset(queryset))

    def get_serializer_class(self) -> type[AlarmSerializer]:
        return OneAlarmSerializer if self.detail else AlarmSerializer

    @extend_schema(request=RemarkSerializer)
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Say that somebody has seen it and takes care; the first one to say so counts."""
        words = said(RemarkSerializer, request)
        return self._told(services.acknowledge(self.get_object(), request.user, Source.API, **words))

    @extend_schema(request=RemarkSerializer)
    @action(detail=True, methods=["post"])
    def reset(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Let go of a latched alarm that was acknowledged."""
        words = said(RemarkSerializer, request)
        return self._told(services.reset(self.get_object(), request.user, Source.API, **words))

    @extend_schema(request=CommentSerializer)
    @action(detail=True, methods=["post"])
    def comment(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Write into its journal."""
        words = said(CommentSerializer, request)
        return self._told(services.comment(self.get_object(), request.user, Source.API, **words))

    @extend_schema(request=ShelveSerializer)
    @action(detail=True, methods=["post"])
    def shelve(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Put it aside for a time; again: for another time."""
        words = said(ShelveSerializer, request)
        return self._told(services.shelve(self.get_object(), request.user, Source.API, **words))

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def unshelve(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Take it back before its time; if its condition holds, it is raised anew."""
        return self._told(services.unshelve(self.get_object(), request.user, Source.API))

    @extend_schema(request=RemoveSerializer)
    @action(detail=True, methods=["post"], url_path="out-of-service")
    def out_of_service(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Take it out of service, for maintenance."""
        words = said(RemoveSerializer, request)
        return self._told(services.remove(self.get_object(), request.user, Source.API, **words))

    @extend_schema(request=None)
    @action(detail=True, methods=["post"], url_path="return-to-service")
    def return_to_service(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Put it into service again; if its condition holds, it is raised anew."""
        return self._told(services.put_back(self.get_object(), request.user, Source.API))

    def _told(self, alarm: Alarm) -> Response:
        return Response(self.get_serializer(alarm).data)


class JournalSerializer(serializers.ModelSerializer[AlarmEvent]):
    priority = PriorityField()
    value = serializers.SerializerMethodField(method_name="known_value")
    by = Username(read_only=True)

    class Meta:
        model = AlarmEvent
        fields: ClassVar = [
            "id", "event", "before", "after", "at", "stored_at", "past", "priority", "value", "by", "source",
            "comment", "until",
        ]  # fmt: skip
        extra_kwargs: ClassVar = {
            "at": {"help_text": "By the reading that brought it about; else as `stored_at`"},
            "stored_at": {"help_text": "By the centre's clock"},
            "past": {"help_text": "Learnt so late that it is history only"},
            "until": {"help_text": "When what is put aside comes back by itself"},
        }

    def known_value(self, row: AlarmEvent) -> float | None:
        return finite(row.value)


@extend_schema(parameters=[OpenApiParameter("id", int, OpenApiParameter.PATH, description="Of the alarm")])
class JournalViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[AlarmEvent]):
    """All that happened to an alarm, newest first."""

    queryset = AlarmEvent.objects.none()
    serializer_class = JournalSerializer
    ordering = "-id"

    def get_queryset(self) -> QuerySet[AlarmEvent]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        pk = self.kwargs["pk"]
        alarm = get_object_or_404(Alarm, pk=int(pk) if pk.isdecimal() else 0)
        return alarm.journal.select_related("by")
