"""Ten thousand alarms at once: one notice to each, with no question to the database for each alarm."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alerts.changes import Changes
from alerts.lifecycle import Event
from alerts.models import Alarm, AlarmEvent, Notice, NoticeKind, NoticeLine, Priority, RuleKind, Source
from alerts.notices import delivery, routing
from devices.models import Instrument
from tests.alerts import factories
from tests.alerts.factories import NOW
from tests.alerts.notices.kit import told, waiting
from tests.telemetry.factories import edge, moment

pytestmark = pytest.mark.django_db

MANY = 10_000


@pytest.fixture
def flood(db: None) -> list[Alarm]:
    """So many instruments of an edge that cannot be reached, as one parcel's step of judging leaves them."""
    bench, rule = edge(), factories.rule(RuleKind.NOT_CONNECTED, priority=Priority.MEDIUM)
    made = Instrument.objects.bulk_create(
        Instrument(
            name=f"bath {number}", driver="thermostat", edge=bench, address=f"tcp://127.0.0.1:{number}"
        )
        for number in range(MANY)
    )
    changes = Changes(NOW, Source.INGEST)
    alarms = [
        Alarm(
            rule=rule, edge=bench, instrument=each, since=NOW, priority=rule.priority, active=True, held=True,
            text=f"{each.name} is not connected",
        )
        for each in made
    ]  # fmt: skip
    for alarm in alarms:
        assert changes.move(alarm, Event.RAISE, NOW)
    changes.save()
    return alarms


@contextmanager
def queries(most: int) -> Iterator[None]:
    with CaptureQueriesContext(connection) as captured:
        yield
    assert len(captured) <= most


def test_a_flood_is_one_notice_to_each(flood: list[Alarm]) -> None:
    factories.route(
        factories.contact("one"), factories.contact("two"), factories.contact("three"), every=0, repeat=600
    )
    with queries(200):
        messages = told(1)
    assert [message.count for message in messages] == [MANY] * 3
    message = messages[0]
    assert message.title == "◆ 3 medium · bath 0 is not connected + 9\u202f999 more"
    assert message.lines[-1] == "+ 9\u202f992 more; of all, 10\u202f000 stand"
    assert len(message.text) < 4000
    assert NoticeLine.objects.filter(notice__kind=NoticeKind.ALARM).count() == 3 * MANY
    assert not AlarmEvent.objects.filter(told_at=None).exists()
    assert [kind for kind, _contact, _due in waiting()] == ["repeat"] * 3
    with queries(20):
        routing.dispatch(moment(2))
    with queries(200):
        assert [message.count for message in told(601)] == [MANY] * 3


def test_its_end_is_one_notice_too(flood: list[Alarm]) -> None:
    factories.route(factories.contact())
    told(1)
    changes = Changes(moment(60), Source.INGEST)
    for alarm in flood:
        alarm.active = alarm.held = False
        assert changes.move(alarm, Event.CLEAR, moment(60))
    changes.save()
    with queries(200):
        (message,) = told(61)
    assert (message.kind, message.count, message.standing) == ("recovery", MANY, 0)
    assert Notice.objects.count() == 2


def test_what_comes_soon_after_a_flood_joins_its_group(flood: list[Alarm]) -> None:
    factories.route(factories.contact(), window=10)
    told(1)
    bench = flood[0].edge
    assert bench is not None
    late = Instrument.objects.create(
        name="late", driver="thermostat", edge=bench, address="tcp://127.0.0.1:1"
    )
    factories.alarm(late, flood[0].rule, at=3)
    with queries(50):
        routing.dispatch(moment(3))
    assert waiting() == [("alarm", "room", 11)]
    assert delivery.due(("webhook",), moment(3)) == []
