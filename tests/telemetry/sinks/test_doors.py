"""Sinks through the API, the admin and the lab file: for staff, checked, their secrets only named."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.lab_file import LabFileError
from devices.models import Instrument
from devices.services import OPERATOR
from labsite import lab_file
from telemetry.models import SetAside, Sink
from telemetry.sinks import editing
from tests.devices.test_admin import errors, filled, opened
from tests.factories import client, person
from tests.telemetry import factories
from tests.telemetry.sinks.factories import sink, stored
from tests.telemetry.sinks.servers import Answer, Scripted, each

pytestmark = pytest.mark.django_db

API = "/api/v1/sinks/"
ADMIN = "/admin/telemetry/sink/"
DESCRIBED = {"name": "influx", "url": "http://influx:8086", "bucket": "lab"}

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"url": "http://joe:word@influx.lab"}, "url"),
    ({"url": "ftp://influx.lab"}, "url"),
    ({"url": "http://influx.lab:port"}, "url"),
    ({"url": "http://[::1"}, "url"),
    ({"url": "http:///write"}, "url"),
    ({"url": "http://influx.lab?token=word"}, "url"),
    ({"secret": "s3cr3t!"}, "secret"),
    ({"api": "v1", "secret": "INFLUX"}, "secret"),
    ({"measurement": "#comment"}, "measurement"),
    ({"tags": ["a"]}, "tags"),
    ({"tags": {"a": 1}}, "tags"),
    ({"tags": {"_a": "b"}}, "tags"),
    ({"tags": {"a": "{password}"}}, "tags"),
    ({"only": {"room": "214"}}, "only"),
    ({"only": {"driver": []}}, "only"),
    ({"batch_size": 0}, "batch_size"),
    ({"flush_interval": 0}, "flush_interval"),
    ({"schema": "mine"}, "schema"),
    ({"bucket": ""}, "bucket"),
    ({"name": "two words"}, "name"),
]


@pytest.fixture
def api() -> APIClient:
    return client(person())


@pytest.fixture
def bath() -> Instrument:
    return factories.instrument(factories.edge())


# ---- the API


def test_the_api_is_for_staff() -> None:
    assert client().get(API).status_code in (401, 403)
    assert client(person("guest", staff=False)).get(API).status_code == 403
    with pytest.raises(PermissionDenied):
        editing.test_sink(Sink(), person("other", staff=False))


@pytest.mark.django_db(transaction=True)
def test_a_sink_is_made_changed_and_deleted(api: APIClient, bath: Instrument) -> None:
    made = api.post(API, DESCRIBED, format="json")
    assert made.status_code == 201, made.json()
    url = f"{API}{made.json()['id']}/"
    stored(bath, "a", [1.0, 2.0])
    told = api.get(url).json()
    assert (told["state"], told["backlog_rows"], told["points"]) == ("fed", 1, 0)
    assert 0 < told["backlog_bytes"] < 1000
    assert 0 <= told["behind"] < 60
    changed = api.patch(url, {"enabled": False, "only": {"tag": ["a", "b"]}}, format="json").json()
    assert (changed["state"], changed["only"]) == ("disabled", {"tag": ["a", "b"]})
    Sink.objects.update(must_rebuild=True, enabled=True, error="gone")
    assert api.get(url).json()["state"] == "to be rebuilt"
    assert api.post(f"{url}start-at-present/").json()["state"] == "fed"
    assert api.get(url).json()["backlog_rows"] == 0
    assert api.delete(url).status_code == 204
    assert not Sink.objects.exists()


@pytest.mark.parametrize(("wrong", "field"), FAULTS, ids=lambda value: str(value)[:40])
def test_what_cannot_work_is_refused_by_name(api: APIClient, wrong: dict[str, Any], field: str) -> None:
    answer = api.post(API, {**DESCRIBED, **wrong}, format="json")
    assert answer.status_code == 400
    assert list(answer.json()) == [field]


def test_the_list_asks_few_questions(api: APIClient) -> None:
    for number in range(5):
        sink("http://127.0.0.1:9", f"sink{number}")
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert len(api.get(API).json()["results"]) == 5
    assert len(asked) <= 5


def test_a_test_and_what_was_set_aside(api: APIClient) -> None:
    with Scripted(each(Answer(204, X_Influxdb_Version="2.7.1"), Answer(404, "bucket not found"))) as server:
        made = sink(server.url)
        url = f"{API}{made.pk}/"
        tested = api.post(f"{url}test/").json()
        assert tested == {"ok": True, "words": f"127.0.0.1:{server.port} (2.7.1) takes points"}
        assert server.taken == ["# a test of the connection"]
        assert api.post(f"{url}test/").json() == {"ok": False, "words": "404 bucket not found"}
    SetAside.objects.create(sink=made, line="m v=1 1", reason="400 conflict")
    (aside,) = api.get(f"{url}set-aside/").json()
    assert (aside["line"], aside["reason"]) == ("m v=1 1", "400 conflict")


# ---- the admin


def test_the_admin_saves_through_the_service(django_client: Client) -> None:
    page = opened(django_client, f"{ADMIN}add/")
    answer = django_client.post(
        f"{ADMIN}add/", filled(page, **DESCRIBED, tags='{"a": "{room}"}', only='{"tag": "x"}')
    )
    assert list(errors(answer)) == ["tags"]
    answer = django_client.post(f"{ADMIN}add/", filled(page, **DESCRIBED, tags='{"a": "{edge}"}'))
    assert answer.status_code == 302, errors(answer)
    made = Sink.objects.get()
    assert made.at_xid > 0  # it starts at the present
    page = opened(django_client, f"{ADMIN}{made.pk}/change/")
    django_client.post(f"{ADMIN}{made.pk}/change/", filled(page, batch_size="7"))
    made.refresh_from_db()
    assert made.batch_size == 7
    SetAside.objects.create(sink=made, line="m v=1 1", reason="400 conflict")
    assert "400 conflict" in django_client.get("/admin/telemetry/setaside/").content.decode()
    django_client.post(f"{ADMIN}{made.pk}/delete/", {"post": "yes"})
    assert not Sink.objects.exists()


def test_the_admins_actions(django_client: Client) -> None:
    with Scripted(each(Answer(401, "unauthorized access"))) as server:
        made = sink(server.url)
        for action, said in (
            ("test", "copy: 401 unauthorized access"),
            ("disable", "Done: 1."),
            ("enable", "Done: 1."),
            ("start_at_present", "Done: 1."),
        ):
            answer = django_client.post(ADMIN, {"action": action, "_selected_action": [made.pk]})
            assert [str(message) for message in get_messages(answer.wsgi_request)][-1:] == [said]
            made.refresh_from_db()
            assert made.enabled is (action != "disable")
        assert re.search(r"\bfed\b", django_client.get(ADMIN).content.decode())


@pytest.fixture(name="django_client")
def browser(client: Client) -> Client:
    client.force_login(person())
    return client


# ---- the lab file

LAB = """\
[[sink]]
name = "influx"
url = "http://influx.lab:8086"
org = "lab"
bucket = "instruments"
secret = "INFLUX"
flush_interval = 2

