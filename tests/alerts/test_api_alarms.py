"""The API of alarms: lists, what people do with them, who may, and the journal."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from alerts import services
from alerts.lifecycle import Event, State
from alerts.models import Alarm, AlarmEvent, Priority, Source
from devices.models import Channel, Instrument
from devices.services import OPERATOR
from tests.alerts import factories
from tests.factories import client, person, token_client
from tests.telemetry.factories import edge, instrument, moment

pytestmark = pytest.mark.django_db

URL = "/api/v1/alarms/"
QUERY_BUDGET = 4  # session, user, and two for the list
HOUR = timedelta(hours=1)


@pytest.fixture
def api() -> APIClient:
    return client(person())


@pytest.fixture
def viewer() -> APIClient:
    return client(person("viewer", staff=False))


@pytest.fixture
def bath() -> Instrument:
    return instrument(edge(), "bath", ("a", "b", "c", "d"))


@pytest.fixture
def alarm(bath: Instrument) -> Alarm:
    rule = factories.rule(name="warm", guidance="Look at the chiller.", key="a")
    return factories.alarm(bath.channels.get(key="a"), rule, text="bath a above 30")


def with_right(*codenames: str) -> User:
    user = person(" ".join(codenames), staff=False)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    return user


def one(alarm: Alarm, do: str = "") -> str:
    return f"{URL}{alarm.pk}/{do}/" if do else f"{URL}{alarm.pk}/"


def texts(answer: Any) -> list[str]:
    return [row["text"] for row in answer.json()["results"]]


# ---- reading


def test_an_alarm_is_told_whole(viewer: APIClient, alarm: Alarm) -> None:
    told = viewer.get(one(alarm)).json()
    assert (told.pop("consequences"), told.pop("consequence_count")) == ([], 0)
    assert told == {
        "id": alarm.pk, "text": "bath a above 30", "state": "unacknowledged", "since": "2026-11-20T11:59:00Z",
        "priority": "medium", "rule": alarm.rule_id, "rule_name": "warm", "kind": "high",
        "guidance": "Look at the chiller.", "edge": "bench", "instrument": str(alarm.instrument_id),
        "instrument_name": "bath", "channel": alarm.channel_id, "key": "a", "unit": "", "contact": None,
        "sink": None,
        "value": 31.5, "reason": "", "active": True, "raised_at": "2026-11-20T11:59:00Z", "cleared_at": None,
        "acknowledged_at": None, "acknowledged_by": None, "aside_by": None, "aside_reason": "",
        "aside_until": None, "cause": None,
    }  # fmt: skip
    assert viewer.get(URL).json() == {"next": None, "previous": None, "results": [told]}


def test_a_value_that_json_has_no_word_for_is_none(viewer: APIClient, alarm: Alarm) -> None:
    Alarm.objects.update(value=float("inf"))
    AlarmEvent.objects.update(value=float("nan"))
    assert viewer.get(one(alarm)).json()["value"] is None
    assert viewer.get(one(alarm, "journal")).json()["results"][0]["value"] is None


def test_an_alarm_is_told_with_its_cause_and_its_consequences(viewer: APIClient, bath: Instrument) -> None:
    cause = factories.alarm(bath, factories.rule("not_connected", "away"), text="bath is not connected")
    stale = factories.rule("stale", "stale")
    others = [factories.alarm(channel, stale, text=channel.key) for channel in bath.channels.order_by("id")]
    Alarm.objects.filter(rule=stale).update(cause=cause, state=State.SUPPRESSED)
    told = viewer.get(one(cause)).json()
    assert told["consequence_count"] == 4
    assert [each["text"] for each in told["consequences"]] == ["a", "b", "c", "d"]
    short = {"id": cause.pk, "text": "bath is not connected", "state": "unacknowledged"}
    assert viewer.get(one(others[0])).json()["cause"] == short
    assert texts(viewer.get(URL)) == ["bath is not connected"]
    assert texts(viewer.get(f"{URL}?cause={cause.pk}&standing=any")) == ["a", "b", "c", "d"]


@pytest.fixture
def many(bath: Instrument) -> dict[str, Alarm]:
    """By name: one of each that lists tell apart."""
    a, b, c, d = bath.channels.order_by("id")
    other = instrument(edge("attic"), "oven", ("t",))
    found = {
        "old": factories.alarm(a, factories.rule(name="r1"), at=-600, text="old"),
        "new": factories.alarm(b, factories.rule(name="r2"), at=-60, text="new"),
        "critical": factories.alarm(
            c, factories.rule("low", "r3", low=1.0, priority=Priority.CRITICAL), at=-30, text="critical"
        ),
        "oven": factories.alarm(
            other, factories.rule("not_connected", "r4", priority=Priority.LOW), at=-900, text="oven"
        ),
        "shelved": factories.alarm(d, factories.rule(name="r5"), at=-300, text="shelved"),
        "normal": factories.alarm(d, factories.rule(name="r6"), at=-200, text="normal"),
    }
    services.shelve(found["shelved"], OPERATOR, Source.API, timezone.now() + HOUR, "known")
    services.acknowledge(factories.cleared(found["normal"]), OPERATOR, Source.API)
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["critical", "old", "new", "oven"]),
        ("standing=true", ["critical", "old", "new", "oven"]),
        ("standing=false", ["shelved", "normal"]),
        ("standing=any", ["critical", "old", "shelved", "normal", "new", "oven"]),
        ("state=shelved", ["shelved"]),
        ("state=shelved&state=normal", ["shelved", "normal"]),
        ("state=shelved&standing=true", []),
        ("priority=critical", ["critical"]),
        ("priority=critical&priority=low", ["critical", "oven"]),
        ("instrument_name=oven", ["oven"]),
        ("edge=attic", ["oven"]),
        ("kind=low", ["critical"]),
        ("kind=low&kind=not_connected", ["critical", "oven"]),
        ("channel=B", ["new"]),
        ("rule=R1", ["old"]),
        ("instrument=BATH&standing=false", ["shelved", "normal"]),
        ("from=2026-11-20T11:58:00Z", ["critical", "new"]),
        ("to=2026-11-20T11:59:00Z", ["old", "oven"]),
    ],
)
def test_alarms_are_found_by_filters(
    viewer: APIClient, many: dict[str, Alarm], query: str, expected: list[str]
) -> None:
    for name, number in (
        ("=BATH", many["old"].instrument_id),
        ("=B", many["new"].channel_id),
        ("=R1", many["old"].rule_id),
    ):
        query = query.replace(name, f"={number}")
    assert texts(viewer.get(f"{URL}?{query}")) == expected


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("state=asleep", "state"),
        ("standing=perhaps", "standing"),
        ("priority=1", "priority"),
        ("kind=loud", "kind"),
        ("channel=x", "channel"),
        ("instrument=7", "instrument"),
        ("from=yesterday", "from"),
        ("serach=x", "serach"),
    ],
)
def test_a_question_that_means_nothing_names_its_parameter(
    viewer: APIClient, query: str, parameter: str
) -> None:
    answer = viewer.get(f"{URL}?{query}")
    assert (answer.status_code, list(answer.json())) == (400, [parameter])


def test_pages_of_a_flood_follow_each_other(viewer: APIClient, bath: Instrument) -> None:
    """Of one priority and one time: more than a cursor of a field that is not unique could pass over."""
    rule = factories.rule("stale", "stale")
    channels = Channel.objects.bulk_create(
        Channel(instrument=bath, key=f"k{number}", label="k") for number in range(2500)
    )
    Alarm.objects.bulk_create(
        Alarm(
            rule=rule, edge=bath.edge, instrument=bath, channel=channel, since=moment(0), text=channel.key,
            state=State.UNACKNOWLEDGED, raised_at=moment(0) if number < 2000 else None,
        )
        for number, channel in enumerate(channels)
    )  # fmt: skip
    seen: list[str] = []
    url = f"{URL}?page_size=400"
    while url:
        answer = viewer.get(url)
        seen += texts(answer)
        url = answer.json()["next"]
    assert seen == [f"k{number}" for number in range(2500)]


def test_the_lists_keep_to_their_query_budget(
    viewer: APIClient, many: dict[str, Alarm], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(QUERY_BUDGET):
        assert len(viewer.get(f"{URL}?standing=any").json()["results"]) == 6
    for path in (one(many["old"]), one(many["old"], "journal")):
        with django_assert_max_num_queries(QUERY_BUDGET + 1):
            assert viewer.get(path).status_code == 200


# ---- doing


def until(**fields: Any) -> dict[str, Any]:
    return {"reason": "filter is changed", **fields}


def test_only_the_first_acknowledge_counts(api: APIClient, alarm: Alarm) -> None:
    url = one(alarm, "acknowledge")
    first = api.post(url, {"comment": "on my way"})
    assert (first.status_code, first.json()["state"]) == (200, "acknowledged")
    assert first.json()["acknowledged_by"] == "staff"
    second = api.post(url)
    assert second.status_code == 409
    assert "nothing to acknowledge" in second.json()["detail"]
    row = alarm.journal.get(event=Event.ACKNOWLEDGE)
    assert (row.comment, row.source, str(row.by)) == ("on my way", "api", "staff")


def test_a_latched_alarm_is_reset(api: APIClient, bath: Instrument) -> None:
    latched = factories.alarm(bath.channels.all()[0], factories.rule(name="latching", latch=True))
    factories.cleared(latched)
    assert api.post(one(latched, "reset")).status_code == 409
    api.post(one(latched, "acknowledge"))
    assert api.post(one(latched, "reset")).json()["state"] == "normal"


def test_an_alarm_is_shelved_and_taken_back(api: APIClient, alarm: Alarm) -> None:
    shelved = api.post(one(alarm, "shelve"), until(minutes=30)).json()
    assert (shelved["state"], shelved["aside_by"], shelved["aside_reason"]) == (
        "shelved", "staff", "filter is changed",
    )  # fmt: skip
    alarm.refresh_from_db()
    assert alarm.aside_until is not None
    assert timedelta(minutes=29) < alarm.aside_until - timezone.now() <= timedelta(minutes=30)
    later = (timezone.now() + HOUR).isoformat()
    assert api.post(one(alarm, "shelve"), until(until=later)).status_code == 200
    assert api.post(one(alarm, "unshelve")).json()["state"] == "unacknowledged"  # its condition holds
    assert api.post(one(alarm, "unshelve")).status_code == 409


def test_an_alarm_is_taken_out_of_service_and_put_back(api: APIClient, alarm: Alarm) -> None:
    assert api.post(one(alarm, "out-of-service"), until(hours=24)).json()["state"] == "out_of_service"
    assert api.post(one(alarm, "shelve"), until(minutes=30)).status_code == 409
    assert api.post(one(alarm, "return-to-service")).json()["state"] == "unacknowledged"
    assert api.post(one(alarm, "return-to-service")).status_code == 409


def test_a_comment_is_written_into_the_journal(api: APIClient, viewer: APIClient, alarm: Alarm) -> None:
    api.post(one(alarm, "comment"), {"text": "the pump hums"})
    api.post(one(alarm, "shelve"), until(minutes=30))
    rows = viewer.get(one(alarm, "journal")).json()["results"]
    assert [row["event"] for row in rows] == ["shelve", "comment", "raise"]
    assert rows[1]["comment"] == "the pump hums"
    raised = AlarmEvent.objects.get(event=Event.RAISE)
    assert rows[2] == {
        "id": raised.pk, "event": "raise", "before": "normal", "after": "unacknowledged",
        "at": "2026-11-20T11:59:00Z", "stored_at": "2026-11-20T11:59:00Z", "past": False,
        "priority": "medium", "value": 31.5, "by": None, "source": "ingest", "comment": "", "until": None,
    }  # fmt: skip
    pages = viewer.get(one(alarm, "journal") + "?page_size=2").json()
    assert [row["event"] for row in viewer.get(pages["next"]).json()["results"]] == ["raise"]


@pytest.mark.parametrize(
    ("do", "body", "field"),
    [
        ("comment", {}, "text"),
        ("comment", {"text": " "}, "text"),
        ("comment", {"text": "x" * 1001}, "text"),
        ("acknowledge", {"comment": "x" * 1001}, "comment"),
        ("shelve", {"minutes": 30}, "reason"),
        ("shelve", {"reason": "known"}, "until"),
        ("shelve", {"reason": "known", "minutes": 30, "until": "2099-01-01T00:00:00Z"}, "until"),
        ("shelve", {"reason": "known", "minutes": 0}, "minutes"),
        ("shelve", {"reason": "known", "minutes": 10_081}, "minutes"),
        ("shelve", {"reason": "known", "minutes": "nan"}, "minutes"),
        ("shelve", {"reason": "known", "until": "soon"}, "until"),
        ("out-of-service", {"hours": 1}, "reason"),
        ("out-of-service", {"reason": "known"}, "until"),
        ("out-of-service", {"reason": "known", "hours": 2161}, "hours"),
    ],
)
def test_what_is_missing_is_refused_by_field(
    api: APIClient, alarm: Alarm, do: str, body: dict[str, Any], field: str
) -> None:
    answer = api.post(one(alarm, do), body)
    assert (answer.status_code, list(answer.json())) == (400, [field])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"reason": "x", "minutes": 30}, "reason in words"),
        ({"reason": "known", "until": "2001-01-01T00:00:00Z"}, "over already"),
        ({"reason": "known", "until": "2099-01-01T00:00:00Z"}, "at most 7 days"),
    ],
)
def test_what_may_not_be_is_a_conflict(api: APIClient, alarm: Alarm, body: dict[str, Any], said: str) -> None:
    answer = api.post(one(alarm, "shelve"), body)
    assert answer.status_code == 409
    assert said in answer.json()["detail"]


def test_what_is_not_there_is_not_found(api: APIClient) -> None:
    for path in (
        "999999/",
        "999999/acknowledge/",
        "999999/journal/",
        "x/",
        "x/journal/",
        f"{10**30}/journal/",
    ):
        method = api.post if "acknowledge" in path else api.get
        assert method(URL + path).status_code == 404, path
    assert api.post(URL, {}).status_code == 405


# ---- who may

DOINGS: list[tuple[str, str, dict[str, Any]]] = [
    ("acknowledge_alarm", "acknowledge", {}),
    ("acknowledge_alarm", "comment", {"text": "seen"}),
    ("acknowledge_alarm", "reset", {}),
    ("shelve_alarm", "shelve", {"minutes": 30, "reason": "known"}),
    ("shelve_alarm", "unshelve", {}),
    ("remove_alarm", "out-of-service", {"hours": 3, "reason": "known"}),
    ("remove_alarm", "return-to-service", {}),
]
ALL = {"acknowledge_alarm", "shelve_alarm", "remove_alarm"}


@pytest.mark.parametrize(("right", "do", "body"), DOINGS)
def test_who_may_do_it(alarm: Alarm, right: str, do: str, body: dict[str, Any]) -> None:
    url = one(alarm, do)
    holder, others = with_right(right), with_right(*ALL - {right})
    assert client().post(url, body).status_code in (401, 403)
    assert client(person("viewer", staff=False)).post(url, body).status_code == 403
    refused = client(others).post(url, body)
    assert refused.status_code == 403
    assert right in refused.json()["detail"]
    for scope in ("read", "push"):
        assert token_client(holder, scope).post(url, body).status_code == 403
    assert token_client(holder, "push").get(one(alarm)).status_code == 403
    assert alarm.journal.count() == 1
    for allowed in (token_client(holder, "write"), token_client(holder), client(holder), client(person())):
        assert allowed.post(url, body).status_code in (200, 409)


def test_a_right_is_asked_before_anything_is_looked_at(viewer: APIClient, alarm: Alarm) -> None:
    assert viewer.post(one(alarm, "shelve"), {}).status_code == 403
    assert viewer.post(f"{URL}999999/shelve/", {}).status_code == 403


def test_acting_asks_the_database_as_often_for_many_as_for_few(
    api: APIClient, many: dict[str, Alarm]
) -> None:
    counts = []
    for name in ("old", "new"):
        with CaptureQueriesContext(connection) as asked:
            assert api.post(one(many[name], "acknowledge")).status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 16
