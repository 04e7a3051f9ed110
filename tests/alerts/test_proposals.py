"""The rules that drivers propose: added once, for all instruments of the driver."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from rest_framework.test import APIClient

from alerts.models import Priority, Rule
from alerts.rules import editing, proposals
from devices import drivers
from devices.models import Instrument
from devices.services import OPERATOR, retire_instrument
from tests import factories

pytestmark = pytest.mark.django_db

URL = "/api/v1/rules/"
UPS_RULES = {template.name for template in drivers.load("must_ep20").alarms}


@pytest.fixture
def ups() -> Instrument:
    return factories.instrument(
        "UPS rack A", driver="must_ep20", address="serial:///dev/ttyUSB0", interval=2.0
    )


@pytest.fixture
def api() -> APIClient:
    return factories.client(factories.person())


def names(rules: list[Rule]) -> set[str]:
    return {rule.name for rule in rules}


def test_a_driver_proposes_its_rules_until_they_are_there(ups: Instrument) -> None:
    assert names(proposals.proposed(ups)) == UPS_RULES
    some = proposals.accept(ups, ["UPS battery low", "UPS load high"], OPERATOR)
    assert names(some) == {"UPS battery low", "UPS load high"}
    assert names(proposals.proposed(ups)) == UPS_RULES - names(some)
    assert names(proposals.accept(ups, None, OPERATOR)) == UPS_RULES - names(some)
    assert proposals.proposed(ups) == []
    assert proposals.accept(ups, list(UPS_RULES), OPERATOR) == []


def test_a_rule_is_as_its_template_says_and_of_all_instruments_of_the_driver(ups: Instrument) -> None:
    proposals.accept(ups, None, OPERATOR)
    low = Rule.objects.get(name="UPS input voltage low")
    assert (low.kind, low.driver, low.key, low.low, low.deadband) == (
        "low",
        "must_ep20",
        "input_voltage",
        180,
        5,
    )
    assert (low.priority, low.instrument, low.built_in) == (Priority.MEDIUM, None, False)
    assert low.guidance
    assert low.suppressed_by == Rule.objects.get(name="UPS on battery")
    factories.instrument("UPS rack B", driver="must_ep20", address="serial:///dev/ttyUSB1")
    assert proposals.proposed(Instrument.objects.get(name="UPS rack B")) == []


def test_what_somebody_has_changed_or_renamed_is_not_proposed_again(ups: Instrument) -> None:
    proposals.accept(ups, None, OPERATOR)
    rule = Rule.objects.get(name="UPS temperature high")
    rule.name, rule.high, rule.enabled = "UPS hot", 45.0, False
    editing.save_rule(rule, OPERATOR)
    assert proposals.proposed(ups) == []
    editing.delete_rule(rule, OPERATOR)
    assert names(proposals.proposed(ups)) == {"UPS temperature high"}


def test_a_cause_that_is_there_already_is_found(ups: Instrument) -> None:
    (alone,) = proposals.accept(ups, ["UPS on battery"], OPERATOR)
    alone.name = "Mains away"
    editing.save_rule(alone, OPERATOR)
    (low,) = proposals.accept(ups, ["UPS input voltage low"], OPERATOR)
    assert low.suppressed_by == alone


def test_a_name_that_is_taken_gets_the_driver_behind_it(ups: Instrument) -> None:
    Rule.objects.create(name="UPS load high", kind="high", high=1.0, key="x")
    (rule,) = proposals.accept(ups, ["UPS load high"], OPERATOR)
    assert rule.name == "UPS load high (must_ep20)"


@pytest.mark.parametrize("driver", sorted(set(drivers.OWN) - {"edge_host"}))
def test_the_rules_of_every_driver_are_taken(driver: str) -> None:
    address = {"push": "push://readings"}.get(driver, drivers.load(driver).example)
    instrument = factories.instrument("Any", driver=driver, address=address)
    accepted = proposals.accept(instrument, None, OPERATOR)
    assert names(accepted) == {template.name for template in drivers.load(driver).alarms}


def test_only_what_an_instrument_has_is_proposed() -> None:
    dry = {"humidity_oversampling": "off"}
    sensor = factories.instrument("Air", driver="bme280", address="i2c://1/0x76", options=dry)
    assert proposals.proposed(sensor) == []


def test_an_alarms_name_is_told_beforehand(ups: Instrument) -> None:
    said = {rule.name: proposals.alarms_of(rule, ups) for rule in proposals.proposed(ups)}
    assert said["UPS input voltage low"] == ["UPS rack A input voltage below 180.0 V"]
    assert len(said["UPS reports an alarm"]) == 4


def test_who_may_not_add_rules_may_not_accept(ups: Instrument) -> None:
    with pytest.raises(PermissionDenied):
        proposals.accept(ups, None, factories.person("reader", staff=False))
    with pytest.raises(ValidationError, match="no rule 'Nonsense' is proposed"):
        proposals.accept(ups, ["Nonsense"], OPERATOR)
    assert not Rule.objects.filter(built_in=False).exists()


def test_a_driver_that_is_not_installed_proposes_nothing(ups: Instrument) -> None:
    Instrument.objects.filter(pk=ups.pk).update(driver="samovar")
    assert proposals.proposed(Instrument.objects.get(pk=ups.pk)) == []


# ---- the API


def test_proposals_are_read_and_accepted(api: APIClient, ups: Instrument) -> None:
    found: list[dict[str, Any]] = api.get(f"{URL}proposed/?instrument={ups.pk}").json()
    assert {row["name"] for row in found} == UPS_RULES
    low = next(row for row in found if row["name"] == "UPS input voltage low")
    assert (low["low"], low["driver"], low["priority"]) == (180.0, "must_ep20", "medium")
    assert low["alarms"] == ["UPS rack A input voltage below 180.0 V"]
    answer = api.post(f"{URL}accept/", {"instrument": str(ups.pk), "names": ["UPS load high"]})
    assert (answer.status_code, [row["name"] for row in answer.json()]) == (201, ["UPS load high"])
    assert api.get(f"{URL}{answer.json()[0]['id']}/").json()["high"] == 80.0
    assert len(api.post(f"{URL}accept/", {"instrument": str(ups.pk)}).json()) == len(UPS_RULES) - 1
    assert api.get(f"{URL}proposed/?instrument={ups.pk}").json() == []


def test_what_means_nothing_is_refused_by_field(api: APIClient, ups: Instrument) -> None:
    def said(answer: Any) -> tuple[int, list[str]]:
        return answer.status_code, list(answer.json())

    assert said(api.get(f"{URL}proposed/")) == (400, ["instrument"])
    assert said(api.get(f"{URL}proposed/?instrument=7")) == (400, ["instrument"])
    assert said(api.get(f"{URL}proposed/?instrument={ups.pk}&x=1")) == (400, ["x"])
    assert said(api.post(f"{URL}accept/", {"instrument": str(ups.pk), "names": ["X"]})) == (400, ["names"])
    retire_instrument(ups, OPERATOR)
    assert said(api.post(f"{URL}accept/", {"instrument": str(ups.pk)})) == (400, ["instrument"])


def test_everyone_reads_and_those_with_the_right_accept(ups: Instrument) -> None:
    reader = factories.client(factories.person("reader", staff=False))
    assert reader.get(f"{URL}proposed/?instrument={ups.pk}").status_code == 200
    assert reader.post(f"{URL}accept/", {"instrument": str(ups.pk)}).status_code == 403
    token = factories.token_client(factories.person(), "read")
    assert token.post(f"{URL}accept/", {"instrument": str(ups.pk)}).status_code == 403
    assert factories.client().get(f"{URL}proposed/?instrument={ups.pk}").status_code in (401, 403)
