"""What people may change, and what is refused by field and in words."""

import math
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import PermissionDenied, ValidationError

from alerts.models import Contact, Override, Priority, Route, RouteStep, Rule, RuleKind
from alerts.notices import transports
from alerts.rules import checking, editing
from alerts.rules.scope import rules_of
from devices.errors import Refused
from devices.models import Channel, Instrument
from devices.services import OPERATOR
from tests.alerts import factories
from tests.factories import person
from tests.telemetry.factories import edge, instrument

pytestmark = pytest.mark.django_db


@pytest.fixture
def bath() -> Instrument:
    return instrument(edge(), "bath", ("a", "b"))


@pytest.fixture
def channel(bath: Instrument) -> Channel:
    return bath.channels.get(key="a")


def wrong(caught: pytest.ExceptionInfo[ValidationError]) -> dict[str, list[str]]:
    return caught.value.message_dict


# ---- rules


VALID: dict[str, dict[str, Any]] = {
    "high": {"high": 30.0, "deadband": 1.0},
    "low": {"low": -3.5},
    "outside": {"low": -2.0, "high": 2.0, "deadband": 1.0},
    "equals": {"value": "true"},
    "differs": {"value": "ready"},
    "rate": {"high": 5.0, "seconds": 60.0},
    "stale": {},
    "event": {"event_kind": "run_error", "event_text": "lid"},
    "no_progress": {"seconds": 900.0},
    "not_connected": {},
    "edge_silent": {"seconds": 30.0},
    "undelivered": {},
    "sink_not_fed": {},
}


def test_all_kinds_are_in_the_table() -> None:
    assert set(VALID) == set(RuleKind.values)


@pytest.mark.parametrize("kind", VALID)
def test_a_rule_of_each_kind_is_saved(kind: str) -> None:
    saved = editing.save_rule(Rule(name="a rule", kind=kind, **VALID[kind]), by=OPERATOR)
    assert Rule.objects.get(pk=saved.pk).kind == kind


@pytest.mark.parametrize(
    ("kind", "fields", "field", "said"),
    [
        ("high", {"high": None}, "high", "needs it"),
        ("low", {"low": None}, "low", "needs it"),
        ("outside", {"low": None}, "low", "needs it"),
        ("outside", {"high": None}, "high", "needs it"),
        ("outside", {"low": 2.0}, "low", "not below"),
        ("outside", {"low": 3.0}, "low", "not below"),
        ("outside", {"deadband": 2.0}, "deadband", "half of the range from -2 to 2"),
        ("equals", {"value": ""}, "value", "needs it"),
        ("differs", {"value": ""}, "value", "needs it"),
        ("rate", {"high": None}, "high", "needs it"),
        ("rate", {"seconds": None}, "seconds", "needs it"),
        ("rate", {"high": 0.0}, "high", "above 0"),
        ("rate", {"deadband": 5.0}, "deadband", "less than the limit 5"),
        ("event", {"event_kind": ""}, "event_kind", "needs it"),
        ("event", {"event_kind": "x" * 61}, "event_kind", "60"),
        ("no_progress", {"seconds": None}, "seconds", "needs it"),
        ("high", {"low": 1.0}, "low", "does not use it"),
        ("low", {"value": "1"}, "value", "does not use it"),
        ("high", {"seconds": 3.0}, "seconds", "does not use it"),
        ("stale", {"high": 3.0}, "high", "does not use it"),
        ("edge_silent", {"high": 3.0}, "high", "does not use it"),
        ("not_connected", {"low": 3.0}, "low", "does not use it"),
        ("undelivered", {"seconds": 3.0}, "seconds", "does not use it"),
        ("equals", {"deadband": 1.0}, "deadband", "has none"),
        ("high", {"deadband": -1.0}, "deadband", "greater than or equal to 0"),
        ("high", {"high": math.inf}, "high", "finite"),
        ("high", {"high": math.nan}, "high", "finite"),
        ("high", {"on_delay": math.nan}, "on_delay", "finite"),
        ("high", {"deadband": math.inf}, "deadband", "finite"),
        ("high", {"on_delay": -1.0}, "on_delay", "greater than or equal to 0"),
        ("high", {"on_delay": 1e300}, "on_delay", "30 days"),
        ("high", {"off_delay": 2_592_001.0}, "off_delay", "30 days"),
        ("no_progress", {"seconds": 1e9}, "seconds", "30 days"),
        ("stale", {"seconds": 0.0}, "seconds", "greater than or equal to 0.1"),
        ("high", {"name": ""}, "name", "blank"),
        ("high", {"name": "x" * 121}, "name", "120"),
        ("high", {"name": "a\0b"}, "name", "cannot be stored"),
        ("high", {"guidance": "\ud800"}, "guidance", "cannot be stored"),
        ("high", {"priority": 5}, "priority", "not a valid choice"),
        ("high", {"driver": "samovar"}, "driver", "thermostat"),
        ("high", {"tag": "two words"}, "tag", "letters, digits"),
        ("high", {"suppressed_in": ["asleep"]}, "suppressed_in", "asleep"),
        ("loud", {}, "kind", "not a valid choice"),
    ],
)
def test_what_a_rule_cannot_be_is_refused_by_field(
    kind: str, fields: dict[str, Any], field: str, said: str
) -> None:
    rule = Rule(**{"name": "a rule", "kind": kind, **VALID.get(kind, {}), **fields})
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(rule, by=OPERATOR)
    assert list(wrong(caught)) == [field]
    assert said in " ".join(wrong(caught)[field])


