"""How much room what is stored takes."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response

from devices.permissions import ReadOrStaff
from telemetry import storage


class FiguresSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(source="kind.name")
    label = serializers.CharField(source="kind.label")  # type: ignore[assignment]
    bytes = serializers.IntegerField()
    rows = serializers.IntegerField(help_text="An estimate")
    kept_days = serializers.IntegerField(source="kind.days", allow_null=True, help_text="null: for ever")
    rows_per_day = serializers.FloatField(help_text="As of yesterday")
    bytes_per_day = serializers.FloatField(help_text="As of yesterday")
    grows_for = serializers.FloatField(
        allow_null=True, help_text="Days until as much goes as comes; null: never"
    )
    full_bytes = serializers.FloatField(allow_null=True, help_text="Bytes then; null: no end")


class DiskSpaceSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField(help_text="Bytes")
    free = serializers.IntegerField(help_text="Bytes")


class StorageSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    database_bytes = serializers.IntegerField()
    disk = DiskSpaceSerializer(allow_null=True, help_text="null: the database lies elsewhere")
    bytes_per_day = serializers.FloatField(help_text="What is added and not balanced by what goes")
    full_bytes = serializers.FloatField(
        allow_null=True, help_text="The database once all is kept as long as it is to be; null: no end"
    )
    full_in_days = serializers.FloatField(
        allow_null=True, help_text="Until the disk is full; null: never at this rate, or `disk` is null"
    )
    outlook = serializers.CharField(help_text="The same in words")
    rolled_up_to = serializers.DateTimeField(allow_null=True)
    kinds = FiguresSerializer(many=True)


class StorageViewSet(viewsets.ViewSet):
    """How much room what is stored takes, how fast it grows, and when the disk will be full. For staff."""

    permission_classes = (ReadOrStaff, IsAdminUser)

    @extend_schema(responses=StorageSerializer)
    def list(self, request: Request) -> Response:  # noqa: ARG002
        return Response(StorageSerializer(storage.now(timezone.now())).data)
