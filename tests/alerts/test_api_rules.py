"""The API of rules: made, edited, tried on what was measured, and who may."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from alerts.models import Rule, RuleKind
from devices.models import Channel, Instrument
from tests.alerts import factories
from tests.factories import client, person, token_client
from tests.telemetry.factories import edge, instrument

pytestmark = pytest.mark.django_db

URL = "/api/v1/rules/"
QUERY_BUDGET = 5  # session, user, the list, its overrides


@pytest.fixture
def api() -> APIClient:
    return client(person())


@pytest.fixture
def bath() -> Instrument:
    return instrument(edge(), "bath", ("a", "b"))


@pytest.fixture
def channel(bath: Instrument) -> Channel:
    return bath.channels.get(key="a")


def names(answer: Any) -> list[str]:
    return [row["name"] for row in answer.json()["results"] if not row["built_in"]]


def test_a_rule_is_made_read_edited_and_deleted(api: APIClient, channel: Channel) -> None:
    given = {"name": "warm", "kind": "high", "high": 30, "priority": "critical", "channel": channel.pk}
    answer = api.post(URL, given)
    assert answer.status_code == 201
    made = answer.json()
    one = f"{URL}{made['id']}/"
    created = made.pop("created_at")
    assert made == {
        "id": made["id"], "name": "warm", "kind": "high", "enabled": True, "priority": "critical",
        "guidance": "", "channel": channel.pk, "instrument": None, "driver": "", "key": "", "tag": "",
        "edge": None, "low": None, "high": 30.0, "value": "", "deadband": 0.0, "seconds": None,
        "event_kind": "", "event_text": "", "on_delay": 0.0, "off_delay": 0.0, "latch": False,
        "suppressed_by": None, "suppressed_in": [], "chatter_changes": 6, "chatter_seconds": 600.0,
        "built_in": False, "overrides": [],
    }  # fmt: skip
    assert api.get(one).json() == {**made, "created_at": created}
    edited = api.patch(one, {"deadband": 2, "priority": "low", "suppressed_in": ["running"]}).json()
    assert (edited["deadband"], edited["priority"], edited["high"]) == (2.0, "low", 30.0)
    assert api.put(one, {"name": "cold", "kind": "low", "low": 3}).status_code == 400  # high is not for it
    assert api.put(one, {"name": "cold", "kind": "low", "low": 3, "high": None}).json()["kind"] == "low"
    assert api.delete(one).status_code == 204
    assert api.get(one).status_code == 404


def test_overrides_come_with_their_rule(api: APIClient, bath: Instrument) -> None:
    a, b = bath.channels.order_by("key")
    given = {"name": "warm", "kind": "high", "high": 30, "instrument": str(bath.pk)}
    made = api.post(URL, {**given, "overrides": [{"channel": a.pk, "high": 40, "priority": "high"}]}).json()
    one = f"{URL}{made['id']}/"
    assert made["overrides"] == [
        {
            "channel": a.pk, "instrument_name": "bath", "key": "a", "enabled": True, "low": None,
            "high": 40.0, "value": "", "deadband": None, "seconds": None, "on_delay": None,
            "off_delay": None, "priority": "high",
        }
    ]  # fmt: skip
    assert len(api.patch(one, {"high": 31}).json()["overrides"]) == 1
    replaced = api.patch(one, {"overrides": [{"channel": b.pk, "enabled": False}]}).json()["overrides"]
    assert [(each["channel"], each["enabled"]) for each in replaced] == [(b.pk, False)]
    wrong = api.patch(one, {"overrides": [{"channel": b.pk, "low": 1}]})
    assert (wrong.status_code, list(wrong.json())) == (400, ["overrides"])
    assert "bath b: low: " in wrong.json()["overrides"][0]
    assert len(api.get(one).json()["overrides"]) == 1


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"kind": "loud"}, "kind", "loud"),
        ({"high": None}, "high", "needs it"),
        ({"high": "nan"}, "high", "number"),
        ({"low": 1}, "low", "does not use it"),
        ({"priority": "urgent"}, "priority", "urgent"),
        ({"priority": 1}, "priority", "1"),
        ({"on_delay": -1}, "on_delay", "0"),
        ({"on_delay": 1e300}, "on_delay", "30 days"),
        ({"driver": "samovar"}, "driver", "thermostat"),
        ({"edge": "nowhere"}, "edge", "nowhere"),
        ({"channel": 999_999}, "channel", "999999"),
        ({"tag": "two words"}, "tag", "letters"),
        ({"suppressed_in": ["asleep"]}, "suppressed_in", "asleep"),
        ({"suppressed_by": 999_999}, "suppressed_by", "999999"),
        ({"name": "Edge silent"}, "name", "already exists"),
        ({"name": ""}, "name", "blank"),
        ({"overrides": [{"high": 3}]}, "overrides", "required"),
        ({"driver": "thermostat", "channel": "OWN"}, "driver", "leave it empty"),
    ],
)
def test_what_cannot_work_is_refused_by_field(
    api: APIClient, channel: Channel, fields: dict[str, Any], field: str, said: str
) -> None:
    given = {"name": "warm", "kind": "high", "high": 30, **fields}
    if given.get("channel") == "OWN":
        given["channel"] = channel.pk
    for url in (URL, URL + "backtest/"):
        if "backtest" in url and field in ("overrides", "name"):
            continue
        answer = api.post(url, given)
        assert (answer.status_code, list(answer.json())) == (400, [field]), url
        assert said in str(answer.json()[field])


def test_what_comes_with_labsite_is_not_deleted(api: APIClient) -> None:
    one = f"{URL}{Rule.objects.get(kind=RuleKind.EDGE_SILENT).pk}/"
    refused = api.delete(one)
    assert refused.status_code == 409
    assert "switched off" in refused.json()["detail"]
    assert api.patch(one, {"enabled": False}).json()["enabled"] is False
    assert api.patch(one, {"built_in": False}).json()["built_in"] is True


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["all", "cold", "hot", "other"]),
        ("kind=low", ["cold"]),
        ("kind=low&kind=high", ["all", "cold", "hot", "other"]),
        ("driver=thermostat", ["hot"]),
        ("enabled=false", ["cold"]),
        ("enabled=true&built_in=false", ["all", "hot", "other"]),
        ("priority=critical", ["hot"]),
        ("search=O", ["cold", "hot", "other"]),
        ("name=hot", ["hot"]),
        ("channel=A", ["all", "hot"]),
        ("channel=B", ["all", "hot", "other"]),
        ("channel=999999", []),
        ("channel=1e30", []),
    ],
)
def test_rules_are_found_by_filters(
    api: APIClient, bath: Instrument, query: str, expected: list[str]
) -> None:
    a, b = bath.channels.order_by("key")
    factories.rule(name="hot", driver="thermostat", priority=1)
    factories.rule("low", "cold", low=1.0, enabled=False, tag="cellar")
    factories.rule(name="all")
    factories.rule(name="other", channel=b)
    query = query.replace("=A", f"={a.pk}").replace("=B", f"={b.pk}")
    assert names(api.get(f"{URL}?{query}")) == expected


@pytest.mark.parametrize("query", ["kind=loud", "channel=x", "enabled=perhaps", "serach=a"])
def test_a_question_that_means_nothing_names_its_parameter(api: APIClient, query: str) -> None:
    answer = api.get(f"{URL}?{query}")
    assert (answer.status_code, list(answer.json())) == (400, [query.partition("=")[0]])


def test_the_list_keeps_to_its_query_budget(
    api: APIClient, bath: Instrument, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(5):
        rule = factories.rule(name=f"rule {number}", edge=bath.edge)
        for channel in bath.channels.all():
            rule.overrides.create(channel=channel, high=3.0)
    with django_assert_max_num_queries(QUERY_BUDGET):
        assert len(names(api.get(URL))) == 5
    with django_assert_max_num_queries(QUERY_BUDGET + 2):
        assert len(names(api.get(f"{URL}?channel={channel.pk}"))) == 5


# ---- back-test


@pytest.fixture
def measured(channel: Channel) -> Channel:
    return factories.measured(channel)


def test_a_rule_is_tried_before_it_is_saved(api: APIClient, measured: Channel) -> None:
    given = {"kind": "high", "high": 30, "channel": measured.pk}
    answer = api.post(URL + "backtest/", {**given, "days": 1})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["count"], told["channels"], told["readings"], told["days"]) == (3, 1, 721, 1.0)
    assert told["times"][2]["end"] is None
    assert told["times"][0]["what"] == "bath a"
    assert told["standing"] == pytest.approx(300 + 300 + 20, abs=6)
    assert told["summary"] == (
        "In the last day this rule would have raised 3 alarms, standing 10 min 25 s in all."
    )
    calm = api.post(URL + "backtest/", {**given, "high": 40}).json()
    assert calm["summary"] == "In the last 7 days this rule would have raised no alarm."
    patient = api.post(URL + "backtest/", {**given, "on_delay": 60}).json()
    assert patient["count"] == 2
    assert not Rule.objects.filter(built_in=False).exists()


def test_a_saved_rule_is_tried_as_an_edit_would_make_it(api: APIClient, measured: Channel) -> None:
    rule = factories.rule(name="warm", channel=measured)
    one = f"{URL}{rule.pk}/backtest/"
    assert api.post(one).json()["count"] == 3
    assert api.post(one, {"high": 40}).json()["count"] == 0
    rule.overrides.create(channel=measured, high=50.0)
    assert api.post(one).json()["count"] == 0
    rule.refresh_from_db()
    assert rule.high == 30.0
    assert api.post(f"{URL}999999/backtest/").status_code == 404


@pytest.mark.parametrize("days", [0, -1, 30.5, "many", "nan"])
def test_a_back_test_is_of_a_month_at_most(api: APIClient, days: Any) -> None:
    answer = api.post(URL + "backtest/", {"kind": "high", "high": 30, "days": days})
    assert (answer.status_code, list(answer.json())) == (400, ["days"])


def test_what_history_cannot_answer_is_a_conflict(api: APIClient) -> None:
    answer = api.post(URL + "backtest/", {"kind": "edge_silent"})
    assert answer.status_code == 409
    assert "history" in answer.json()["detail"]


# ---- who may


def with_right(*codenames: str) -> User:
    user = person(" ".join(codenames), staff=False)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    return user


ALL = {"add_rule", "change_rule", "delete_rule"}


@pytest.mark.parametrize(
    ("right", "method", "path", "body"),
    [
        ("add_rule", "post", "", {"name": "new", "kind": "high", "high": 1}),
        ("change_rule", "patch", "OWN/", {"high": 2}),
        ("change_rule", "put", "OWN/", {"name": "own", "kind": "high", "high": 2}),
        ("change_rule", "post", "backtest/", {"kind": "high", "high": 1}),
        ("change_rule", "post", "OWN/backtest/", {}),
        ("delete_rule", "delete", "OWN/", None),
    ],
)
def test_who_may_do_it(right: str, method: str, path: str, body: Any) -> None:
    url = URL + path.replace("OWN", str(factories.rule(name="own").pk))
    holder, others = with_right(right), with_right(*ALL - {right})

    def status(api: APIClient) -> int:
        return int(getattr(api, method)(url, body).status_code)

    assert status(client()) in (401, 403)
    assert status(client(person("viewer", staff=False))) == 403
    assert status(client(others)) == 403
    assert status(token_client(holder, "read")) == 403
    assert status(token_client(holder, "push")) == 403
    assert status(token_client(holder, "write")) in (200, 201, 204)


def test_everyone_with_a_login_reads() -> None:
    rule = factories.rule()
    viewer = person("viewer", staff=False)
    for api in (client(viewer), token_client(viewer, "read")):
        assert api.get(URL).status_code == 200
        assert api.get(f"{URL}{rule.pk}/").status_code == 200
    assert token_client(viewer, "push").get(URL).status_code == 403
