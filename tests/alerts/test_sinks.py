"""A sink that takes nothing is an alarm, which ends when it is fed again."""

from datetime import datetime

import pytest

from alerts.judging import sinks
from alerts.judging.timers import Timers
from alerts.models import Alarm, Rule, RuleKind
from devices.services import OPERATOR
from telemetry.models import Sink
from telemetry.sinks import editing
from tests.alerts.factories import NOW, contact, route
from tests.alerts.notices.kit import told
from tests.telemetry.factories import moment

pytestmark = pytest.mark.django_db


@pytest.fixture
def copy() -> Sink:
    described = Sink(name="dash", url="http://127.0.0.1:9", bucket="lab", alert_threshold=3)
    return editing.save_sink(described, OPERATOR)


def noted(copy: Sink, at: datetime, **what: object) -> None:
    Sink.objects.filter(pk=copy.pk).update(**what)
    sinks.judge(at)


def stands() -> bool:
    return Alarm.objects.standing().filter(rule__kind=RuleKind.SINK_NOT_FED).exists()


def test_it_stands_from_as_many_failures_as_the_sink_bears_until_it_is_fed(copy: Sink) -> None:
    route(contact())
    noted(copy, NOW, failures=2, error="no answer")
    assert not stands()
    noted(copy, moment(2), failures=3, error="cannot be reached: refused")
    alarm = Alarm.objects.get(sink=copy)
    assert (alarm.text, alarm.reason) == ("Sink “dash” is not fed", "cannot be reached: refused")
    assert "rebuild_sink" in alarm.rule.guidance
    assert [message.title for message in told(2)] == ["◆ 3 medium · Sink “dash” is not fed"]
    noted(copy, moment(4), failures=4)
    assert (stands(), told(4)) == (True, [])
    noted(copy, moment(60), failures=0)
    assert "returned" in alarm.journal.latest("id").after
    assert [message.kind for message in told(61)] == ["recovery"]


def test_one_that_must_be_rebuilt_stands_whatever_its_failures(copy: Sink) -> None:
    noted(copy, NOW, must_rebuild=True)
    assert stands()


@pytest.mark.parametrize("change", ["sink off", "rule off", "removed"])
def test_what_nobody_feeds_or_watches_any_more_does_not_stand(copy: Sink, change: str) -> None:
    noted(copy, NOW, failures=9)
    assert Alarm.objects.get(sink=copy).active
    match change:
        case "sink off":
            Sink.objects.update(enabled=False)
        case "rule off":
            Rule.objects.filter(kind=RuleKind.SINK_NOT_FED).update(enabled=False)
        case "removed":
            editing.delete_sink(copy, OPERATOR)
    sinks.judge(moment(2))
    assert not Alarm.objects.filter(active=True).exists()


def test_delays_of_the_rule_run_by_the_clock(copy: Sink) -> None:
    Rule.objects.filter(kind=RuleKind.SINK_NOT_FED).update(on_delay=60.0, off_delay=30.0)
    noted(copy, NOW, failures=9)
    noted(copy, moment(59))
    assert not stands()
    noted(copy, moment(60))
    assert stands()
    noted(copy, moment(70), failures=0)
    noted(copy, moment(80), failures=9)  # not over for long enough
    noted(copy, moment(120))
    assert Alarm.objects.get(sink=copy).active
    noted(copy, moment(130), failures=0)
    noted(copy, moment(160))
    assert not Alarm.objects.get(sink=copy).active


def test_the_clock_of_all_alarms_looks_at_sinks_too(copy: Sink) -> None:
    Sink.objects.update(failures=3)
    Timers().round(NOW, None)
    assert stands()
    Timers().round(moment(10), None)
    assert Alarm.objects.get(sink=copy).journal.count() == 1
