"""What becomes of a notice: attempts, back-off, its end, who is told instead, and the alarm of that."""

from datetime import timedelta
from typing import Any

import pytest

from alerts.lifecycle import State
from alerts.models import Alarm, AlarmEvent, Attempt, Contact, Notice, NoticeKind, NoticeState, Rule, RuleKind
from alerts.notices import delivery, routing
from alerts.notices.words import Message
from alerts.rules import editing
from devices.models import Instrument
from devices.services import OPERATOR
from tests.alerts import factories
from tests.alerts.factories import NOW
from tests.alerts.notices.kit import EVERY, told, waiting
from tests.telemetry.factories import instrument, moment

pytestmark = pytest.mark.django_db

DOWN = {"unsure": False, "away": True}  # nothing was reached


def raised(bath: Instrument, key: str = "a", at: float = 0.0) -> Alarm:
    return factories.alarm(bath.channels.get(key=key), at=at)


def fail(at: float, **how: Any) -> list[Notice]:
    """Whatever is due by then is tried and fails."""
    routing.dispatch(moment(at))
    tried = []
    for notice in delivery.due(EVERY, moment(at)):
        if delivery.begin(notice, moment(at)):
            delivery.failed(notice, "no route to host", moment(at), **{**DOWN, **how})
            tried.append(notice)
    return tried


def fail_for_some_time(of: Contact, until: float, start: float = 0.0) -> list[float]:
    """When it was tried to tell this contact, and failed; everybody else can be told."""
    tried, at = [], start
    while at < until:
        routing.dispatch(moment(at))
        for notice in delivery.due(EVERY, moment(at)):
            message = delivery.begin(notice, moment(at))
            if message and notice.contact == of:
                delivery.failed(notice, "no route to host", moment(at), **DOWN)
                tried.append(at)
            elif message:
                delivery.sent(notice, message, "", 0.0, moment(at))
        next_due = min((due for _, _, due in waiting()), default=until)
        at = max(at + 1, next_due) if not AlarmEvent.objects.filter(told_at=None).exists() else at + 1
    return tried


def sent_to(contact: Contact) -> list[str]:
    sent = Notice.objects.filter(contact=contact, state=NoticeState.SENT).order_by("sent_at", "created_at")
    return list(sent.values_list("title", flat=True))


# ---- attempts


def test_attempts_come_further_and_further_apart(bath: Instrument) -> None:
    contact = factories.contact()
    factories.route(contact)
    raised(bath)
    assert fail_for_some_time(contact, 1000) == [0, 5, 20, 80, 380, 680, 980]
    assert set(Attempt.objects.values_list("error", flat=True)) == {"no route to host"}


def test_after_a_day_it_is_given_up(bath: Instrument) -> None:
    factories.route(factories.contact())
    raised(bath)
    for at in (0, 3600, 86_399, 90_000):
        assert len(fail(at)) == 1
    assert fail(100_000) == []
    notice = Notice.objects.get()
    assert (notice.state, notice.tries, notice.attempts.count()) == (NoticeState.FAILED, 4, 4)


def test_what_waited_long_for_its_hour_is_tried_for_a_day_all_the_same(bath: Instrument) -> None:
    factories.route(factories.contact(), created_at=NOW)
    raised(bath, at=-5 * 86_400)
    routing.dispatch(moment(-5 * 86_400))
    fail(0)
    assert Notice.objects.get().state == NoticeState.WAITING


def test_happenings_are_given_up_after_an_hour(bath: Instrument) -> None:
    factories.route(factories.contact(), happenings=["run.*"])
    factories.happening(bath)
    fail(1)
    fail(3700)
    assert Notice.objects.get().state in (NoticeState.FAILED, NoticeState.DROPPED)


def test_what_the_other_side_will_never_take_is_given_up_at_once(bath: Instrument) -> None:
    factories.route(factories.contact())
    raised(bath)
    fail(0, final=True, away=False)
    assert Notice.objects.get().state == NoticeState.FAILED


def test_who_asks_for_patience_is_left_alone(bath: Instrument) -> None:
    factories.route(factories.contact())
    raised(bath)
    assert len(fail(0, retry_after=120.0, away=False)) == 1
    raised(instrument(bath.edge, "oven"), at=60)
    assert fail(119) == []
    (message,) = told(120)
    assert message.count == 2


def test_a_success_lets_go_what_waits(bath: Instrument) -> None:
    factories.route(factories.contact())
    raised(bath)
    for at in (0, 5, 20, 80):
        fail(at, unsure=True)
    raised(instrument(bath.edge, "oven"), at=100)
    assert [message.count for message in told(140)] == [1]
    assert [message.count for message in told(140)] == [1]
    assert not waiting()
    assert Contact.objects.get().hold_until is None


# ---- what joins, and what does not


def test_after_an_outage_one_message_says_how_it_is_by_then(bath: Instrument) -> None:
    factories.route(factories.contact())
    first, second = raised(bath), raised(bath, "b")
    fail(0)
    factories.cleared(first, at=10)
    raised(instrument(bath.edge, "oven"), at=12)
    fail(20)
    factories.cleared(second, at=30)
    (message,) = told(100)
    assert message.title == "◆ 3 medium · oven a above 30 + 2 more"
    assert (message.count, message.standing) == (3, 1)
    assert not waiting()


