"""Interfaces of replaced programs."""

from typing import Any, ClassVar

from django_filters import rest_framework as filters
from rest_framework import serializers, viewsets

from devices.models import Instrument
from telemetry import interfaces
from telemetry.models import ReplacedInterface


class ReplacedInterfaceFilter(filters.FilterSet):
    instrument = filters.UUIDFilter(field_name="instrument_id")
    instrument_name = filters.CharFilter(field_name="instrument__name")
    kind = filters.ChoiceFilter(choices=ReplacedInterface.Kind.choices)

    class Meta:
        model = ReplacedInterface
        fields: ClassVar = ["instrument", "instrument_name", "kind"]


class ReplacedInterfaceSerializer(serializers.ModelSerializer[ReplacedInterface]):
    instrument = serializers.PrimaryKeyRelatedField(queryset=Instrument.objects.filter(retired_at=None))
    instrument_name = serializers.CharField(source="instrument.name", read_only=True)
    options = serializers.DictField(
        required=False, help_text="Of the program; given in an edit, they replace all that there are"
    )

    class Meta:
        model = ReplacedInterface
        fields: ClassVar = [
            "id", "instrument", "instrument_name", "kind", "enabled", "open", "options", "created_at",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["created_at"]

    def create(self, validated_data: dict[str, Any]) -> ReplacedInterface:
        return interfaces.save(ReplacedInterface(**validated_data), by=self.context["request"].user)

    def update(self, instance: ReplacedInterface, validated_data: dict[str, Any]) -> ReplacedInterface:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        return interfaces.save(instance, by=self.context["request"].user)


class ReplacedInterfaceViewSet(viewsets.ModelViewSet[ReplacedInterface]):
    """Which instrument answers as which replaced program did, under `/replaced/` (docs/replaced.md)."""

    queryset = ReplacedInterface.objects.select_related("instrument")
    serializer_class = ReplacedInterfaceSerializer
    filterset_class = ReplacedInterfaceFilter
    ordering = "id"

    def perform_destroy(self, instance: ReplacedInterface) -> None:
        interfaces.delete(instance, by=self.request.user)