@pytest.mark.parametrize(
    ("kind", "scope", "field"),
    [
        ("high", ("channel", "key"), "key"),
        ("high", ("channel", "driver"), "driver"),
        ("high", ("channel", "tag"), "tag"),
        ("high", ("channel", "edge"), "edge"),
        ("high", ("channel", "instrument"), "instrument"),
        ("high", ("instrument", "driver"), "driver"),
        ("high", ("instrument", "edge"), "edge"),
        ("high", ("instrument", "tag"), "tag"),
        ("event", ("channel",), "channel"),
        ("no_progress", ("instrument", "key"), "key"),
        ("not_connected", ("key",), "key"),
        ("edge_silent", ("instrument",), "instrument"),
        ("edge_silent", ("driver",), "driver"),
        ("undelivered", ("edge",), "edge"),
        ("undelivered", ("tag",), "tag"),
        ("sink_not_fed", ("edge",), "edge"),
        ("high", ("instrument", "key"), ""),
        ("high", ("driver", "key", "tag", "edge"), ""),
        ("event", ("driver", "tag", "edge"), ""),
        ("edge_silent", ("edge",), ""),
    ],
)
def test_a_scope_says_one_thing(channel: Channel, kind: str, scope: tuple[str, ...], field: str) -> None:
    every = {
        "channel": channel,
        "instrument": channel.instrument,
        "driver": "thermostat",
        "key": "a*",
        "tag": "cold",
        "edge": channel.instrument.edge,
    }
    rule = Rule(name="a rule", kind=kind, **VALID[kind], **{name: every[name] for name in scope})
    if not field:
        assert editing.save_rule(rule, by=OPERATOR).pk
        return
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(rule, by=OPERATOR)
    assert list(wrong(caught)) == [field]
    assert "leave it empty" in wrong(caught)[field][0]


@pytest.mark.parametrize(
    ("of", "kind", "fields", "field"),
    [
        ("vector", "high", {"high": 1.0}, "channel"),
        ("vector", "stale", {}, "channel"),
        ("text", "high", {"high": 1.0}, "channel"),
        ("text", "equals", {"value": "ready"}, ""),
        ("float", "equals", {"value": "ready"}, "value"),
        ("bool", "equals", {"value": "True"}, ""),
        ("int", "differs", {"value": "3"}, ""),
    ],
)
def test_a_rule_fits_the_kind_of_its_channel(
    channel: Channel, of: str, kind: str, fields: dict[str, Any], field: str
) -> None:
    channel.kind = of
    rule = Rule(name="a rule", kind=kind, channel=channel, **fields)
    if not field:
        assert editing.save_rule(rule, by=OPERATOR).pk
        return
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(rule, by=OPERATOR)
    assert list(wrong(caught)) == [field]


