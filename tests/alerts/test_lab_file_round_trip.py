"""What a lab file writes of rules, contacts and routes, it reads as the same."""

from collections.abc import Callable
from datetime import time
from random import Random
from typing import Any

import pytest
from django.contrib.auth.models import User

from alerts.models import Contact, Override, Priority, Route, RouteStep, Rule, RuleKind
from alerts.rules import editing, kinds
from devices.models import Edge, Instrument
from devices.readings import RUN_STATES
from devices.services import OPERATOR
from labsite import lab_file
from tests import factories
from tests.alerts import factories as alarms
from tests.alerts.test_lab_file import applied

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def lab() -> None:
    factories.edge()
    factories.instrument("Bath 1")
    factories.person("ada")


WORDS = ("a", "ß µ", '"q"', "back\\slash", "#no comment", "two\nlines", "[[rule]]", "'", "room-214")


class Made:
    """Rules, contacts and routes made by chance, as the services take them."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.seed = seed

    def all(self) -> None:
        rules = [self.rule(number) for number in range(12)]
        contacts = [self.contact(number) for number in range(5)]
        for number in range(4):
            self.route(number, contacts)
        for rule in self.chance.sample(rules, 4):  # some are switched off by a later one
            others = [other for other in rules if other.pk > rule.pk]
            if others:
                rule.suppressed_by = self.chance.choice(others)
                editing.save_rule(rule, OPERATOR)
        for rule in Rule.objects.filter(built_in=True):
            self.change(rule)

    def text(self) -> str:
        return " ".join(self.chance.choices(WORDS, k=self.chance.randint(0, 4)))

    def number(self) -> float:
        return self.chance.choice((0.1, 1.0, 37.5, 1e6, 3.0))

    def often(self, value: Callable[[], Any], otherwise: Any) -> Any:
        return value() if self.chance.random() < 0.5 else otherwise

    def rule(self, number: int) -> Rule:
        chance = self.chance
        kind = chance.choice([kind for kind in RuleKind if kinds.SCOPES.get(kind) != ()])
        rule = Rule(
            name=f"{self.seed} {number} {self.text()}".strip(),
            kind=kind,
            priority=chance.choice(list(Priority)),
        )
        rule.enabled, rule.latch = chance.random() < 0.8, chance.random() < 0.3
        rule.guidance = self.text()
        rule.on_delay, rule.off_delay = self.often(self.number, 0.0), self.often(self.number, 0.0)
        rule.suppressed_in = self.often(lambda: chance.sample(RUN_STATES, 2), [])
        rule.chatter_changes = self.often(lambda: chance.randint(1, 20), 6)
        self.limits(rule)
        self.scope(rule)
        return editing.save_rule(rule, OPERATOR, self.overrides(rule))

    def limits(self, rule: Rule) -> None:
        chance, kind = self.chance, rule.kind
        if kind in (RuleKind.LOW, RuleKind.OUTSIDE):
            rule.low = -self.number()
        if kind in (RuleKind.HIGH, RuleKind.OUTSIDE, RuleKind.RATE):
            rule.high = self.number()
            rule.deadband = self.often(lambda: 0.05, 0.0)
        if kind in (RuleKind.EQUALS, RuleKind.DIFFERS):
            rule.value = chance.choice(("true", "false", "3", "2.5", "on line", *WORDS))
        if kind in (RuleKind.RATE, RuleKind.NO_PROGRESS):
            rule.seconds = self.number()
        if kind in (RuleKind.STALE, RuleKind.EDGE_SILENT):
            rule.seconds = self.often(self.number, None)
        if kind == RuleKind.EVENT:
            rule.event_kind, rule.event_text = "run.failed", self.text()

    def scope(self, rule: Rule) -> None:
        chance, bath = self.chance, Instrument.objects.get(name="Bath 1")
        if rule.kind == RuleKind.EDGE_SILENT:
            rule.edge = self.often(Edge.objects.get, None)
            return
        is_of_channels = rule.kind not in (RuleKind.EVENT, RuleKind.NO_PROGRESS, RuleKind.NOT_CONNECTED)
        key = self.often(lambda: "ch*.temperature", "") if is_of_channels else ""
        match chance.randint(0, 2):
            case 0 if is_of_channels and rule.kind not in (RuleKind.EQUALS, RuleKind.DIFFERS):
                rule.channel = bath.channels.get(key="ch0.temperature")
            case 1:
                rule.instrument, rule.key = bath, key
            case _:
                rule.driver, rule.key = self.often(lambda: "thermostat", ""), key
                rule.edge, rule.tag = self.often(Edge.objects.get, None), self.often(lambda: "room-214", "")

    def overrides(self, rule: Rule) -> list[Override]:
        if rule.channel or rule.tag or rule.kind not in (RuleKind.HIGH, RuleKind.STALE, RuleKind.LOW):
            return []
        bath = Instrument.objects.get(name="Bath 1")
        found = []
        for key in self.chance.sample(("ch0.temperature", "ch1.temperature"), self.chance.randint(0, 2)):
            override = Override(channel=bath.channels.get(key=key), enabled=self.chance.random() < 0.5)
            override.on_delay, override.priority = self.often(self.number, None), self.often(lambda: 1, None)
            if rule.kind == RuleKind.HIGH:
                override.high = self.often(self.number, None)
            found.append(override)
        return found

    def contact(self, number: int) -> Contact:
        chance = self.chance
        transport, address = chance.choice((
            ("webhook", "https://example.org/a?b=c#d"), ("email", "lab@example.org"), ("apprise", ""),
            ("matrix", "!room:example.org"),
        ))  # fmt: skip
        contact = Contact(
            name=f"{self.seed} {number} {self.text()}".strip(), transport=transport, address=address
        )
        contact.secret = "NAME_1" if transport in ("webhook", "apprise") else ""
        contact.enabled = chance.random() < 0.8
        contact.next = self.often(lambda: Contact.objects.order_by("?").first(), None)
        contact.user = self.often(User.objects.get, None)
        return editing.save_contact(contact, OPERATOR)

    def route(self, number: int, contacts: list[Contact]) -> None:
        chance = self.chance
        route = Route(
            name=f"{self.seed} {number} {self.text()}".strip(), least_priority=chance.choice(list(Priority))
        )
        route.happenings = self.often(lambda: ["run.failed", 'a "b"'], [])
        route.tags, route.recoveries = self.often(lambda: ["room-214", "ß"], []), chance.random() < 0.5
        route.days = self.often(lambda: sorted(chance.sample(range(7), 3)), [])
        if chance.random() < 0.5:
            route.start, route.end = time(22), time(6, 30, 5)
            route.zone = "Europe/Berlin"
        route.window, route.repeat = self.number(), self.often(lambda: 900.5, None)
        route.daily = self.often(lambda: time(0, 0), None)
        count = chance.randint(1, len(contacts))
        steps = [RouteStep(contact=each, after=self.number()) for each in chance.sample(contacts, count)]
        editing.save_route(route, OPERATOR, steps)

    def change(self, rule: Rule) -> None:
        chance = self.chance
        rule.enabled, rule.priority = chance.random() < 0.5, chance.choice(list(Priority))
        rule.on_delay, rule.guidance = self.often(self.number, 0.0), self.text()
        if rule.kind == RuleKind.EDGE_SILENT:
            rule.seconds = None
        editing.save_rule(rule, OPERATOR)


@pytest.mark.parametrize("seed", range(20))
def test_any_lab_survives_the_round_trip_and_comes_up_the_same_elsewhere(seed: int) -> None:
    Made(seed).all()
    written = lab_file.export()
    assert applied(written) == []
    assert applied(written, prune=True) == []
    Route.objects.all().delete()
    Contact.objects.all().delete()
    Rule.objects.all().delete()
    alarms.built_in_rules()
    assert applied(written)
    assert lab_file.export() == written
    assert applied(written, prune=True) == []
