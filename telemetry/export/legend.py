"""What an export says of itself, so that whoever finds the file can read it, and make it again."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from socket import gethostname
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Q

from devices.models import Channel, Run
from telemetry.export.question import Question
from telemetry.models import Calibration, ComputedChannel
from telemetry.series.gaps import periods

GAPS_MOST = 2000  # of a channel; those that lie closest together are told as one
QUALITIES = {
    "good": "can be trusted",
    "uncertain": "may be less accurate than usual",
    "bad": "is not to be used: no value or one that the instrument or the driver doubts",
}
FLAGS = {
    "instrument_time": "the time is the instrument's own stamp",
    "clock_unsure": "the clock by which it was stamped had not been compared with the centre's or disagreed",
    "far": "the time cannot be right",
}
_in_quotes = re.compile(r'"(?:[^"\\]|\\.)*"')


def legend(question: Question, now: datetime) -> dict[str, Any]:
    """As JSON takes it."""
    first, last = question.around
    return {
        "made": {"at": now.isoformat(), "by": f"Labsite {settings.VERSION}", "host": gethostname()},
        "query": {**question.asked, "again": f"/api/v1/export/?{urlencode(question.asked)}"},
        "from": first.isoformat(),
        "to": last.isoformat(),
        "columns": {column.name: column.means for column in question.columns if column.means},
        "quality": QUALITIES,
        "flags": FLAGS,
        "channels": _channels(question),
        "calibrations": _calibrations(question.channels, first, last),
        "run": None if question.run is None else _run(question.run),
        "gaps": _gaps(question, first, last, now),
    }


def comments(told: dict[str, Any]) -> bytes:
    """A legend as lines before a CSV table; of lists a line for each member."""
    return "".join(f"# {line}\n" for line in _lines(told)).encode()


def _lines(told: dict[str, Any]) -> Iterator[str]:
    for name, content in told.items():
        for each in content if isinstance(content, list) else [content]:
            if each is not None:
                yield f"{name}: {_one_cell(json.dumps(each, ensure_ascii=False))}"


def _one_cell(text: str) -> str:
    """JSON with no separator in its texts, behind which a spreadsheet program would see a formula."""
    return _in_quotes.sub(lambda found: found[0].replace(",", "\\u002c").replace(";", "\\u003b"), text)


def _channels(question: Question) -> list[dict[str, Any]]:
    computed = {
        each.pk: each
        for each in ComputedChannel.objects.select_related("source").filter(channel__in=question.channels)
    }
    return [
        {
            "channel": channel.pk,
            "instrument": channel.instrument.name,
            "instrument_id": str(channel.instrument_id),
            "driver": channel.instrument.driver,
            "key": channel.key,
            "label": channel.label,
            "unit": channel.unit,
            "kind": channel.kind,
            **(_origin(computed[channel.pk]) if channel.pk in computed else {}),
        }
        for channel in question.channels
    ]


def _origin(computed: ComputedChannel) -> dict[str, Any]:
    if computed.source is None:
        return {"formula": computed.formula}
    return {"calibrated_from": {"channel": computed.source.pk, "key": computed.source.key}}


def _calibrations(channels: Sequence[Channel], start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Those by which the values of calibrated channels came about, and those of raw ones."""
    of = Q(channel__in=channels) | Q(channel__calibrated__channel__in=channels)
    found = Calibration.objects.filter(of, valid_from__lt=end).order_by("channel", "valid_from").distinct()
    by_channel: dict[int, list[Calibration]] = {}
    for each in found:
        valid = by_channel.setdefault(each.channel_id, [])
        if valid and each.valid_from <= start:
            valid.clear()  # the one before was over by then
        valid.append(each)
    return [
        {
            "channel": each.channel_id,
            "valid_from": each.valid_from.isoformat(),
            "kind": each.kind,
            "numbers": each.numbers,
            "note": each.note,
        }
        for valid in by_channel.values()
        for each in valid
    ]


def _run(run: Run) -> dict[str, Any]:
    return {
        "run": run.pk,
        "instrument": run.instrument.name,
        "key": run.key,
        "kind": run.kind,
        "title": run.title,
        "state": run.state,
        "start": None if run.start is None else run.start.isoformat(),
        "end": None if run.end is None else run.end.isoformat(),
    }


def _gaps(question: Question, start: datetime, end: datetime, now: datetime) -> list[dict[str, Any]]:
    apart = (end - start) / GAPS_MOST
    return [
        {
            "channel": number,
            "from": gap.start.isoformat(),
            "to": gap.end.isoformat(),
            "reasons": sorted(gap.reasons),
        }
        for number, found in periods(question.channels, start, end, apart, now).items()
        for gap in found
    ]
