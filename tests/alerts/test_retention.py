"""What is old is forgotten, but nothing that waits or stands."""

from datetime import timedelta

import pytest

from alerts import tasks
from alerts.models import AlarmEvent, Happening, Notice, NoticeKind, NoticeLine, NoticeState
from devices.models import Instrument
from tests.alerts import factories
from tests.alerts.bench import Bench
from tests.telemetry.factories import instrument

pytestmark = pytest.mark.django_db

OLD = timedelta(days=400)


@pytest.fixture
def bath() -> Instrument:
    return Bench().bath


def notice(event: AlarmEvent, state: str) -> Notice:
    made = Notice.objects.create(
        contact=factories.contact(f"contact {state}"), kind=NoticeKind.ALARM, state=state,
        created_at=event.stored_at, due_at=event.stored_at,
    )  # fmt: skip
    NoticeLine.objects.create(notice=made, event=event, alarm=event.alarm)
    return made


def age() -> None:
    """All of it is more than a year old."""
    for rows, field in ((AlarmEvent, "stored_at"), (Happening, "stored_at"), (Notice, "created_at")):
        for row in rows.objects.all():
            setattr(row, field, getattr(row, field) - OLD)
            row.save()


def test_what_is_over_and_told_goes_after_a_year(bath: Instrument) -> None:
    over = factories.cleared(factories.alarm(bath.channels.get(key="a")))
    over.state = "normal"
    over.save()
    AlarmEvent.objects.update(told_at=factories.NOW)
    event = AlarmEvent.objects.earliest("id")
    notice(event, NoticeState.SENT)
    Happening.objects.create(
        instrument=bath, time=factories.NOW, kind="run.started", text="plate", stored_at=factories.NOW,
        told_at=factories.NOW,
    )  # fmt: skip
    tasks.forget_old()
    assert (AlarmEvent.objects.count(), Notice.objects.count(), Happening.objects.count()) == (2, 1, 1)
    age()
    tasks.forget_old()
    assert (AlarmEvent.objects.count(), Notice.objects.count(), Happening.objects.count()) == (0, 0, 0)


def test_what_stands_waits_or_is_untold_stays(bath: Instrument) -> None:
    standing = factories.alarm(bath.channels.get(key="a"))
    AlarmEvent.objects.update(told_at=factories.NOW)
    other = factories.cleared(factories.alarm(instrument(bath.edge, "other").channels.get(key="b")))
    notice(AlarmEvent.objects.filter(alarm=standing).get(), NoticeState.WAITING)
    age()
    tasks.forget_old()
    assert AlarmEvent.objects.filter(alarm=standing).count() == 1
    assert AlarmEvent.objects.filter(alarm=other, told_at=None).count() == 2
    assert Notice.objects.count() == 1
