"""Notices on their way into rooms: threads, who is called, edits, failures."""

from datetime import timedelta

import pytest

from alerts.changes import Changes
from alerts.lifecycle import Event
from alerts.matrix import sending
from alerts.matrix.homeserver import Away, Limited, Rejected
from alerts.models import (
    Alarm,
    Contact,
    MatrixMessage,
    MatrixRoom,
    Notice,
    NoticeKind,
    NoticeLine,
    NoticeState,
    Priority,
    Source,
)
from devices.models import Instrument
from tests.alerts import factories
from tests.telemetry import factories as telemetry
from tests.telemetry.factories import NOW, moment

pytestmark = pytest.mark.django_db

ROOM = "!room:lab.test"


@pytest.fixture
def contact() -> Contact:
    MatrixRoom.objects.create(address=ROOM, room_id=ROOM)
    return factories.contact("room", "matrix", address=ROOM)


@pytest.fixture
def bath() -> Instrument:
    return telemetry.instrument(telemetry.edge())


def notice(contact: Contact, *alarms: Alarm, kind: str = NoticeKind.ALARM) -> Notice:
    made = Notice.objects.create(contact=contact, kind=kind, created_at=NOW, due_at=NOW)
    for alarm in alarms:
        NoticeLine.objects.create(notice=made, alarm=alarm, event=alarm.journal.latest("id"))
    return made


def begun(notice: Notice) -> sending.Letter:
    (due,) = [each for each in sending.due(NOW) if each.pk == notice.pk]
    letter = sending.begin(due, NOW)
    assert letter is not None
    return letter


def posted(notice: Notice) -> MatrixMessage:
    sending.sent(begun(notice), f"${notice.pk}", 0.1, NOW)
    return MatrixMessage.objects.get(notice=notice)


def change(alarm: Alarm, event: Event, at: float) -> Alarm:
    current = Alarm.objects.select_related("rule").get(pk=alarm.pk)
    changes = Changes(moment(at), Source.INGEST)
    assert changes.move(current, event, moment(at), until=moment(3600), comment="being repaired")
    changes.save()
    return current


def test_a_sent_notice_is_one_message_however_often_it_is_noted(contact: Contact, bath: Instrument) -> None:
    made = notice(contact, factories.alarm(bath.channels.get(key="a")))
    letter = begun(made)
    for _time in range(2):
        sending.sent(letter, "$1", 0.1, NOW)
    made.refresh_from_db()
    assert (made.state, made.reference) == (NoticeState.SENT, "$1")
    assert MatrixMessage.objects.get().open


@pytest.mark.parametrize(
    ("priority", "kind", "mentions"),
    [
        (Priority.CRITICAL, NoticeKind.ALARM, {"room": True}),
        (Priority.HIGH, NoticeKind.ALARM, {"room": True}),
        (Priority.MEDIUM, NoticeKind.ALARM, {}),
        (Priority.HIGH, NoticeKind.RECOVERY, {}),
    ],
)
def test_everybody_is_called_for_what_is_urgent(
    contact: Contact, bath: Instrument, priority: Priority, kind: str, mentions: object
) -> None:
    alarm = factories.alarm(bath.channels.get(key="a"), priority=priority)
    if kind == NoticeKind.RECOVERY:
        factories.cleared(alarm)
    assert begun(notice(contact, alarm, kind=kind)).content["m.mentions"] == mentions


def test_what_becomes_of_an_alarm_goes_into_its_thread(contact: Contact, bath: Instrument) -> None:
    alarm = factories.alarm(bath.channels.get(key="a"))
    root = posted(notice(contact, alarm))
    factories.cleared(alarm)
    reply = posted(notice(contact, alarm, kind=NoticeKind.RECOVERY))
    assert (root.root, reply.root, reply.open) == (None, root, False)


def test_raised_again_before_anybody_looked_is_the_same_trouble(contact: Contact, bath: Instrument) -> None:
    alarm = factories.alarm(bath.channels.get(key="a"))
    root = posted(notice(contact, alarm))
    factories.cleared(alarm, at=-30)
    change(alarm, Event.RAISE, -20)
    assert posted(notice(contact, alarm)).root == root


