"""Gaps as they are asked for: those told by edges, and those that follow from the present."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from devices.models import Assignment, Cadence, Channel, Edge, Instrument, Latest
from devices.readings import GapReason
from telemetry.models import Gap
from tests import factories
from tests.telemetry.factories import edge as an_edge, instrument as an_instrument

pytestmark = pytest.mark.django_db

URL = "/api/v1/gaps/"
QUERY_BUDGET = 4  # session, user, and two


@pytest.fixture
def api() -> APIClient:
    return factories.client(factories.person(staff=False))


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def bench(now: datetime) -> Edge:
    """An edge that is heard and has nothing left to send."""
    made = an_edge()
    Edge.objects.filter(pk=made.pk).update(heard_at=now + timedelta(seconds=60), status={"spool_age": 0.4})
    return made


@pytest.fixture
def bath(bench: Edge, now: datetime) -> Instrument:
    """In service for a day."""
    made = an_instrument(bench)
    created(made, now - timedelta(days=1))
    return made


def created(instrument: Instrument, at: datetime) -> None:
    Instrument.objects.filter(pk=instrument.pk).update(created_at=at)
    Cadence.objects.filter(instrument=instrument).update(since=at)


def gap(of: Instrument | Edge, start: datetime, seconds: float, reason: str, key: str = "") -> Gap:
    edge, instrument = (of, None) if isinstance(of, Edge) else (of.edge, of)
    return Gap.objects.create(
        edge=edge,
        instrument=instrument,
        key=key,
        start=start,
        end=start + timedelta(seconds=seconds),
        reason=reason,
    )


def asked(api: APIClient, **query: Any) -> list[tuple[Any, ...]]:
    answer = api.get(URL, query)
    assert answer.status_code == 200, answer.content
    return [
        (row["reason"], row["instrument_name"], row["key"], row["open"]) for row in answer.json()["results"]
    ]


def test_gaps_are_told_with_what_they_mean(api: APIClient, bath: Instrument, now: datetime) -> None:
    gap(bath, now - timedelta(hours=1), 5, "in use")
    (row,) = api.get(URL).json()["results"]
    assert row["edge"] == "bench"
    assert (row["instrument"], row["instrument_name"], row["missed"]) == (str(bath.pk), "bath", 0)
    assert (row["reason"], row["means"]) == ("in use", GapReason.IN_USE.means)
    assert row["open"] is False


def test_filters(api: APIClient, bath: Instrument, now: datetime) -> None:
    """An instrument's gaps are its own and those of all its edge; a channel's are those that touch it."""
    other = an_instrument(Edge.objects.create(name="other", heard_at=bath.edge.created_at), "other", ["a"])
    created(other, now - timedelta(days=1))
    Edge.objects.filter(pk=other.edge_id).update(heard_at=now + timedelta(minutes=1))
    hour = timedelta(hours=1)
    gap(bath, now - hour, 5, "not connected")
    gap(bath, now - 2 * hour, 5, "overrun", key="a")
    gap(bath.edge, now - 3 * hour, 5, "overflow")
    gap(other, now - 4 * hour, 5, "torn")
    a, b = Channel.objects.filter(instrument=bath).order_by("key")
    of_bath = ["not connected", "overrun", "overflow"]
    for query, reasons in (
        ({}, [*of_bath, "torn"]),
        ({"instrument": str(bath.pk)}, of_bath),
        ({"instrument": "bath"}, of_bath),
        ({"channel": b.pk}, ["not connected", "overflow"]),
        ({"channel": a.pk, "reason": "overrun"}, ["overrun"]),
        ({"edge": "other"}, ["torn"]),
        ({"to": (now - 2.5 * hour).isoformat()}, ["overflow", "torn"]),
        ({"from": (now - 2.5 * hour).isoformat()}, ["not connected", "overrun"]),
        ({"open": "true"}, []),
    ):
        assert [row[0] for row in asked(api, **query)] == reasons, query


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"reason": "bad luck"}, "reason"),
        ({"open": "maybe"}, "open"),
        ({"edge": "nowhere"}, "edge"),
        ({"instrument": "nobody"}, "instrument"),
        ({"channel": "x"}, "channel"),
        ({"from": "soon"}, "from"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ({"cursor": "elsewhere"}, "cursor"),
        ({"instruments": "x"}, "instruments"),
    ],
)
def test_a_wrong_question_is_named(api: APIClient, query: dict[str, str], named: str) -> None:
    answer = api.get(URL, query)
    assert (answer.status_code, list(answer.json())) == (400, [named])


def test_pages_bring_each_gap_once_whatever_comes_in(
    api: APIClient, bath: Instrument, now: datetime, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for number in range(7):
        gap(bath, now - timedelta(minutes=number // 2), 1, ["overrun", "in use"][number % 2])
    told, url, query = [], URL, {"page_size": 3}
    while url:
        with django_assert_max_num_queries(QUERY_BUDGET):
            page = api.get(url, query).json()
        told += [row["id"] for row in page["results"]]
        gap(bath, timezone.now(), 0, f"new {len(told)}")
        url, query = page["next"], {}
    assert len(told) == len(set(told)) == 7


def test_an_instrument_out_of_service_is_missing_for_that_reason(
    api: APIClient, bath: Instrument, now: datetime
) -> None:
    def noted(hours: float, *, in_service: bool) -> None:
        Cadence.objects.create(
            instrument=bath,
            edge=bath.edge,
            since=now - timedelta(hours=hours),
            interval=1.0,
            in_service=in_service,
            polled=True,
        )

    noted(20, in_service=False)
    noted(19, in_service=False)  # its interval was changed meanwhile
    noted(18, in_service=True)
    noted(2, in_service=False)
    assert asked(api, instrument="bath") == [
        ("out of service", "bath", "", True),
        ("out of service", "bath", "", False),
    ]
    first = api.get(URL, {"open": "false"}).json()["results"][0]
    assert datetime.fromisoformat(first["end"]) - datetime.fromisoformat(first["start"]) == timedelta(hours=2)
    Instrument.objects.filter(pk=bath.pk).update(retired_at=now)
    assert asked(api, open="true") == [], "what is retired is missed no more"


def test_an_edge_that_is_not_heard_is_an_open_gap(api: APIClient, bath: Instrument, now: datetime) -> None:
    Edge.objects.filter(pk=bath.edge_id).update(heard_at=now - timedelta(minutes=5))
    gap(bath, now - timedelta(minutes=6), 58, "not connected")
    assert asked(api, instrument="bath", open="true") == [("edge silent", None, "", True)]
    Instrument.objects.filter(pk=bath.pk).update(in_service=False)
    assert [row[0] for row in asked(api, edge="bench", open="true")] == ["out of service"], "nothing to hear"


def test_what_an_edge_has_not_sent_yet_is_on_its_way(api: APIClient, bath: Instrument, now: datetime) -> None:
    Edge.objects.filter(pk=bath.edge_id).update(heard_at=now, status={"spool_age": 3600.0})
    (row,) = api.get(URL, {"open": "true"}).json()["results"]
    assert row["reason"] == "on its way"
    assert datetime.fromisoformat(row["start"]) == now - timedelta(hours=1)
    Edge.objects.filter(pk=bath.edge_id).update(status={"spool_age": "much"})
    assert asked(api, open="true") == []


def test_an_outage_is_open_until_something_is_read(api: APIClient, bath: Instrument, now: datetime) -> None:
    gap(bath, now - timedelta(minutes=10), 570, "not connected")
    channel = Channel.objects.filter(instrument=bath).first()
    assert channel is not None
    latest = Latest.objects.create(
        channel=channel,
        time=now - timedelta(minutes=11),
        seen_at=now - timedelta(minutes=11),
        quality=2,
        stored_at=now,
    )
    assert asked(api) == [("not connected", "bath", "", True)]
    latest.quality, latest.seen_at = 0, now
    latest.save()
    assert asked(api) == [("not connected", "bath", "", False)]


def test_gaps_of_an_edge_are_missing_at_what_was_there_then(
    api: APIClient, bath: Instrument, now: datetime
) -> None:
    other = an_edge("other")
    Edge.objects.filter(pk=other.pk).update(heard_at=now + timedelta(minutes=1))
    Assignment.objects.filter(instrument=bath).update(until=now - timedelta(hours=5))
    Assignment.objects.create(instrument=bath, edge=other, since=now - timedelta(hours=5))
    gap(bath.edge, now - timedelta(hours=2), 5, "overflow")
    gap(bath.edge, now - timedelta(hours=8), 5, "unsaved")
    gap(other, now - timedelta(hours=2), 5, "torn")
    gap(other, now - timedelta(hours=8), 5, "not running")
    assert [row[0] for row in asked(api, instrument="bath")] == ["torn", "unsaved"]
