"""The API of contacts, routes, notices and figures."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from alerts.models import (
    Alarm,
    AlarmEvent,
    Attempt,
    Contact,
    Happening,
    Notice,
    NoticeKind,
    NoticeLine,
    NoticeState,
    Route,
)
from devices.models import Instrument
from tests.alerts import factories
from tests.alerts.hook import Hook
from tests.factories import client, person, token_client
from tests.telemetry.factories import NOW, edge, instrument, moment

pytestmark = pytest.mark.django_db

API = "/api/v1/"
QUERY_BUDGET = 4  # session, user, the list and what comes with it


@pytest.fixture
def api() -> APIClient:
    return client(person())


@pytest.fixture
def viewer() -> APIClient:
    return client(person("viewer", staff=False))


def names(answer: Any) -> list[str]:
    return [row["name"] for row in answer.json()["results"]]


def with_right(*codenames: str) -> User:
    user = person(" ".join(codenames), staff=False)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    return user


# ---- contacts

MAIL = {"name": "lab", "transport": "email", "address": "lab@example.org"}


def test_a_contact_is_made_read_edited_and_deleted(api: APIClient) -> None:
    person("ada")
    made = api.post(API + "contacts/", {**MAIL, "user": "ada"}).json()
    one = f"{API}contacts/{made['id']}/"
    del made["created_at"]
    assert made == {
        "id": made["id"], "name": "lab", "transport": "email", "address": "lab@example.org", "secret": "",
        "enabled": True, "next": None, "user": "ada",
    }  # fmt: skip
    other = api.post(API + "contacts/", {**MAIL, "name": "other", "next": made["id"]}).json()
    ring = api.patch(one, {"next": other["id"]})
    assert (ring.status_code, list(ring.json())) == (400, ["next"])
    assert api.patch(one, {"enabled": False}).json()["enabled"] is False
    assert names(api.get(API + "contacts/?enabled=true")) == ["other"]
    assert names(api.get(API + "contacts/?transport=email")) == ["lab", "other"]
    factories.route(Contact.objects.get(name="lab"))
    assert api.delete(one).status_code == 409
    Route.objects.all().delete()
    assert api.delete(one).status_code == 204


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"transport": "pigeon"}, "transport"),
        ({"address": "nowhere"}, "address"),
        ({"secret": "hunter 2"}, "secret"),
        ({"next": 999_999}, "next"),
        ({"user": "nobody"}, "user"),
        ({"name": ""}, "name"),
    ],
)
def test_what_a_contact_cannot_be_is_refused_by_field(
    api: APIClient, fields: dict[str, Any], field: str
) -> None:
    answer = api.post(API + "contacts/", {**MAIL, **fields})
    assert (answer.status_code, list(answer.json())) == (400, [field])


@pytest.mark.parametrize(
    ("right", "method", "path", "body"),
    [
        ("view_contact", "get", "contacts/", None),
        ("view_contact", "get", "contacts/OWN/", None),
        ("add_contact", "post", "contacts/", MAIL),
        ("change_contact", "patch", "contacts/OWN/", {"address": "b@example.org"}),
        ("change_contact", "post", "contacts/OWN/test/", None),
        ("delete_contact", "delete", "contacts/OWN/", None),
        ("add_route", "post", "routes/", {"name": "new", "steps": "OWN"}),
        ("change_route", "patch", "routes/ROUTE/", {"repeat": 600}),
        ("delete_route", "delete", "routes/ROUTE/", None),
    ],
)
def test_who_may_do_it(right: str, method: str, path: str, body: Any) -> None:
    own, other = factories.contact("own", "email", address="a@example.org"), factories.contact("other")
    route = factories.route(other)
    url = API + path.replace("OWN", str(own.pk)).replace("ROUTE", str(route.pk))
    if body and body.get("steps") == "OWN":
        body = {**body, "steps": [{"after": 0, "contact": own.pk}]}

    def status(api: APIClient) -> int:
        return int(getattr(api, method)(url, body).status_code)

    assert status(client()) in (401, 403)
    assert status(client(person("viewer", staff=False))) == 403
    assert status(client(with_right("acknowledge_alarm"))) == 403
    holder = with_right(right)
    assert status(token_client(holder, "push")) == 403
    if method != "get":
        assert status(token_client(holder, "read")) == 403
    assert status(token_client(holder, "write")) in (200, 201, 204)


def test_a_contact_is_tested(api: APIClient, hook: Hook) -> None:
    contact = factories.contact("hook", address=hook.url)
    answer = api.post(f"{API}contacts/{contact.pk}/test/")
    assert (answer.status_code, answer.json()["ok"]) == (200, True)
    notice = Notice.objects.get()
    assert (notice.kind, notice.state) == (NoticeKind.TEST, NoticeState.SENT)
    assert [body["id"] for body in hook.taken] == [str(notice.pk)]


def test_a_test_that_fails_says_why(api: APIClient) -> None:
    contact = factories.contact("hook", address="http://127.0.0.1:1/")
    told = api.post(f"{API}contacts/{contact.pk}/test/").json()
    assert told["ok"] is False
    assert "127.0.0.1" in told["words"]
    assert not Alarm.objects.exists()


# ---- routes


def test_a_route_is_made_read_edited_and_deleted(api: APIClient, viewer: APIClient) -> None:
    day, night = factories.contact("day"), factories.contact("night")
    given = {
        "name": "all", "least_priority": "high", "days": [0, 4], "start": "08:00", "end": "17:30",
        "zone": "Europe/Berlin", "tags": ["cold"], "happenings": ["run.completed"],
        "steps": [{"after": 600, "contact": night.pk}, {"after": 0, "contact": day.pk}],
    }  # fmt: skip
    answer = api.post(API + "routes/", given)
    assert answer.status_code == 201
    made = answer.json()
    one = f"{API}routes/{made['id']}/"
    del made["created_at"]
    assert made == {
        **given, "id": made["id"], "enabled": True, "alarms": True, "recoveries": True, "start": "08:00:00",
        "end": "17:30:00", "window": 10.0, "repeat": None, "daily": None,
        "steps": [
            {"after": 0.0, "contact": day.pk, "contact_name": "day"},
            {"after": 600.0, "contact": night.pk, "contact_name": "night"},
        ],
    }  # fmt: skip
    assert viewer.get(one).json()["name"] == "all"
    assert len(api.patch(one, {"repeat": 900}).json()["steps"]) == 2
    edited = api.patch(one, {"steps": [{"after": 0, "contact": night.pk}]}).json()
    assert [step["contact_name"] for step in edited["steps"]] == ["night"]
    assert names(api.get(f"{API}routes/?contact={night.pk}")) == ["all"]
    assert names(api.get(f"{API}routes/?contact={day.pk}")) == []
    assert api.delete(one).status_code == 204


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"steps": []}, "steps"),
        ({"steps": None}, "steps"),
        ({"steps": [{"after": -1, "contact": 1}]}, "steps"),
        ({"steps": [{"after": 0, "contact": 999_999}]}, "steps"),
        ({"least_priority": 4}, "least_priority"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"days": [7]}, "days"),
        ({"days": ["Monday"]}, "days"),
        ({"start": "08:00"}, "end"),
        ({"start": "8 o'clock"}, "start"),
        ({"tags": ["two words"]}, "tags"),
        ({"happenings": ["x" * 61]}, "happenings"),
        ({"window": "nan"}, "window"),
        ({"repeat": 1}, "repeat"),
        ({"alarms": False}, "alarms"),
    ],
)
def test_what_a_route_cannot_be_is_refused_by_field(
    api: APIClient, fields: dict[str, Any], field: str
) -> None:
    given = {"name": "all", "steps": [{"after": 0, "contact": factories.contact().pk}], **fields}
    answer = api.post(API + "routes/", given)
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert not Route.objects.exists()


def test_a_route_needs_its_steps(api: APIClient) -> None:
    answer = api.post(API + "routes/", {"name": "all"})
    assert (answer.status_code, list(answer.json())) == (400, ["steps"])


# ---- notices


@pytest.fixture
def bath() -> Instrument:
    return instrument(edge(), "bath", ("a", "b"))


def notice(contact: Contact, seconds: float, *of: Alarm | Happening, **fields: Any) -> Notice:
    """A notice of so many seconds from NOW."""
    made = Notice.objects.create(
        **{"contact": contact, "kind": "alarm", "created_at": moment(seconds), "due_at": moment(seconds)}
        | fields
    )
    for each in of:
        if isinstance(each, Alarm):
            NoticeLine.objects.create(notice=made, alarm=each, event=each.journal.first())
        else:
            NoticeLine.objects.create(notice=made, happening=each)
    return made


def test_a_notice_is_told_with_its_lines_and_attempts(viewer: APIClient, bath: Instrument) -> None:
    room = factories.contact("room")
    warm = factories.alarm(bath.channels.all()[0], text="bath a above 30")
    began = Happening.objects.create(
        instrument=bath, time=NOW, kind="run.started", text="Plate 7", stored_at=NOW
    )
    sent = notice(
        room, 0, warm, began, route=factories.route(room), state="sent", priority=3, tries=2,
        sent_at=moment(9), title="bath a above 30", text="bath a above 30\nLook at it.", reference="204",
    )  # fmt: skip
    Attempt.objects.create(notice=sent, at=moment(1), seconds=0.5, error="refused")
    Attempt.objects.create(notice=sent, at=moment(9), seconds=0.25)
    told = viewer.get(f"{API}notices/{sent.pk}/").json()
    assert told == {
        "id": str(sent.pk), "contact": room.pk, "contact_name": "room", "route": sent.route_id,
        "route_name": "all", "kind": "alarm", "state": "sent", "priority": "medium",
        "created_at": "2026-11-20T12:00:00Z", "due_at": "2026-11-20T12:00:00Z", "tries": 2,
        "sent_at": "2026-11-20T12:00:09Z", "title": "bath a above 30", "follows": None,
        "text": "bath a above 30\nLook at it.", "reference": "204",
        "attempts": [
            {"at": "2026-11-20T12:00:09Z", "seconds": 0.25, "error": ""},
            {"at": "2026-11-20T12:00:01Z", "seconds": 0.5, "error": "refused"},
        ],
        "lines": [
            {"alarm": warm.pk, "event": AlarmEvent.objects.get().pk, "change": "raise", "happening": None,
             "text": "bath a above 30"},
            {"alarm": None, "event": None, "change": None, "happening": began.pk, "text": "Plate 7"},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["c", "b", "a"]),
        ("contact=ROOM", ["b", "a"]),
        ("kind=recovery", ["b"]),
        ("kind=recovery&kind=daily", ["c", "b"]),
        ("state=waiting", ["c"]),
        ("alarm=ALARM", ["b", "a"]),
        ("route=ROUTE", ["a"]),
        ("from=2026-11-20T12:00:10Z", ["c", "b"]),
        ("to=2026-11-20T12:00:20Z", ["b", "a"]),
    ],
)
def test_notices_are_found_by_filters(
    viewer: APIClient, bath: Instrument, query: str, expected: list[str]
) -> None:
    room, mail = factories.contact("room"), factories.contact("mail")
    warm = factories.alarm(bath.channels.all()[0])
    route = factories.route(room)
    notice(room, 0, warm, title="a", state="sent", route=route)
    again = notice(room, 10, warm, title="b", state="failed", kind="recovery")
    NoticeLine.objects.create(notice=again, alarm=warm)  # another line of the same alarm
    notice(mail, 20, title="c", kind="daily")
    for name, number in (("ROOM", room.pk), ("ALARM", warm.pk), ("ROUTE", route.pk)):
        query = query.replace(name, str(number))
    assert [row["title"] for row in viewer.get(f"{API}notices/?{query}").json()["results"]] == expected


# ---- figures


def test_the_figures_of_a_time(viewer: APIClient, bath: Instrument) -> None:
    a, b = bath.channels.order_by("id")
    first = factories.alarm(a, factories.rule(name="r1", priority=4), at=-600, text="first")
    factories.alarm(b, factories.rule(name="r2", priority=1), at=-60, text="second")
    AlarmEvent.objects.create(
        alarm=first, event="acknowledge", before="unacknowledged", after="acknowledged", at=moment(-540),
        stored_at=moment(-540), priority=4, by=person("ada"),
    )  # fmt: skip
    query = {"from": (NOW - timedelta(hours=1)).isoformat(), "to": NOW.isoformat(), "operators": "2"}
    told = viewer.get(API + "alarm-statistics/", query).json()
    frequent = [
        {"alarm": alarm.pk, "text": alarm.text, "alarms": 1, "share": 0.5}
        for alarm in Alarm.objects.order_by("id")
    ]
    assert told == {
        "start": "2026-11-20T11:00:00Z", "end": "2026-11-20T12:00:00Z", "operators": 2, "alarms": 2,
        "per_hour": 2.0, "per_hour_and_operator": 1.0, "peak": 2, "peak_at": "2026-11-20T11:50:00Z",
        "flood": 0.0, "standing": 2, "stale": 0, "top": frequent, "top_share": 1.0, "chattering": [],
        "chattering_alarms": 0, "fleeting": [], "fleeting_alarms": 0,
        "priorities": [
            {"priority": "critical", "alarms": 1, "share": 0.5, "recommended": 0.01},
            {"priority": "high", "alarms": 0, "share": 0.0, "recommended": 0.05},
            {"priority": "medium", "alarms": 0, "share": 0.0, "recommended": 0.15},
            {"priority": "low", "alarms": 1, "share": 0.5, "recommended": 0.8},
        ],
        "acknowledged": {"acknowledged": 1, "p50": 60.0, "p95": 60.0},
        "people": [{"name": "ada", "acknowledged": 1, "p50": 60.0, "p95": 60.0}],
    }  # fmt: skip
    month = viewer.get(API + "alarm-statistics/").json()
    assert month["end"] > month["start"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("alarm-statistics/?from=yesterday", "from"),
        ("alarm-statistics/?from=2026-11-20&to=2026-11-20", "from"),
        ("alarm-statistics/?from=2026-11-21&to=2026-11-20", "from"),
        ("alarm-statistics/?from=2020-01-01&to=2026-11-20", "from"),
        ("alarm-statistics/?operators=0", "operators"),
        ("alarm-statistics/?operators=many", "operators"),
        ("alarm-statistics/?until=2026-11-20", "until"),
        ("notices/?state=lost", "state"),
        ("notices/?kind=x", "kind"),
        ("notices/?alarm=x", "alarm"),
        ("notices/?x=1", "x"),
        ("routes/?contact=x", "contact"),
        ("contacts/?enabled=perhaps", "enabled"),
    ],
)
def test_a_question_that_means_nothing_names_its_parameter(
    api: APIClient, query: str, parameter: str
) -> None:
    answer = api.get(API + query)
    assert (answer.status_code, list(answer.json())) == (400, [parameter])


def test_the_lists_keep_to_their_query_budget(
    api: APIClient, bath: Instrument, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    warm = [factories.alarm(channel, factories.rule()) for channel in bath.channels.all()]
    for number in range(3):
        contact = factories.contact(f"room {number}", user=person(f"user {number}"))
        made = notice(contact, number, *warm, route=factories.route(contact, name=f"route {number}"))
    for path in ("contacts/", "routes/", "notices/"):
        with django_assert_max_num_queries(QUERY_BUDGET):
            assert len(api.get(API + path).json()["results"]) == 3
    with django_assert_max_num_queries(QUERY_BUDGET + 1):
        assert len(api.get(f"{API}notices/{made.pk}/").json()["lines"]) == 2
    with django_assert_max_num_queries(6):
        assert api.get(API + "alarm-statistics/").status_code == 200


@pytest.mark.parametrize("path", ["notices/", "alarm-statistics/"])
def test_they_are_only_read(api: APIClient, path: str) -> None:
    assert api.post(API + path, {}).status_code == 405
    assert client().get(API + path).status_code in (401, 403)
