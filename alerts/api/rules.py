"""Rules, with what is otherwise for single channels, and the back-test of a rule before it is saved."""

from typing import Any, ClassVar

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from alerts.api.filters import RuleFilter
from alerts.api.permissions import ReadOrRight
from alerts.api.words import PriorityField
from alerts.models import Override, Priority, Rule
from alerts.rules import editing
from devices.models import Edge

TIMES_MAX = 1000  # that a back-test lists


class OverrideSerializer(serializers.ModelSerializer[Override]):
    instrument_name = serializers.CharField(source="channel.instrument.name", read_only=True)
    key = serializers.CharField(source="channel.key", read_only=True)
    priority = PriorityField(allow_null=True, default=None)

    class Meta:
        model = Override
        fields: ClassVar = [
            "channel", "instrument_name", "key", "enabled", "low", "high", "value", "deadband", "seconds",
            "on_delay", "off_delay", "priority",
        ]  # fmt: skip


class RuleSerializer(serializers.ModelSerializer[Rule]):
    priority = PriorityField(default=Priority.MEDIUM)
    edge = serializers.SlugRelatedField(
        slug_field="name", queryset=Edge.objects.all(), allow_null=True, default=None, help_text="Its name"
    )
    overrides = OverrideSerializer(
        many=True, required=False, help_text="Given in an edit, they replace all there were"
    )

    class Meta:
        model = Rule
        fields: ClassVar = [
            "id", "name", "kind", "enabled", "priority", "guidance", "channel", "instrument", "driver", "key",
            "tag", "edge", "low", "high", "value", "deadband", "seconds", "event_kind", "event_text",
            "on_delay", "off_delay", "latch", "suppressed_by", "suppressed_in", "chatter_changes",
            "chatter_seconds", "built_in", "created_at", "overrides",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["built_in", "created_at"]

    def create(self, validated_data: dict[str, Any]) -> Rule:
        overrides = validated_data.pop("overrides", [])
        return editing.save_rule(Rule(**validated_data), self._by, _rows(overrides))

    def update(self, instance: Rule, validated_data: dict[str, Any]) -> Rule:
        overrides = validated_data.pop("overrides", None)
        saved = editing.save_rule(applied(instance, validated_data), self._by, _rows(overrides))
        vars(saved).pop("_prefetched_objects_cache", None)
        return saved

    @property
    def _by(self) -> Any:
        return self.context["request"].user


def applied(rule: Rule, fields: dict[str, Any]) -> Rule:
    """The rule as an edit would make it."""
    for name, value in fields.items():
        setattr(rule, name, value)
    return rule


def _rows(overrides: list[dict[str, Any]] | None) -> list[Override] | None:
    return None if overrides is None else [Override(**each) for each in overrides]


class TriedRuleSerializer(RuleSerializer):
    """A rule to be tried on the readings there are."""

    name = serializers.CharField(required=False, max_length=120)
    days = serializers.FloatField(default=7.0, min_value=0.01, max_value=editing.DAYS_MOST)

    class Meta(RuleSerializer.Meta):
        fields: ClassVar = [name for name in RuleSerializer.Meta.fields if name != "overrides"] + ["days"]


class ExcursionSerializer(serializers.Serializer[Any]):
    what = serializers.CharField(help_text="The channel or instrument")
    start = serializers.DateTimeField()
    end = serializers.DateTimeField(allow_null=True, help_text="null: it would stand now")


class BackTestSerializer(serializers.Serializer[Any]):
    """What a rule would have raised."""

    summary = serializers.CharField(help_text="All of it in a sentence")
    days = serializers.FloatField()
    count = serializers.IntegerField(help_text="Alarms there would have been")
    times = ExcursionSerializer(many=True, help_text=f"When, oldest first; the first {TIMES_MAX} of them")
    standing = serializers.FloatField(help_text="Seconds that all of them would have stood, together")
    channels = serializers.IntegerField(help_text="That the rule is of")
    readings = serializers.IntegerField(help_text="That were looked at")


def outcome(tried: editing.Tried) -> dict[str, Any]:
    """As BackTestSerializer tells it."""
    found = tried.found
    return {
        "summary": tried.summary,
        "days": tried.days,
        "count": len(found.raised),
        "times": found.raised[:TIMES_MAX],
        "standing": found.standing.total_seconds(),
        "channels": found.channels,
        "readings": found.readings,
    }


class RuleViewSet(viewsets.ModelViewSet[Rule]):
    """What is not to be. A rule that comes with Labsite can be edited and switched off, not deleted."""

    queryset = Rule.objects.select_related("edge").prefetch_related(
        Prefetch("overrides", Override.objects.select_related("channel__instrument").order_by("channel_id"))
    )
    serializer_class = RuleSerializer
    permission_classes = (ReadOrRight,)
    rights: ClassVar = {
        "create": "alerts.add_rule",
        "update": "alerts.change_rule",
        "partial_update": "alerts.change_rule",
        "destroy": "alerts.delete_rule",
        "backtest": "alerts.change_rule",
        "backtest_one": "alerts.change_rule",
    }
    filterset_class = RuleFilter
    ordering = "name"

    def perform_destroy(self, instance: Rule) -> None:
        editing.delete_rule(instance, by=self.request.user)

    @extend_schema(request=TriedRuleSerializer, responses=BackTestSerializer)
    @action(detail=False, methods=["post"])
    def backtest(self, request: Request) -> Response:
        """Back-test: what this rule, of which nothing is saved, would have raised in the last days."""
        return self._tried(request, None)

    @extend_schema(
        operation_id="rules_backtest_one", request=TriedRuleSerializer, responses=BackTestSerializer
    )
    @action(detail=True, methods=["post"], url_path="backtest")
    def backtest_one(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Back-test a saved rule with its overrides, as what is given here would change it."""
        return self._tried(request, self.get_object())

    def _tried(self, request: Request, saved: Rule | None) -> Response:
        body = TriedRuleSerializer(saved, data=request.data, partial=saved is not None)
        body.is_valid(raise_exception=True)
        fields = dict(body.validated_data)
        days = fields.pop("days", 7.0)
        rule = applied(saved or Rule(), fields)
        return Response(BackTestSerializer(outcome(editing.back_test(rule, days, by=request.user))).data)
