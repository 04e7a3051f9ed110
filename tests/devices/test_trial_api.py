"""Test connection through the API and the admin: asked at the edge through a real broker, answered, shown."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.utils import timezone
from kombu.exceptions import OperationalError
from rest_framework.test import APIClient

from devices import drivers, edge_keys, trials, wire
from devices.models import Edge, Instrument, Trial
from labsite import tasks
from labsite.pulse import Pulse, pulse
from telemetry.tasks import keep_partitions
from tests import factories
from tests.devices.mailbox import Mailbox
from tests.devices.test_admin import ADD, LIST, Page, filled, opened

pytestmark = pytest.mark.django_db(transaction=True)

Reply = Callable[[wire.Poll], wire.Tried | None]


class AnsweringEdge:
    """Reads the queue of an edge and answers single polls as a test says, in a thread of its own."""

    def __init__(self, broker: str, edge: str = "local") -> None:
        self.mailbox = Mailbox(broker, edge, edge_keys.derive)  # no database in this thread
        self.edge = edge
        self.asked: list[wire.Poll] = []
        self.reply: Reply = tried
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.01):
            for poll in self.mailbox.take_kind(wire.Poll):
                self.asked.append(poll)
                if (answer := self.reply(poll)) is not None:
                    self._deliver(answer)

    def _deliver(self, answer: wire.Tried) -> None:
        """In a thread, and so over a connection of its own, as the ingest worker does it."""
        worker = threading.Thread(target=delivered, args=(answer, self.edge))
        worker.start()
        worker.join()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(10)
        self.mailbox.close()


def delivered(answer: wire.Message, edge: str) -> None:
    from django.db import connection  # noqa: PLC0415 - this thread's

    try:
        tasks.tested(wire.seal(answer, edge, 1, edge_keys.derive(edge, 1)))
    finally:
        connection.close()


def tried(poll: wire.Poll, error: str = "", **fields: Any) -> wire.Tried:
    assert poll.once is not None
    readings = [wire.TriedReading("ch0.temperature", 21.5, 0), wire.TriedReading("new", None, 2)]
    if error:
        return wire.Tried(poll.once.trial, error)
    return wire.Tried(poll.once.trial, "", 0.001, 0.25, 0.5, False, readings, ["run 7: running"], **fields)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    edge_keys.forget()
    pulse.__dict__ |= Pulse().__dict__
    monkeypatch.setitem(drivers.OWN, "probe", "tests.factories:Probe")
    monkeypatch.setattr(trials, "ANSWER_WITHIN_S", 2.0)


@pytest.fixture
def bath(db: None) -> Instrument:
    return factories.instrument()


@pytest.fixture
def edge(broker: str, bath: Instrument) -> Iterator[AnsweringEdge]:
    edge = AnsweringEdge(broker)
    yield edge
    edge.close()


@pytest.fixture
def api(bath: Instrument) -> APIClient:
    return factories.client(factories.person())


def url(instrument: Instrument) -> str:
    return f"/api/v1/instruments/{instrument.pk}/test/"


def test_what_the_instrument_says_is_answered_and_nothing_stored(
    api: APIClient, bath: Instrument, edge: AnsweringEdge
) -> None:
    before = msgspec.to_builtins(Instrument.objects.values_list("revision").get(pk=bath.pk))
    answer = api.post(url(bath))
    said = answer.json()
    assert (answer.status_code, said["ok"], said["error"]) == (200, True, "")
    assert (said["waited"], said["connect"], said["read"], said["shared"]) == (0.001, 0.25, 0.5, False)
    first, *others = said["readings"]
    assert (first["key"], first["label"], first["unit"]) == ("ch0.temperature", "CH0 temperature", "Cel")
    assert (first["value"], first["quality"], first["time"]) == (21.5, "good", None)
    assert {row["quality"] for row in others[:-1]} == {""}
    assert (others[-1]["key"], others[-1]["quality"]) == ("new", "bad")
    assert said["told"] == ["run 7: running"]
    assert len(said["readings"]) == bath.channels.count() + 1
    (poll,) = edge.asked
    assert (poll.order.revision, poll.order.address) == (-1, factories.ADDRESS)
    assert poll.once is not None
    assert abs(poll.once.asked / 1e6 - time.time()) < 5
    assert msgspec.to_builtins(Instrument.objects.values_list("revision").get(pk=bath.pk)) == before
    assert not bath.channels.filter(key="new").exists()


def test_what_the_instrument_does_wrong_is_told_in_words(
    api: APIClient, bath: Instrument, edge: AnsweringEdge
) -> None:
    edge.reply = lambda poll: tried(poll, "tcp://192.168.1.26:23: connection refused")
    answer = api.post(url(bath))
    said = answer.json()
    assert (answer.status_code, said["ok"], said["readings"]) == (200, False, [])
    assert said["error"] == "tcp://192.168.1.26:23: connection refused"
    assert (said["connect"], said["read"]) == (None, None)


def test_a_silent_edge_is_a_504_that_says_what_to_look_at(
    api: APIClient, bath: Instrument, edge: AnsweringEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "ANSWER_WITHIN_S", 0.2)
    edge.reply = lambda poll: None
    for heard, words in [
        (None, "never been heard of"),
        (timezone.now() - timedelta(hours=2), "last heard"),
        (timezone.now(), "it was heard "),
    ]:
        Edge.objects.update(heard_at=heard)
        answer = api.post(url(bath))
        assert answer.status_code == 504
        assert "Edge local did not answer" in answer.json()["error"]
        assert words in answer.json()["error"]


def test_nothing_is_sent_into_a_queue_that_nobody_reads(
    api: APIClient, bath: Instrument, broker: str
) -> None:
    mailbox = Mailbox(broker, "local")
    mailbox.fill(6)
    answer = api.post(url(bath))
    assert (answer.status_code, len(mailbox)) == (504, 6)
    assert "does not read its messages" in answer.json()["error"]  # told at once, none was waited for
    mailbox.close()


def test_other_values_than_the_saved_are_tried(api: APIClient, bath: Instrument, edge: AnsweringEdge) -> None:
    changes = {"address": "tcp://10.0.0.7:23", "options": {"target": True}}
    said = api.post(url(bath), changes).json()
    assert said["ok"]
    assert "ch0.target" in [row["key"] for row in said["readings"]]
    assert (edge.asked[0].order.address, edge.asked[0].order.options) == (
        changes["address"],
        {"target": True},
    )
    bath.refresh_from_db()
    assert (bath.address, bath.options) == (factories.ADDRESS, {})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"address": "nowhere"}, "address"),
        ({"address": "edge://local"}, "address"),
        ({"address": "x" * 301}, "address"),
        ({"options": {"colour": "red"}}, "options"),
        ({"options": "red"}, "options"),
    ],
)
def test_what_cannot_work_is_refused_by_field(
    api: APIClient, bath: Instrument, edge: AnsweringEdge, changes: dict[str, Any], field: str
) -> None:
    answer = api.post(url(bath), changes)
    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert not edge.asked


def test_one_out_of_service_can_be_tested_and_a_retired_one_not(
    api: APIClient, bath: Instrument, edge: AnsweringEdge
) -> None:
    api.patch(f"/api/v1/instruments/{bath.pk}/", {"in_service": False})
    assert api.post(url(bath)).json()["ok"]
    api.delete(f"/api/v1/instruments/{bath.pk}/")
    assert api.post(url(bath)).status_code == 404
    assert len(edge.asked) == 1


def test_only_staff_may_test(bath: Instrument, edge: AnsweringEdge) -> None:
    reader, staff = factories.person("reader", staff=False), factories.person()
    assert factories.client().post(url(bath)).status_code == 401
    assert factories.client(reader).post(url(bath)).status_code == 403
    assert factories.token_client(staff, "read").post(url(bath)).status_code == 403
    assert factories.token_client(staff, "push").post(url(bath)).status_code == 403
    assert factories.client(staff).get(url(bath)).status_code == 405
    assert not edge.asked
    assert factories.token_client(staff, "write").post(url(bath)).status_code == 200


def test_so_many_at_once_are_refused(api: APIClient, bath: Instrument, edge: AnsweringEdge) -> None:
    for _ in range(trials.AT_ONCE_MAX):
        Trial.objects.create(edge=bath.edge, instrument=bath.pk, asked_at=timezone.now())
    answer = api.post(url(bath))
    assert answer.status_code == 409
    assert "at once" in answer.json()["detail"]
    Trial.objects.update(asked_at=timezone.now() - timedelta(seconds=3))
    assert api.post(url(bath)).status_code == 200


def test_only_the_edge_that_was_asked_answers_and_only_once(
    bath: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    factories.edge("other")
    trial = Trial.objects.create(edge=bath.edge, instrument=bath.pk, asked_at=timezone.now())
    answer = wire.Tried(str(trial.pk), "first")
    delivered(answer, "other")
    assert Trial.objects.get().tried is None
    delivered(answer, "local")
    delivered(wire.Tried(str(trial.pk), "second"), "local")
    delivered(wire.Tried(str(uuid.uuid4()), "unasked"), "local")
    assert noted(trial) == "first"
    delivered(wire.Tried("no UUID", ""), "local")
    tasks.tested({"version": 1})
    delivered(wire.Tried(str(trial.pk), "\0"), "local")
    assert noted(trial) == "first"


def noted(trial: Trial) -> str:
    trial.refresh_from_db()
    return msgspec.convert(trial.tried, wire.Tried).error


def test_what_postgres_cannot_hold_is_logged_and_dropped(
    bath: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    trial = Trial.objects.create(edge=bath.edge, instrument=bath.pk, asked_at=timezone.now())
    delivered(wire.Tried(str(trial.pk), "a\0b"), "local")
    assert Trial.objects.get().tried is None
    assert "cannot be noted" in caplog.text


def test_tests_are_forgotten_after_an_hour(bath: Instrument) -> None:
    now = timezone.now()
    for age in (timedelta(minutes=59), timedelta(minutes=61)):
        Trial.objects.create(edge=bath.edge, instrument=bath.pk, asked_at=now - age)
    trials.forget_old(now)
    assert Trial.objects.count() == 1
    Trial.objects.update(asked_at=now - timedelta(hours=2))
    keep_partitions()
    assert not Trial.objects.exists()


# ---- the admin


@pytest.fixture
def browser(client: Client, bath: Instrument) -> Client:
    client.force_login(factories.person())
    return client


def test_the_form_is_tested_as_it_stands_and_not_saved(
    browser: Client, bath: Instrument, edge: AnsweringEdge
) -> None:
    change = f"{LIST}{bath.pk}/change/"
    page = opened(browser, change)
    fields = filled(page, address="tcp://10.0.0.7:23", option_target="on", name="Bath 2", _test="1")
    answer = browser.post(change, fields)
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "It answers: connected in 250 ms, read in 500 ms: 2 of 29 channels" in " ".join(text.split())
    assert ">21.5<" in text
    assert "errornote" not in text
    assert "Please correct" not in text
    again = Page(text)
    assert again.fields["address"] == "tcp://10.0.0.7:23"
    assert edge.asked[0].order.options == {"target": True}
    bath.refresh_from_db()
    assert (bath.name, bath.address, bath.options) == ("Bath 1", factories.ADDRESS, {})


def test_a_new_instrument_is_tested_before_it_is_saved(
    browser: Client, bath: Instrument, edge: AnsweringEdge
) -> None:
    edge.reply = lambda poll: tried(poll, "it is <b>off</b>")
    page = opened(browser, ADD + "?driver=probe")
    fields = filled(page, name="Level", edge=str(bath.edge.pk), address=factories.ADDRESS, _test="1")
    text = browser.post(ADD, fields).content.decode()
    assert "It does not answer: it is &lt;b&gt;off&lt;/b&gt;" in " ".join(text.split())
    assert not Instrument.objects.filter(name="Level").exists()
    del fields["_test"]
    assert browser.post(ADD, fields).status_code == 302


def test_a_form_with_errors_shows_them_and_asks_nobody(
    browser: Client, bath: Instrument, edge: AnsweringEdge
) -> None:
    page = opened(browser, ADD + "?driver=probe")
    answer = browser.post(ADD, filled(page, name="Level", address="nowhere", _test="1"))
    assert set(answer.context["adminform"].form.errors) == {"address"}
    assert "It does not answer" not in answer.content.decode()
    assert not edge.asked


def test_who_may_not_change_may_not_test(browser: Client, bath: Instrument, edge: AnsweringEdge) -> None:
    change = f"{LIST}{bath.pk}/change/"
    fields = filled(opened(browser, change), _test="1")
    browser.force_login(factories.person("reader", staff=False))
    assert browser.post(change, fields).status_code == 302
    Instrument.objects.update(retired_at=timezone.now())
    browser.force_login(factories.person("other"))
    assert browser.post(change, fields).status_code == 403
    assert browser.post(f"{LIST}{uuid.uuid4()}/change/", fields).status_code == 302
    assert not edge.asked


def test_several_are_tested_together_from_the_list(
    browser: Client, bath: Instrument, edge: AnsweringEdge
) -> None:
    other = factories.instrument("Bath 2")
    edge.reply = lambda poll: tried(poll, "" if poll.order.name == "Bath 1" else "silence")
    chosen = {"action": "test_connection", "_selected_action": [bath.pk, other.pk]}
    text = browser.post(LIST, chosen, follow=True).content.decode()
    assert "Bath 1: connected in 250 ms" in text
    assert "Bath 2: silence" in text


def test_the_waiting_request_is_woken_from_another_process(
    api: APIClient, bath: Instrument, edge: AnsweringEdge
) -> None:
    """The answer comes while the request waits: not before it listens, and not by a look every so often."""
    arrived: list[float] = []

    def late(poll: wire.Poll) -> wire.Tried:
        time.sleep(0.5)
        arrived.append(time.monotonic())
        return tried(poll)

    edge.reply = late
    assert api.post(url(bath)).json()["ok"]
    assert time.monotonic() - arrived[0] < 0.5


def test_the_broker_away_is_told(api: APIClient, bath: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*given: Any, **named: Any) -> bool:
        raise OperationalError("no route")

    monkeypatch.setattr(trials, "send_to_edge", away)
    answer = api.post(url(bath))
    assert answer.status_code == 504
    assert "message broker cannot be reached" in answer.json()["error"]
    assert Trial.objects.exists()
