"""An edge's hello: who holds the name, and whether it has the book it should have."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from devices import edge_keys, edges, services, wire
from devices.epoch import epoch
from devices.models import Edge
from devices.outgoing import ANSWERS_MAX
from labsite import tasks
from telemetry.models import SpoolMark
from tests import factories
from tests.devices.mailbox import Mailbox

pytestmark = pytest.mark.django_db

BOOT = "9c1ae70d-1ed5-4a3c-8b0e-c42f8f7e21b1"
SPOOL = "0f5a3c0e-3fd7-4e9c-93c4-3d64a3f5e0c7"


@pytest.fixture
def nina(broker: str) -> Mailbox:
    edge_keys.forget()
    edges.forget_books()
    factories.edge("nina")
    return Mailbox(broker, "nina")


def hello(**fields: Any) -> wire.Hello:
    start: dict[str, Any] = {
        "instance": str(uuid4()), "previous": "", "boot": BOOT, "spool": SPOOL, "acked_through": 0,
        "epoch": "", "revision": 0, "orders": 0, "sent_mono": 17, "status": {"spool_rows": 3.0},
    }  # fmt: skip
    return wire.Hello(**{**start, **fields})


def up_to_date(**fields: Any) -> wire.Hello:
    """From an edge that has all its orders."""
    edge = Edge.objects.get(name="nina")
    standing = edge.instruments.filter(in_service=True).count()
    return hello(epoch=epoch(), revision=edge.revision, orders=standing, **fields)


def say(message: wire.Hello, name: str = "nina", version: int = 1, key: bytes | None = None) -> None:
    """What the ingest worker does when this comes."""
    tasks.hello(wire.seal(message, name, version, key or edge_keys.derive(name, version)))


def answered(mailbox: Mailbox, message: wire.Hello, **envelope: Any) -> list[Any]:
    say(message, **envelope)
    return mailbox.take()


def test_the_welcome_compares_clocks_and_says_what_has_arrived(nina: Mailbox) -> None:
    SpoolMark.objects.create(edge=Edge.objects.get(name="nina"), spool=UUID(SPOOL), through=41)
    before = edges.microseconds(timezone.now())
    said = up_to_date()
    (welcome,) = answered(nina, said)
    assert (welcome.instance, welcome.holder, welcome.reason) == (said.instance, True, "")
    assert (welcome.spool, welcome.through, welcome.sent_mono) == (SPOOL, 41, 17)
    assert (welcome.epoch, welcome.revision) == (said.epoch, said.revision)
    assert before <= welcome.received <= welcome.replied <= edges.microseconds(timezone.now())


def test_what_an_edge_says_of_itself_is_noted(nina: Mailbox) -> None:
    said = hello()
    say(said)
    edge = Edge.objects.get(name="nina")
    assert (str(edge.instance), edge.boot, str(edge.spool)) == (said.instance, BOOT, SPOOL)
    assert edge.status == {"spool_rows": 3.0}
    assert edge.heard_at is not None
    assert timezone.now() - edge.heard_at < timedelta(seconds=5)


@pytest.mark.parametrize("difference", [{"epoch": "another"}, {"revision": 0}, {"orders": 7}], ids=str)
def test_an_edge_whose_book_differs_gets_the_whole(nina: Mailbox, difference: dict[str, Any]) -> None:
    bath = factories.instrument("Bath", edge=Edge.objects.get(name="nina"))
    due = up_to_date()
    has = {"epoch": due.epoch, "revision": due.revision, "orders": due.orders, **difference}
    _welcome, book = answered(nina, hello(**has))
    assert (book.epoch, book.revision, len(book.orders)) == (due.epoch, due.revision, 2)
    assert str(bath.pk) in book.ids


def test_the_same_difference_is_not_answered_twice_in_a_row(nina: Mailbox) -> None:
    said = hello()
    assert [type(message) for message in answered(nina, said)] == [wire.Welcome, wire.Book]
    assert [type(message) for message in answered(nina, said)] == [wire.Welcome]
    changed = hello(instance=said.instance, revision=1, orders=5)
    assert [type(message) for message in answered(nina, changed)] == [wire.Welcome, wire.Book]


def test_nothing_is_sent_to_an_edge_that_speaks_but_does_not_read(nina: Mailbox) -> None:
    nina.fill(ANSWERS_MAX + 1)
    say(hello())
    assert len(nina) == ANSWERS_MAX + 1


def test_orders_on_their_way_hold_up_no_answer(nina: Mailbox) -> None:
    nina.fill(ANSWERS_MAX)
    say(up_to_date())
    assert len(nina) == ANSWERS_MAX + 1


def test_a_large_book_travels_compressed(nina: Mailbox) -> None:
    edge = Edge.objects.get(name="nina")
    for number in range(30):
        factories.instrument(f"Bath {number}", edge=edge)
    say(hello())
    assert '"compression"' in str(nina.client.lindex(nina.queue, 0))
    _welcome, book = nina.take()
    assert len(book.orders) == 31


def test_a_second_process_of_the_same_name_is_told_so(nina: Mailbox) -> None:
    say(first := up_to_date())
    nina.take()
    (welcome,) = answered(nina, second := hello(spool=str(uuid4())))
    assert (welcome.instance, welcome.holder) == (second.instance, False)
    assert "one name, one edge" in welcome.reason
    assert str(Edge.objects.get(name="nina").instance) == first.instance


def test_a_copied_disk_names_the_holder_but_has_booted_elsewhere(nina: Mailbox) -> None:
    say(first := up_to_date())
    nina.take()
    (welcome,) = answered(nina, up_to_date(previous=first.instance, boot="another boot"))
    assert not welcome.holder


@pytest.mark.parametrize("torn", [False, True])
def test_a_restarted_edge_follows_itself_at_once(nina: Mailbox, torn: bool) -> None:
    """Also if a process between the two was never heard; also with a new spool in place of a torn one."""
    say(first := up_to_date())
    nina.take()
    found = {"spool": str(uuid4()), "previous": first.instance} if torn else {"previous": str(uuid4())}
    (welcome,) = answered(nina, again := up_to_date(**found))
    assert welcome.holder
    assert str(Edge.objects.get(name="nina").instance) == again.instance


def test_a_name_is_free_15_s_after_its_holders_last_word(nina: Mailbox) -> None:
    say(up_to_date())
    Edge.objects.update(heard_at=timezone.now() - timedelta(seconds=14))
    nina.take()
    (early,) = answered(nina, hello(spool=str(uuid4())))
    Edge.objects.update(heard_at=timezone.now() - timedelta(seconds=16))
    (late,) = answered(nina, up_to_date())
    assert (early.holder, late.holder) == (False, True)


def test_the_answer_is_signed_with_the_key_that_the_hello_was(nina: Mailbox) -> None:
    services.rotate_key(Edge.objects.get(name="nina"), services.OPERATOR)
    edge_keys.forget()
    versions = []

    def key_of(name: str, version: int) -> bytes:
        versions.append(version)
        return edge_keys.derive(name, version)

    nina.key_of = key_of
    for version, heard in [(1, 1), (2, 2), (1, 2)]:
        say(up_to_date(instance=SPOOL), version=version)
        nina.take()
        assert Edge.objects.get(name="nina").key_heard == heard
    assert versions == [1, 2, 1]


@pytest.mark.parametrize(
    "forged",
    [{"key": b"wrong"}, {"version": 7}, {"name": "nobody"}],
    ids=["not authentic", "unknown key", "unknown edge"],
)
def test_what_is_not_authentic_is_logged_and_dropped(
    nina: Mailbox, forged: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert answered(nina, hello(), **forged) == []
    assert Edge.objects.get(name="nina").heard_at is None
    assert "a hello is dropped" in caplog.text


@pytest.mark.parametrize("broken", [{"spool": "x"}, {"instance": "x"}], ids=str)
def test_a_malformed_hello_is_dropped(nina: Mailbox, broken: dict[str, Any]) -> None:
    assert answered(nina, hello(**broken)) == []


def test_the_epoch_is_the_same_until_the_database_is_another() -> None:
    assert epoch() == epoch()
    assert len(epoch()) == 16