@pytest.mark.parametrize("how", ["crashed", "unsure"])
def test_what_may_have_been_received_is_not_added_to(bath: Instrument, how: str) -> None:
    """The same id with other words would be taken for the same and not be shown."""
    factories.route(factories.contact(), window=0)
    raised(bath)
    routing.dispatch(NOW)
    (notice,) = delivery.due(EVERY, NOW)
    first = delivery.begin(notice, NOW)
    if how == "unsure":
        delivery.failed(notice, "no answer", NOW, unsure=True)
    raised(bath, "b", at=1)
    one, other = told(6)
    assert first
    assert (one.id, one.count, other.count) == (first.id, 1, 1)


def test_what_was_once_unsure_stays_so(bath: Instrument) -> None:
    factories.route(factories.contact(), window=0)
    raised(bath)
    fail(0, unsure=True, away=False)
    fail(5, unsure=False, away=False)
    raised(bath, "b", at=6)
    assert [message.count for message in told(30)] == [1, 1]


def test_a_crash_between_sending_and_recording_sends_the_same_id_again(bath: Instrument) -> None:
    factories.route(factories.contact())
    raised(bath)
    (lost,) = told(0, hand_over=False)
    (again,) = told(1)
    assert again.id == lost.id
    assert told(2) == []


def test_two_that_record_one_success_make_one_reminder(bath: Instrument) -> None:
    factories.route(factories.contact(), repeat=600)
    raised(bath)
    routing.dispatch(NOW)
    (notice,) = delivery.due(EVERY, NOW)
    message = delivery.begin(notice, NOW)
    assert isinstance(message, Message)
    for _ in range(2):
        delivery.sent(notice, message, "x", 0.1, NOW)
    assert delivery.begin(notice, NOW) is None
    assert waiting() == [("repeat", "room", 600)]


def test_only_the_asked_transports_and_contacts_that_are_on(bath: Instrument) -> None:
    factories.route(factories.contact("a", "matrix"), factories.contact("b"), every=0)
    raised(bath)
    routing.dispatch(NOW)
    assert [notice.contact.name for notice in delivery.due(("matrix",), NOW)] == ["a"]
    Contact.objects.filter(name="a").update(enabled=False)
    assert delivery.due(("matrix",), NOW) == []


# ---- who is told instead


def test_after_three_attempts_the_next_contact_is_told_once(bath: Instrument) -> None:
    ben = factories.contact("Ben")
    anna = factories.contact("Anna", next=ben)
    factories.route(anna)
    raised(bath)
    fail_for_some_time(anna, 400)
    assert sent_to(ben) == ["◆ 3 medium · bath a above 30"]
    standin = Notice.objects.get(contact=ben)
    assert standin.follows == Notice.objects.get(contact=anna)
    assert standin.text.splitlines()[1] == "In place of “Anna”, which cannot be reached."
    raised(bath, "b", at=400)
    fail_for_some_time(anna, 500, start=400)
    assert sent_to(ben)[1:] == ["◆ 3 medium · bath b above 30"]


def test_without_one_of_its_own_it_is_the_next_step(bath: Instrument) -> None:
    anna, ben = factories.contact("Anna"), factories.contact("Ben")
    factories.route(anna, ben, every=900)
    raised(bath)
    fail_for_some_time(anna, 100)
    assert sent_to(ben) == ["◆ 3 medium · bath a above 30", "▲ 2 high · Notices to “Anna” are not delivered"]
    assert ("escalation", "Ben", 900) in waiting()


def test_one_that_is_switched_off_is_passed_over(bath: Instrument) -> None:
    last = factories.contact("Cleo")
    off = factories.contact("Ben", enabled=False, next=last)
    anna = factories.contact("Anna", next=off)
    factories.route(anna)
    raised(bath)
    fail_for_some_time(anna, 100)
    assert sent_to(last) == ["◆ 3 medium · bath a above 30"]


def test_who_is_told_already_is_not_told_again(bath: Instrument) -> None:
    ben = factories.contact("Ben")
    anna = factories.contact("Anna", next=ben)
    factories.route(anna, ben, every=0)
    raised(bath)
    fail_for_some_time(anna, 400)
    assert sent_to(ben)[:1] == ["◆ 3 medium · bath a above 30"]
    assert len([title for title in sent_to(ben) if "bath" in title]) == 1


def test_two_that_stand_in_for_each_other_do_not_go_round(bath: Instrument) -> None:
    anna = factories.contact("Anna")
    ben = factories.contact("Ben", next=anna)
    anna.next = ben
    anna.save()
    factories.route(anna)
    raised(bath)
    for at in (*range(0, 120, 5), 400, 700, 1000, 1300):
        fail(at)
    of_bath = Notice.objects.filter(lines__alarm__instrument=bath).distinct()
    assert sorted(notice.contact.name for notice in of_bath) == ["Anna", "Ben"]
    undelivered = Alarm.objects.filter(rule__kind=RuleKind.UNDELIVERED)
    assert undelivered.count() == 2
    assert sum(alarm.journal.count() for alarm in undelivered) == 2