def test_rules_are_not_suppressed_in_a_ring() -> None:
    first = factories.rule(name="first")
    second = factories.rule(name="second", suppressed_by=first)
    first.suppressed_by = factories.rule(name="third", suppressed_by=second)
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(first, by=OPERATOR)
    assert "come back to itself" in wrong(caught)["suppressed_by"][0]
    first.suppressed_by = first
    with pytest.raises(ValidationError):
        editing.save_rule(first, by=OPERATOR)
    first.suppressed_by = None
    editing.save_rule(first, by=OPERATOR)


def test_a_new_rule_may_be_suppressed_by_another_new_one() -> None:
    first = editing.save_rule(Rule(name="first", kind="high", high=1.0), by=OPERATOR)
    editing.save_rule(Rule(name="second", kind="high", high=1.0, suppressed_by=first), by=OPERATOR)


def test_what_comes_with_labsite_is_edited_and_switched_off_but_not_deleted() -> None:
    silent = Rule.objects.get(kind=RuleKind.EDGE_SILENT)
    silent.seconds = 60.0
    editing.save_rule(silent, by=OPERATOR)
    editing.set_enabled(silent, by=OPERATOR, on=False)
    assert Rule.objects.filter(pk=silent.pk, seconds=60.0, enabled=False).exists()
    with pytest.raises(Refused, match="switched off, not deleted"):
        editing.delete_rule(silent, by=OPERATOR)
    silent.kind, silent.seconds = RuleKind.NOT_CONNECTED, None
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(silent, by=OPERATOR)
    assert list(wrong(caught)) == ["kind"]


def test_a_rule_with_alarms_keeps_its_kind(channel: Channel) -> None:
    rule = factories.rule()
    rule.kind, rule.low, rule.high = RuleKind.LOW, 1.0, None
    editing.save_rule(rule, by=OPERATOR)
    factories.alarm(channel, rule)
    rule.kind, rule.low, rule.high = RuleKind.HIGH, None, 1.0
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(rule, by=OPERATOR)
    assert "make another rule" in wrong(caught)["kind"][0]


def test_a_rule_with_alarms_in_the_journal_is_not_deleted(channel: Channel) -> None:
    rule = factories.rule()
    factories.alarm(channel, rule)
    with pytest.raises(Refused, match="in the journal, which stays"):
        editing.delete_rule(rule, by=OPERATOR)
    assert channel.alarms.exists()


# ---- overrides


def test_overrides_are_saved_with_their_rule(bath: Instrument) -> None:
    a, b = bath.channels.order_by("key")
    rule = editing.save_rule(
        Rule(name="warm", kind="high", high=30.0, instrument=bath),
        by=OPERATOR,
        overrides=[Override(channel=a, high=40.0), Override(channel=b, enabled=False)],
    )
    kept = rule.overrides.get(channel=a)
    editing.save_rule(rule, by=OPERATOR, overrides=[Override(channel=a, high=41.0)])
    assert [(each.pk, each.high) for each in rule.overrides.all()] == [(kept.pk, 41.0)]
    editing.save_rule(rule, by=OPERATOR)
    assert rule.overrides.count() == 1
    single = editing.save_override(Override(rule=rule, channel=b, on_delay=3.0), by=OPERATOR)
    editing.delete_override(single, by=OPERATOR)
    assert rule.overrides.count() == 1


