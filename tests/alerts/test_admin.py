"""The admin of alarms: pages render, what they save goes through the services, lists ask few questions."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerts import services
from alerts.admin.forms import TRY
from alerts.lifecycle import State
from alerts.models import (
    Alarm,
    AlarmEvent,
    Attempt,
    Contact,
    Happening,
    Notice,
    NoticeLine,
    NoticeState,
    Override,
    Route,
    Rule,
    RuleKind,
    Source,
)
from alerts.rules import editing
from devices.models import Channel, Instrument
from devices.services import OPERATOR
from tests.alerts import factories
from tests.alerts.hook import Hook
from tests.devices.test_admin import Page, errors, filled, opened
from tests.factories import person
from tests.telemetry.factories import NOW, edge, instrument

pytestmark = pytest.mark.django_db

ADMIN = "/admin/alerts/"
RULES, CONTACTS, ROUTES, ALARMS = (f"{ADMIN}{name}/" for name in ("rule", "contact", "route", "alarm"))


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(person())
    return client


@pytest.fixture
def bath() -> Instrument:
    return instrument(edge(), "bath", ("a", "b"))


@pytest.fixture
def channel(bath: Instrument) -> Channel:
    return bath.channels.get(key="a")


@pytest.fixture
def measured(channel: Channel) -> Channel:
    return factories.measured(channel)


@pytest.fixture
def alarm(channel: Channel) -> Alarm:
    return factories.alarm(channel, factories.rule(name="warm", guidance="Look at the chiller."))


def act(browser: Client, action: str, *chosen: Model, **fields: str) -> str:
    """Do an action of a list; the page that comes next."""
    name = chosen[0]._meta.model_name
    body = {"action": action, "_selected_action": [str(row.pk) for row in chosen], **fields}
    query = "?state=any" if name == "alarm" else ""
    return browser.post(f"{ADMIN}{name}/{query}", body, follow=True).content.decode()


def one_of_each(bath: Instrument, number: int = 0) -> dict[str, Model]:
    """A row of every model that the admin shows, by its name."""
    channel = bath.channels.all()[0]
    room = factories.contact(f"room {number}", user=person(f"user {number}"))
    rule = factories.rule(name=f"rule {number}", channel=channel, edge=bath.edge, tag="<b>")
    Override.objects.create(rule=rule, channel=channel, high=3.0)
    raised = factories.alarm(channel, rule, text=f"alarm {number} <script>")
    services.acknowledge(raised, person(f"who {number}"), Source.API)
    route = factories.route(room, factories.contact(f"mail {number}", next=room), name=f"route {number}")
    happening = Happening.objects.create(
        instrument=bath, time=NOW, kind="run.started", text="Plate <7>", stored_at=NOW
    )
    notice = Notice.objects.create(contact=room, route=route, kind="alarm", created_at=NOW, due_at=NOW)
    NoticeLine.objects.create(notice=notice, alarm=raised, event=raised.journal.first())
    NoticeLine.objects.create(notice=notice, happening=happening)
    Attempt.objects.create(notice=notice, at=NOW, seconds=0.5, error="refused")
    event = AlarmEvent.objects.latest("id")
    return {
        "rule": rule, "alarm": raised, "alarmevent": event, "contact": room, "route": route, "notice": notice,
        "happening": happening,
    }  # fmt: skip


def test_every_page_renders(browser: Client, bath: Instrument) -> None:
    for name, row in one_of_each(bath).items():
        for url in (f"{ADMIN}{name}/", f"{ADMIN}{name}/{row.pk}/change/"):
            page = opened(browser, url)
            assert page.fetched, url
            assert not [source for source in page.fetched if source and not source.startswith("/")], url
    for url in (RULES, CONTACTS, ROUTES):
        opened(browser, f"{url}add/")


def test_what_instruments_say_is_text(browser: Client, bath: Instrument) -> None:
    rows = one_of_each(bath)
    for url in (ALARMS, f"{ADMIN}notice/{rows['notice'].pk}/change/", f"{ADMIN}alarmevent/"):
        text = browser.get(url).content.decode()
        assert "alarm 0 &lt;script&gt;" in text
        assert "alarm 0 <script>" not in text


def test_lists_ask_as_much_for_many_as_for_few(browser: Client, bath: Instrument) -> None:
    def asked(name: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(f"{ADMIN}{name}/").status_code == 200
        return len(queries)

    names = list(one_of_each(bath))
    for name in names:
        asked(name)  # what is cached is cached now
    few = {name: asked(name) for name in names}
    for number in (1, 2, 3):
        one_of_each(bath, number)
    assert {name: asked(name) for name in names} == few
    assert max(few.values()) <= 12


def test_those_who_are_not_staff_may_not_enter(browser: Client) -> None:
    browser.force_login(person("reader", staff=False))
    for name in ("rule", "alarm", "alarmevent", "contact", "route", "notice", "happening"):
        assert browser.get(f"{ADMIN}{name}/").status_code == 302


def test_history_is_looked_at_and_not_edited(browser: Client, bath: Instrument) -> None:
    for name, row in one_of_each(bath).items():
        if name in ("alarm", "alarmevent", "notice", "happening"):
            assert browser.get(f"{ADMIN}{name}/add/").status_code == 403
            assert browser.post(f"{ADMIN}{name}/{row.pk}/change/", {"text": "x"}).status_code == 403
            assert browser.post(f"{ADMIN}{name}/{row.pk}/delete/", {"post": "yes"}).status_code == 403


# ---- rules


def test_a_rule_is_added_with_overrides(browser: Client, bath: Instrument) -> None:
    a = bath.channels.get(key="a")
    fields = filled(
        opened(browser, f"{RULES}add/"),
        **{
            "name": "warm", "kind": "high", "high": "30", "instrument": str(bath.pk), "priority": "2",
            "suppressed_in": "running", "overrides-TOTAL_FORMS": "1", "overrides-0-channel": str(a.pk),
            "overrides-0-enabled": "on", "overrides-0-high": "40", "overrides-0-value": "",
        },
    )  # fmt: skip
    answer = browser.post(f"{RULES}add/", fields)
    assert answer.status_code == 302, errors(answer)
    rule = Rule.objects.get(name="warm")
    assert (rule.priority, rule.suppressed_in, rule.instrument) == (2, ["running"], bath)
    assert [(each.channel, each.high) for each in rule.overrides.all()] == [(a, 40.0)]
    one = f"{RULES}{rule.pk}/change/"
    page = opened(browser, one)
    assert browser.post(one, page.fields).status_code == 302
    assert rule.overrides.get().high == 40.0
    browser.post(one, {**page.fields, "overrides-0-DELETE": "on", "high": "31"})
    rule.refresh_from_db()
    assert (rule.high, rule.overrides.count()) == (31.0, 0)
    assert Rule.objects.get(name="warm").suppressed_in == ["running"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"high": ""}, "high"),
        ({"low": "3"}, "low"),
        ({"high": "nan"}, "high"),
        ({"driver": "samovar"}, "driver"),
        ({"tag": "two words"}, "tag"),
        ({"on_delay": "1e300"}, "on_delay"),
        ({"name": "Edge silent"}, "name"),
        ({"channel": "OWN", "key": "a"}, "key"),
    ],
)
def test_an_error_is_shown_at_its_field(
    browser: Client, channel: Channel, fields: dict[str, str], field: str
) -> None:
    fields = {name: str(channel.pk) if value == "OWN" else value for name, value in fields.items()}
    right = filled(opened(browser, f"{RULES}add/"), name="warm", kind="high", high="30")
    answer = browser.post(f"{RULES}add/", {**right, **fields})
    assert answer.status_code == 200
    assert list(errors(answer)) == [field]
    assert not Rule.objects.filter(name="warm").exists()


def test_an_override_that_contradicts_is_shown_at_its_field(browser: Client, channel: Channel) -> None:
    fields = filled(
        opened(browser, f"{RULES}add/"),
        **{
            "name": "warm", "kind": "high", "high": "30", "overrides-TOTAL_FORMS": "1",
            "overrides-0-channel": str(channel.pk), "overrides-0-low": "40",
        },
    )  # fmt: skip
    answer = browser.post(f"{RULES}add/", fields)
    (formset,) = answer.context["inline_admin_formsets"]
    assert list(formset.formset.errors[0]) == ["low"]
    assert not Rule.objects.filter(name="warm").exists()


def test_a_rule_is_tried_by_the_button(browser: Client, measured: Channel) -> None:
    right = filled(
        opened(browser, f"{RULES}add/"), name="warm", kind="high", high="30", channel=str(measured.pk)
    )
    text = browser.post(f"{RULES}add/", {**right, TRY: "1", "days": "1"}).content.decode()
    assert "In the last day this rule would have raised 3 alarms, standing 10 min 2" in text
    assert text.count("<td>bath a</td>") == 3
    assert Page(text).fields["days"] == "1"
    assert not Rule.objects.filter(name="warm").exists()
    wrong = browser.post(f"{RULES}add/", {**right, TRY: "1", "high": ""})
    assert list(errors(wrong)) == ["high"]
    too_long = browser.post(f"{RULES}add/", {**right, TRY: "1", "days": "31"}).content.decode()
    assert "up to 30 days" in too_long

    saved = editing.save_rule(Rule(name="warm", kind="high", high=30.0, channel=measured), OPERATOR)
    one = f"{RULES}{saved.pk}/change/"
    calm = browser.post(one, {**opened(browser, one).fields, TRY: "1", "high": "50"}).content.decode()
    assert "In the last 7 days this rule would have raised no alarm." in calm
    assert Rule.objects.get(name="warm").high == 30.0
    silent = Rule.objects.get(kind=RuleKind.EDGE_SILENT)
    told = act(browser, "back_test", saved, silent)
    assert "would have raised 3 alarms" in told
    assert "history does not tell" in told


def test_rules_are_switched_and_deleted(browser: Client, alarm: Alarm) -> None:
    silent = Rule.objects.get(kind=RuleKind.EDGE_SILENT)
    act(browser, "switch_off", alarm.rule, silent)
    assert Rule.objects.filter(enabled=False).count() == 2
    act(browser, "switch_on", silent)
    assert Rule.objects.get(pk=silent.pk).enabled
    assert browser.post(f"{RULES}{silent.pk}/delete/", {"post": "yes"}).status_code == 403
    refused = act(browser, "delete_selected", silent, post="yes")
    assert "switched off, not deleted" in refused
    assert "in the journal" in act(browser, "delete_selected", alarm.rule, post="yes")
    other = factories.rule()
    assert "Are you sure" in browser.get(f"{RULES}{other.pk}/delete/").content.decode()
    browser.post(f"{RULES}{other.pk}/delete/", {"post": "yes"})
    assert not Rule.objects.filter(pk=other.pk).exists()
    assert Rule.objects.filter(pk=silent.pk).exists()


# ---- contacts and routes


def test_a_contact_is_added_edited_and_deleted(browser: Client) -> None:
    right = filled(
        opened(browser, f"{CONTACTS}add/"), name="lab", transport="email", address="lab@example.org"
    )
    wrong = browser.post(f"{CONTACTS}add/", {**right, "address": "nowhere"})
    assert list(errors(wrong)) == ["address"]
    secret = browser.post(f"{CONTACTS}add/", {**right, "secret": "hunter 2"})
    assert list(errors(secret)) == ["secret"]
    assert browser.post(f"{CONTACTS}add/", right).status_code == 302
    lab = Contact.objects.get(name="lab")
    one = f"{CONTACTS}{lab.pk}/change/"
    assert list(errors(browser.post(one, {**opened(browser, one).fields, "next": str(lab.pk)}))) == ["next"]
    browser.post(one, {**opened(browser, one).fields, "address": "new@example.org"})
    assert Contact.objects.get(name="lab").address == "new@example.org"
    factories.route(lab, name="only one")
    assert "only one" in browser.get(f"{CONTACTS}{lab.pk}/delete/").content.decode()
    assert (
        "only one"
        in browser.post(f"{CONTACTS}{lab.pk}/delete/", {"post": "yes"}, follow=True).content.decode()
    )
    Route.objects.all().delete()
    browser.post(f"{CONTACTS}{lab.pk}/delete/", {"post": "yes"})
    assert not Contact.objects.exists()


def test_a_contact_is_tested(browser: Client, hook: Hook) -> None:
    contact = factories.contact("hook", address=hook.url)
    one = f"{CONTACTS}{contact.pk}/change/"
    text = browser.post(one, {**opened(browser, one).fields, TRY: "1", "name": "other"}).content.decode()
    assert "It was taken" in text
    assert Page(text).fields["name"] == "other"
    away = factories.contact("away", address="http://127.0.0.1:1/")
    told = act(browser, "test", contact, away)
    assert "hook: " in told
    assert "away: " in told
    states = set(Notice.objects.values_list("contact__name", "state"))
    assert states == {("hook", NoticeState.SENT), ("away", NoticeState.FAILED)}
    assert len(hook.taken) == 2
    assert Contact.objects.filter(name="hook").exists()


def test_a_route_is_added_edited_and_deleted(browser: Client) -> None:
    day, night = factories.contact("day"), factories.contact("night")
    right = filled(
        opened(browser, f"{ROUTES}add/"),
        **{
            "name": "all", "happenings": "run.started, run.completed", "tags": "cold warm",
            "steps-TOTAL_FORMS": "2", "steps-0-after": "0", "steps-0-contact": str(day.pk),
            "steps-1-after": "600", "steps-1-contact": str(night.pk),
        },
    )  # fmt: skip
    none = browser.post(f"{ROUTES}add/", {**right, "steps-TOTAL_FORMS": "0"})
    assert "at least one contact" in none.content.decode()
    zone = browser.post(f"{ROUTES}add/", {**right, "zone": "Mars/Olympus"})
    assert list(errors(zone)) == ["zone"]
    assert not Route.objects.exists()
    answer = browser.post(f"{ROUTES}add/", {**right, "days": ["0", "4"]})
    assert answer.status_code == 302
    route = Route.objects.get()
    assert (route.happenings, route.tags, route.days) == (
        ["run.started", "run.completed"], ["cold", "warm"], [0, 4],
    )  # fmt: skip
    assert [(step.after, step.contact) for step in route.steps.all()] == [(0.0, day), (600.0, night)]
    one = f"{ROUTES}{route.pk}/change/"
    page = opened(browser, one)
    browser.post(one, {**page.fields, "days": ["0", "4"], "steps-1-DELETE": "on"})
    assert [step.contact for step in route.steps.all()] == [day]
    assert "day" in browser.get(ROUTES).content.decode()
    browser.post(f"{ROUTES}{route.pk}/delete/", {"post": "yes"})
    assert not Route.objects.exists()
    assert Contact.objects.count() == 2


# ---- alarms


def test_alarms_are_acknowledged_once(browser: Client, alarm: Alarm) -> None:
    assert "Done: 1" in act(browser, "acknowledge", alarm, reason="on my way")
    assert "nothing to acknowledge" in act(browser, "acknowledge", alarm)
    row = alarm.journal.get(event="acknowledge")
    assert (row.comment, row.source, str(row.by)) == ("on my way", "admin", "staff")


@pytest.mark.parametrize(
    ("action", "state", "span", "back"),
    [
        ("shelve_for_an_hour", State.SHELVED, timedelta(hours=1), "unshelve"),
        ("shelve_for_a_shift", State.SHELVED, timedelta(hours=8), "unshelve"),
        ("take_out_of_service", State.OUT, timedelta(days=7), "return_to_service"),
    ],
)
def test_an_alarm_is_put_aside_with_a_reason(
    browser: Client, alarm: Alarm, action: str, state: State, span: timedelta, back: str
) -> None:
    assert "A reason in words is needed" in act(browser, action, alarm, reason=" ")
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED
    act(browser, action, alarm, reason="filter is changed")
    aside = Alarm.objects.get()
    assert (aside.state, aside.aside_reason, aside.aside_by) == (
        state,
        "filter is changed",
        User.objects.get(),
    )
    assert aside.aside_until is not None
    assert span - timedelta(minutes=1) < aside.aside_until - timezone.now() <= span
    act(browser, back, alarm)
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED


def test_the_list_shows_what_stands_unless_asked(browser: Client, bath: Instrument) -> None:
    a, b = bath.channels.order_by("key")
    factories.alarm(a, text="it stands")
    shelved = factories.alarm(b, text="it is shelved")
    services.shelve(shelved, OPERATOR, Source.API, timezone.now() + timedelta(hours=1), "known")
    text = browser.get(ALARMS).content.decode()
    assert "it stands" in text
    assert "it is shelved" not in text
    assert "it is shelved" in browser.get(f"{ALARMS}?state=shelved").content.decode()
    assert "it is shelved" in browser.get(f"{ALARMS}?state=any").content.decode()


def test_the_journal_of_one_alarm(browser: Client, bath: Instrument) -> None:
    a, b = bath.channels.order_by("key")
    mine = factories.alarm(a, text="mine")
    factories.alarm(b, text="another's")
    link = f"{ADMIN}alarmevent/?alarm__id__exact={mine.pk}"
    assert link in browser.get(f"{ALARMS}{mine.pk}/change/").content.decode()
    text = browser.get(link).content.decode()
    assert "mine" in text
    assert "another" not in text


def test_what_somebody_else_did_meanwhile_stays_and_is_told(browser: Client, channel: Channel) -> None:
    rule = factories.rule(name="warm")
    one = f"{RULES}{rule.pk}/change/"
    fields: dict[str, Any] = opened(browser, one).fields
    Override.objects.create(rule=rule, channel=channel, high=3.0)
    text = browser.post(one, {**fields, "key": "b"}, follow=True).content.decode()
    assert "is not of this channel" in text
    browser.post(one, {**fields, "high": "31"}, follow=True)
    rule.refresh_from_db()
    assert (rule.key, rule.high, rule.overrides.count()) == ("", 31.0, 1)
