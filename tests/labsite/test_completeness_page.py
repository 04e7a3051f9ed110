"""The page of completeness."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from devices.models import Cadence, Channel, Edge, Instrument
from labsite.pages import completeness
from telemetry import partitions
from telemetry.models import Gap, Sample
from tests import factories
from tests.telemetry.factories import edge, instrument

pytestmark = pytest.mark.django_db

URL = "/completeness/"
QUERY_BUDGET = 20


@pytest.fixture
def client() -> Client:
    made = Client()
    made.force_login(factories.person(staff=False))
    return made


def polled(name: str, missing: range, *, explained: bool, on: Edge | None = None) -> Instrument:
    """Each minute for the last twelve whole hours, but for some."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    start = now - timedelta(hours=12)
    made = instrument(on or Edge.objects.filter(name="bench").first() or edge(), name, keys=["a"])
    Instrument.objects.filter(pk=made.pk).update(created_at=start - timedelta(days=1))
    Cadence.objects.filter(instrument=made).update(since=start, interval=60.0)
    Edge.objects.update(heard_at=timezone.now() + timedelta(minutes=1))
    times = [start + timedelta(minutes=minute, seconds=30) for minute in range(13 * 60)]
    partitions.ensure({partitions.holding("sample", time.date()) for time in times})
    channel = Channel.objects.get(instrument=made)
    Sample.objects.bulk_create(
        Sample(time=time, channel_id=channel.pk, value=1.0)
        for number, time in enumerate(times)
        if number not in missing and time <= timezone.now()
    )
    if explained:
        _away(made, times[missing.start], times[missing.stop], len(missing))
    return made


def _away(of: Instrument, start: datetime, end: datetime, count: int) -> None:
    Gap.objects.create(edge=of.edge, instrument=of, start=start, end=end, reason="not connected", count=count)


def shown(client: Client, **query: Any) -> str:
    answer = client.get(URL, query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_worst_come_first_with_what_explains_it(
    client: Client, django_assert_max_num_queries: Any
) -> None:
    polled("Bath", range(100, 120), explained=True)
    polled("Chiller", range(300, 303), explained=False)
    polled("Well", range(0), explained=False)
    with django_assert_max_num_queries(QUERY_BUDGET):
        page = shown(client, span="12h")
    places = [page.index(f">{name}</a></th>") for name in ("Chiller", "Bath", "Well")]
    assert places == sorted(places), "lost first, then by how much is missing"
    assert "3 readings are missing and nothing explains it" in page
    assert "not connected 20" in page
    assert "a: 3 between" in page
    assert "100 %" in page
    assert "complete all the time" in page


def test_a_strip_is_told_in_words(client: Client) -> None:
    polled("Bath", range(60, 90), explained=True)
    page = shown(client, span="12h")
    assert page.count('class="miss3"') == 2, "in the strip and in the legend"
    assert "UTC: 50.00 %" in page


def test_nothing_lost_is_said(client: Client) -> None:
    polled("Bath", range(60, 90), explained=True)
    assert "No reading was lost" in shown(client)
    assert "No reading was lost" in shown(client, span="7d")


def test_those_of_one_edge(client: Client) -> None:
    polled("Bath", range(0), explained=False)
    polled("Far", range(0), explained=False, on=edge("barn"))
    page = shown(client, edge="barn")
    assert "Far" in page
    assert "Bath" not in page
    assert "<option selected>barn</option>" in page


def test_an_empty_lab_is_told_what_to_do(client: Client) -> None:
    assert "Nothing was due in this time" in shown(client)


def test_too_much_for_one_page_is_told_with_a_way_on(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    polled("Bath", range(0), explained=False)
    monkeypatch.setattr(completeness, "CELLS_MAX", 20)
    page = shown(client)
    assert "There are too many channels for one page" in page
    assert "manage.py completeness --edge NAME" in page
    assert "Bath" in shown(client, span="12h")


def test_who_may_see_it(client: Client) -> None:
    assert Client().get(URL).status_code == 302
    assert client.get(URL, {"span": "1y"}).status_code == 400
    assert f'href="{reverse("completeness")}"' in client.get("/").content.decode()
