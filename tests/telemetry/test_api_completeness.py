"""completeness/ over the API."""

import random
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from devices.models import Cadence, Channel, Edge, Instrument
from telemetry import partitions
from telemetry.models import Gap, Sample
from tests import factories
from tests.telemetry.factories import edge, instrument

pytestmark = pytest.mark.django_db

URL = "/api/v1/completeness/"
QUERY_BUDGET = 16


@pytest.fixture
def api() -> APIClient:
    return factories.client(factories.person(staff=False))


@pytest.fixture
def bath() -> Instrument:
    """Polled each minute for the last two whole hours; twenty polls failed, three are lost."""
    start = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    made = instrument(edge(), keys=["a"])
    Edge.objects.update(heard_at=timezone.now() + timedelta(minutes=1))
    Instrument.objects.update(created_at=start)
    Cadence.objects.update(since=start - timedelta(days=1), interval=60.0)
    channel = Channel.objects.get()
    times = [start + timedelta(minutes=minute, seconds=30) for minute in range(120)]
    partitions.ensure({partitions.holding("sample", time.date()) for time in times})
    kept = [time for n, time in enumerate(times) if not (10 <= n < 30 or 70 <= n < 73)]
    Sample.objects.bulk_create(Sample(time=time, channel_id=channel.pk, value=1.0) for time in kept)
    Gap.objects.create(
        edge=made.edge, instrument=made, start=times[10], end=times[30], reason="not connected", count=20
    )
    return made


def ask(api: APIClient, **query: Any) -> Any:
    to = timezone.now().replace(minute=0, second=0, microsecond=0)
    answer = api.get(URL, {"from": (to - timedelta(hours=2)).isoformat(), "to": to.isoformat(), **query})
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_each_hour_adds_up(api: APIClient, bath: Instrument) -> None:
    answer = ask(api, instrument="bath")
    (course,) = answer["results"]
    assert (course["instrument_name"], course["key"], course["by"]) == ("bath", "a", "polls")
    told = ("due", "received", "missing", "unexplained", "lost", "share")
    first, second = ([cell[name] for name in told] for cell in course["cells"])
    assert first == [60, 40, {"not connected": 20}, 0, 0, pytest.approx(2 / 3)]
    assert second == [60, 57, {}, 3, 3, 0.95]
    assert [course[name] for name in told] == [120, 97, {"not connected": 20}, 3, 3, pytest.approx(97 / 120)]
    (hole,) = course["holes"]
    assert hole["missed"] == 3
    assert answer["start"] == course["start"] == course["cells"][0]["start"]


def test_by_channel_edge_and_day(api: APIClient, bath: Instrument) -> None:
    channel = Channel.objects.get()
    by_day = ask(api, edge="bench", per="day")
    assert sum(cell["received"] for cell in by_day["results"][0]["cells"]) == 97
    assert all(cell["start"].endswith("T00:00:00Z") for cell in by_day["results"][0]["cells"])
    assert [course["channel"] for course in ask(api, channel=channel.pk)["results"]] == [channel.pk]


def test_the_present_hour_is_judged_up_to_now(api: APIClient, bath: Instrument) -> None:
    (course,) = api.get(URL, {"instrument": str(bath.pk), "from": "-3h"}).json()["results"]
    now = timezone.now()
    assert course["cells"][-1]["due"] <= now.minute + 1
    assert course["cells"][-1]["received"] == 0


def test_it_costs_the_same_for_many_channels(
    api: APIClient, bath: Instrument, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        Channel.objects.create(instrument=bath, key=f"k{number}", label="k")
    with django_assert_max_num_queries(QUERY_BUDGET):
        assert len(ask(api, instrument="bath")["results"]) == 31


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({}, "channel"),
        ({"channel": "x"}, "channel"),
        ({"instrument": "nobody"}, "instrument"),
        ({"edge": "nowhere"}, "edge"),
        ({"instrument": "bath", "per": "week"}, "per"),
        ({"instrument": "bath", "from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ({"instrument": "bath", "from": "2000-01-01"}, "from"),
        ({"instrument": "bath", "points": "5"}, "points"),
        ({"instrument": "bath", "cursor": "5"}, "cursor"),
    ],
)
def test_a_wrong_question_is_named(
    api: APIClient, bath: Instrument, query: dict[str, str], named: str
) -> None:
    answer = api.get(URL, query)
    assert (answer.status_code, list(answer.json())) == (400, [named])


def test_random_questions_always_add_up(api: APIClient, bath: Instrument) -> None:
    of = random.Random(1)
    for _ in range(5):
        (course,) = ask(api, instrument="bath", **{"from": f"-{of.randint(1, 60)}h", "to": "now"})["results"]
        for cell in [course, *course["cells"]]:
            assert cell["due"] == cell["received"] + sum(cell["missing"].values()) + cell["unexplained"]
