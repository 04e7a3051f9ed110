"""Stored readings, one by one."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api import QualityField, finite, flag_names, quality_name
from telemetry import history
from telemetry.api.questions import next_page, question, questions

SAMPLES, SAMPLES_MAX = 1000, 10_000  # on a page: if nothing else is asked for, and at most


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