@pytest.mark.parametrize(
    ("kind", "rule", "fields", "field", "said"),
    [
        ("high", {"high": 30.0}, {"low": 3.0}, "low", "does not use it"),
        ("high", {"high": 30.0}, {"high": math.nan}, "high", "finite"),
        ("high", {"high": 30.0}, {"on_delay": -1.0}, "on_delay", "less than 0"),
        ("high", {"high": 30.0}, {"off_delay": 1e300}, "off_delay", "30 days"),
        ("high", {"high": 30.0}, {"priority": 9}, "priority", "not a valid choice"),
        ("outside", {"low": 1.0, "high": 2.0}, {"low": 3.0}, "low", "not below"),
        ("outside", {"low": 1.0, "high": 2.0}, {"deadband": 1.0}, "deadband", "half of the range"),
        ("equals", {"value": "1"}, {"value": "ready"}, "value", "neither a number"),
        ("not_connected", {}, {}, "channel", "not of channels"),
        ("high", {"high": 30.0, "key": "b"}, {"high": 3.0}, "channel", "not of this channel"),
        ("high", {"high": 30.0, "tag": "cold"}, {"high": 3.0}, "channel", "not of this channel"),
    ],
)
def test_an_override_contradicts_neither_rule_nor_channel(
    channel: Channel, kind: str, rule: dict[str, Any], fields: dict[str, Any], field: str, said: str
) -> None:
    of = Rule.objects.create(name="a rule", kind=kind, **rule)
    with pytest.raises(ValidationError) as caught:
        editing.save_override(Override(rule=of, channel=channel, **fields), by=OPERATOR)
    assert list(wrong(caught)) == [field]
    assert said in wrong(caught)[field][0]
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(of, by=OPERATOR, overrides=[Override(channel=channel, **fields)])
    assert wrong(caught)["overrides"][0].startswith(f"bath a: {field}: ")


def test_a_channel_has_one_override_of_a_rule(channel: Channel) -> None:
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(
            Rule(name="a rule", kind="high", high=30.0),
            by=OPERATOR,
            overrides=[Override(channel=channel, high=3.0), Override(channel=channel, high=4.0)],
        )
    assert "more than one" in wrong(caught)["overrides"][0]


def test_a_rule_does_not_change_away_from_under_its_overrides(channel: Channel) -> None:
    rule = factories.rule()
    editing.save_override(Override(rule=rule, channel=channel, high=3.0), by=OPERATOR)
    rule.key = "b"
    with pytest.raises(ValidationError) as caught:
        editing.save_rule(rule, by=OPERATOR)
    assert "not of this channel" in wrong(caught)["overrides"][0]
    editing.save_rule(rule, by=OPERATOR, overrides=[])


# ---- which rules are of a channel


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"key": "a"}, True),
        ({"key": "?"}, True),
        ({"key": "b"}, False),
        ({"driver": "thermostat"}, True),
        ({"driver": "push"}, False),
        ({"tag": "cold"}, True),
        ({"tag": "warm"}, False),
        ({"kind": "not_connected", "high": None}, False),
    ],
)
def test_rules_of_a_channel(channel: Channel, fields: dict[str, Any], expected: bool) -> None:
    channel.instrument.tags = ["cold"]
    factories.rule(**{"name": "asked", "kind": "high", **fields})
    assert ("asked" in [rule.name for rule in rules_of(channel)]) is expected


# ---- contacts


