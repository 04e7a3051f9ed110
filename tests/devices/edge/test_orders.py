"""The order book: what counts when orders, stops and books come late, twice or not at all."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices.edge import orders
from devices.edge.orders import Kept, OrderBook
from devices.wire import Book, Message, Order, Poll, Stop
from tests.devices.edge.doubles import order

A, B = "a", "b"


def poll(instrument: str, revision: int, epoch: str = "e", **changes: Any) -> Poll:
    return Poll(epoch, order(instrument, revision=revision, **changes))


def tell(book: OrderBook, *messages: Message) -> dict[str, int]:
    """What the book has after these: revisions by instrument."""
    for message in messages:
        if isinstance(message, Poll):
            book.poll(message)
        elif isinstance(message, Stop):
            book.stop(message)
        elif isinstance(message, Book):
            book.book(message)
    return {instrument: one.revision for instrument, one in book.orders.items()}


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        ([poll(A, 1), poll(B, 2)], {A: 1, B: 2}),
        ([poll(A, 5), poll(A, 4)], {A: 5}),
        ([poll(A, 1), Stop("e", A, 2)], {}),
        ([poll(A, 3), Stop("e", A, 2)], {A: 3}),
        ([Stop("e", A, 2), poll(A, 1)], {}),
        ([Stop("e", A, 2), poll(A, 3)], {A: 3}),
        ([poll(A, 1), poll(B, 2), Book("e", 2, [B])], {B: 2}),
        ([poll(A, 1), poll(B, 3), Book("e", 2, [])], {B: 3}),
        ([Book("e", 2, [B]), poll(A, 1)], {}),
        ([Book("e", 2, [B]), poll(B, 1)], {B: 1}),
        ([Book("e", 5, [A]), Book("e", 4, [B]), poll(B, 3)], {}),
        ([Stop("e", A, 7), Book("e", 5, [A]), poll(A, 6)], {}),
        ([Stop("e", A, 5), Book("e", 7, [A]), poll(A, 4)], {A: 4}),
        ([Book("e", 2, [A, B], [order(A), order(B, revision=2)])], {A: 1, B: 2}),
        ([poll(A, 9), Book("e", 9, [A], [order(A, revision=8)])], {A: 9}),
        ([poll(A, 9), Book("f", 1, [B], [order(B)])], {B: 1}),
        ([poll(A, 9), Book("f", 1, [B])], {A: 9}),
        ([poll(A, 9), poll(B, 1, "f")], {A: 9}),
        ([poll(A, 9), Stop("f", A, 10)], {A: 9}),
    ],
    ids=[
        "orders add up",
        "an older order is late",
        "a stop",
        "a stop that a newer order overtook",
        "an order that a stop overtook",
        "ordered again after a stop",
        "a book without it",
        "a book older than the order",
        "an order that a book overtook",
        "an order that was lost comes again",
        "an older book is late",
        "a stop newer than the book",
        "a book newer than the stop",
        "a whole book",
        "a whole book with an order that is late",
        "a whole book of a restored database",
        "names of a restored database",
        "an order of a restored database",
        "a stop of a restored database",
    ],
)
def test_what_counts(messages: list[Message], left: dict[str, int]) -> None:
    assert tell(OrderBook(), *messages) == left


def test_a_renewal_changes_nothing() -> None:
    book = OrderBook()
    assert book.poll(poll(A, 1))
    assert not book.poll(poll(A, 1))
    assert not book.book(Book("e", 1, [A]))


@given(
    st.lists(
        st.one_of(
            st.builds(poll, st.sampled_from("abc"), st.integers(1, 9), st.sampled_from("ef")),
            st.builds(Stop, st.sampled_from("ef"), st.sampled_from("abc"), st.integers(1, 9)),
            st.builds(
                Book, st.sampled_from("ef"), st.integers(1, 9), st.lists(st.sampled_from("abc"), unique=True)
            ),
        )
    )
)
def test_what_is_kept_on_disk_goes_on_the_same(messages: list[Message]) -> None:
    half = len(messages) // 2
    book = OrderBook()
    tell(book, *messages[:half])
    reloaded = OrderBook(book.kept())
    assert tell(book, *messages[half:]) == tell(reloaded, *messages[half:])
    assert (book.epoch, book.revision) == (reloaded.epoch, reloaded.revision)


def test_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    assert orders.load(path).orders == {}
    book = OrderBook(Kept("e", 4, orders=[order(A)]))
    orders.save(path, book.kept())
    assert orders.load(path).kept() == book.kept()
    assert [file.name for file in tmp_path.iterdir()] == ["orders.json"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"orders": 5}', b"\xff\xfe"])
def test_a_torn_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orders.json"
    path.write_bytes(content)
    assert orders.load(path).orders == {}
    assert path.with_suffix(".torn").read_bytes() == content


def test_an_order_is_what_came() -> None:
    book = OrderBook()
    wanted: Order = order(A, interval=0.5, options={"target": True})
    book.poll(Poll("e", wanted))
    assert book.orders[A] is wanted
