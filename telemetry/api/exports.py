"""Readings as files."""

import re
from datetime import datetime
from functools import partial
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status, viewsets
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

from devices.filters import check_parameters
from devices.models import Run
from telemetry import export
from telemetry.api.questions import DEFAULT_SPAN
from telemetry.export import Busy, Layout, Question
from telemetry.parameters import TIMES, all_asked, asked, channels_of, moment_of, one_of
from telemetry.series import Resolution

CONTENT = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
NAMES = ("channel", "from", "to", "format", "resolution", "layout", "run", "comments")

PARAMETERS = [
    OpenApiParameter(
        "channel",
        int,
        required=True,
        many=True,
        description=f"The `id` of a channel; several times or with commas up to {export.CHANNELS_MOST}",
    ),
    OpenApiParameter(
        "from", str, description=f"{TIMES}; the run's beginning, or an hour before `to`, if left out"
    ),
    OpenApiParameter("to", str, description="Until before this time; the run's end, or now, if left out"),
    OpenApiParameter("format", str, enum=export.FORMS, description="`csv` if left out"),
    OpenApiParameter(
        "resolution",
        str,
        enum=[each.value for each in Resolution],
        description="`raw` (if left out): each reading; else number, least, mean, greatest and last of each"
        " minute or hour",
    ),
    OpenApiParameter(
        "layout",
        str,
        enum=[each.value for each in Layout],
        description="`long` (if left out): a row for each reading; `wide`: one for each time, with columns"
        " for each channel",
    ),
    OpenApiParameter("run", int, description="A run's `id`: its time, and it is told of in the file"),
    OpenApiParameter(
        "comments", str, enum=["0", "1"], description="`0`: CSV without the lines that begin with `#`"
    ),
]


class TooManyExports(APIException):
    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    wait = 10  # seconds, told as Retry-After


class AsAsked(BaseContentNegotiation):
    """Answers in JSON what is wrong: `format` says what the file is to be."""

    def select_parser(self, request: Request, parsers: Any) -> Any:  # noqa: ARG002
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:  # noqa: ARG002
        return renderers[0], renderers[0].media_type


class ExportViewSet(viewsets.ViewSet):
    """Readings as CSV or Parquet, streamed."""

    content_negotiation_class = AsAsked
    http_method_names = ["get", "options"]

    @extend_schema(
        parameters=PARAMETERS,
        responses={
            (200, "text/csv"): OpenApiTypes.BINARY,
            (200, "application/vnd.apache.parquet"): OpenApiTypes.BINARY,
            429: OpenApiResponse(description="You have an export under way, or too many others have"),
        },
    )
    def list(self, request: Request) -> StreamingHttpResponse:
        """Readings of channels as a file, with all that it takes to read it and to make it again.

        Units, kinds, gaps, calibrations, the run and the question itself are in CSV in lines before the
        table that begin with `#`, in Parquet as JSON under `labsite` in the schema's metadata. Texts that a
        spreadsheet program would take for formulas have an apostrophe before them in CSV.
        """
        check_parameters(request, NAMES)
        question = _question(request)
        now = timezone.now()
        running = export.Running(question, now)
        try:
            running.reserve(request.user.pk or 0)
        except Busy as error:
            raise TooManyExports(str(error)) from None
        answer = StreamingHttpResponse(export.Stream(running), content_type=CONTENT[question.form])
        answer["Content-Disposition"] = f'attachment; filename="{_name(question, now)}"'
        answer["Cache-Control"] = "no-store"
        answer["X-Accel-Buffering"] = "no"
        return answer


def _question(request: Request) -> Question:
    channels = all_asked(request, "channel", lambda given: channels_of(given, export.CHANNELS_MOST))
    run = asked(request, "run", run_of) if "run" in request.query_params else None
    start, end = _span(request, run)
    resolution = Resolution(asked(request, "resolution", one_of([*Resolution]), "raw"))
    layout = Layout(asked(request, "layout", one_of([*Layout]), "long"))
    form = asked(request, "format", one_of(export.FORMS), "csv")
    comments = asked(request, "comments", one_of(("0", "1")), "1") == "1"
    try:
        return Question(channels, start, end, form, resolution, layout, run, comments=comments)
    except ValueError as error:
        raise ValidationError({"layout": [str(error)]}) from None


def run_of(text: str) -> Run:
    """Raises ValueError."""
    known = text.isdecimal() and len(text) < 19
    found = Run.objects.select_related("instrument").filter(pk=int(text)).first() if known else None
    if found is None:
        raise ValueError(f"There is no run {text[:60]!r}.")
    return found


def _span(request: Request, run: Run | None) -> tuple[datetime, datetime]:
    now = timezone.now()
    read = partial(moment_of, now=now)
    end = asked(request, "to", read, (run and run.over_at) or now)
    start = asked(request, "from", read, (run.start or run.told_at) if run else end - DEFAULT_SPAN)
    if start > end:
        raise ValidationError({"from": ["It is later than `to`."]})
    return start, end


def _name(question: Question, now: datetime) -> str:
    """Of the file; such as bath-1_20261126T120000Z.csv."""
    names = {channel.instrument.name for channel in question.channels}
    whose = re.sub(r"[^a-z0-9]+", "-", names.pop().lower()).strip("-") if len(names) == 1 else ""
    return f"{whose or 'labsite'}_{now:%Y%m%dT%H%M%SZ}.{question.form}"