[sink.tags]
site = "B"

[sink.only]
tag = ["room-214"]
"""


def apply(text: str, **how: Any) -> list[str]:
    return [str(change) for change in lab_file.apply(lab_file.parse(text, "lab.toml"), OPERATOR, **how)]


def test_a_lab_file_makes_changes_and_prunes() -> None:
    assert apply(LAB)[0].startswith("+ sink influx\n")
    made = Sink.objects.get()
    assert (made.tags, made.only, made.flush_interval) == ({"site": "B"}, {"tag": ["room-214"]}, 2.0)
    assert apply(LAB) == []
    exported = lab_file.export()
    assert 'secret = "INFLUX"' in exported
    assert apply(exported, prune=True) == []
    assert apply(LAB.replace("flush_interval = 2", "enabled = false")) == [
        "~ sink influx\n    enabled: true → false"
    ]
    assert "− sink influx" in apply("", prune=True)
    assert not Sink.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (('org = "lab"', 'api = "v3"'), "lab.toml:4: sink 'influx': api: 'v3' is none; there are v1, v2"),
        (('url = "http://influx.lab:8086"', 'url = "http://a:b@c"'), "do not go into the URL"),
        (('bucket = "instruments"', ""), "bucket"),
        (("flush_interval = 2", 'flush_interval = "2"'), "flush_interval"),
        (('site = "B"', "site = 3"), "tags: A tag has a name"),
    ],
)
def test_a_wrong_file_names_the_line_and_changes_nothing(wrong: tuple[str, str], words: str) -> None:
    with pytest.raises(LabFileError, match=re.escape(words)):
        apply(LAB.replace(*wrong))
    assert not Sink.objects.exists()


def test_the_documentations_example_works() -> None:
    path = Path("docs/examples/influxdb.toml")
    changes = lab_file.apply(lab_file.read(path), OPERATOR)
    assert len([change for change in changes if change.kind == "sink"]) == Sink.objects.count() > 2
    assert set(Sink.objects.values_list("schema", flat=True)) == set(Sink.Schema.values)
