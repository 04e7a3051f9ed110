"""The API of vectors, events and runs, and the admin's lists of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from devices.models import Channel, Instrument, Run
from devices.readings import Flag, Quality
from telemetry import partitions
from telemetry.api import vectors as doors
from telemetry.models import Event
from tests import factories

pytestmark = pytest.mark.django_db

URL = "/api/v1/"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
QUERY_BUDGET = 4  # session, user, and two


@pytest.fixture
def api() -> APIClient:
    return factories.client(factories.person(staff=False))


@pytest.fixture
def qpcr() -> Instrument:
    return factories.instrument("qPCR")


def pages(api: APIClient, path: str, query: dict[str, Any]) -> list[list[Any]]:
    answer = api.get(URL + path, query).json()
    found = [answer["results"]]
    while answer["next"]:
        answer = api.get(answer["next"]).json()
        found.append(answer["results"])
    return found


# ---- vectors


@pytest.fixture(params=[False, True], ids=["standard", "demo"])
def wells(request: pytest.FixtureRequest) -> Channel:
    """A channel with one vector a minute for ten minutes from noon on."""
    of = factories.instrument("qPCR", demo=request.param)
    found = Channel.objects.create(
        instrument=of, key="wells", label="wells", kind="vector", retention="demo" if of.demo else "standard"
    )
    table = "vector_sample_demo" if request.param else "vector_sample"
    partitions.ensure([partitions.Partition(table, NOON.date())])
    with connection.cursor() as cursor:
        for minute in range(10):
            cursor.execute(
                f'INSERT INTO {table} (time, channel_id, quality, "values", labels)'
                " VALUES (%s, %s, %s, %s, %s)",
                [
                    NOON + timedelta(minutes=minute),
                    found.pk,
                    0,
                    [float(minute), None, 0.5],
                    ["A1", "A2", "A3"],
                ],
            )
        cursor.execute(
            f'UPDATE {table} SET labels = NULL, "values" = %s, quality = %s WHERE time = %s',
            [[float("inf")], Quality.BAD | Flag.CLOCK_UNSURE, NOON + timedelta(minutes=3)],
        )
    return found


def first_values(found: list[list[Any]]) -> list[list[float | None]]:
    return [[row["values"][0] for row in page] for page in found]


def test_vectors_of_a_time(api: APIClient, wells: Channel) -> None:
    query = {"channel": str(wells.pk), "from": "2026-11-21T12:02Z", "to": "2026-11-21T12:04Z"}
    answer = api.get(URL + "vectors/", query).json()
    assert answer == {
        "next": None,
        "results": [
            {
                "time": "2026-11-21T12:02:00Z",
                "values": [2.0, None, 0.5],
                "labels": ["A1", "A2", "A3"],
                "quality": "good",
                "flags": [],
            },
            {
                "time": "2026-11-21T12:03:00Z",
                "values": [None],
                "labels": None,
                "quality": "bad",
                "flags": ["clock_unsure"],
            },
        ],
    }


ALL = {"from": "2026-11-21T12:00Z", "to": "2026-11-21T13:00Z"}


def test_pages_of_vectors_follow_each_other(api: APIClient, wells: Channel) -> None:
    found = pages(api, "vectors/", {"channel": wells.pk, "page_size": 4, **ALL})
    assert first_values(found) == [[0.0, 1.0, 2.0, None], [4.0, 5.0, 6.0, 7.0], [8.0, 9.0]]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (6, [[0.0, 1.0], [2.0, None], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]),
        (1, [[0.0], [1.0], [2.0], [None], [4.0], [5.0], [6.0], [7.0], [8.0], [9.0]]),
    ],
)
def test_a_page_holds_no_more_than_so_many_numbers(
    api: APIClient, wells: Channel, monkeypatch: pytest.MonkeyPatch, most: int, expected: Any
) -> None:
    monkeypatch.setattr(doors, "PAGE_VALUES_MAX", most)
    assert first_values(pages(api, "vectors/", {"channel": wells.pk, **ALL})) == expected


# ---- events


def happened(of: Instrument, seconds: float, text: str = "", kind: str = "run_action", **more: Any) -> Event:
    time = NOON + timedelta(seconds=seconds)
    return Event.objects.create(instrument=of, time=time, kind=kind, text=text, **more)


def texts(found: list[list[Any]]) -> list[list[str]]:
    return [[row["text"] for row in page] for page in found]


def test_an_event_is_told_whole(api: APIClient, qpcr: Instrument) -> None:
    event = happened(qpcr, 0, "Step 3", fields={"stage": 2}, flags=Flag.INSTRUMENT_TIME)
    told = {
        "id": event.pk, "instrument": str(qpcr.pk), "instrument_name": "qPCR",
        "time": "2026-11-21T12:00:00Z", "kind": "run_action", "text": "Step 3", "fields": {"stage": 2},
        "flags": ["instrument_time"],
    }  # fmt: skip
    assert api.get(f"{URL}events/{event.pk}/").json() == told
    assert pages(api, "events/", {}) == [[told]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"kind": "alarm"}, ["d"]),
        ({"instrument_name": "Bath 1"}, ["e"]),
        ({"instrument": "OWN"}, ["d", "c", "b", "a"]),
        ({"from": "2026-11-21T12:00:02Z", "to": "1795262404000"}, ["e", "d", "c"]),
    ],
)
def test_events_are_found_by_filters(
    api: APIClient, qpcr: Instrument, query: dict[str, str], expected: list[str]
) -> None:
    for second, text in enumerate("abc"):
        happened(qpcr, second, text)
    happened(qpcr, 3, "d", "alarm")
    happened(factories.instrument("Bath 1"), 3.5, "e")
    asked = {name: str(qpcr.pk) if value == "OWN" else value for name, value in query.items()}
    assert texts(pages(api, "events/", asked)) == [expected]


def test_pages_of_events_of_one_time_follow_each_other(api: APIClient, qpcr: Instrument) -> None:
    for number in range(7):
        happened(qpcr, number // 5, f"{number}")
    assert texts(pages(api, "events/", {"page_size": 2})) == [["6", "5"], ["4", "3"], ["2", "1"], ["0"]]


# ---- runs


def ran(of: Instrument, start: float | None, end: float | None, **more: Any) -> Run:
    times = [None if each is None else NOON + timedelta(seconds=each) for each in (start, end)]
    fields = {"key": f"run {start}", "kind": "qpcr", "state": "running", "told_at": NOON, **more}
    return Run.objects.create(instrument=of, start=times[0], end=times[1], **fields)


def test_a_run_is_told_with_the_events_of_its_time(api: APIClient, qpcr: Instrument) -> None:
    run = ran(qpcr, 0, 60, title="Plate 7", progress=0.5, fields={"stage": 2}, flags=Flag.INSTRUMENT_TIME)
    for second in (-1, 0, 30, 60, 61):
        happened(qpcr, second, str(second))
    happened(factories.instrument("Bath 1"), 30, "another's")
    told = api.get(f"{URL}runs/{run.pk}/").json()
    assert [event["text"] for event in told.pop("events")] == ["0", "30", "60"]
    assert told == {
        "id": run.pk, "instrument": str(qpcr.pk), "instrument_name": "qPCR", "key": "run 0", "kind": "qpcr",
        "title": "Plate 7", "state": "running", "progress": 0.5, "start": "2026-11-21T12:00:00Z",
        "end": "2026-11-21T12:01:00Z", "fields": {"stage": 2}, "told_at": "2026-11-21T12:00:00Z",
        "flags": ["instrument_time"],
    }  # fmt: skip
    assert pages(api, "runs/", {}) == [[told]]
    assert texts(pages(api, "events/", {"run": run.pk})) == [["60", "30", "0"]]
    assert texts(pages(api, "events/", {"run": run.pk + 1})) == [[]]


def test_a_run_without_an_end_goes_on(api: APIClient, qpcr: Instrument) -> None:
    run = ran(qpcr, None, None)
    for second in (-1, 5):
        happened(qpcr, second, str(second))
    assert [event["text"] for event in api.get(f"{URL}runs/{run.pk}/").json()["events"]] == ["5"]


def test_a_run_that_was_lost_is_over_with_the_last_word_on_it(api: APIClient, qpcr: Instrument) -> None:
    run = ran(qpcr, -60, None, state="lost", title="lost")
    for second in (-1, 5):
        happened(qpcr, second, str(second))
    assert [event["text"] for event in api.get(f"{URL}runs/{run.pk}/").json()["events"]] == ["-1"]
    for start, expected in (("2026-11-21T12:00:00Z", 1), ("2026-11-21T12:00:01Z", 0)):
        assert len(api.get(f"{URL}runs/", {"from": start}).json()["results"]) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["c", "b", "a"]),
        ({"state": "failed"}, ["b"]),
        ({"kind": "calibration"}, ["a"]),
        ({"instrument_name": "Bath 1"}, []),
        ({"from": "2026-11-21T12:01:10Z"}, ["c", "b"]),
        ({"to": "2026-11-21T12:01:00Z"}, ["a"]),
        ({"from": "2026-11-21T12:00:30Z", "to": "2026-11-21T12:01:30Z"}, ["b", "a"]),
        ({"page_size": "2"}, ["c", "b", "a"]),
    ],
)
def test_runs_are_found_by_filters(
    api: APIClient, qpcr: Instrument, query: dict[str, str], expected: list[str]
) -> None:
    ran(qpcr, 0, 60, title="a", kind="calibration")
    ran(qpcr, 60, 120, title="b", state="failed")
    ran(qpcr, 120, None, title="c")
    assert [row["title"] for page in pages(api, "runs/", query) for row in page] == expected


# ---- all three


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("vectors/", "channel"),
        ("vectors/?channel=999999999", "channel"),
        ("vectors/?channel=OWN&from=yesterday", "from"),
        ("vectors/?channel=OWN&page_size=1001", "page_size"),
        ("vectors/?channel=OWN&cursor=x", "cursor"),
        ("vectors/?channel=OWN&until=2026-11-21", "until"),
        ("events/?from=yesterday", "from"),
        ("events/?to=" + "9" * 5000, "to"),
        ("events/?instrument=7", "instrument"),
        ("events/?run=x", "run"),
        ("events/?serach=x", "serach"),
        ("runs/?state=thawing", "state"),
        ("runs/?from=0001-01-01T00:00:00%2B14:00", "from"),
        ("runs/?x=1", "x"),
    ],
)
def test_a_wrong_question_names_its_parameter(
    api: APIClient, qpcr: Instrument, path: str, parameter: str
) -> None:
    answer = api.get(URL + path.replace("OWN", str(qpcr.channels.all()[0].pk)))
    assert (answer.status_code, list(answer.json())) == (400, [parameter])


def test_they_keep_to_their_query_budget(
    api: APIClient, qpcr: Instrument, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        of = factories.instrument(f"Bath {number}")
        happened(of, number)
        run = ran(of, number, None)
    channel = qpcr.channels.all()[0].pk
    for path in ("events/", "runs/", f"runs/{run.pk}/", f"vectors/?channel={channel}"):
        with django_assert_max_num_queries(QUERY_BUDGET):
            assert api.get(URL + path).status_code == 200


@pytest.mark.parametrize("path", ["vectors/", "events/", "runs/"])
def test_they_are_only_read(path: str) -> None:
    staff = factories.client(factories.person("staff"))
    assert staff.post(URL + path, {}).status_code == 405


def test_events_and_runs_are_shown_and_not_edited(client: Client, qpcr: Instrument) -> None:
    client.force_login(factories.person())
    for path, row in (("telemetry/event", happened(qpcr, 0, "Step 3")), ("devices/run", ran(qpcr, 0, None))):
        assert "qPCR" in client.get(f"/admin/{path}/").content.decode()
        assert client.get(f"/admin/{path}/{row.pk}/change/").status_code == 200
        assert client.post(f"/admin/{path}/{row.pk}/change/", {"text": "x"}).status_code == 403
        assert client.get(f"/admin/{path}/add/").status_code == 403