@pytest.mark.parametrize(
    ("transport", "address", "secret"),
    [
        ("matrix", "!abc:example.org", ""),
        ("matrix", "#lab:example.org:8448", ""),
        ("matrix", "@ada:example.org", ""),
        ("matrix", "!" + "a" * 43, ""),
        ("email", "lab@example.org", ""),
        ("webhook", "https://example.org/alarms?lab=1", "HOOK"),
        ("webhook", "http://127.0.0.1:9000/", ""),
        ("apprise", "", "PAGER"),
    ],
)
def test_a_contact_is_saved(transport: str, address: str, secret: str) -> None:
    contact = Contact(name="somebody", transport=transport, address=address, secret=secret)
    assert editing.save_contact(contact, by=OPERATOR).pk


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"transport": "pigeon"}, "transport", "matrix"),
        ({"transport": "matrix", "address": "lab"}, "address", "Matrix"),
        ({"transport": "matrix", "address": "#lab"}, "address", "Matrix"),
        ({"transport": "matrix", "address": "#lab:a b"}, "address", "Matrix"),
        ({"transport": "email", "address": "lab"}, "address", "e-mail"),
        ({"transport": "email", "address": ""}, "address", "e-mail"),
        ({"transport": "email", "address": "a@b.example\nBcc: c@d.example"}, "address", "e-mail"),
        ({"transport": "webhook", "address": "ftp://example.org"}, "address", "URL"),
        ({"transport": "webhook", "address": "https://"}, "address", "URL"),
        ({"transport": "webhook", "address": "https://[::1"}, "address", "URL"),
        ({"transport": "webhook", "address": "https://a:secret@example.org/"}, "address", "password"),
        ({"transport": "apprise", "address": ""}, "secret", "Apprise"),
        ({"secret": "pass word"}, "secret", "name"),
        ({"secret": "KEY"}, "secret", "Labsite's own"),
        ({"name": "a\0"}, "name", "cannot be stored"),
        ({"name": ""}, "name", "blank"),
    ],
)
def test_what_a_contact_cannot_be_is_refused_by_field(fields: dict[str, str], field: str, said: str) -> None:
    given = {"name": "somebody", "transport": "email", "address": "lab@example.org", **fields}
    with pytest.raises(ValidationError) as caught:
        editing.save_contact(Contact(**given), by=OPERATOR)
    assert list(wrong(caught)) == [field]
    assert said in wrong(caught)[field][0]


def test_every_transport_has_its_form_of_address() -> None:
    assert set(checking.TRANSPORTS) == set(transports.NAMES)


def test_a_password_in_place_of_a_secrets_name_is_not_said_again() -> None:
    with pytest.raises(ValidationError) as caught:
        editing.save_contact(Contact(name="a", transport="apprise", secret="hunter2 hunter2"), by=OPERATOR)
    assert "hunter2" not in str(wrong(caught))


def test_contacts_do_not_pass_on_in_a_ring() -> None:
    first = factories.contact("first", "email", address="a@example.org")
    second = factories.contact("second", "email", address="b@example.org", next=first)
    first.next = second
    with pytest.raises(ValidationError) as caught:
        editing.save_contact(first, by=OPERATOR)
    assert list(wrong(caught)) == ["next"]
    first.next = first
    with pytest.raises(ValidationError):
        editing.save_contact(first, by=OPERATOR)


def test_a_contact_whom_a_route_needs_is_not_deleted() -> None:
    one, other = factories.contact("one"), factories.contact("other")
    factories.route(one, name="only one")
    factories.route(one, other, name="both")
    editing.delete_contact(other, by=OPERATOR)
    with pytest.raises(Refused, match="no other contact"):
        editing.delete_contact(one, by=OPERATOR)


# ---- routes


def steps(*of: tuple[float, Contact]) -> list[RouteStep]:
    return [RouteStep(after=after, contact=contact) for after, contact in of]


def test_a_route_is_saved_with_its_steps() -> None:
    one, other = factories.contact("one"), factories.contact("other")
    route = editing.save_route(Route(name="all"), OPERATOR, steps((0.0, one), (600.0, other)))
    first = route.steps.get(contact=one)
    editing.save_route(route, OPERATOR, steps((0.0, one), (300.0, other)))
    assert [(step.after, step.contact) for step in route.steps.all()] == [(0.0, one), (300.0, other)]
    assert route.steps.get(contact=one).pk == first.pk
    route.least_priority = Priority.HIGH
    editing.save_route(route, OPERATOR)
    assert route.steps.count() == 2
    editing.delete_route(route, OPERATOR)
    assert Contact.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"zone": "Mars/Olympus"}, "zone", "no time zone"),
        ({"zone": "../etc/passwd"}, "zone", "no time zone"),
        ({"days": [7]}, "days", "6, Sunday"),
        ({"days": [-1]}, "days", "6, Sunday"),
        ({"start": "08:00"}, "end", "both"),
        ({"end": "08:00"}, "start", "both"),
        ({"start": "08:00", "end": "08:00"}, "end", "the same"),
        ({"happenings": ["x" * 61]}, "happenings", "60"),
        ({"tags": ["two words"]}, "tags", "letters, digits"),
        ({"window": -1.0}, "window", "0"),
        ({"window": math.inf}, "window", "finite"),
        ({"window": 1e9}, "window", "30 days"),
        ({"repeat": 9.0}, "repeat", "10"),
        ({"repeat": math.nan}, "repeat", "finite"),
        ({"alarms": False}, "alarms", "never tell"),
        ({"least_priority": 0}, "least_priority", "not a valid choice"),
    ],
)
def test_what_a_route_cannot_be_is_refused_by_field(fields: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        editing.save_route(Route(name="all", **fields), OPERATOR, steps((0.0, factories.contact())))
    assert list(wrong(caught)) == [field]
    assert said in wrong(caught)[field][0]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ((), "at least one"),
        ((-1.0,), "0"),
        ((math.nan,), "finite"),
        ((1e300,), "30 days"),
        ((0.0, 0.0), "twice"),
    ],
)
def test_what_steps_cannot_be(after: tuple[float, ...], said: str) -> None:
    contact = factories.contact()
    with pytest.raises(ValidationError) as caught:
        editing.save_route(Route(name="all"), OPERATOR, steps(*((each, contact) for each in after)))
    assert list(wrong(caught)) == ["steps"]
    assert said in wrong(caught)["steps"][0]
    assert not Route.objects.exists()


