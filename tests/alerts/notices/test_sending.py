"""Notices on their way: real servers, threads and processes, and what is broken on purpose."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection, connections

from alerts.models import Alarm, Attempt, Contact, Notice, NoticeKind, NoticeState
from alerts.notices import delivery, routing, sending, trials
from alerts.notices.transports import TransportError, webhook
from devices.models import Instrument
from devices.services import OPERATOR
from tests import factories as people
from tests.alerts import factories
from tests.alerts.notices.kit import Box, Receiver, mail_server
from tests.servers import Postgres
from tests.telemetry.factories import edge, instrument, moment
from tests.waiting import until
from tests.web import database_url, free_port

OTHERS = (
    "SELECT {} FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
pytestmark = pytest.mark.usefixtures("kept")


@pytest.fixture(autouse=True)
def nothing_under_way() -> Iterator[None]:
    yield
    until(lambda: not sending.SENDERS.busy)


@pytest.fixture
def oven(kept: None) -> Instrument:
    return instrument(edge(), "oven")


def hooked(receiver: Receiver, name: str = "hook", **fields: Any) -> Contact:
    return factories.contact(name, "webhook", address=receiver.url, **fields)


def raised(of: Instrument, key: str = "a", at: float = 0.0) -> Alarm:
    return factories.alarm(of.channels.get(key=key), at=at)


def deliver(at: float = 0.0) -> None:
    """Make notices, and send what is due; it is done when this returns."""
    routing.dispatch(moment(at))
    sending.deliver_due(moment(at), wait=True)


# ---- on the way


def test_an_alarm_arrives_by_mail_and_by_webhook(oven: Instrument, receiver: Receiver, settings: Any) -> None:
    box = Box()
    with mail_server(box) as server:
        settings.SMTP_URL = f"smtp://127.0.0.1:{server.port}"
        settings.MAIL_FROM = "labsite@example.org"
        anna = factories.contact("Anna", "email", address="anna@example.org")
        factories.route(hooked(receiver), anna, every=0)
        alarm = raised(oven)
        deliver()
        factories.cleared(alarm, at=60)
        deliver(60)
    expected = ["◆ 3 medium · oven a above 30", "✓ oven a above 30: returned to normal"]
    assert receiver.titles == box.subjects == expected
    assert set(receiver.ids + box.ids) == {str(notice.pk) for notice in Notice.objects.all()}
    assert set(Attempt.objects.values_list("error", flat=True)) == {""}


def test_a_contacts_notices_are_sent_one_after_the_other_in_order(
    oven: Instrument, receiver: Receiver
) -> None:
    factories.route(hooked(receiver))
    for number in range(5):
        raised(instrument(oven.edge, f"bath {number}"), at=number)
        routing.dispatch(moment(number))
    deliver(10)
    assert receiver.titles == [f"◆ 3 medium · bath {number} a above 30" for number in range(5)]


def test_one_that_hangs_holds_up_nobody_else(
    oven: Instrument, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled = Receiver(stall=threading.Event()).start()
    monkeypatch.setattr(sending, "PATIENCE", 3.0)
    factories.route(factories.contact("stalled", address=stalled.url), hooked(receiver), every=0)
    raised(oven)
    routing.dispatch(moment(0))
    assert sending.deliver_due(moment(0)) == 2
    until(lambda: receiver.posts)
    assert sending.deliver_due(moment(1)) == 0, "it is under way: who asks did not wait"
    until(lambda: Attempt.objects.count() == 2)
    (attempt,) = Attempt.objects.exclude(error="")
    assert (attempt.error, attempt.notice.state) == ("no answer within 3 s", NoticeState.WAITING)
    stalled.stall.set()  # type: ignore[union-attr]
    stalled.stop()


def test_connections_of_threads_are_closed(oven: Instrument, receiver: Receiver) -> None:
    factories.route(hooked(receiver))
    raised(oven)
    deliver()
    with connection.cursor() as cursor:
        cursor.execute(OTHERS.format("count(*)"))
        assert cursor.fetchone() == (0,)


def test_a_fault_of_ours_is_an_attempt_that_failed(
    oven: Instrument, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.route(hooked(receiver))
    raised(oven)
    monkeypatch.setattr(webhook, "encode", lambda _message: 1 / 0)
    deliver()
    assert Attempt.objects.get().error == "own fault, see the log: ZeroDivisionError"
    monkeypatch.undo()
    deliver(10)
    assert len(receiver.posts) == 1


def test_what_is_not_configured_is_an_attempt_that_failed(oven: Instrument, receiver: Receiver) -> None:
    factories.route(hooked(receiver, secret="NONE"))
    raised(oven)
    deliver()
    assert Attempt.objects.get().error.startswith("the centre has no secret NONE: set LABSITE_SECRET_NONE")
    assert Notice.objects.get().state == NoticeState.WAITING


def test_within_gives_back_what_comes_in_time() -> None:
    assert sending.within(5, lambda: "a name") == "a name"
    with pytest.raises(TransportError, match="busy"):
        sending.within(5, lambda: (_ for _ in ()).throw(TransportError("busy")))


# ---- servers that go away


def test_a_server_that_is_away_and_back_gets_one_message_that_says_how_it_is(
    oven: Instrument, receiver: Receiver
) -> None:
    factories.route(hooked(receiver))
    receiver.stop()
    first = raised(oven)
    deliver(0)
    raised(oven, "b", at=10)
    factories.cleared(first, at=15)
    deliver(20)
    raised(instrument(oven.edge, "bath"), at=30)
    deliver(30)
    receiver.start()
    for at in (60, 90, 120):
        deliver(at)
    assert receiver.titles == ["◆ 3 medium · oven b above 30 + 2 more"]
    assert receiver.posts[0].json["standing"] == 2
    assert not Notice.objects.filter(state=NoticeState.WAITING).exists()


def test_who_asks_for_patience_gets_it(oven: Instrument, receiver: Receiver) -> None:
    receiver.answers = [(429, {"Retry-After": "100"})]
    factories.route(hooked(receiver))
    raised(oven)
    for at in (0, 30, 60, 99):
        deliver(at)
    assert len(receiver.posts) == 1
    deliver(101)
    assert receiver.ids == [str(Notice.objects.get().pk)] * 2


def test_a_contact_that_cannot_be_reached_is_an_alarm_until_it_can(
    oven: Instrument, receiver: Receiver
) -> None:
    lost = Receiver(port=free_port())
    other = hooked(receiver, "other")
    gone = factories.contact("gone", address=f"http://127.0.0.1:{lost.port}/", next=other)
    factories.route(gone, name="gone")
    factories.route(other, name="other", alarms=True, tags=["none"])
    factories.route(other, name="undelivered", least_priority=2)
    raised(oven)
    for at in (0, 6, 25, 27, 40):
        deliver(at)
    title = "▲ 2 high · Notices to “gone” are not delivered"
    assert sorted(receiver.titles) == sorted(["◆ 3 medium · oven a above 30", title])
    lost.start()
    for at in (90, 91, 130):
        deliver(at)
    lost.stop()
    assert lost.titles == ["◆ 3 medium · oven a above 30"]
    assert receiver.titles[-1] == "✓ Notices to “gone” are not delivered: returned to normal"


# ---- crashes

DIES_BEFORE_RECORDING = """
import os, signal, django
django.setup()
from alerts.notices import delivery, routing, sending
from tests.telemetry.factories import moment
delivery.sent = lambda *said: os.kill(os.getpid(), signal.SIGKILL)
routing.dispatch(moment(0))
sending.deliver_due(moment(0), wait=True)
"""
DIES_WHILE_DISPATCHING = """
import os, signal, django
django.setup()
from alerts.notices import outbox, routing
from tests.telemetry.factories import moment
outbox.mark = lambda *said: os.kill(os.getpid(), signal.SIGKILL)
routing.dispatch(moment(0))
"""


def killed(program: str) -> None:
    """Run it against the tests' database; it must die by SIGKILL."""
    environment = os.environ | {"LABSITE_DATABASE_URL": database_url()}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL, run.stderr


