"""Contacts, routes to them, and the notices that went there."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from alerts.api.filters import ContactFilter, NoticeFilter, RouteFilter
from alerts.api.permissions import ReadOrRight
from alerts.api.words import PriorityField
from alerts.models import Attempt, Contact, Notice, NoticeLine, Priority, Route, RouteStep
from alerts.notices import trials
from alerts.rules import editing

LINES = 200  # that one notice tells of


class ContactSerializer(serializers.ModelSerializer[Contact]):
    user = serializers.SlugRelatedField(
        slug_field="username",
        queryset=get_user_model().objects.all(),
        allow_null=True,
        default=None,
        help_text="Name of the user whose contact it is",
    )

    class Meta:
        model = Contact
        fields: ClassVar = [
            "id", "name", "transport", "address", "secret", "enabled", "next", "user", "created_at",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["created_at"]

    def create(self, validated_data: dict[str, Any]) -> Contact:
        return editing.save_contact(Contact(**validated_data), by=self.context["request"].user)

    def update(self, instance: Contact, validated_data: dict[str, Any]) -> Contact:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        return editing.save_contact(instance, by=self.context["request"].user)


class TestedContactSerializer(serializers.Serializer[Any]):
    """What came of a test of a contact."""

    ok = serializers.BooleanField(help_text="It was taken")
    words = serializers.CharField(help_text="By whom, or what went wrong")


class ContactViewSet(viewsets.ModelViewSet[Contact]):
    """Who can be told something, and how. For staff and people with the right to see contacts."""

    queryset = Contact.objects.select_related("user")
    serializer_class = ContactSerializer
    permission_classes = (ReadOrRight,)
    # An address can be somebody's own, and some webhooks' URLs let in whoever knows them.
    rights: ClassVar = {
        "list": "alerts.view_contact",
        "retrieve": "alerts.view_contact",
        "create": "alerts.add_contact",
        "update": "alerts.change_contact",
        "partial_update": "alerts.change_contact",
        "destroy": "alerts.delete_contact",
        "test": "alerts.change_contact",
    }
    filterset_class = ContactFilter
    ordering = "name"

    def perform_destroy(self, instance: Contact) -> None:
        editing.delete_contact(instance, by=self.request.user)

    @extend_schema(request=None, responses=TestedContactSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Test this contact: it is sent a notice that says so. Takes up to 10 s."""
        tested = trials.test_contact(self.get_object(), by=request.user)
        return Response(TestedContactSerializer(tested).data)


class StepSerializer(serializers.ModelSerializer[RouteStep]):
    contact_name = serializers.CharField(source="contact.name", read_only=True)

    class Meta:
        model = RouteStep
        fields: ClassVar = ["after", "contact", "contact_name"]
        extra_kwargs: ClassVar = {"after": {"help_text": "Seconds without an acknowledgement"}}


class RouteSerializer(serializers.ModelSerializer[Route]):
    least_priority = PriorityField(default=Priority.LOW, help_text="This one and all above it")
    steps = StepSerializer(many=True, help_text="At least one; given in an edit, they replace all there were")

    class Meta:
        model = Route
        fields: ClassVar = [
            "id", "name", "enabled", "alarms", "least_priority", "recoveries", "happenings", "tags", "days",
            "start", "end", "zone", "window", "repeat", "daily", "created_at", "steps",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["created_at"]

    def create(self, validated_data: dict[str, Any]) -> Route:
        steps = _rows(validated_data.pop("steps"))
        return editing.save_route(Route(**validated_data), self.context["request"].user, steps)

    def update(self, instance: Route, validated_data: dict[str, Any]) -> Route:
        steps = _rows(validated_data.pop("steps", None))
        for name, value in validated_data.items():
            setattr(instance, name, value)
        saved = editing.save_route(instance, self.context["request"].user, steps)
        vars(saved).pop("_prefetched_objects_cache", None)
        return saved


def _rows(steps: Sequence[dict[str, Any]] | None) -> list[RouteStep] | None:
    return None if steps is None else [RouteStep(**each) for each in steps]


class RouteViewSet(viewsets.ModelViewSet[Route]):
    """Which alarms and events are told to which contacts, and when."""

    queryset = Route.objects.prefetch_related(
        Prefetch("steps", RouteStep.objects.select_related("contact").order_by("after", "id"))
    )
    serializer_class = RouteSerializer
    permission_classes = (ReadOrRight,)
    rights: ClassVar = {
        "create": "alerts.add_route",
        "update": "alerts.change_route",
        "partial_update": "alerts.change_route",
        "destroy": "alerts.delete_route",
    }
    filterset_class = RouteFilter
    ordering = "name"

    def perform_destroy(self, instance: Route) -> None:
        editing.delete_route(instance, by=self.request.user)


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    class Meta:
        model = Attempt
        fields: ClassVar = ["at", "seconds", "error"]
        extra_kwargs: ClassVar = {"error": {"help_text": "Empty: it was taken"}}


class LineSerializer(serializers.ModelSerializer[NoticeLine]):
    """A change of an alarm, or something else that happened."""

    change = serializers.CharField(
        source="event.event", default=None, allow_null=True, help_text="Of the alarm, as in its journal"
    )
    text = serializers.SerializerMethodField(help_text="The alarm, or what happened")

    class Meta:
        model = NoticeLine
        fields: ClassVar = ["alarm", "event", "change", "happening", "text"]

    def get_text(self, line: NoticeLine) -> str:
        told = line.alarm or line.happening
        return told.text if told else ""


class NoticeSerializer(serializers.ModelSerializer[Notice]):
    contact_name = serializers.CharField(source="contact.name")
    route_name = serializers.CharField(source="route.name", default=None, allow_null=True)
    priority = PriorityField(allow_null=True)

    class Meta:
        model = Notice
        fields: ClassVar = [
            "id", "contact", "contact_name", "route", "route_name", "kind", "state", "priority", "created_at",
            "due_at", "tries", "sent_at", "title", "follows",
        ]  # fmt: skip


class OneNoticeSerializer(NoticeSerializer):
    """A notice with what it said, what it tells of, and what became of each attempt."""

    attempts = AttemptSerializer(many=True)
    lines = serializers.SerializerMethodField(help_text=f"What it tells of; the first {LINES}")

    class Meta(NoticeSerializer.Meta):
        fields: ClassVar = [*NoticeSerializer.Meta.fields, "text", "reference", "attempts", "lines"]

    @extend_schema_field(LineSerializer(many=True))
    def get_lines(self, notice: Notice) -> Any:
        lines = notice.lines.select_related("alarm", "event", "happening").order_by("id")
        return LineSerializer(lines[:LINES], many=True).data


class NoticeViewSet(viewsets.ReadOnlyModelViewSet[Notice]):
    """What people were told, or are to be, newest first."""

    queryset = Notice.objects.select_related("contact", "route")
    serializer_class = NoticeSerializer
    filterset_class = NoticeFilter
    ordering = ("-created_at", "id")

    def get_serializer_class(self) -> type[NoticeSerializer]:
        return OneNoticeSerializer if self.detail else NoticeSerializer
