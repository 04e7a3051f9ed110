"""The API of series."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from devices.models import Channel
from devices.readings import Quality
from telemetry import partitions
from telemetry.models import Gap
from tests import factories

pytestmark = pytest.mark.django_db

URL = "/api/v1/series/"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NOON_MS = 1_795_262_400_000
MINUTE: dict[str, Any] = {"from": "2026-11-21T12:00:00Z", "to": "2026-11-21T12:01:00Z"}
QUERY_BUDGET = 14  # session, user, channels, what stands, what is expected, four for each form, gaps


@pytest.fixture
def api() -> APIClient:
    return factories.client(factories.person(staff=False))


@pytest.fixture
def channels() -> list[Channel]:
    """One of numbers and one of words, with a reading a second for a minute; the seventh is bad."""
    bath = factories.instrument()
    number, words = bath.channels.order_by("pk")[:2]
    bath.channels.filter(pk=words.pk).update(kind="text")
    partitions.ensure([partitions.holding("sample", NOON.date())])
    with connection.cursor() as cursor:
        for second in range(60):
            time, bad = NOON + timedelta(seconds=second), Quality.BAD if second == 7 else Quality.GOOD
            cursor.executemany(
                "INSERT INTO sample (time, value, channel_id, quality, text) VALUES (%s, %s, %s, %s, %s)",
                [
                    (time, None if bad else float(second), number.pk, bad, "open" if bad else None),
                    (time, None, words.pk, bad, "hot" if second > 30 else "cold"),
                ],
            )
    return list(bath.channels.order_by("pk")[:2])


def test_a_series_is_told_with_what_it_is_of(api: APIClient, channels: list[Channel]) -> None:
    number, words = channels
    Gap.objects.create(
        edge=number.instrument.edge,
        instrument=number.instrument,
        start=NOON + timedelta(seconds=7),
        end=NOON + timedelta(seconds=8, milliseconds=1),
        reason="overrun",
    )
    answer = api.get(URL, {"channel": [number.pk, words.pk], "points": "10", **MINUTE}).json()
    one, other = answer.pop("series")
    assert answer == {"start": NOON_MS, "end": NOON_MS + 60_000, "resolution": "raw", "width": 10.0}
    assert {name: one[name] for name in ("channel", "instrument_name", "key", "unit", "kind")} == {
        "channel": number.pk,
        "instrument_name": "Bath 1",
        "key": number.key,
        "unit": number.unit,
        "kind": number.kind,
    }
    assert one["time"] == [NOON_MS + 10_000 * bucket for bucket in range(6)]
    assert (one["n"], one["bad"]) == ([9, 10, 10, 10, 10, 10], [1, 0, 0, 0, 0, 0])
    assert (one["min"][0], one["max"][0], one["mean"][0]) == (0.0, 9.0, pytest.approx(38 / 9))
    assert one["gaps"] == [{"start": NOON_MS + 7000, "end": NOON_MS + 8001, "reasons": ["overrun"]}]
    assert other["text"] == ["cold", "cold", "cold", "hot", "hot", "hot"]
    assert other["changes"] == {"time": [NOON_MS, NOON_MS + 30_000], "text": ["cold", "hot"]}
    assert "min" not in other


def test_few_readings_are_told_one_by_one(api: APIClient, channels: list[Channel]) -> None:
    answer = api.get(URL, {"channel": channels[0].pk, **MINUTE}).json()
    assert (answer["resolution"], answer["width"]) == ("raw", None)
    (one,) = answer["series"]
    assert len(one["time"]) == 60
    assert one["mean"][6:9] == [6.0, None, 8.0]


@pytest.mark.parametrize("form", ["{0},{1}", "{1},{0},{1}"])
def test_channels_may_be_given_with_commas(api: APIClient, channels: list[Channel], form: str) -> None:
    numbers = [channel.pk for channel in channels]
    asked = form.format(*numbers)
    answer = api.get(URL, {"channel": asked, **MINUTE}).json()
    assert [each["channel"] for each in answer["series"]] == list(dict.fromkeys(map(int, asked.split(","))))


def test_the_last_hour_is_asked_if_no_time_is_given(api: APIClient, channels: list[Channel]) -> None:
    answer = api.get(URL, {"channel": channels[0].pk}).json()
    now = timezone.now().timestamp() * 1000
    assert answer["end"] == pytest.approx(now, abs=60_000)
    assert answer["end"] - answer["start"] == pytest.approx(3_600_000)


def test_one_element_of_vectors_is_asked_by_its_label(api: APIClient) -> None:
    wells = factories.instrument().channels.create(key="wells", label="wells", kind="vector")
    partitions.ensure([partitions.holding("vector_sample", NOON.date())])
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO vector_sample (time, channel_id, quality, "values", labels)'
            " VALUES (%s, %s, %s, %s, %s)",
            [NOON, wells.pk, 0, [1.5, None], ["A1", "A2"]],
        )
    of = {"channel": wells.pk, **MINUTE}
    for element, expected in (({"label": "A1"}, [1.5]), ({"index": 0}, [1.5]), ({"index": 1}, [])):
        (one,) = api.get(URL, {**of, **element}).json()["series"]
        assert one["max"] == expected
    (whole,) = api.get(URL, of).json()["series"]
    assert (whole["n"], whole["newest"], "max" in whole) == ([1], NOON_MS, False)


def test_they_keep_to_their_query_budget(
    api: APIClient, channels: list[Channel], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    asked: dict[str, Any] = {"channel": [each.pk for each in channels], "from": "-24h"}
    with django_assert_max_num_queries(QUERY_BUDGET):
        assert api.get(URL, asked).status_code == 200