def test_killed_between_sending_and_recording_the_same_id_arrives_twice(
    oven: Instrument, receiver: Receiver
) -> None:
    factories.route(hooked(receiver), window=0)
    alarm = raised(oven)
    killed(DIES_BEFORE_RECORDING)
    assert len(receiver.posts) == 1
    raised(oven, "b", at=5)
    factories.cleared(alarm, at=8)
    deliver(10)
    first, again, *others = receiver.posts
    assert first.id == again.id
    assert again.json["alarms"][0]["id"] == first.json["alarms"][0]["id"] == alarm.pk
    assert [post.id for post in others if post.id == first.id] == []
    assert "◆ 3 medium · oven b above 30 + 1 more" in receiver.titles, "what came meanwhile is not lost"
    deliver(60)
    assert len(receiver.posts) == 3


def test_killed_while_dispatching_nothing_is_lost_or_told_twice(oven: Instrument, receiver: Receiver) -> None:
    factories.route(hooked(receiver))
    raised(oven)
    killed(DIES_WHILE_DISPATCHING)
    assert not Notice.objects.exists()
    deliver(1)
    deliver(2)
    assert receiver.titles == ["◆ 3 medium · oven a above 30"]


def test_when_the_database_restarts_nothing_is_lost(
    oven: Instrument, receiver: Receiver, postgres_server: Postgres | None
) -> None:
    receiver.stall = threading.Event()
    factories.route(hooked(receiver))
    raised(oven)
    routing.dispatch(moment(0))
    assert sending.deliver_due(moment(0)) == 1
    until(lambda: receiver.posts)
    if postgres_server is None:  # it is not ours: cut all others off
        with connection.cursor() as cursor:
            cursor.execute(OTHERS.format("pg_terminate_backend(pid)"))
    else:
        connections.close_all()
        postgres_server.restart()
    receiver.stall.set()
    until(lambda: not sending.SENDERS.busy)
    deliver(30)
    deliver(60)
    assert receiver.ids in ([str(Notice.objects.get().pk)] * number for number in (1, 2))
    assert Notice.objects.get().state == NoticeState.SENT


