"""Figures about the alarms themselves."""

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from alerts import statistics
from alerts.api.words import PriorityField
from devices.filters import check_parameters
from telemetry.parameters import TIMES, asked, span_asked, up_to

DEFAULT_SPAN = timedelta(days=30)  # for which the standard wants figures at least
SPAN_MOST = timedelta(days=400)
OPERATORS_MOST = 1000


class FrequentSerializer(serializers.Serializer[Any]):
    alarm = serializers.IntegerField(help_text="The alarm's `id`")
    text = serializers.CharField()
    alarms = serializers.IntegerField(help_text="How often it came")
    share = serializers.FloatField(help_text="Of all alarms")


class MixSerializer(serializers.Serializer[Any]):
    priority = PriorityField()
    alarms = serializers.IntegerField()
    share = serializers.FloatField()
    recommended = serializers.FloatField(help_text="Share; of the highest priority at most")


class AnswersSerializer(serializers.Serializer[Any]):
    acknowledged = serializers.IntegerField()
    p50 = serializers.FloatField(allow_null=True, help_text="Seconds from raised to acknowledged: median")
    p95 = serializers.FloatField(allow_null=True, help_text="95 of 100 were acknowledged by then")


class PersonAnswersSerializer(AnswersSerializer):
    name = serializers.CharField(help_text="Empty: nobody who is known, such as the command line")


class StatisticsSerializer(serializers.Serializer[Any]):
    """The figures of ANSI/ISA-18.2, with what it recommends."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    operators = serializers.IntegerField()
    alarms = serializers.IntegerField(help_text="That people were told of: raised, and not put aside")
    per_hour = serializers.FloatField()
    per_hour_and_operator = serializers.FloatField(help_text="About 6 can be managed, 12 at most")
    peak = serializers.IntegerField(help_text="Most alarms in ten minutes; at most 10")
    peak_at = serializers.DateTimeField(allow_null=True, help_text="When those ten minutes began")
    flood = serializers.FloatField(
        help_text="Share of the time with more than 10 alarms in ten minutes; less than 0.01"
    )
    standing = serializers.IntegerField(help_text="At the end of the time")
    stale = serializers.IntegerField(help_text="Of those, raised more than a day before; less than 5")
    top = FrequentSerializer(many=True, help_text="The ten that came most often")
    top_share = serializers.FloatField(help_text="Of those ten; 0.01 to 0.05")
    chattering = FrequentSerializer(many=True, help_text="Raised three times within a minute; none")
    chattering_alarms = serializers.IntegerField(help_text="How often all chattering ones came")
    fleeting = FrequentSerializer(many=True, help_text="Gone within a minute by themselves; none")
    fleeting_alarms = serializers.IntegerField(help_text="How often alarms were gone within a minute")
    priorities = MixSerializer(many=True)
    acknowledged = AnswersSerializer()
    people = PersonAnswersSerializer(many=True, help_text="Who acknowledged how many")


class StatisticsViewSet(viewsets.ViewSet):
    """How the alarms themselves do: how many there are, how often, and whether anybody can keep up."""

    @extend_schema(
        responses=StatisticsSerializer,
        parameters=[
            OpenApiParameter("from", str, description=f"{TIMES}; 30 days before `to` if left out"),
            OpenApiParameter("to", str, description="Until before this time; now if left out"),
            OpenApiParameter("operators", int, description="How many share the alarms; 1 if left out"),
        ],
    )
    def list(self, request: Request) -> Response:
        check_parameters(request, ("from", "to", "operators"))
        start, end = span_asked(request, DEFAULT_SPAN)
        operators = asked(request, "operators", up_to(OPERATORS_MOST), 1)
        if not timedelta(0) < end - start <= SPAN_MOST:
            raise ValidationError({"from": [f"It must be before `to`, by {SPAN_MOST.days} days at most."]})
        return Response(StatisticsSerializer(statistics.of(start, end, operators)).data)