def test_a_route_over_midnight_on_some_days() -> None:
    route = Route(
        name="night", start="22:00", end="06:00", days=[4, 5], zone="Europe/Berlin", tags=["cold"],
        happenings=["run.started"], repeat=600.0, daily="08:00",
    )  # fmt: skip
    saved = editing.save_route(route, OPERATOR, steps((0.0, factories.contact())))
    saved.refresh_from_db()
    assert (saved.days, saved.zone, saved.tags) == ([4, 5], "Europe/Berlin", ["cold"])


# ---- who may


def with_right(codename: str) -> User:
    user = person(codename, staff=False)
    user.user_permissions.add(Permission.objects.get(codename=codename))
    return User.objects.get(pk=user.pk)


CHANGES: list[tuple[str, Any]] = [
    ("add_rule", lambda by: editing.save_rule(Rule(name="new", kind="high", high=1.0), by)),
    ("change_rule", lambda by: editing.save_rule(Rule.objects.get(name="old"), by)),
    ("change_rule", lambda by: editing.set_enabled(Rule.objects.get(name="old"), by, on=False)),
    ("change_rule", lambda by: editing.save_override(override(), by)),
    ("change_rule", lambda by: editing.delete_override(override(), by)),
    ("delete_rule", lambda by: editing.delete_rule(Rule.objects.get(name="old"), by)),
    ("add_contact", lambda by: editing.save_contact(mailbox("new"), by)),
    ("change_contact", lambda by: editing.save_contact(Contact.objects.get(name="old"), by)),
    ("delete_contact", lambda by: editing.delete_contact(Contact.objects.get(name="old"), by)),
    ("add_route", lambda by: editing.save_route(Route(name="new"), by, steps((0.0, room())))),
    ("change_route", lambda by: editing.save_route(Route.objects.get(name="old"), by)),
    ("delete_route", lambda by: editing.delete_route(Route.objects.get(name="old"), by)),
]


def mailbox(name: str) -> Contact:
    return Contact(name=name, transport="email", address="lab@example.org")


def room() -> Contact:
    return Contact.objects.get(name="room")


def override() -> Override:
    made = Override.objects.first()
    assert made is not None
    return made


@pytest.mark.parametrize(("codename", "change"), CHANGES)
def test_a_change_needs_the_right_or_staff(channel: Channel, codename: str, change: Any) -> None:
    mailbox("old").save()
    factories.route(factories.contact("room"), name="old")
    Override.objects.create(rule=factories.rule(name="old"), channel=channel)
    gone = person("gone", superuser=True)
    gone.is_active = False
    for nobody in (AnonymousUser(), person("viewer", staff=False), with_right("acknowledge_alarm"), gone):
        with pytest.raises(PermissionDenied):
            change(nobody)
    change(with_right(codename))
