"""Sinks: where copies of what is stored go, and how far each is."""

from typing import Any, ClassVar

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from devices.permissions import ReadOrStaff
from telemetry.models import SetAside, Sink
from telemetry.sinks import editing, standing

ASIDE = 100  # of the points set aside that one answer shows


class ForStaffOnly(ReadOrStaff):
    """An address, an organisation and a user are nobody else's business."""

    def may(self, request: Request, view: Any, *, reads: bool) -> bool:  # noqa: ARG002
        return bool(request.user.is_staff) or self.refuse(self.staff_only)


class SinkListSerializer(serializers.ListSerializer[Any]):
    child: "SinkSerializer"

    def to_representation(self, data: Any) -> Any:
        """With what waits for each, asked for together."""
        sinks = list(data)
        self.child.known = standing.backlogs(sinks)
        return super().to_representation(sinks)


class SinkSerializer(serializers.ModelSerializer[Sink]):
    state = serializers.SerializerMethodField()
    backlog_rows = serializers.SerializerMethodField(help_text="Of the outbox that it is not fed yet")
    backlog_bytes = serializers.SerializerMethodField(help_text="Of these, compressed")
    behind = serializers.SerializerMethodField(help_text="Seconds that the oldest of these waits")

    class Meta:
        model = Sink
        list_serializer_class = SinkListSerializer
        fields: ClassVar = [
            "id", *editing.DESCRIPTION, "created_at", "state", "backlog_rows", "backlog_bytes", "behind",
            "at_time", "points", "failures", "retry_at", "error", "must_rebuild",
        ]  # fmt: skip
        read_only_fields: ClassVar = [
            "created_at", "at_time", "points", "failures", "retry_at", "error", "must_rebuild",
        ]  # fmt: skip
        extra_kwargs: ClassVar = {
            "at_time": {"help_text": "Fed with what was stored until then"},
            "points": {"help_text": "Written so far"},
            "failures": {"help_text": "In a row"},
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known: dict[int, standing.Backlog] = {}

    def get_state(self, sink: Sink) -> str:
        return standing.state(sink)

    def get_backlog_rows(self, sink: Sink) -> int:
        return self._backlog(sink).rows

    def get_backlog_bytes(self, sink: Sink) -> int:
        return self._backlog(sink).bytes

    def get_behind(self, sink: Sink) -> float:
        return self._backlog(sink).age(timezone.now())

    def _backlog(self, sink: Sink) -> standing.Backlog:
        if sink.pk not in self.known:
            self.known = standing.backlogs([sink])
        return self.known[sink.pk]

    def create(self, validated_data: dict[str, Any]) -> Sink:
        return editing.save_sink(Sink(**validated_data), by=self.context["request"].user)

    def update(self, instance: Sink, validated_data: dict[str, Any]) -> Sink:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        return editing.save_sink(instance, by=self.context["request"].user)


class TestedSinkSerializer(serializers.Serializer[Any]):
    """What came of a test of a sink."""

    ok = serializers.BooleanField(help_text="It would take points")
    words = serializers.CharField(help_text="By which server, or what is wrong")


class SetAsideSerializer(serializers.ModelSerializer[SetAside]):
    class Meta:
        model = SetAside
        fields: ClassVar = ["line", "reason", "at"]


class SinkViewSet(viewsets.ModelViewSet[Sink]):
    """Copies of what is stored, in InfluxDB. For staff."""

    queryset = Sink.objects.all()
    serializer_class = SinkSerializer
    permission_classes = (ForStaffOnly,)
    ordering = "name"

    def perform_destroy(self, instance: Sink) -> None:
        editing.delete_sink(instance, by=self.request.user)

    @extend_schema(request=None, responses=TestedSinkSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Ask its server whether it would take points; none is written. Takes up to 15 s."""
        tested = editing.test_sink(self.get_object(), by=request.user)
        return Response(TestedSinkSerializer(tested).data)

    @extend_schema(request=None, responses=SinkSerializer)
    @action(detail=True, methods=["post"], url_path="start-at-present")
    def start_at_present(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Feed it from now on, whatever it has missed."""
        editing.start_at_present(self.get_object(), by=request.user)
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(responses=SetAsideSerializer(many=True))
    @action(detail=True, url_path="set-aside", pagination_class=None, filter_backends=[])
    def set_aside(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Points that its server refused, with its words, newest first."""
        points = self.get_object().set_aside.order_by("-id")[:ASIDE]
        return Response(SetAsideSerializer(points, many=True).data)
