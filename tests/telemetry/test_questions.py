"""Questions of times and channels: however they are put, and what a wrong one is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from devices.models import Channel
from telemetry.models import Event
from telemetry.parameters import moment_of
from tests import factories

URL = "/api/v1/"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("now", timedelta(0)),
        ("-30s", timedelta(seconds=30)),
        ("-30m", timedelta(minutes=30)),
        ("-24h", timedelta(hours=24)),
        ("-7d", timedelta(days=7)),
        ("-2w", timedelta(days=14)),
        ("+1h", timedelta(hours=-1)),
        (" 1h", timedelta(hours=-1)),
    ],
)
def test_a_time_may_be_told_from_now(text: str, ago: timedelta) -> None:
    assert abs(timezone.now() - ago - moment_of(text)) < timedelta(seconds=5)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T12:00:00Z",
        "2026-11-21T12:00",
        "2026-11-21 13:00 01:00",
        "2026-11-21T07:00:00-05:00",
        "1795262400000",
    ],
)
def test_a_time_is_iso_or_milliseconds(text: str) -> None:
    assert moment_of(text) == NOON


@pytest.mark.parametrize(
    "text",
    ["", "x", "-", "-h", "24h", "-24", "-1y", "-1.5h", "--1h", "-١h", "-999999999w", "yesterday", "NOW",
     "2026-13-01", "-99999999999999", "99999999999999999", "0001-01-01", "2026-11-21T12:00:00+25:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time|between the years"):
        moment_of(text)


@pytest.fixture
def api(db: None) -> APIClient:
    return factories.client(factories.person(staff=False))


@pytest.fixture
def channel(db: None) -> Channel:
    return factories.instrument().channels.all()[0]


OF_A_CHANNEL: list[tuple[dict[str, Any], str]] = [
    ({}, "channel"),
    ({"channel": ""}, "channel"),
    ({"channel": "x"}, "channel"),
    ({"channel": "-1"}, "channel"),
    ({"channel": "999999999"}, "channel"),
    ({"channel": "99999999999999999999"}, "channel"),
    ({"channel": "OWN", "from": "yesterday"}, "from"),
    ({"channel": "OWN", "from": "-24"}, "from"),
    ({"channel": "OWN", "from": "-1y"}, "from"),
    ({"channel": "OWN", "from": ["-1h", "-2h"]}, "from"),
    ({"channel": "OWN", "to": "2026-13-01"}, "to"),
    ({"channel": "OWN", "to": "9" * 5000}, "to"),
    ({"channel": "OWN", "from": "-1h", "to": "-2h"}, "from"),
    ({"channel": "OWN", "form": "-1h"}, "form"),
]
OF_PAGES: list[tuple[dict[str, Any], str]] = [
    ({"channel": ["OWN", "OWN"]}, "channel"),
    ({"channel": "OWN", "page_size": "0"}, "page_size"),
    ({"channel": "OWN", "page_size": "1000000"}, "page_size"),
    ({"channel": "OWN", "cursor": "-1h"}, "cursor"),
    ({"channel": "OWN", "points": "10"}, "points"),
]
OF_SERIES: list[tuple[dict[str, Any], str]] = [
    ({"channel": "OWN", "page_size": "7"}, "page_size"),
    ({"channel": "OWN,x"}, "channel"),
    ({"channel": "OWN,,"}, "channel"),
    ({"channel": ",".join(str(number) for number in range(51))}, "channel"),
    ({"channel": "OWN", "points": "9"}, "points"),
    ({"channel": "OWN", "points": "10001"}, "points"),
    ({"channel": "OWN", "points": "many"}, "points"),
    ({"channel": "OWN", "index": "0"}, "index"),
    ({"channel": "OWN", "label": "A1"}, "label"),
    ({"channel": "OWN", "index": "-1"}, "index"),
    ({"channel": "OWN", "index": "0", "label": "A1"}, "label"),
    ({"channel": "OWN", "label": "\0"}, "label"),
    ({"channel": "OWN", "page_sise": "10"}, "page_sise"),
]
OF_HAPPENINGS: list[tuple[dict[str, Any], str]] = [
    ({"from": "yesterday"}, "from"),
    ({"from": "-1y"}, "from"),
    ({"to": "2026-13-01"}, "to"),
    ({"instrument": "x"}, "instrument"),
    ({"until": "now"}, "until"),
]
WRONG = [
    *((path, *case) for path in ("samples/", "vectors/", "series/") for case in OF_A_CHANNEL),
    *((path, *case) for path in ("samples/", "vectors/") for case in OF_PAGES),
    *(("series/", *case) for case in OF_SERIES),
    *((path, *case) for path in ("events/", "runs/") for case in OF_HAPPENINGS),
]


@pytest.mark.parametrize(("path", "query", "parameter"), WRONG)
def test_a_wrong_question_names_its_parameter(
    api: APIClient, channel: Channel, path: str, query: dict[str, Any], parameter: str
) -> None:
    asked = {name: _filled(value, str(channel.pk)) for name, value in query.items()}
    answer = api.get(URL + path, asked)
    assert (answer.status_code, list(answer.json())) == (400, [parameter])


def _filled(value: Any, number: str) -> Any:
    return (
        [each.replace("OWN", number) for each in value]
        if isinstance(value, list)
        else value.replace("OWN", number)
    )


@pytest.mark.parametrize(
    ("start", "found"), [("-1h", 1), ("-30m", 0), ("2020-01-01", 2), ("1577836800000", 2), ("now", 0)]
)
def test_events_are_asked_by_relative_times(api: APIClient, channel: Channel, start: str, found: int) -> None:
    for minutes in (40, 90):
        time = timezone.now() - timedelta(minutes=minutes)
        Event.objects.create(instrument=channel.instrument, time=time, kind="x", text=str(minutes))
    assert len(api.get(f"{URL}events/", {"from": start}).json()["results"]) == found
