"""The uplink against a scripted centre: what is sent when, and what if answers are lost."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings as examples, strategies as st

from devices import wire
from devices.edge import uplink as module
from devices.edge.clock import Clock
from devices.edge.settings import Settings
from devices.edge.spool import Row, Spool
from devices.edge.uplink import BrokerAway, Identity, Uplink
from devices.wire import Ack, Batch, Hello, Message, Parcel, Welcome
from tests.devices.edge.doubles import EPOCH, KEY

T = 1_700_000_000_000_000


def row(number: int) -> Row:
    return Row(
        wire.pack(Batch(["i"], [["k"]], [0, 0, T + number], [float(number)])), T, T, "boot", T, sure=True
    )


@dataclass
class Box:
    """The broker and a centre that reads when it is told to."""

    settings: Settings
    queue: list[Message] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    away: bool = False

    def send(self, task: str, envelope: dict[str, Any]) -> None:
        if self.away:
            raise BrokerAway("refused")
        kind: Any = {"labsite.hello": Hello, "labsite.ingest": Parcel}[task]
        message = wire.open_envelope(envelope, kind, self.settings.key_of)[1]
        self.queue.append(message)
        self.sent.append(message)

    def waiting(self) -> int:
        if self.away:
            raise BrokerAway("refused")
        return len(self.queue)

    def close(self) -> None:
        pass

    @property
    def parcels(self) -> list[Parcel]:
        return [message for message in self.sent if isinstance(message, Parcel)]

    @property
    def hellos(self) -> list[Hello]:
        return [message for message in self.sent if isinstance(message, Hello)]


class Bench:
    """An uplink with its spool, its clock turned by hand."""

    def __init__(self, folder: Path, bytes_max: int = 1 << 28) -> None:
        self.now = 1000.0
        self.settings = Settings("one", "redis://x", 1, KEY, folder)
        self.box = Box(self.settings)
        self.spool = Spool(folder, bytes_max, T)
        self.acks: list[int] = []
        self.changes: list[bool] = []
        self.listening: list[bool] = []
        identity = Identity("me", "", "boot", lambda: (EPOCH, 1, 0), dict)
        self.uplink = Uplink(
            self.settings, self.spool, Clock(T, 0), self.box, identity,
            self.acks.extend, self.changes.append, self.listening.append,
        )  # fmt: skip
        self.stored: set[int] = set()
        self.order: dict[str, list[int]] = {"live": [], "backlog": []}

    def save(self, count: int = 1) -> list[int]:
        """So many batches, as the recorder saves them, with what was acked meanwhile."""
        rows = [row(self.spool.state.next + number) for number in range(count)]
        sequences = self.spool.save(rows, covered=T, covered_mono=1, acked=self.acks)
        self.acks.clear()
        self.uplink.saved(sequences, self.now)
        return sequences

    def pass_time(self, seconds: float, *, answer: bool = False) -> None:
        end = self.now + seconds
        while self.now < end:
            self.uplink.step(self.now)
            if answer:
                self.answer()
                self.uplink.step(self.now)
            self.now += 0.25

    def answer(self) -> None:
        """The centre reads and answers all there is."""
        queue, self.box.queue = self.box.queue, []
        for message in queue:
            if isinstance(message, Hello):
                self.welcome(message)
            elif isinstance(message, Parcel):
                self.store(message)
                self.ack(message)

    def store(self, parcel: Parcel) -> None:
        self.order[parcel.track].extend(number for number in parcel.sequences if number not in self.stored)
        self.stored.update(parcel.sequences)

    def through(self) -> int:
        through = 0
        while through + 1 in self.stored:
            through += 1
        return through

    def welcome(self, hello: Hello, *, holder: bool = True, through: int | None = None) -> None:
        told = self.through() if through is None else through
        mono = 1 << 60  # after every ack
        self.uplink.welcomed(Welcome("me", holder, "no", EPOCH, 1, hello.spool, told, T, T, mono), self.now)

    def ack(self, parcel: Parcel, outcome: str = "stored", reason: str = "") -> None:
        through = self.through()
        self.uplink.answered(
            Ack(parcel.spool, parcel.sequences, outcome, reason, through, T, T, parcel.sent_mono), self.now
        )

    def greet(self) -> None:
        """The first hello and its answer: the tracks are open."""
        self.pass_time(0.25, answer=True)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.spool.close()


def test_nothing_but_a_hello_goes_out_before_the_centre_has_answered(bench: Bench) -> None:
    bench.save(3)
    bench.pass_time(4)
    assert [type(message) for message in bench.box.sent] == [Hello]
    bench.answer()
    bench.pass_time(0.25)
    assert [parcel.sequences for parcel in bench.box.parcels] == [[1, 2, 3]]


def test_new_batches_are_live_and_old_ones_backlog(bench: Bench) -> None:
    bench.save(2)
    bench.pass_time(11)
    bench.save(2)
    bench.answer()
    bench.pass_time(0.25)
    assert [(parcel.track, parcel.sequences) for parcel in bench.box.parcels] == [
        ("live", [3, 4]),
        ("backlog", [1, 2]),
    ]


def test_one_parcel_is_under_way_on_a_track(bench: Bench) -> None:
    bench.greet()
    bench.save()
    bench.pass_time(1)
    bench.save()
    bench.pass_time(1)
    assert [parcel.sequences for parcel in bench.box.parcels] == [[1]]
    bench.answer()
    bench.pass_time(0.25)
    assert [parcel.sequences for parcel in bench.box.parcels] == [[1], [2]]


def test_a_parcel_is_sent_again_then_only_hellos(bench: Bench) -> None:
    bench.greet()
    bench.save()
    bench.pass_time(60)
    assert [parcel.sequences for parcel in bench.box.parcels] == [[1], [1]]
    bench.answer()
    bench.save()
    bench.pass_time(2, answer=True)
    assert bench.stored == {1, 2}


def test_an_answer_that_was_lost_does_no_harm(bench: Bench) -> None:
    bench.greet()
    bench.save()
    bench.pass_time(0.25)
    bench.store(bench.box.parcels[0])
    bench.box.queue.clear()
    bench.pass_time(6, answer=True)
    assert [parcel.sequences for parcel in bench.box.parcels] == [[1], [1]]
    assert bench.order["live"] == [1]
    bench.save()
    bench.pass_time(1, answer=True)
    assert bench.spool.state.acked_through == 1
    assert bench.order["live"] == [1, 2]


def test_a_refusal_keeps_the_batches_and_is_told(bench: Bench) -> None:
    bench.greet()
    bench.save()
    bench.pass_time(0.25)
    for _ in range(3):
        bench.ack(bench.box.parcels[-1], "refused", "unknown key")
        bench.box.queue.clear()
        bench.pass_time(61)
        bench.answer() if not bench.box.parcels else None
    assert bench.uplink.refused == "unknown key"
    assert bench.spool.waiting() == 1
    bench.pass_time(120, answer=True)
    assert bench.stored == {1}
    assert bench.uplink.refused == ""


def test_what_the_centre_cannot_use_is_not_sent_again(bench: Bench) -> None:
    bench.greet()
    bench.save()
    bench.pass_time(0.25)
    bench.box.queue.clear()
    bench.ack(bench.box.parcels[0], "rejected", "torn")
    bench.pass_time(30, answer=True)
    assert len(bench.box.parcels) == 1


def test_nothing_piles_up_in_a_queue_that_nobody_reads(bench: Bench) -> None:
    bench.greet()
    for _ in range(600):
        bench.save()
        bench.pass_time(1)
    assert len(bench.box.queue) <= module.UNANSWERED_MAX
    bench.pass_time(3 * 3600 / 10)
    assert len(bench.box.queue) <= module.UNANSWERED_MAX + 2
    came_back = bench.now
    bench.pass_time(30, answer=True)
    assert bench.stored == set(range(1, 601))
    assert bench.uplink.heard_at is not None
    assert bench.uplink.heard_at >= came_back


def test_it_is_back_seconds_after_the_centre(bench: Bench) -> None:
    bench.greet()
    bench.save()
    bench.pass_time(3600)
    bench.box.queue.clear()  # somebody takes the messages, and its answers are lost
    bench.save()
    bench.pass_time(15, answer=True)
    assert bench.stored == {1, 2}


def test_the_broker_is_away(bench: Bench) -> None:
    bench.greet()
    bench.box.away = True
    for _ in range(30):
        bench.save()
        bench.pass_time(1)
    assert bench.uplink.broker_trouble
    bench.box.away = False
    bench.pass_time(10, answer=True)
    assert bench.stored == set(range(1, 31))
    assert not bench.uplink.broker_trouble


def test_the_broker_was_wiped(bench: Bench) -> None:
    bench.greet()
    bench.save()
    bench.pass_time(1)
    bench.box.queue.clear()
    bench.pass_time(16, answer=True)
    assert bench.stored == {1}


def test_a_restored_centre_gets_again_what_it_has_lost(bench: Bench) -> None:
    bench.greet()
    for _ in range(5):
        bench.save()
        bench.pass_time(1, answer=True)
    bench.save()
    bench.pass_time(1, answer=True)
    assert bench.stored == {1, 2, 3, 4, 5, 6}
    bench.stored = {1, 2}
    bench.pass_time(6, answer=True)
    assert bench.stored == {1, 2, 3, 4, 5, 6}


def test_a_centre_that_knows_more_than_the_spool_makes_it_take_another_name(bench: Bench) -> None:
    bench.save(2)
    before = bench.spool.state.spool
    bench.pass_time(0.25)
    bench.welcome(bench.box.hellos[-1], through=7)
    assert bench.spool.state.spool != before
    bench.box.queue.clear()
    bench.pass_time(1, answer=True)
    assert bench.stored == {1, 2}


def test_the_centre_is_told_what_will_never_come(tmp_path: Path) -> None:
    """Rows that a full spool had to give up: the centre's mark is to move over them."""
    bench = Bench(tmp_path, bytes_max=1 << 20)
    for number in range(30):
        bench.spool.save([Row(os.urandom(50_000), T + number, T + number, "boot", T, sure=True)])
    lowest = bench.spool.kept_from()
    assert lowest > 1
    bench.pass_time(2, answer=True)
    parcels = [message for message in bench.box.sent if isinstance(message, Parcel)]
    assert parcels[0].sequences[0] == lowest
    assert {parcel.kept_from for parcel in parcels} == {lowest}
    bench.spool.close()


