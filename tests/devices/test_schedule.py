"""What beat sends, round by round: through a real PostgreSQL and a real Redis, on the test's own clock."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from kombu.connection import Connection
from kombu.messaging import Producer

from devices import edge_keys, orders, schedule, wire
from devices.listener import own_connection
from devices.models import Edge, Instrument
from devices.outgoing import WAITING_MAX, waiting
from devices.schedule import Issuer, Post
from labsite.celery import app
from tests.devices.mailbox import Mailbox

pytestmark = pytest.mark.django_db(transaction=True)


class Beat:
    """An issuer that a test makes go round."""

    def __init__(self) -> None:
        self.issuer = Issuer("epoch")
        self.post = Post(app)
        self.connection = own_connection("test", "labsite_orders")
        self.now = 1000.0

    def round(self, after: float = 1.0) -> None:
        self.now += after
        self.issuer.round(self.connection.cursor(), self.post.producer(), self.now)

    def close(self) -> None:
        self.connection.close()
        self.post.close()


@pytest.fixture
def beat(broker: str) -> Iterator[Beat]:
    edge_keys.forget()
    beat = Beat()
    yield beat
    beat.close()


@pytest.fixture
def nina(broker: str) -> Iterator[Mailbox]:
    Edge.objects.create(name="nina", heard_at=timezone.now())
    mailbox = Mailbox(broker, "nina")
    yield mailbox
    mailbox.close()


def edge() -> Edge:
    return Edge.objects.get(name="nina")


def baths(count: int, at: Edge | None = None, **fields: Any) -> list[Instrument]:
    at = at or edge()
    return Instrument.objects.bulk_create(
        Instrument(name=f"Bath {uuid4()}", driver="thermostat", address="tcp://h:1", edge=at, **fields)
        for _ in range(count)
    )


def test_each_order_is_renewed_every_30_s_spread_evenly(beat: Beat, nina: Mailbox) -> None:
    bath_ids = {str(bath.pk) for bath in baths(60)}
    beat.round()
    nina.take()
    renewed: Counter[str] = Counter()
    for _ in range(30):
        beat.round()
        polls = nina.take_kind(wire.Poll)
        assert len(polls) == 2
        renewed.update(poll.order.instrument for poll in polls)
    assert renewed == dict.fromkeys(bath_ids, 1)


def test_an_order_says_all_that_an_edge_needs(beat: Beat, nina: Mailbox) -> None:
    (bath,) = baths(1, options={"dialect": "old"}, interval=2.5)
    for _ in range(31):
        beat.round()
    bath.refresh_from_db()
    (poll,) = nina.take_kind(wire.Poll)
    assert poll == wire.Poll(
        "epoch",
        wire.Order(
            instrument=str(bath.pk),
            name=bath.name,
            driver="thermostat",
            address="tcp://h:1",
            options={"dialect": "old"},
            interval=2.5,
            phase=orders.phase_of(bath.pk, 2.5),
            revision=1,
        ),
    )


def test_phases_spread_over_the_interval() -> None:
    phases = sorted(orders.phase_of(UUID(int=n), 10.0) for n in range(1000))
    assert 0 <= phases[0] < 0.2
    assert 9.8 < phases[-1] < 10
    assert 4.5 < phases[500] < 5.5


def test_one_edge_gets_at_most_50_renewals_a_second(beat: Beat, nina: Mailbox) -> None:
    baths(1800)
    beat.round()
    nina.take()
    for _ in range(3):
        beat.round()
        assert len(nina.take_kind(wire.Poll)) == 50


def test_the_period_stretches_for_all_edges_alike(
    beat: Beat, nina: Mailbox, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "IN_ALL", 3.0)
    emil = Mailbox(broker, "emil")
    baths(120)
    baths(60, Edge.objects.create(name="emil", heard_at=timezone.now()))
    beat.round()
    nina.take(), emil.take()
    for _ in range(10):
        beat.round()
        assert (len(nina.take_kind(wire.Poll)), len(emil.take_kind(wire.Poll))) == (2, 1)
    emil.close()


def test_a_change_goes_out_at_once_with_the_names_of_all(beat: Beat, nina: Mailbox) -> None:
    bath, other = baths(2)
    beat.round()
    nina.take()
    Instrument.objects.filter(pk=bath.pk).update(interval=0.5)
    beat.round(0.05)
    poll, book = nina.take()
    assert (poll.order.instrument, poll.order.interval, poll.order.revision) == (str(bath.pk), 0.5, 3)
    assert (book.revision, set(book.ids), book.orders) == (3, {str(bath.pk), str(other.pk)}, None)
    beat.round(0.05)
    assert nina.take() == []


@pytest.mark.parametrize(
    "change", [{"in_service": False}, {"retired_at": timezone.now()}], ids=["out of service", "retired"]
)
def test_what_is_taken_out_is_stopped_and_not_renewed(
    beat: Beat, nina: Mailbox, change: dict[str, Any]
) -> None:
    bath, other = baths(2)
    beat.round()
    nina.take()
    Instrument.objects.filter(pk=bath.pk).update(**change)
    beat.round(0.05)
    stop, book = nina.take()
    assert stop == wire.Stop("epoch", str(bath.pk), 3)
    assert (book.revision, book.ids) == (3, [str(other.pk)])
    for _ in range(30):
        beat.round()
    assert {poll.order.instrument for poll in nina.take_kind(wire.Poll)} == {str(other.pk)}


def test_a_moved_or_deleted_instrument_leaves_the_old_edges_book(beat: Beat, nina: Mailbox) -> None:
    moved, deleted, stays = baths(3)
    emil = Edge.objects.create(name="emil")
    beat.round()
    nina.take()
    Instrument.objects.filter(pk=moved.pk).update(edge=emil)
    deleted.delete()
    beat.round(0.05)
    (book,) = nina.take()
    assert (book.revision, book.ids) == (5, [str(stays.pk)])


def test_many_changes_go_as_one_whole_book(beat: Beat, nina: Mailbox) -> None:
    beat.round()
    nina.take()
    created = baths(schedule.SINGLY + 1)
    beat.round(0.05)
    (book,) = nina.take()
    assert len(nina) == 0
    assert {order.instrument for order in book.orders} == set(book.ids) == {str(bath.pk) for bath in created}
    assert book.revision == len(created)


def test_the_names_go_out_every_few_minutes(beat: Beat, nina: Mailbox) -> None:
    (bath,) = baths(1, in_service=True)
    books = []
    for _ in range(361):
        beat.round()
        books += nina.take_kind(wire.Book)
    assert [book.ids for book in books] == [[str(bath.pk)]] * 3


def test_an_edge_that_is_not_heard_gets_nothing(beat: Beat, nina: Mailbox) -> None:
    (bath,) = baths(1)
    Edge.objects.update(heard_at=timezone.now() - timedelta(seconds=31))
    for _ in range(40):
        beat.round()
    Instrument.objects.filter(pk=bath.pk).update(interval=7)
    beat.round()
    assert len(nina) == 0


def test_nothing_piles_up_in_a_queue_that_is_not_read(beat: Beat, nina: Mailbox) -> None:
    (bath, *_) = baths(300)
    for _ in range(60):
        beat.round()
    assert WAITING_MAX < len(nina) <= WAITING_MAX + 12
    Instrument.objects.filter(pk=bath.pk).update(interval=7)
    beat.round()
    nina.take()
    beat.round()
    changed, *renewed = [poll.order.interval for poll in nina.take_kind(wire.Poll)]
    assert changed == 7
    assert renewed.count(7) <= 1  # in one round out of thirty it is its turn to be renewed, too


def test_a_change_waits_for_the_broker(beat: Beat, nina: Mailbox) -> None:
    (bath,) = baths(1)
    beat.round()
    nina.take()
    Instrument.objects.filter(pk=bath.pk).update(interval=7)
    good, beat.post = beat.post, Post(app)
    beat.post.app = Dead()
    with pytest.raises(beat.post.errors):
        beat.round()
    beat.post.close()
    beat.post = good
    beat.round()
    assert [poll.order.interval for poll in nina.take_kind(wire.Poll)] == [7]


class Dead:
    """An app whose broker is not there."""

    def connection_for_write(self) -> Connection:
        return Connection("redis://127.0.0.1:1/0", transport_options={"socket_connect_timeout": 1})


def test_a_retired_edge_is_told_of_its_empty_book(beat: Beat, nina: Mailbox) -> None:
    nina.key_of = edge_keys.derive
    baths(1)
    beat.round()
    nina.take()
    Instrument.objects.update(in_service=False)
    Edge.objects.update(retired_at=timezone.now())
    beat.round()
    _stop, book = nina.take()
    assert book.ids == []


def test_messages_are_signed_with_the_key_the_edge_has(beat: Beat, nina: Mailbox) -> None:
    seen = []

    def key_of(name: str, version: int) -> bytes:
        seen.append(version)
        return edge_keys.derive(name, version)

    nina.key_of = key_of
    for current, heard in [(1, 1), (2, 1), (2, 2), (5, 2)]:
        Edge.objects.update(key_version=current, key_heard=heard)
        baths(1)
        beat.round()
        nina.take()
    assert [version for at, version in enumerate(seen) if at == 0 or seen[at - 1] != version] == [1, 2, 5]


@pytest.mark.parametrize(
    ("options", "said"),
    [('{"n": 1e999}', "n"), ('{"n": 123456789012345678901234567890}', "n"), ("[1]", "unreadable")],
)
def test_strange_options_spoil_no_book(beat: Beat, nina: Mailbox, options: str, said: str) -> None:
    baths(2)
    beat.round()
    nina.take()
    beat.connection.execute("UPDATE devices_instrument SET options = %s::jsonb WHERE revision = 1", [options])
    beat.round(0.05)
    poll, _book = nina.take()
    assert list(poll.order.options) == [said]


def test_with_another_broker_than_redis_an_undeclared_queue_counts_as_full() -> None:
    with Connection("memory://") as connection:
        producer = Producer(connection.channel(), auto_declare=False)
        queue = connection.SimpleQueue("edge.there")
        queue.put({})
        assert waiting(producer, ["edge.there", "edge.nobody"]) == {
            "edge.there": 1,
            "edge.nobody": WAITING_MAX + 1,
        }
        queue.close()
