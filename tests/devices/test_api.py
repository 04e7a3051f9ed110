"""The API of edges, drivers, instruments, channels and latest readings."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from devices import drivers
from devices.models import Channel, Edge, Instrument, Latest
from devices.readings import Flag, Quality
from tests import factories

pytestmark = pytest.mark.django_db

URL = "/api/v1/instruments/"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
QUERY_BUDGET = 4  # session, user, and two for the list


@pytest.fixture
def api() -> APIClient:
    factories.edge()
    return factories.client(factories.person())


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(drivers.OWN, "probe", "tests.factories:Probe")


def bath(**fields: Any) -> dict[str, Any]:
    return {"name": "Bath 1", "driver": "thermostat", "address": factories.ADDRESS, **fields}


def names(answer: Any) -> list[str]:
    return [row["name"] for row in answer.json()["results"]]


def test_an_instrument_is_made_read_edited_and_retired(api: APIClient) -> None:
    made = api.post(URL, bath()).json()
    assert (made["edge"], made["interval"], made["in_service"], made["demo"]) == ("local", 1.0, True, False)
    assert Channel.objects.filter(instrument=made["id"], key__contains="temperature").exists()

    one = f"{URL}{made['id']}/"
    edited = api.patch(one, {"interval": 0.1}).json()
    assert edited["interval"] == 0.1
    assert edited["revision"] > made["revision"]
    assert api.put(one, bath(interval=86_400)).json()["interval"] == 86_400

    assert api.delete(one).status_code == 204
    assert api.get(one).status_code == 404
    assert api.delete(one).status_code == 404
    assert Instrument.objects.get(pk=made["id"]).retired_at is not None
    assert api.post(URL, bath()).status_code == 201  # its name is free again


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"interval": 0.09}, "interval", "must be 0.1 to 86400"),
        ({"interval": 86_401}, "interval", "must be 0.1 to 86400"),
        ({"interval": "nan"}, "interval", "number of seconds"),
        ({"interval": "often"}, "interval", "number of seconds"),
        ({"interval": None}, "interval", "null"),
        ({"name": ""}, "name", "blank"),
        ({"name": "x" * 81}, "name", "80"),
        ({"name": "a\0b"}, "name", "Null characters"),
        ({"driver": "samovar"}, "driver", "thermostat"),
        ({"edge": "nowhere"}, "edge", "nowhere"),
        ({"address": "192.168.1.26"}, "address", "tcp://"),
        ({"address": "gopher://a"}, "address", "gopher"),
        ({"address": "edge://local"}, "address", "tcp://"),
        ({"options": {"colour": "red"}}, "options", "colour"),
        ({"options": "red"}, "options", "dictionary"),
    ],
)
def test_what_cannot_work_is_refused_by_field(
    api: APIClient, fields: dict[str, Any], field: str, said: str
) -> None:
    answer = api.post(URL, bath(**fields))
    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert said in str(answer.json()[field])


@pytest.mark.usefixtures("probe")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "medium"}, "fast, slow"),
        ({"count": 11}, "above 10"),
        ({"count": 1.5}, "not a int"),
        ({"count": True}, "not a int"),
        ({"gain": 10**400}, "not a finite number"),
        ({"note": "a\0b"}, "cannot be stored"),
        ({"note": {"a": 1}}, "not a str"),
        ({"invert": 1}, "not a bool"),
    ],
)
def test_options_are_held_against_the_declaration(api: APIClient, options: dict[str, Any], said: str) -> None:
    answer = api.post(URL, bath(driver="probe", options=options))
    assert answer.status_code == 400
    assert said in str(answer.json()["options"])


@pytest.mark.usefixtures("probe")
def test_half_a_surrogate_pair_is_refused(api: APIClient) -> None:
    body = json.dumps(bath(driver="probe", options={"note": "\ud800"}))
    answer = api.generic("POST", URL, body, content_type="application/json")
    assert answer.status_code == 400


def test_a_name_is_given_once(api: APIClient) -> None:
    api.post(URL, bath())
    answer = api.post(URL, bath())
    assert (answer.status_code, list(answer.json())) == (400, ["name"])


def test_a_body_that_is_no_json_is_refused(api: APIClient) -> None:
    assert api.generic("POST", URL, "{", content_type="application/json").status_code == 400
    assert api.post(URL, {"name": "a"}, format=None, content_type="text/plain").status_code == 415


def test_a_refusal_is_a_conflict(api: APIClient) -> None:
    host = Instrument.objects.get(driver="edge_host")
    answer = api.delete(f"{URL}{host.pk}/")
    assert answer.status_code == 409
    assert "retired with it" in answer.json()["detail"]


def test_an_edge_is_made_and_retired(api: APIClient) -> None:
    made = api.post("/api/v1/edges/", {"name": "bench"}).json()
    one = f"/api/v1/edges/{made['id']}/"
    assert names(api.get("/api/v1/edges/")) == ["bench", "local"]
    factories.instrument(edge=Edge.objects.get(name="bench"))
    assert api.delete(one).status_code == 409
    api.delete(f"{URL}{Instrument.objects.get(name='Bath 1').pk}/")
    assert api.delete(one).status_code == 204
    assert names(api.get("/api/v1/edges/")) == ["local"]
    assert names(api.get("/api/v1/edges/?retired=true")) == ["bench"]


def test_an_edges_name_is_checked(api: APIClient) -> None:
    answer = api.post("/api/v1/edges/", {"name": "No Name"})
    assert (answer.status_code, list(answer.json())) == (400, ["name"])


@pytest.mark.usefixtures("probe")
def test_drivers_tell_what_they_declare(api: APIClient) -> None:
    told = {driver["name"]: driver for driver in api.get("/api/v1/drivers/").json()}
    assert set(told) >= {"edge_host", "probe", "thermostat"}
    options = {option["name"]: option for option in told["probe"]["options"]}
    assert options["count"] == {
        "name": "count", "kind": "int", "default": 3, "help": "Samples for one value",
        "choices": [], "low": 1.0, "high": 10.0,
    }  # fmt: skip
    assert options["mode"]["choices"] == ["fast", "slow"]
    assert told["probe"]["channels"][0]["key"] == "level"
    assert told["thermostat"]["example"].startswith("tcp://")
    assert api.get("/api/v1/drivers/probe/").json() == told["probe"]
    assert api.get("/api/v1/drivers/samovar/").status_code == 404


def test_a_driver_that_does_not_load_is_told_with_its_error(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(drivers.OWN, "broken", "tests.nowhere:Broken")
    told = api.get("/api/v1/drivers/broken/").json()
    assert "does not load" in told["error"]


def test_instruments_are_found_by_filters(api: APIClient) -> None:
    factories.instrument("Bath 1")
    factories.instrument("Bath 2", in_service=False)
    factories.instrument("Demo", demo=True, edge=factories.edge("bench"))
    assert names(api.get(URL + "?search=bath")) == ["Bath 1", "Bath 2"]
    assert names(api.get(URL + "?in_service=false")) == ["Bath 2"]
    assert names(api.get(URL + "?demo=true")) == ["Demo"]
    assert names(api.get(URL + "?edge=bench&driver=thermostat")) == ["Demo"]
    assert names(api.get(URL + "?name=Bath 1")) == ["Bath 1"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("instruments/?serach=a", "serach"),
        ("instruments/?in_service=perhaps", "in_service"),
        ("channels/?instrument=7", "instrument"),
        ("latest/?channel=x", "channel"),
        ("latest/?stored_after=x", "stored_after"),
        ("edges/?x=1", "x"),
        ("drivers/?x=1", "x"),
    ],
)
def test_a_question_that_means_nothing_names_its_parameter(
    api: APIClient, query: str, parameter: str
) -> None:
    answer = api.get(f"/api/v1/{query}")
    assert (answer.status_code, list(answer.json())) == (400, [parameter])


def test_tags_are_words_and_found_by(api: APIClient) -> None:
    made = api.post(URL, bath(tags=["room-214", "project_é", "room-214"])).json()
    factories.instrument("Other", tags=["room-21"])
    assert made["tags"] == ["room-214", "project_é"]
    assert names(api.get(URL + "?tag=room-214")) == ["Bath 1"]
    assert names(api.get(URL + "?tag=room")) == []
    assert api.patch(f"{URL}{made['id']}/", {"tags": []}).json()["tags"] == []


@pytest.mark.parametrize("tags", [["two words"], [""], ["x" * 41], "room", [None], ["a,b"]])
def test_what_is_no_tag_is_refused(api: APIClient, tags: Any) -> None:
    answer = api.post(URL, bath(tags=tags))
    assert (answer.status_code, list(answer.json())) == (400, ["tags"])


def test_pages_follow_each_other(api: APIClient) -> None:
    for number in range(5):
        factories.instrument(f"Bath {number}")
    url, seen = URL + "?driver=thermostat&page_size=2", []
    while url:
        answer = api.get(url)
        seen += names(answer)
        url = answer.json()["next"]
    assert seen == [f"Bath {number}" for number in range(5)]


def latest(channel: Channel, **fields: Any) -> Latest:
    stamps = {"time": NOW, "seen_at": NOW, "stored_at": NOW}
    return Latest.objects.create(channel=channel, **{**stamps, "value": 21.5, **fields})


def test_the_latest_reading_says_how_far_to_trust_it(api: APIClient) -> None:
    instrument = factories.instrument()
    good, bad, infinite, *_ = instrument.channels.all()
    latest(good)
    latest(bad, value=None, text="open", quality=Quality.BAD | Flag.CLOCK_UNSURE)
    latest(infinite, value=float("nan"), stored_at=NOW + timedelta(seconds=5))
    rows = api.get(f"/api/v1/latest/?instrument={instrument.pk}").json()["results"]
    assert [row["value"] for row in rows] == [21.5, None, None]
    assert [row["quality"] for row in rows] == ["good", "bad", "good"]
    assert rows[1]["flags"] == ["clock_unsure"]
    assert rows[1]["text"] == "open"
    assert rows[0]["instrument_name"] == "Bath 1"
    assert rows[0]["time"] == "2026-11-21T12:00:00Z"
    newer = api.get("/api/v1/latest/?stored_after=2026-11-21T12:00:00Z").json()["results"]
    assert [row["channel"] for row in newer] == [infinite.pk]
    assert api.get(f"/api/v1/latest/{good.pk}/").json()["key"] == good.key


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("instrument_name=Bath 1", 1),
        ("edge=bench", 1),
        ("edge=local", 1),
        ("tag=cold", 1),
        ("tag=col", 0),
        ("key=ch1.temperature", 2),
        ("key=x", 0),
        ("tag=cold&edge=local", 0),
    ],
)
def test_latest_readings_are_found_by_what_they_are_of(api: APIClient, query: str, found: int) -> None:
    bench = factories.edge("bench")
    for name, fields in (("Bath 1", {}), ("Bath 2", {"edge": bench, "tags": ["cold", "room-3"]})):
        instrument = factories.instrument(name, **fields)
        latest(instrument.channels.get(key="ch1.temperature"))
    assert len(api.get(f"/api/v1/latest/?{query}").json()["results"]) == found


@pytest.mark.parametrize("path", ["edges", "instruments", "channels", "latest"])
def test_lists_keep_to_their_query_budget(
    api: APIClient, path: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        instrument = factories.instrument(f"Bath {number}", edge=factories.edge(f"edge-{number}"))
        latest(instrument.channels.all()[0])
    with django_assert_max_num_queries(QUERY_BUDGET):
        assert len(api.get(f"/api/v1/{path}/").json()["results"]) >= 3


@pytest.mark.parametrize("staff", [True, False])
def test_only_staff_may_write(staff: bool) -> None:
    factories.edge()
    api = factories.client(factories.person("somebody", staff=staff))
    assert api.get(URL).status_code == 200
    assert api.post(URL, bath()).status_code == (201 if staff else 403)
    assert api.delete(f"{URL}{uuid.uuid4()}/").status_code == (404 if staff else 403)


def test_a_session_needs_the_csrf_token() -> None:
    api = APIClient(enforce_csrf_checks=True)
    factories.edge()
    api.force_login(factories.person())
    assert api.post(URL, bath()).status_code == 403
