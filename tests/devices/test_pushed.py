"""Instruments that nobody polls: by the API, the admin, a lab file; their edge, no machine, is not shown."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from devices import lab_file, orders, services
from devices.errors import Refused
from devices.models import PUSH_EDGE, Edge, Instrument
from tests import factories

pytestmark = pytest.mark.django_db

URL = "/api/v1/instruments/"
CHANNELS = [{"key": "psi", "label": "ψ", "low": 0.5, "digits": 4}, {"key": "wells", "kind": "vector"}]
FILE = """
[[instrument]]
name = "SCS"
driver = "push"
interval = 60.0

[instrument.options]
channels = [{key = "psi", label = "ψ", low = 0.5, digits = 4}, {key = "wells", kind = "vector"}]
"""


@pytest.fixture
def api() -> APIClient:
    factories.edge()
    return factories.client(factories.person())


def scs(**fields: Any) -> dict[str, Any]:
    return {"name": "SCS", "driver": "push", "options": {"channels": CHANNELS}, **fields}


def test_the_api_makes_one_without_edge_and_address(api: APIClient) -> None:
    made = api.post(URL, scs(interval=60)).json()
    assert (made["edge"], made["address"]) == (PUSH_EDGE, "push://readings")
    told = api.get(f"/api/v1/channels/?instrument={made['id']}").json()["results"]
    assert [(row["key"], row["label"], row["kind"], row["low"], row["digits"]) for row in told] == [
        ("psi", "ψ", "float", 0.5, 4),
        ("wells", "wells", "vector", None, None),
    ]
    assert api.patch(f"{URL}{made['id']}/", {"interval": 5}).json()["interval"] == 5
    assert api.put(f"{URL}{made['id']}/", scs()).status_code == 200
    assert api.delete(f"{URL}{made['id']}/").status_code == 204


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"driver": "thermostat", "options": {}}, "address"),
        ({"driver": "thermostat", "options": {}, "address": "push://readings"}, "address"),
        ({"driver": "thermostat", "options": {}, "address": factories.ADDRESS, "edge": PUSH_EDGE}, "edge"),
        ({"options": {"channels": [{"key": "a", "kind": "colour"}]}}, "options"),
        ({"options": {"channels": [{"key": "a"}, {"key": "a"}]}}, "options"),
        ({"options": {"channels": "a"}}, "options"),
    ],
)
def test_what_cannot_work_is_refused_by_field(api: APIClient, fields: dict[str, Any], field: str) -> None:
    api.post(URL, scs(name="First"))
    answer = api.post(URL, scs(**fields))
    assert (answer.status_code, list(answer.json())) == (400, [field])


def test_polled_becomes_pushed_and_polled_again(api: APIClient) -> None:
    bath = api.post(URL, {"name": "Bath 1", "driver": "thermostat", "address": factories.ADDRESS}).json()
    one = f"{URL}{bath['id']}/"
    assert api.patch(one, {"driver": "push"}).json()["edge"] == PUSH_EDGE
    back = {"driver": "thermostat", "address": factories.ADDRESS}
    assert list(api.patch(one, back).json()) == ["edge"]
    assert api.patch(one, {**back, "edge": "local"}).json()["edge"] == "local"


def test_the_edge_that_is_no_machine_is_not_shown(api: APIClient, client: Client) -> None:
    api.post(URL, scs())
    edge = Edge.objects.get(name=PUSH_EDGE)
    assert [row["name"] for row in api.get("/api/v1/edges/").json()["results"]] == ["local"]
    assert api.delete(f"/api/v1/edges/{edge.pk}/").status_code == 404
    assert [row["name"] for row in api.get("/api/v1/status/").json()["edges"]] == ["local"]
    client.force_login(factories.person("admin"))
    assert PUSH_EDGE not in client.get("/admin/devices/edge/").content.decode()
    with pytest.raises(ValidationError):
        services.save_edge(PUSH_EDGE, by=services.OPERATOR)


def test_there_is_no_connection_to_test(api: APIClient) -> None:
    made = api.post(URL, scs()).json()
    answer = api.post(f"{URL}{made['id']}/test/", {})
    assert answer.status_code == 409
    with pytest.raises(Refused):
        services.test_connections([Instrument.objects.get(name="SCS")], by=services.OPERATOR)


def test_the_admins_form_asks_for_no_edge_and_no_address(client: Client) -> None:
    factories.edge()
    client.force_login(factories.person())
    form = "/admin/devices/instrument/add/?driver=push"
    page = client.get(form).content.decode()
    assert 'name="address"' not in page
    assert 'name="option_channels"' in page
    sent = {"name": "SCS", "driver": "push", "options_of": "push", "interval": "60", "in_service": "on"}
    channels = '[{"key": "psi"}]'
    assert client.post(form, {**sent, "option_channels": channels}).status_code == 302
    made = Instrument.objects.get(name="SCS")
    assert (made.edge.name, [channel.key for channel in made.channels.all()]) == (PUSH_EDGE, ["psi"])
    change = f"/admin/devices/instrument/{made.pk}/change/"
    assert client.get(change).status_code == 200
    assert client.post(change, {**sent, "option_channels": channels, "name": "S"}).status_code == 302
    assert client.get("/admin/devices/instrument/").status_code == 200
    switched = client.post(change, {**sent, "driver": "thermostat", "options_of": "push"})
    assert 'name="address"' in switched.content.decode()


def test_a_lab_file_makes_one_and_is_written_again() -> None:
    lab = lab_file.parse(FILE, "lab.toml")
    changes = lab_file.apply(lab, by=services.OPERATOR)
    assert [(change.sign, change.name) for change in changes] == [("+", "SCS")]
    assert not Edge.objects.exclude(name=PUSH_EDGE).exists()
    made = Instrument.objects.get()
    assert (made.edge.name, made.interval, made.channels.count()) == (PUSH_EDGE, 60.0, 2)
    written = lab_file.export()
    assert PUSH_EDGE not in written
    for text in (FILE, written):
        assert lab_file.apply(lab_file.parse(text, "lab.toml"), by=services.OPERATOR, prune=True) == []
    assert Edge.objects.filter(name=PUSH_EDGE, retired_at=None).exists()


@pytest.mark.parametrize("key", ["edge", "address"])
def test_a_lab_file_says_what_is_needless(key: str) -> None:
    with pytest.raises(lab_file.LabFileError, match=f"what is pushed has no {key}"):
        lab_file.parse(f'[[instrument]]\nname = "SCS"\ndriver = "push"\n{key} = "local"\n', "lab.toml")


def test_no_order_goes_out_for_it(api: APIClient) -> None:
    api.post(URL, scs())
    with connection.cursor() as cursor:
        for edge in Edge.objects.exclude(name=PUSH_EDGE):
            names = orders.whole_book(cursor, edge.pk, "epoch").ids
            assert str(Instrument.objects.get(name="SCS").pk) not in names
    assert Edge.objects.get(name=PUSH_EDGE).heard_at is None  # beat sends to those that are heard
