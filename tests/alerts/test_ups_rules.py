"""The rules that are proposed for the UPS, held against what it says: each cause is one alarm."""

import pytest

from alerts.lifecycle import Event, State
from alerts.models import Alarm, AlarmEvent, Priority
from alerts.rules import proposals
from devices.services import OPERATOR
from devices.wire import Batch
from tests import factories
from tests.alerts.bench import Bench
from tests.telemetry.factories import at, batch

pytestmark = pytest.mark.django_db


class Ups(Bench):
    """A UPS with its rules, polled every two seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = factories.instrument(
            "UPS", driver="must_ep20", address="serial:///dev/ttyUSB0", interval=2.0, edge=self.edge
        )
        proposals.accept(self.unit, None, OPERATOR)

    def say(self, since: int, until: int, values: dict[str, float], status: str = "online") -> None:
        """The same at each poll between two times, in seconds from NOW."""
        for second in range(since, until, 2):
            words = Batch([str(self.unit.pk)], [["status"]], [0, 0, at(second)], [None], texts={"0": status})
            numbers = [batch(self.unit, key, (at(second), value)) for key, value in values.items()]
            self.bring(words, *numbers)


@pytest.fixture
def ups() -> Ups:
    return Ups()


def alarms() -> dict[str, str]:
    """All that are not normal, by their rules."""
    return dict(Alarm.objects.exclude(state=State.NORMAL).values_list("rule__name", "state"))


def test_without_mains_it_is_on_battery_and_its_low_voltage_is_a_consequence(ups: Ups) -> None:
    ups.say(-60, -40, {"input_voltage": 224.0})
    assert alarms() == {}
    ups.say(-40, -20, {"input_voltage": 0.0}, "battery")
    assert alarms() == {"UPS on battery": State.UNACKNOWLEDGED, "UPS input voltage low": State.SUPPRESSED}
    low = Alarm.objects.select_related("cause__rule").get(rule__name="UPS input voltage low")
    assert low.cause is not None
    assert low.cause.rule.name == "UPS on battery"
    ups.say(-20, 0, {"input_voltage": 221.0})
    assert alarms() == {"UPS on battery": State.RETURNED}
    assert not low.journal.filter(after=State.UNACKNOWLEDGED).exists()


def test_mains_that_sag_are_a_low_voltage_and_nothing_else(ups: Ups) -> None:
    ups.say(-60, -40, {"input_voltage": 224.0})
    ups.say(-40, -20, {"input_voltage": 176.0})
    assert alarms() == {"UPS input voltage low": State.UNACKNOWLEDGED}
    assert Alarm.objects.get().text == "UPS input voltage below 180.0 V"
    ups.say(-20, -10, {"input_voltage": 183.0})
    assert alarms() == {"UPS input voltage low": State.UNACKNOWLEDGED}
    ups.say(-10, 0, {"input_voltage": 186.0})
    assert alarms() == {"UPS input voltage low": State.RETURNED}


@pytest.mark.parametrize(
    ("key", "calm", "wrong", "rule", "priority"),
    [
        ("input_voltage", 180.0, 179.9, "UPS input voltage low", Priority.MEDIUM),
        ("battery_level", 20.0, 19.0, "UPS battery low", Priority.CRITICAL),
        ("battery_level", 20.0, 0.0, "UPS battery low", Priority.CRITICAL),
        ("temperature", 40.0, 41.0, "UPS temperature high", Priority.HIGH),
        ("load_percent", 80.0, 81.0, "UPS load high", Priority.HIGH),
        ("alarm.overload", 0.0, 1.0, "UPS reports an alarm", Priority.HIGH),
    ],
)
def test_a_limit_itself_is_fine(
    ups: Ups, key: str, calm: float, wrong: float, rule: str, priority: int
) -> None:
    ups.say(-60, -50, {key: calm})
    assert not Alarm.objects.exists()
    ups.say(-50, 0, {key: wrong})
    assert alarms() == {rule: State.UNACKNOWLEDGED}
    assert Alarm.objects.get().priority == priority


@pytest.mark.parametrize("key", ["input_voltage", "temperature", "load_percent", "battery_level"])
def test_noise_at_a_limit_is_one_alarm_at_most(ups: Ups, key: str) -> None:
    limit = {"input_voltage": 180.0, "temperature": 40.0, "load_percent": 80.0, "battery_level": 20.0}[key]
    for second in range(-60, 0, 2):
        ups.say(second, second + 2, {key: limit + (1.0 if second % 4 else -1.0)})
    raised = AlarmEvent.objects.filter(event=Event.RAISE).values_list("alarm__rule__name", "at", "after")
    assert len(raised) <= 1, raised
