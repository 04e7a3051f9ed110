"""The API of samples, and the admin of what is missing or was rejected."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from devices.models import Channel
from devices.readings import Flag, Quality
from telemetry import partitions
from telemetry.models import Gap, RejectedBatch
from tests import factories

pytestmark = pytest.mark.django_db

URL = "/api/v1/samples/"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
QUERY_BUDGET = 4


@pytest.fixture
def api() -> APIClient:
    return factories.client(factories.person(staff=False))


@pytest.fixture(params=[False, True], ids=["standard", "demo"])
def channel(request: pytest.FixtureRequest) -> Channel:
    """A channel with one reading a second for ten seconds from noon on, in its partition."""
    found = factories.instrument(demo=request.param).channels.all()[0]
    table = "sample_demo" if request.param else "sample"
    partitions.ensure([partitions.Partition(table, NOON.date())])
    with connection.cursor() as cursor:
        for second in range(10):
            cursor.execute(
                f"INSERT INTO {table} (time, value, channel_id, quality, text) VALUES (%s, %s, %s, %s, %s)",
                [NOON + timedelta(seconds=second), float(second), found.pk, 0, None],
            )
        cursor.execute(
            f"UPDATE {table} SET value = NULL, text = 'open', quality = %s WHERE time = %s",
            [Quality.BAD | Flag.CLOCK_UNSURE, NOON + timedelta(seconds=3)],
        )
    return found


def test_samples_of_a_time(api: APIClient, channel: Channel) -> None:
    query = {"channel": str(channel.pk), "from": "2026-11-21T12:00:02Z", "to": "2026-11-21T12:00:05Z"}
    answer = api.get(URL, query).json()
    assert answer["next"] is None
    assert [row["value"] for row in answer["results"]] == [2.0, None, 4.0]
    assert answer["results"][1] == {
        "time": "2026-11-21T12:00:03Z",
        "value": None,
        "quality": "bad",
        "flags": ["clock_unsure"],
        "text": "open",
    }


@pytest.mark.parametrize(
    "start",
    ["2026-11-21T12:00:08+00:00", "2026-11-21T12:00:08", "2026-11-21 13:00:08 01:00", "1795262408000"],
)
def test_times_are_iso_or_milliseconds(api: APIClient, channel: Channel, start: str) -> None:
    query = {"channel": str(channel.pk), "from": start, "to": "2026-11-21T13:00:00Z"}
    assert [row["value"] for row in api.get(URL, query).json()["results"]] == [8.0, 9.0]


def test_the_hour_before_the_end_is_asked_if_there_is_no_beginning(api: APIClient, channel: Channel) -> None:
    query = {"channel": str(channel.pk), "to": "2026-11-21T13:00:05Z"}
    assert [row["value"] for row in api.get(URL, query).json()["results"]] == [5.0, 6.0, 7.0, 8.0, 9.0]


def test_pages_follow_each_other_to_the_end(api: APIClient, channel: Channel) -> None:
    query = {
        "channel": str(channel.pk),
        "from": NOON.isoformat(),
        "to": "2026-11-21T12:00:09Z",
        "page_size": "4",
    }
    answer = api.get(URL, query).json()
    pages = [[row["value"] for row in answer["results"]]]
    while answer["next"]:
        answer = api.get(answer["next"]).json()
        pages.append([row["value"] for row in answer["results"]])
    assert pages == [[0.0, 1.0, 2.0, None], [4.0, 5.0, 6.0, 7.0], [8.0]]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({}, "channel"),
        ({"channel": "x"}, "channel"),
        ({"channel": "999999999"}, "channel"),
        ({"channel": "99999999999999999999"}, "channel"),
        ({"channel": ["1", "2"]}, "channel"),
        ({"channel": "OWN", "from": "yesterday"}, "from"),
        ({"channel": "OWN", "to": "2026-13-01"}, "to"),
        ({"channel": "OWN", "to": "0001-01-01T00:00:00+14:00"}, "to"),
        ({"channel": "OWN", "to": "9" * 5000}, "to"),
        ({"channel": "OWN", "from": "2026-11-22", "to": "2026-11-21"}, "from"),
        ({"channel": "OWN", "page_size": "0"}, "page_size"),
        ({"channel": "OWN", "page_size": "10001"}, "page_size"),
        ({"channel": "OWN", "cursor": "x"}, "cursor"),
        ({"channel": "OWN", "until": "2026-11-21"}, "until"),
    ],
)
def test_a_wrong_question_names_its_parameter(api: APIClient, query: dict[str, str], parameter: str) -> None:
    number = str(factories.instrument().channels.all()[0].pk)
    asked = {name: number if value == "OWN" else value for name, value in query.items()}
    answer = api.get(URL, asked)
    assert (answer.status_code, list(answer.json())) == (400, [parameter])


def test_samples_keep_to_their_query_budget(
    api: APIClient, channel: Channel, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(QUERY_BUDGET):
        assert api.get(URL, {"channel": str(channel.pk), "to": "2026-11-21T12:30Z"}).status_code == 200


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(factories.person())
    return client


def test_gaps_are_shown_and_not_edited(browser: Client) -> None:
    instrument = factories.instrument()
    gap = Gap.objects.create(
        edge=instrument.edge, instrument=instrument, start=NOON, end=NOON, reason="overrun"
    )
    assert "overrun" in browser.get("/admin/telemetry/gap/").content.decode()
    assert browser.get(f"/admin/telemetry/gap/{gap.pk}/change/").status_code == 200
    assert browser.post(f"/admin/telemetry/gap/{gap.pk}/change/", {"reason": "x"}).status_code == 403
    assert browser.get("/admin/telemetry/gap/add/").status_code == 403


def test_a_rejected_batch_is_tried_again_and_says_what_is_still_wrong(browser: Client) -> None:
    rejected = RejectedBatch.objects.create(
        edge=factories.edge(),
        spool=uuid.uuid4(),
        sequence=1,
        packed=b"no batch",
        reason="batch: no",
        stored=False,
        rejected_at=timezone.now(),
    )
    url = "/admin/telemetry/rejectedbatch/"
    assert browser.get(f"{url}{rejected.pk}/change/").status_code == 200
    again = {"action": "try_again", "_selected_action": rejected.pk}
    told = browser.post(url, again, follow=True).content.decode()
    assert "Error -3" in told
    assert RejectedBatch.objects.filter(pk=rejected.pk).exists()
