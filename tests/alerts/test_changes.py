"""How a change of an alarm is written."""

import logging

import pytest

from alerts.changes import Changes, Conflict
from alerts.lifecycle import Event, State
from alerts.models import Alarm, Priority, Source
from devices.models import Channel
from tests.alerts import factories
from tests.alerts.bench import Bench
from tests.telemetry.factories import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def channel() -> Channel:
    return Bench().bath.channels.get(key="a")


@pytest.mark.parametrize(
    ("priority", "level"),
    [(1, "ERROR"), (2, "WARNING"), (3, "WARNING"), (4, "WARNING")],
)
def test_each_change_is_one_line_in_the_log_by_its_priority(
    channel: Channel, caplog: pytest.LogCaptureFixture, priority: int, level: str
) -> None:
    with caplog.at_level(logging.INFO, logger="alerts.changes"):
        alarm = factories.alarm(channel, priority=Priority(priority))
        factories.cleared(alarm)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    cleared = "unacknowledged → returned_unacknowledged"
    assert lines == [
        (level, f"alarm bath a above 30: raise (normal → unacknowledged, priority {priority})"),
        ("INFO", f"alarm bath a above 30: clear ({cleared}, priority {priority})"),
    ]


def test_who_read_an_alarm_before_somebody_changed_it_writes_nothing(channel: Channel) -> None:
    alarm = factories.alarm(channel)
    mine, other = Alarm.objects.get(pk=alarm.pk), Alarm.objects.get(pk=alarm.pk)
    first, second = Changes(NOW, Source.INGEST), Changes(NOW, Source.INGEST)
    assert first.move(mine, Event.ACKNOWLEDGE, NOW)
    assert second.move(other, Event.CLEAR, NOW)
    first.save()
    with pytest.raises(Conflict, match="changed by somebody else"):
        second.save()
    assert Alarm.objects.get().state == State.ACKNOWLEDGED


def test_a_consequence_and_its_cause_are_stored_together(channel: Channel) -> None:
    by = factories.rule(name="cause")
    edge = channel.instrument.edge
    cause = Alarm(rule=by, edge=edge, since=NOW, text="the cause")
    follows = Alarm(rule=by, edge=edge, channel=channel, since=NOW, text="what follows", active=True)
    changes = Changes(NOW, Source.INGEST)
    changes.blame(follows, cause)
    assert changes.move(follows, Event.SUPPRESS, NOW)
    changes.save()
    assert Alarm.objects.get(text="what follows").cause == Alarm.objects.get(text="the cause")