# ---- two at once


def in_threads(count: int, act: Any) -> list[Any]:
    def run(_number: int) -> Any:
        try:
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_two_that_dispatch_at_once_make_each_notice_once(oven: Instrument, receiver: Receiver) -> None:
    factories.route(hooked(receiver), window=0)
    for number in range(20):
        raised(instrument(oven.edge, f"bath {number}"))
        in_threads(2, lambda: routing.dispatch(moment(0)))
    until(lambda: not any(in_threads(1, lambda: routing.dispatch(moment(1)))))
    assert Notice.objects.count() == 20
    assert Notice.objects.filter(lines__isnull=True).count() == 0


def test_a_contact_is_told_by_one_process_at_a_time(oven: Instrument, receiver: Receiver) -> None:
    contact = hooked(receiver)
    factories.route(contact)
    raised(oven)
    routing.dispatch(moment(0))
    with connection.cursor() as cursor:  # as another process would hold it
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [sending.TURN, contact.pk])
    sending.deliver_due(moment(0), wait=True)
    assert not receiver.posts
    connection.close()
    sending.deliver_due(moment(0), wait=True)
    assert len(receiver.posts) == 1


# ---- test this contact


def test_a_contact_is_tested_at_once(receiver: Receiver) -> None:
    contact = hooked(receiver)
    tested = trials.test_contact(contact, OPERATOR)
    assert (tested.ok, tested.words) == (True, f"{receiver.url} has taken it")
    assert receiver.titles == ["Test of “hook”: notices of Labsite arrive here"]
    receiver.answers = [(404, {})]
    tested = trials.test_contact(contact, people.person("anna", staff=True))
    assert (tested.ok, tested.words) == (False, "127.0.0.1 answered 404")
    assert set(Notice.objects.values_list("state", flat=True)) == {NoticeState.SENT, NoticeState.FAILED}


def test_a_contact_that_cannot_work_says_why(kept: None) -> None:
    tested = trials.test_contact(factories.contact("any", "apprise"), OPERATOR)
    assert (tested.ok, tested.words) == (False, "the contact names no secret that holds the Apprise URL")
    tested = trials.test_contact(factories.contact("smoke", "smoke signals"), OPERATOR)
    assert tested == trials.Tested(ok=False, words="there is no transport 'smoke signals'")


def test_only_who_may_change_contacts_tests_them(receiver: Receiver) -> None:
    with pytest.raises(PermissionDenied):
        trials.test_contact(hooked(receiver), people.person("ben", staff=False))
    assert not Notice.objects.exists()


def as_the_bot(error: str) -> None:
    """What the Matrix bot does with a test."""

    def act() -> None:
        (notice,) = until(lambda: delivery.due(("matrix",), moment(10**8)))
        message = delivery.begin(notice, moment(0))
        assert message
        if error:
            delivery.failed(notice, error, moment(0))
        else:
            delivery.sent(notice, message, "$event", 0.1, moment(0))

    in_threads(1, act)


@pytest.mark.parametrize(
    ("error", "words"), [("", "!room:example.org has taken it"), ("not in the room", "not in the room")]
)
def test_a_matrix_room_is_tested_by_the_bot(kept: None, error: str, words: str) -> None:
    room = factories.contact("room", "matrix", address="!room:example.org")
    bot = threading.Thread(target=as_the_bot, args=(error,))
    bot.start()
    tested = trials.test_contact(room, OPERATOR)
    bot.join()
    assert tested == trials.Tested(ok=not error, words=words)
    assert not Notice.objects.filter(state=NoticeState.WAITING).exists()


def test_without_the_bot_a_room_cannot_be_tested(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE", 0.3)
    tested = trials.test_contact(factories.contact("room", "matrix", address="!room:example.org"), OPERATOR)
    assert tested.words == "nothing came of it within 0.3 s: is the Matrix bot running?"
    assert Notice.objects.get().kind == NoticeKind.TEST
    assert Notice.objects.get().state == NoticeState.FAILED
