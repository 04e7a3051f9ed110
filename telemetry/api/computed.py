"""Computed channels, calibrations and storage policies."""

from datetime import timedelta
from typing import Any, ClassVar

from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api import QualityField, quality_name
from devices.models import Channel, Instrument
from telemetry import defining
from telemetry.models import Calibration, ComputedChannel, StoragePolicy
from telemetry.parameters import TIMES, moment_of

RECOMPUTING_S = 10.0  # that one request computes again for


class OfChannelFilter(filters.FilterSet):
    """Of what has a channel."""

    channel = filters.NumberFilter(field_name="channel_id")
    instrument = filters.UUIDFilter(field_name="channel__instrument_id")
    instrument_name = filters.CharFilter(field_name="channel__instrument__name")
    key = filters.CharFilter(field_name="channel__key")


FILTERS: list[str] = ["channel", "instrument", "instrument_name", "key"]


class ComputedChannelFilter(OfChannelFilter):
    class Meta:
        model = ComputedChannel
        fields = FILTERS


class CalibrationFilter(OfChannelFilter):
    class Meta:
        model = Calibration
        fields = FILTERS


class StoragePolicyFilter(OfChannelFilter):
    class Meta:
        model = StoragePolicy
        fields = FILTERS


# ---- computed channels


class ComputedChannelSerializer(serializers.ModelSerializer[ComputedChannel]):
    instrument = serializers.PrimaryKeyRelatedField(
        source="channel.instrument", queryset=Instrument.objects.filter(retired_at=None)
    )
    instrument_name = serializers.CharField(source="channel.instrument.name", read_only=True)
    key = serializers.CharField(source="channel.key", max_length=100, trim_whitespace=False)
    label = serializers.CharField(  # type: ignore[assignment]
        source="channel.label", required=False, allow_blank=True, max_length=120
    )
    unit = serializers.CharField(
        source="channel.unit", required=False, allow_blank=True, help_text="In UCUM, such as Cel or %"
    )
    digits = serializers.IntegerField(source="channel.digits", required=False, allow_null=True)
    low = serializers.FloatField(
        source="channel.low", required=False, allow_null=True, help_text="Normal from"
    )
    high = serializers.FloatField(
        source="channel.high", required=False, allow_null=True, help_text="Normal to"
    )
    formula = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="Over keys of channels of the same instrument; empty of a calibrated channel",
    )

    class Meta:
        model = ComputedChannel
        fields: ClassVar = [
            "channel", "instrument", "instrument_name", "key", "label", "unit", "digits", "low", "high",
            "formula", "source",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["channel", "source"]

    def create(self, validated_data: dict[str, Any]) -> ComputedChannel:
        channel = Channel(**validated_data.pop("channel"))
        return defining.save_computed(ComputedChannel(channel=channel, **validated_data), self._by)

    def update(self, instance: ComputedChannel, validated_data: dict[str, Any]) -> ComputedChannel:
        for name, value in validated_data.pop("channel", {}).items():
            if name in ("instrument", "key") and getattr(instance.channel, name) != value:
                raise ValidationError({name: ["It stays as it is: make another channel."]})
            setattr(instance.channel, name, value)
        formula = validated_data.get("formula", instance.formula)
        if instance.source_id and formula:
            raise ValidationError({"formula": ["A calibrated channel has none."]})
        instance.formula = formula
        return defining.save_computed(instance, self._by)

    @property
    def _by(self) -> Any:
        return self.context["request"].user


class TriedSerializer(serializers.Serializer[Any]):
    """A formula to be tried on the latest readings."""

    instrument = serializers.PrimaryKeyRelatedField(queryset=Instrument.objects.filter(retired_at=None))
    key = serializers.CharField(required=False, default="", help_text="Of the channel that it is to be of")
    formula = serializers.CharField()


class InputSerializer(serializers.Serializer[Any]):
    key = serializers.CharField(source="channel.key")
    value = serializers.FloatField(allow_null=True)
    unit = serializers.CharField(source="channel.unit")
    time = serializers.DateTimeField()


class PreviewSerializer(serializers.Serializer[Any]):
    """What the formula gives of the latest readings."""

    value = serializers.FloatField(allow_null=True)
    quality = QualityField()
    inputs = InputSerializer(many=True)


class MomentField(serializers.CharField):
    """A time, as questions take it."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return moment_of(super().to_internal_value(data))
        except ValueError as error:
            raise ValidationError(str(error)) from None


class RecomputeSerializer(serializers.Serializer[Any]):
    to = MomentField(required=False, help_text=f"{TIMES}; now if left out")
    dry_run = serializers.BooleanField(default=False, help_text="Only say what would change")

    def get_fields(self) -> dict[str, Any]:
        """With the one whose name is Python's own word."""
        start = MomentField(required=False, help_text=f"{TIMES}; as far as readings are kept if left out")
        return {"from": start, **super().get_fields()}


class AgainSerializer(serializers.Serializer[Any]):
    """What came of computing again."""

    changed = serializers.IntegerField(help_text="Stored values that are others now")
    added = serializers.IntegerField(help_text="Values that there were not")
    same = serializers.IntegerField()
    left = serializers.IntegerField(help_text="Values that stay: what they are computed from is not stored")
    next = serializers.DateTimeField(
        allow_null=True,
        help_text=f"It went on for {RECOMPUTING_S:.0f} s: the rest begins here; null: all done",
    )


class ComputedChannelViewSet(viewsets.ModelViewSet[ComputedChannel]):
    """Channels derived by a formula, or calibrated (docs/computed.md). Deleting one leaves its history."""

    queryset = ComputedChannel.objects.select_related("channel__instrument", "source")
    serializer_class = ComputedChannelSerializer
    filterset_class = ComputedChannelFilter
    ordering = "channel_id"

    def perform_destroy(self, instance: ComputedChannel) -> None:
        defining.delete_computed(instance, by=self.request.user)

    @extend_schema(request=TriedSerializer, responses=PreviewSerializer)
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """What a formula gives of the latest readings. Nothing is saved."""
        body = TriedSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        channel = Channel(instrument=body.validated_data["instrument"], key=body.validated_data["key"])
        tried = ComputedChannel(channel=channel, formula=body.validated_data["formula"])
        found = defining.preview(tried, by=request.user)
        inputs = InputSerializer(found.inputs, many=True).data
        return Response({"value": found.value, "quality": quality_name(found.quality), "inputs": inputs})

    @extend_schema(request=RecomputeSerializer, responses=AgainSerializer)
    @action(detail=True, methods=["post"])
    def recompute(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Compute what is stored again, as it is defined now, with all that is computed from it."""
        body = RecomputeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = body.validated_data
        end = asked.get("to") or timezone.now()
        found = defining.recompute(
            self.get_object().channel,
            request.user,
            asked.get("from"),
            end,
            dry_run=asked["dry_run"],
            seconds=RECOMPUTING_S,
        )
        is_done = found.through is None or found.through >= end
        following = None if is_done or not found.through else found.through + timedelta(microseconds=1)
        counts = {name: getattr(found, name) for name in ("changed", "added", "same", "left")}
        return Response(AgainSerializer({**counts, "next": following}).data)


# ---- calibrations


class CalibrationSerializer(serializers.ModelSerializer[Calibration]):
    instrument_name = serializers.CharField(source="channel.instrument.name", read_only=True)
    key = serializers.CharField(source="channel.key", read_only=True)
    calibrated = serializers.IntegerField(
        source="channel.calibrated.channel_id", read_only=True, help_text="The channel of the true values"
    )
    unit = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        help_text="Of the calibrated channel, in UCUM; that of the raw one if left out",
    )
    numbers = serializers.JSONField(
        help_text="Of a polynomial its coefficients, constant first; of a table [raw, true] pairs"
    )
    by = serializers.CharField(source="by.username", default=None, read_only=True)

    class Meta:
        model = Calibration
        fields: ClassVar = [
            "id", "channel", "instrument_name", "key", "calibrated", "unit", "valid_from", "kind", "numbers",
            "note", "by", "created_at",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["created_at"]
        validators: ClassVar[list[Any]] = []  # defining says it in its own words

    def create(self, validated_data: dict[str, Any]) -> Calibration:
        unit = validated_data.pop("unit", None)
        return defining.save_calibration(Calibration(**validated_data), self._by, unit)

    def update(self, instance: Calibration, validated_data: dict[str, Any]) -> Calibration:
        unit = validated_data.pop("unit", None)
        if validated_data.pop("channel", instance.channel) != instance.channel:
            raise ValidationError({"channel": ["It stays as it is: make another calibration."]})
        for name, value in validated_data.items():
            setattr(instance, name, value)
        return defining.save_calibration(instance, self._by, unit)

    @property
    def _by(self) -> Any:
        return self.context["request"].user


class CalibrationViewSet(viewsets.ModelViewSet[Calibration]):
    """How raw values become true ones. The first of a channel makes its calibrated channel; what is stored of
    that stays as it is until it is computed again."""

    queryset = Calibration.objects.select_related("channel__instrument", "channel__calibrated", "by")
    serializer_class = CalibrationSerializer
    filterset_class = CalibrationFilter
    ordering = ("channel_id", "valid_from")

    def perform_destroy(self, instance: Calibration) -> None:
        defining.delete_calibration(instance, by=self.request.user)


# ---- storage policies


class StoragePolicySerializer(serializers.ModelSerializer[StoragePolicy]):
    instrument_name = serializers.CharField(source="channel.instrument.name", read_only=True)
    key = serializers.CharField(source="channel.key", read_only=True)

    class Meta:
        model = StoragePolicy
        fields: ClassVar = ["channel", "instrument_name", "key", "mode", "dead_band", "heartbeat"]

    def create(self, validated_data: dict[str, Any]) -> StoragePolicy:
        return defining.save_policy(StoragePolicy(**validated_data), by=self.context["request"].user)

    def update(self, instance: StoragePolicy, validated_data: dict[str, Any]) -> StoragePolicy:
        if validated_data.pop("channel", instance.channel) != instance.channel:
            raise ValidationError({"channel": ["It stays as it is: make another policy."]})
        for name, value in validated_data.items():
            setattr(instance, name, value)
        return defining.save_policy(instance, by=self.context["request"].user)


class StoragePolicyViewSet(viewsets.ModelViewSet[StoragePolicy]):
    """Of which channels not each reading is stored. Without a policy each is; alarms see every one."""

    queryset = StoragePolicy.objects.select_related("channel__instrument")
    serializer_class = StoragePolicySerializer
    filterset_class = StoragePolicyFilter
    ordering = "channel_id"

    def perform_destroy(self, instance: StoragePolicy) -> None:
        defining.delete_policy(instance, by=self.request.user)
