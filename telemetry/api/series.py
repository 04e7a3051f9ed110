"""What channels said over a time, as so many points as a chart shows."""

from datetime import datetime
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from devices.filters import check_parameters
from telemetry import series
from telemetry.api.questions import DEFAULT_SPAN, times
from telemetry.parameters import all_asked, asked, channels_of, from_to, span_asked
from telemetry.series import Answer, Resolution, Series, TooMany

LABEL_MOST = 200
INDEX_MOST = 99_999

PARAMETERS = [
    OpenApiParameter(
        "channel",
        int,
        required=True,
        many=True,
        description=f"The `id` of a channel; several times or with commas up to {series.CHANNELS_MOST}",
    ),
    *times(),
    OpenApiParameter(
        "points",
        int,
        description=f"At most so many of each channel, {series.POINTS_LEAST} to {series.POINTS_MOST};"
        f" {series.POINTS} if left out. Of all channels up to {series.VALUES_MOST}",
    ),
    OpenApiParameter("index", int, description="Of channels of vectors: the number at this place, from 0"),
    OpenApiParameter("label", str, description="Of channels of vectors: the number with this label"),
]


class PeriodSerializer(serializers.Serializer[Any]):
    """A time in which readings are missing. Those too close to be told apart are one."""

    start = serializers.FloatField(help_text="ms of UTC since 1970")
    end = serializers.FloatField()
    reasons = serializers.ListField(child=serializers.CharField())


class ChangesSerializer(serializers.Serializer[Any]):
    """When a channel began to say something else, and what."""

    time = serializers.ListField(child=serializers.FloatField(), help_text="ms of UTC since 1970")
    text = serializers.ListField(child=serializers.CharField())


class SeriesSerializer(serializers.Serializer[Any]):
    """One channel's buckets, a list for each thing told of them; all are equally long."""

    channel = serializers.IntegerField()
    instrument = serializers.UUIDField()
    instrument_name = serializers.CharField()
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    unit = serializers.CharField()
    kind = serializers.CharField()
    time = serializers.ListField(
        child=serializers.FloatField(), help_text="When the bucket begins, ms of UTC since 1970"
    )
    n = serializers.ListField(child=serializers.IntegerField(), help_text="Readings that say something")
    bad = serializers.ListField(
        child=serializers.IntegerField(), help_text="Readings that are bad, beside them"
    )
    min = serializers.ListField(
        child=serializers.FloatField(allow_null=True),
        required=False,
        help_text="Null where n is 0",
    )
    max = serializers.ListField(child=serializers.FloatField(allow_null=True), required=False)
    mean = serializers.ListField(child=serializers.FloatField(allow_null=True), required=False)
    last = serializers.ListField(
        child=serializers.FloatField(allow_null=True), required=False, help_text="Of a channel of kind `bool`"
    )
    text = serializers.ListField(
        child=serializers.CharField(allow_null=True),
        required=False,
        help_text="The last one, of a channel of kind `text`",
    )
    changes = ChangesSerializer(required=False, help_text="Of a channel of kind `text`")
    newest = serializers.FloatField(
        required=False, allow_null=True, help_text="Of a channel of vectors: when the last one was read"
    )
    gaps = PeriodSerializer(many=True)


class SeriesAnswerSerializer(serializers.Serializer[Any]):
    start = serializers.FloatField(
        help_text="ms of UTC since 1970; earlier than `from` by a part of a bucket, which are told whole"
    )
    end = serializers.FloatField()
    resolution = serializers.ChoiceField(
        choices=[(each.value, each.value) for each in Resolution],
        help_text="What the buckets are made of, as far as roll-ups are there yet",
    )
    width = serializers.FloatField(
        allow_null=True, help_text="Of a bucket, in seconds; null: each point is a reading, at its own time"
    )
    series = SeriesSerializer(many=True)


class SeriesViewSet(viewsets.ViewSet):
    """Series of channels, thinned so that no peak and no fault is lost."""

    @extend_schema(responses=SeriesAnswerSerializer, parameters=PARAMETERS)
    def list(self, request: Request) -> HttpResponse:
        """What channels said from … to, as at most so many buckets: least, greatest and mean value of each.

        The server picks readings, minutes or hours, by the time and the number of points. Late and bad
        readings are accounted for at once.
        """
        check_parameters(request, ("channel", "from", "to", "points", "index", "label"))
        channels = all_asked(request, "channel", lambda given: channels_of(given, series.CHANNELS_MOST))
        start, end = span_asked(request, DEFAULT_SPAN)
        points = _points(request, len(channels))
        element, named = _element(request)
        if element is not None and any(channel.kind != "vector" for channel in channels):
            raise ValidationError({named: ["All channels must be of kind `vector`."]})
        try:
            answer = series.ask(channels, start, end, timezone.now(), points, element)
        except TooMany as error:
            raise ValidationError({"from": [str(error)]}) from None
        # msgspec writes what is no number as null, and takes a tenth of the time.
        return HttpResponse(msgspec.json.encode(told(answer)), content_type="application/json")


def _points(request: Request, channels: int) -> int:
    points = asked(request, "points", from_to(series.POINTS_LEAST, series.POINTS_MOST), series.POINTS)
    if points * channels > series.VALUES_MOST:
        raise ValidationError(
            {"points": [f"For {channels} channels up to {series.VALUES_MOST // channels} can be asked for."]}
        )
    return points


def _element(request: Request) -> tuple[int | str | None, str]:
    """Which element of vectors is asked for, and by which parameter."""
    index = asked(request, "index", from_to(0, INDEX_MOST), -1)
    label = asked(request, "label", _label, "")
    if index >= 0 and label:
        raise ValidationError({"label": ["Either `index` or `label`."]})
    return (index, "index") if index >= 0 else (label or None, "label")


def _label(text: str) -> str:
    if not 1 <= len(text) <= LABEL_MOST or "\0" in text:
        raise ValueError(f"A text of 1 to {LABEL_MOST} characters is needed.")
    return text


def told(answer: Answer) -> dict[str, Any]:
    """As SeriesAnswerSerializer describes it."""
    width = answer.choice.width
    return {
        "start": _ms(answer.start),
        "end": _ms(answer.end),
        "resolution": answer.choice.resolution.value,
        "width": None if width is None else width.total_seconds(),
        "series": [_told(each) for each in answer.series],
    }


def _told(each: Series) -> dict[str, Any]:
    channel = each.channel
    found: dict[str, Any] = {
        "channel": channel.pk,
        "instrument": channel.instrument_id,
        "instrument_name": channel.instrument.name,
        "key": channel.key,
        "label": channel.label,
        "unit": channel.unit,
        "kind": channel.kind,
        "time": each.time,
        "n": each.n,
        "bad": each.bad,
    }
    if each.tells_numbers:
        found |= {"min": each.low, "max": each.high, "mean": each.mean}
    if channel.kind == "bool":
        found["last"] = each.last
    elif channel.kind == "text":
        times, texts = each.changes
        found |= {"text": each.text, "changes": {"time": times, "text": texts}}
    elif channel.kind == "vector" and not each.tells_numbers:
        found["newest"] = None if each.newest is None else _ms(each.newest)
    gaps = [
        {"start": _ms(gap.start), "end": _ms(gap.end), "reasons": sorted(gap.reasons)} for gap in each.gaps
    ]
    return found | {"gaps": gaps}


def _ms(moment: datetime) -> float:
    return round(moment.timestamp() * 1000, 3)