# ---- the alarm


def test_a_contact_that_cannot_be_told_is_an_alarm_until_it_can(bath: Instrument) -> None:
    ben, anna = factories.contact("Ben"), factories.contact("Anna")
    factories.route(anna, name="anna")
    factories.route(ben, name="ben", tags=["cellar"])
    factories.route(ben, name="all")
    raised(bath)
    fail_for_some_time(anna, 15)
    assert not Alarm.objects.filter(contact=anna).exists()
    fail_for_some_time(anna, 30, start=15)
    alarm = Alarm.objects.get(contact=anna)
    assert (alarm.state, alarm.text) == (State.UNACKNOWLEDGED, "Notices to “Anna” are not delivered")
    assert (alarm.edge, alarm.reason) == (None, "no route to host")
    title = "▲ 2 high · Notices to “Anna” are not delivered"
    assert title in sent_to(ben)
    assert [notice.contact.name for notice in Notice.objects.filter(lines__alarm=alarm)] == ["Ben"]
    for at in (100, 101, 200):
        told(at)
    alarm.refresh_from_db()
    assert (alarm.state, alarm.active) == (State.RETURNED, False)
    assert sent_to(ben)[-1] == "✓ Notices to “Anna” are not delivered: returned to normal"


def test_whoever_is_switched_off_is_no_alarm_any_more(bath: Instrument) -> None:
    anna = factories.contact("Anna", "email", address="anna@example.org")
    factories.route(anna)
    raised(bath)
    fail_for_some_time(anna, 30)
    assert Alarm.objects.get(contact=anna).active
    anna = Contact.objects.get()
    anna.enabled = False
    editing.save_contact(anna, OPERATOR)
    assert not Alarm.objects.get(contact=anna).active


def test_the_alarm_of_a_contact_never_goes_to_it(bath: Instrument) -> None:
    anna = factories.contact("Anna")
    anna.next = anna
    anna.save()
    factories.route(anna, anna, every=60)
    raised(bath)
    fail_for_some_time(anna, 200)
    alarm = Alarm.objects.get(contact=anna)
    assert not Notice.objects.filter(lines__alarm=alarm).exists()


def test_what_is_known_not_to_arrive_is_passed_on_at_once(bath: Instrument) -> None:
    ben = factories.contact("Ben")
    anna = factories.contact("Anna", next=ben)
    factories.route(anna, window=0)
    raised(bath)
    fail_for_some_time(anna, 100)
    raised(instrument(bath.edge, "oven"), at=100)
    fail_for_some_time(anna, 150, start=100)
    assert "◆ 3 medium · oven a above 30" in sent_to(ben)


def test_without_the_rule_there_is_no_such_alarm(bath: Instrument) -> None:
    anna = factories.contact("Anna")
    factories.route(anna)
    Rule.objects.filter(kind=RuleKind.UNDELIVERED).update(enabled=False)
    raised(bath)
    fail_for_some_time(anna, 100)
    assert not Alarm.objects.filter(contact=anna).exists()


def test_a_test_that_fails_is_the_business_of_who_asked(db: None) -> None:
    contact = factories.contact(next=factories.contact("other"))
    Notice.objects.create(contact=contact, kind=NoticeKind.TEST, created_at=NOW, due_at=NOW)
    fail(0, final=True)
    assert Notice.objects.get().state == NoticeState.FAILED
    assert not Alarm.objects.exists()


def test_errors_are_kept_to_their_length(bath: Instrument) -> None:
    factories.route(factories.contact())
    raised(bath)
    routing.dispatch(NOW)
    (notice,) = delivery.due(EVERY, NOW)
    delivery.failed(notice, "x" * 9000, NOW)
    assert len(Attempt.objects.get().error) == delivery.ERROR_LENGTH


# ---- old news while nobody could be reached


def test_what_was_over_before_it_could_be_told_is_dropped(bath: Instrument) -> None:
    factories.route(factories.contact())
    alarm = raised(bath)
    fail(0)
    factories.cleared(alarm, at=60)
    fail(120)
    assert told(700) == []
    assert Notice.objects.get().state == NoticeState.DROPPED
    assert not waiting()


def test_what_still_stands_is_told_however_late(bath: Instrument) -> None:
    factories.route(factories.contact())
    alarm = raised(bath)
    fail(0)
    (message,) = told(80_000)
    assert message.alarms[0].id == alarm.pk


def test_a_recovery_that_nobody_could_be_told_for_a_day_is_old(bath: Instrument) -> None:
    contact = factories.contact()
    factories.route(contact)
    alarm = raised(bath)
    told(0)
    factories.cleared(alarm, at=60)
    routing.dispatch(moment(60))
    Contact.objects.update(enabled=False)
    assert told(3600) == []
    Contact.objects.update(enabled=True)
    assert told(2 * 86_400) == []
    assert timedelta(hours=24) == delivery.END
