"""The demo lab is calm: in hours of its instruments' own time no rule that comes with it would stand."""

import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from fnmatch import fnmatchcase

import pytest

from devices import drivers, simulators
from devices.drivers.base import RuleTemplate
from devices.readings import Quality, Reading, Run, Said
from devices.simulators import lab
from labsite.onebox.demo import DEMOS
from tests.devices.edge.world import until
from tests.devices.simulators.served import behind_a_door, driven

STANDS = {stand.name: stand for stand in lab.known() if stand.is_usual}
HOURS = 2
STEP = 60.0  # seconds
AT_ONCE = {"ups": {"delay": "0"}, "qpcr": {"pace": "400", "cycles": "3", "delay": "0.1"}}


class Leaps:
    """A clock that goes as time does, and leaps when the test says so."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def holds(template: RuleTemplate, said: Said) -> bool:
    """Whether this would be something to raise an alarm of, delays left aside."""
    if isinstance(said, Run):
        return template.event_kind == f"run.{said.state}"
    if not isinstance(said, Reading) or template.kind == "event" or said.quality is not Quality.GOOD:
        return False
    if not fnmatchcase(said.key, template.key):
        return False
    if template.kind in ("equals", "differs"):
        return (str(said.value).lower() == template.value.lower()) == (template.kind == "equals")
    assert isinstance(said.value, int | float), said
    above = template.high is not None and said.value > template.high
    return above or (template.low is not None and said.value < template.low)


def raised(name: str, told: Iterable[Said]) -> list[str]:
    """Of the rules that the demo lab has: those of tags that it does not have are of nothing there."""
    templates = [each for each in drivers.load(STANDS[name].driver).alarms if not each.tag]
    return [f"{template.name}: {said}" for said in told for template in templates if holds(template, said)]


def test_what_is_not_calm_is_seen() -> None:
    assert raised("ups", [Reading("status", "battery")])
    assert raised("ups", [Reading("input_voltage", 179.9), Reading("battery_level", 20)]) == [
        f"UPS input voltage low: {Reading('input_voltage', 179.9)}"
    ]
    assert raised("qpcr", [Run("1", "qpcr", "failed")])
    assert not raised("ups", [Reading("fault", "none"), Reading("temperature", 90.0, Quality.BAD)])


def test_the_demo_lab_has_no_tags() -> None:
    assert not any("tags" in vars(demo) for demo in DEMOS.values())


@pytest.mark.parametrize("name", [name for name in STANDS if name != "qpcr"])
async def test_nothing_would_stand_in_hours(name: str) -> None:
    stand, clock, told = STANDS[name], Leaps(), list[Said]()
    settings = {**stand.settings, **AT_ONCE.get(name, {})}
    kind = simulators.load(stand.driver)
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(
            behind_a_door(kind, number=stand.place, clock=clock, settings=settings)
        )
        driver = await stack.enter_async_context(driven(door))
        driver.tell = told.extend
        for _ in range(int(HOURS * 3600 / STEP)):
            clock.ahead += STEP
            door.look()
            told += await driver.read()
    keys = {said.key for said in told if isinstance(said, Reading)}
    assert all(any(fnmatchcase(key, each.key) for key in keys) for each in drivers.load(stand.driver).alarms)
    assert raised(name, told) == []


async def test_no_run_fails_and_none_is_aborted() -> None:
    stand, told = STANDS["qpcr"], list[Said]()
    async with AsyncExitStack() as stack:
        kind = simulators.load(stand.driver)
        door = await stack.enter_async_context(
            behind_a_door(kind, number=stand.place, settings={**stand.settings, **AT_ONCE["qpcr"]})
        )
        driver = await stack.enter_async_context(driven(door))
        driver.tell = told.extend

        def ended() -> int:
            return len({said.id for said in told if isinstance(said, Run) and said.state == "completed"})

        for count in (1, 2):
            await until(lambda count=count: ended() >= count, 60)
            told += await driver.read()
    assert raised("qpcr", told) == []
