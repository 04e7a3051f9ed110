"""The rules that drivers propose for their instruments."""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from alerts.api.permissions import ReadOrRight
from alerts.api.rules import RuleSerializer
from alerts.api.words import said
from alerts.models import Rule
from alerts.rules import proposals
from devices.filters import check_parameters
from devices.models import Instrument


class ProposalSerializer(RuleSerializer):
    """A rule as it would be added."""

    alarms = serializers.SerializerMethodField(help_text="What they would be called at this instrument")

    class Meta(RuleSerializer.Meta):
        fields: ClassVar = [
            *(
                name
                for name in RuleSerializer.Meta.fields
                if name not in ("id", "built_in", "created_at", "overrides")
            ),
            "alarms",
        ]

    def get_alarms(self, rule: Rule) -> list[str]:
        return proposals.alarms_of(rule, self.context["instrument"])


class QuestionSerializer(serializers.Serializer[Any]):
    instrument = serializers.PrimaryKeyRelatedField(queryset=Instrument.objects.filter(retired_at=None))


class AcceptSerializer(QuestionSerializer):
    """What is to be added."""

    names = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Of the proposed rules; left out: all"
    )


class ProposalViewSet(viewsets.GenericViewSet[Rule]):
    """What a driver proposes is not in force until somebody adds it."""

    queryset = Rule.objects.none()
    serializer_class = ProposalSerializer
    permission_classes = (ReadOrRight,)
    rights: ClassVar = {"accept": "alerts.add_rule"}
    pagination_class = None

    @extend_schema(
        operation_id="rules_proposed",
        parameters=[OpenApiParameter("instrument", str, required=True, description="Its id")],
        responses=ProposalSerializer(many=True),
    )
    @action(detail=False, methods=["get"])
    def proposed(self, request: Request) -> Response:
        """Rules that this instrument's driver proposes, and that are not there yet."""
        check_parameters(request, ("instrument",))
        asked = QuestionSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        found = proposals.proposed(asked.validated_data["instrument"])
        return Response(ProposalSerializer(found, many=True, context=asked.validated_data).data)

    @extend_schema(
        operation_id="rules_accept", request=AcceptSerializer, responses={201: RuleSerializer(many=True)}
    )
    @action(detail=False, methods=["post"])
    def accept(self, request: Request) -> Response:
        """Add proposed rules; each is of all instruments with this driver. What is there already stays."""
        asked = said(AcceptSerializer, request)
        rules = proposals.accept(asked["instrument"], asked.get("names"), by=request.user)
        return Response(RuleSerializer(rules, many=True).data, status.HTTP_201_CREATED)