def test_what_is_under_way_is_not_given_up(tmp_path: Path) -> None:
    """The spool loses rows that a parcel holds: the parcel may still arrive."""
    bench = Bench(tmp_path, bytes_max=1 << 20)
    bench.greet()
    first, *_ = bench.save()
    bench.uplink.step(bench.now)
    for number in range(30):
        bench.spool.save([Row(os.urandom(50_000), T + number, T + number, "boot", T, sure=True)])
    assert bench.spool.kept_from() > first
    bench.pass_time(module.ANSWER_WITHIN[0] + 1)
    again = [message for message in bench.box.sent if isinstance(message, Parcel)][-1]
    assert (again.sequences, again.kept_from) == ([first], first)
    bench.spool.close()


def test_a_spool_set_aside_is_not_sent_under_the_new_ones_numbers(bench: Bench) -> None:
    """Else the centre would take rows to come, which bear those numbers, for ones it has."""
    bench.greet()
    bench.save(3)
    bench.pass_time(0.5)
    (before,) = bench.box.parcels
    bench.box.queue.clear()  # it never arrives
    bench.spool._set_aside(ValueError("torn"))
    bench.save(2)
    bench.pass_time(module.ANSWER_WITHIN[0] + 1, answer=True)
    after = [parcel for parcel in bench.box.parcels if parcel.spool != before.spool]
    rows = dict(pair for parcel in after for pair in zip(parcel.sequences, parcel.batches, strict=True))
    kept = {
        numbered.sequence: wire.as_text(numbered.row.packed) for numbered in bench.spool.pending(0, 99, 9**9)
    }
    assert set(rows) == {1, 2, 3, 4, 5}
    assert {sequence: rows[sequence] for sequence in kept} == kept
    assert all(parcel is before for parcel in bench.box.parcels if parcel.spool == before.spool)