def test_raised_after_it_was_normal_is_another_trouble(contact: Contact, bath: Instrument) -> None:
    alarm = factories.alarm(bath.channels.get(key="a"))
    first = posted(notice(contact, alarm))
    change(alarm, Event.ACKNOWLEDGE, -40)
    factories.cleared(alarm, at=-30)
    change(alarm, Event.RAISE, -20)
    second = posted(notice(contact, alarm))
    assert second.root is None
    first.refresh_from_db()
    assert not first.open  # what becomes of it now is the second one's
    factories.cleared(alarm, at=-10)
    assert posted(notice(contact, alarm, kind=NoticeKind.RECOVERY)).root == second


def test_a_group_has_a_thread_of_its_own(contact: Contact, bath: Instrument) -> None:
    one, two = (factories.alarm(bath.channels.get(key=key)) for key in ("a", "b"))
    alone = posted(notice(contact, one))
    both = posted(notice(contact, one, two))
    assert (alone.root, both.root) == (None, None)
    for alarm in (one, two):
        factories.cleared(alarm)
    assert posted(notice(contact, one, two, kind=NoticeKind.RECOVERY)).root == both


def test_another_room_is_another_thread(contact: Contact, bath: Instrument) -> None:
    alarm = factories.alarm(bath.channels.get(key="a"))
    posted(notice(contact, alarm))
    MatrixRoom.objects.create(address="!other:lab.test", room_id="!other:lab.test")
    other = factories.contact("other", "matrix", address="!other:lab.test")
    assert posted(notice(other, alarm)).root is None


def test_a_message_says_how_its_alarm_stands_until_it_is_over(contact: Contact, bath: Instrument) -> None:
    alarm = factories.alarm(bath.channels.get(key="a"), text="<b>bath</b> above 30")
    message = posted(notice(contact, alarm))
    assert sending.edits(NOW) == []
    change(alarm, Event.SHELVE, -50)
    (edit,) = sending.edits(NOW)
    assert edit.content is not None
    new = edit.content["m.new_content"]
    assert f"alarm {alarm.pk} is shelved until 13:00 UTC: being repaired" in new["body"]
    assert "&lt;b&gt;bath&lt;/b&gt;" in new["formatted_body"]
    assert edit.content["m.relates_to"] == {"rel_type": "m.replace", "event_id": message.event_id}
    sending.edited(edit)
    assert sending.edits(NOW) == []
    change(alarm, Event.UNSHELVE, -45)
    (edit,) = sending.edits(NOW)
    assert edit.is_over
    sending.edited(edit)
    assert not MatrixMessage.objects.get().open


def test_what_cannot_be_seen_is_not_edited(contact: Contact, bath: Instrument) -> None:
    alarm = factories.alarm(bath.channels.get(key="a"))
    posted(notice(contact, alarm))
    changes = Changes(NOW, Source.INGEST)
    current = Alarm.objects.get(pk=alarm.pk)
    current.memory = {"anything": 1}
    changes.touch(current)
    changes.save()
    (edit,) = sending.edits(NOW)
    assert edit.content is None
    sending.edited(edit)
    assert sending.edits(NOW) == []


@pytest.mark.parametrize(
    ("error", "state", "wait"),
    [
        (Away("it cannot be reached"), NoticeState.WAITING, 5.0),
        (Limited(120.0), NoticeState.WAITING, 120.0),
        (Rejected("M_FORBIDDEN"), NoticeState.FAILED, None),
    ],
)
def test_failures(
    contact: Contact, bath: Instrument, error: Exception, state: NoticeState, wait: float | None
) -> None:
    made = notice(contact, factories.alarm(bath.channels.get(key="a")))
    sending.failed(begun(made), error, 0.5, NOW)
    made.refresh_from_db()
    assert made.state == state
    assert made.attempts.get().error == str(error)
    if wait is not None:
        assert made.due_at - NOW == timedelta(seconds=wait)
        sending.release(NOW)
        made.refresh_from_db()
        assert made.due_at == NOW


def test_ten_thousand_alarms_are_one_short_message(
    contact: Contact, django_assert_max_num_queries: object
) -> None:
    bath = telemetry.instrument(telemetry.edge(), "bath", [f"c{number}" for number in range(1000)])
    rule = factories.rule(key="c*")
    alarms = [factories.alarm(channel, rule) for channel in bath.channels.all()]
    message = posted(notice(contact, *alarms))
    letter_text = message.shown
    assert len(letter_text) < 3_000
    Alarm.objects.update(version=99)
    (edit,) = sending.edits(NOW)
    assert edit.content is None
