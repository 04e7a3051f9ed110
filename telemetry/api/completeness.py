"""How complete channels are."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from devices.filters import check_parameters
from devices.models import Channel
from telemetry import completeness
from telemetry.api.gaps import edge_of, instrument_of
from telemetry.completeness import By, Cell, Course
from telemetry.parameters import TIMES, all_asked, asked, channels_of, one_of, span_asked
from telemetry.times import moment

CHANNELS_MAX = 500
CELLS_MAX = 100_000
DEFAULT_SPAN = timedelta(hours=24)
PARAMETERS = ("channel", "instrument", "edge", "from", "to", "per")
PER = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


class CellSerializer(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    due = serializers.IntegerField(help_text="Polls, or seconds in service")
    received = serializers.IntegerField(help_text="Readings that are not bad, or seconds without a gap")
    missing = serializers.DictField(
        child=serializers.IntegerField(), help_text="By reason, as gaps/ has them; `bad readings` beside them"
    )
    unexplained = serializers.IntegerField(
        help_text="What is left: due − received − missing. One more or less is a poll beyond an hour's edge"
    )
    lost = serializers.IntegerField(help_text="Readings that are missing for no known reason")
    share = serializers.FloatField(
        allow_null=True, help_text="Received of due, up to 1; null: nothing was due"
    )


class HoleSerializer(serializers.Serializer[Any]):
    start = serializers.DateTimeField(help_text="The last reading before, or the hour's edge")
    end = serializers.DateTimeField(help_text="The first reading after")
    missed = serializers.IntegerField()


class CourseSerializer(CellSerializer):
    channel = serializers.IntegerField()
    instrument = serializers.UUIDField()
    instrument_name = serializers.CharField()
    key = serializers.CharField()
    by = serializers.ChoiceField(
        choices=[str(by) for by in By],
        allow_null=True,
        help_text="What is counted: `polls`; `time` where a channel tells only what has changed; null: "
        "nothing is ever due of it",
    )
    holes = HoleSerializer(many=True, help_text="Where readings were lost")
    cells = CellSerializer(many=True)


class CompletenessSerializer(serializers.Serializer[Any]):
    start = serializers.DateTimeField(help_text="A whole hour (or day) of UTC")
    end = serializers.DateTimeField(help_text="A whole hour of UTC, or some seconds ago")
    per = serializers.ChoiceField(choices=list(PER))
    results = CourseSerializer(many=True)


def _text(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, str, description=description)


QUESTION = [
    OpenApiParameter("channel", int, many=True, description=f"Channels' `id`s, up to {CHANNELS_MAX}"),
    _text("instrument", "An instrument's id or name: all its channels"),
    _text("edge", "An edge's name: all channels of all its instruments"),
    _text("from", f"A day before `to` if left out. {TIMES}"),
    _text("to", "Now if left out"),
    OpenApiParameter("per", str, enum=list(PER), description="`hour` if left out; days are of UTC"),
]


class CompletenessViewSet(viewsets.ViewSet):
    """How many readings of those that were due are there, and why the others are not."""

    @extend_schema(responses=CompletenessSerializer, parameters=QUESTION)
    def list(self, request: Request) -> Response:
        check_parameters(request, PARAMETERS)
        per = asked(request, "per", one_of(list(PER)), "hour")
        start, end = span_asked(request, DEFAULT_SPAN)
        if per == "day":
            start = start.astimezone(UTC).replace(hour=0)
        channels = _channels(request)
        if len(channels) * ((end - start) / PER["hour"] + 2) > CELLS_MAX:
            raise ValidationError(
                {"from": [f"That is more than {CELLS_MAX} hours of channels: ask for less."]}
            )
        answer = completeness.ask(channels, start, end, timezone.now())
        courses = [course.by_day() for course in answer.courses] if per == "day" else answer.courses
        return Response(
            {
                "start": answer.start,
                "end": answer.until,
                "per": per,
                "results": [_told(course, answer.start) for course in courses],
            }
        )


def _channels(request: Request) -> list[Channel]:
    given = request.query_params
    if "channel" in given:
        return all_asked(request, "channel", lambda words: channels_of(words, CHANNELS_MAX))
    found: QuerySet[Channel] = Channel.objects.select_related("instrument").order_by(
        "instrument__name", "position", "id"
    )
    if "instrument" in given:
        found = found.filter(instrument=asked(request, "instrument", instrument_of))
    elif "edge" in given:
        found = found.filter(instrument__edge=asked(request, "edge", edge_of), instrument__retired_at=None)
    else:
        raise ValidationError({"channel": ["It is needed, or `instrument`, or `edge`."]})
    channels = list(found[: CHANNELS_MAX + 1])
    if len(channels) > CHANNELS_MAX:
        raise ValidationError({"edge": [f"It has more than {CHANNELS_MAX} channels: ask by instrument."]})
    return channels


def _told(course: Course, start: datetime) -> dict[str, Any]:
    channel = course.channel
    return {
        "channel": channel.pk,
        "instrument": channel.instrument_id,
        "instrument_name": channel.instrument.name,
        "key": channel.key,
        "by": course.by,
        **_cell(course.total),
        "start": start,
        "holes": [
            {"start": moment(hole.span.start), "end": moment(hole.span.end), "missed": hole.missed}
            for hole in course.holes
        ],
        "cells": [_cell(cell) for cell in course.cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "start": cell.start,
        "due": cell.due,
        "received": cell.received,
        "missing": cell.missing,
        "unexplained": cell.unexplained,
        "lost": cell.lost,
        "share": cell.share,
    }