def test_what_follows_a_parcel_of_the_backlog_is_read_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PARCEL_BATCHES", 2)
    bench.save(5)
    bench.now += module.LIVE_FOR + 1
    bench.greet()
    assert [numbered.sequence for numbered in bench.uplink._backlog.following] == [3, 4]
    bench.pass_time(1, answer=True)
    backlog = [parcel.sequences for parcel in bench.box.parcels if parcel.track == "backlog"]
    assert backlog == [[1, 2], [3, 4], [5]]


def test_an_instance_that_does_not_hold_the_name_is_quiet(bench: Bench) -> None:
    bench.greet()
    bench.save()
    bench.pass_time(0.25)
    bench.box.sent.clear()
    bench.welcome(Hello("me", "", "", bench.spool.state.spool, 0, "", 0, 0, 0, {}), holder=False)
    assert bench.changes == [False]
    bench.box.queue.clear()
    bench.pass_time(60)
    assert bench.box.parcels == []
    assert 3 <= len(bench.box.hellos) <= 5
    assert bench.listening[0] is False
    assert True in bench.listening
    bench.welcome(bench.box.hellos[-1])
    assert bench.changes == [False, True]
    bench.pass_time(20, answer=True)
    assert bench.stored == {1}


def test_answers_of_others_are_none(bench: Bench) -> None:
    bench.save()
    bench.uplink.welcomed(Welcome("other", True, "", EPOCH, 1, "s", 0, T, T, 0), bench.now)
    bench.pass_time(1)
    assert bench.box.parcels == []
    bench.uplink.answered(Ack("another spool", [1], "stored", "", 1, T, T, 0), bench.now)
    bench.pass_time(0.25)
    assert bench.spool.waiting() == 1


STEPS = st.lists(
    st.sampled_from(["save", "wait", "lose", "answer", "answer", "twice", "ack lost", "away"]), max_size=60
)


@example(steps=["save", "answer", "save", "wait", "lose"])  # what is live grows old
@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_is_lost_each_batch_arrives_in_order_of_its_track(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("uplink"))
    saved: list[int] = []
    for step in steps:
        if step == "save":
            saved += bench.save()
        elif step == "wait":
            bench.pass_time(7)
        elif step == "lose":
            bench.box.queue.clear()
        elif step == "answer":
            bench.answer()
        elif step == "twice":
            bench.box.queue += bench.box.queue
            bench.answer()
        elif step == "ack lost":
            for message in bench.box.queue:
                if isinstance(message, Parcel):
                    bench.store(message)
            bench.box.queue.clear()
        else:
            bench.box.away = not bench.box.away
        bench.pass_time(0.25)
    bench.box.away = False
    bench.pass_time(40, answer=True)
    bench.save()
    bench.pass_time(2, answer=True)
    assert set(saved) <= bench.stored
    assert bench.order["live"] == sorted(bench.order["live"])
    assert bench.order["backlog"] == sorted(bench.order["backlog"])
    bench.spool.close()
