"""Stored vectors."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api import QualityField, finite, flag_names, quality_name
from telemetry import vectors
from telemetry.api.questions import next_page, question, questions

VECTORS, VECTORS_MAX = 100, 1000  # on a page: if nothing else is asked for, and at most
PAGE_VALUES_MAX = 200_000  # of all vectors on a page, but for the first


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
