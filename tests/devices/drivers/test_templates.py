"""The rules that drivers propose: each can work, and what could not is told."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from alerts.models import Priority, RuleKind
from devices import drivers
from devices.conformance import declared
from devices.conformance.templates import template_faults
from devices.drivers.base import PRIORITIES, RULE_KINDS, Channel, RuleTemplate

CHANNELS = (
    Channel("air.temperature", "air", "Cel"),
    Channel("air.pressure", "air", "hPa"),
    Channel("state", "state", kind="text"),
    Channel("on", "on", kind="bool"),
    Channel("wells", "wells", kind="vector"),
)
HOT = RuleTemplate("Hot", "high", "Cool it.", key="air.temperature", high=40.0, deadband=1.0)
RUN = RuleTemplate("Run failed", "event", "Look.", event_kind="run.failed")


@pytest.mark.parametrize("name", drivers.names())
def test_the_rules_of_each_driver_can_work(name: str) -> None:
    (finding,) = [each for each in declared.findings(name) if each.rule == "proposes rules that can work"]
    assert finding.fault == ""
    assert finding.note == ", ".join(template.name for template in drivers.load(name).alarms)


def test_no_two_drivers_give_rules_one_name() -> None:
    names = Counter(template.name for name in drivers.OWN for template in drivers.load(name).alarms)
    assert set(names.values()) == {1}


@pytest.mark.parametrize("driver", ["must_ep20", "quantstudio", "bme280", "metatron"])
def test_the_instruments_that_the_replaced_programs_watched_have_rules(driver: str) -> None:
    assert drivers.load(driver).alarms


def test_the_limits_of_the_ups_are_those_of_the_replaced_program() -> None:
    limits = {(each.kind, each.key): each.low or each.high for each in drivers.load("must_ep20").alarms}
    assert (
        limits.items()
        >= {
            ("low", "input_voltage"): 180.0,
            ("low", "battery_level"): 20.0,
            ("high", "temperature"): 40.0,
            ("high", "load_percent"): 80.0,
        }.items()
    )


@pytest.mark.parametrize(
    "template",
    [
        HOT,
        RUN,
        replace(HOT, kind="outside", low=1.0, suppressed_in=("running",)),
        replace(HOT, kind="rate", seconds=60.0),
        RuleTemplate("State", "equals", "Look.", key="st*", value="error", latch=True),
        RuleTemplate("Off", "differs", "Look.", key="on", value="true", off_delay=5.0),
        RuleTemplate("Stuck", "no_progress", "Look.", seconds=600.0),
    ],
)
def test_what_can_work_is_taken(template: RuleTemplate) -> None:
    assert list(template_faults([template], CHANNELS)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": " "}, "its name is not of 1 to 120"),
        ({"guidance": " "}, "it does not say what to do"),
        ({"kind": "stale"}, "kind 'stale' is none of high"),
        ({"priority": "urgent"}, "priority 'urgent' is none of critical"),
        ({"suppressed_by": "Cold"}, "suppressed_by 'Cold' is no other of its rules"),
        ({"suppressed_by": "Hot"}, "suppressed_by 'Hot' is no other of its rules"),
        ({"suppressed_in": ("done",)}, "suppressed_in 'done' is none of pending"),
        ({"high": None}, "a rule of kind high needs high"),
        ({"low": 1.0}, "a rule of kind high has no low"),
        ({"event_kind": "door"}, "a rule of kind high has no event_kind"),
        ({"high": float("nan")}, "its limits are not finite"),
        ({"kind": "outside", "low": 50.0}, "low 50 is not below high 40"),
        ({"deadband": -1.0}, "dead-band and times are not negative"),
        ({"on_delay": -1.0}, "dead-band and times are not negative"),
        (
            {"kind": "equals", "key": "on", "high": None, "value": "true"},
            "a rule of kind equals has no deadband",
        ),
        ({"key": "water*"}, "no channel has the key 'water*'"),
        ({"key": "air.*"}, "its channels have several units: Cel, hPa"),
        ({"key": "on"}, "channel on is of kind bool"),
        ({"key": "state"}, "channel state is of kind text"),
        ({"kind": "equals", "key": "wells", "high": None, "value": "1"}, "channel wells is of kind vector"),
        ({"kind": "event", "event_kind": "door"}, "a rule of kind event is of no channel"),
    ],
)
def test_what_cannot_work_is_told(changes: dict[str, Any], said: str) -> None:
    found = list(template_faults([replace(HOT, **changes)], CHANNELS))
    assert any(said in fault for fault in found), found


def test_two_of_one_name_are_told() -> None:
    assert list(template_faults([RUN, RUN], CHANNELS)) == ["rule 'Run failed' twice"]


def test_the_words_are_those_of_the_alarms() -> None:
    assert set(RULE_KINDS) <= set(RuleKind.values)
    assert [priority.name.lower() for priority in Priority] == list(PRIORITIES)
