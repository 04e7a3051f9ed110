"""What the centre does when an edge speaks: who holds its name, and has it the book it should have?"""

import logging
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from devices import orders, wire
from devices.epoch import epoch
from devices.models import Edge
from devices.outgoing import send_to_edge

LEASE = timedelta(seconds=15)  # of a name, from its holder's last hello
BOOK_AGAIN_S = 10.0  # between two whole books for one and the same difference

logger = logging.getLogger(__name__)
_EPOCH_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_Had = tuple[str, str, int, int]  # instance, epoch, revision, orders
_books_sent: dict[str, tuple[_Had, float]] = {}


def microseconds(moment: datetime) -> int:
    """A time as messages carry it."""
    return (moment - _EPOCH_1970) // timedelta(microseconds=1)


def answer(hello: wire.Hello, envelope: wire.Envelope, through: int, now: datetime) -> wire.Welcome:
    """Greet an edge, and send it its whole book if what it has differs from the database.

    `through`: every batch of its spool up to there is at the centre; `now`: when its hello came.
    """
    welcome = greet(hello, envelope, through, now)
    edge = Edge.objects.get(name=envelope.edge)
    send_to_edge(edge, "edge.welcome", welcome, envelope.key)
    if welcome.holder:
        complete_book(edge, hello, welcome.epoch, envelope.key)
    return welcome


@transaction.atomic
def greet(hello: wire.Hello, envelope: wire.Envelope, through: int, now: datetime) -> wire.Welcome:
    """Lease the edge's name to this process, or tell it who has it; note what the edge says of itself."""
    edge = Edge.objects.select_for_update(no_key=True).get(name=envelope.edge)
    reason = refusal(edge, hello, now)
    if not reason:
        edge.instance = identity(hello.instance)
        edge.boot = hello.boot
        edge.spool = identity(hello.spool)
        edge.heard_at = now
        edge.status = hello.status
        edge.key_heard = max(edge.key_heard, envelope.key)
        edge.save(update_fields=["instance", "boot", "spool", "heard_at", "status", "key_heard"])
    else:
        logger.warning("edge %s: %s", edge.name, reason)
    return wire.Welcome(
        instance=hello.instance,
        holder=not reason,
        reason=reason,
        epoch=epoch(),
        revision=edge.revision,
        spool=hello.spool,
        through=through,
        received=microseconds(now),
        replied=microseconds(timezone.now()),
        sent_mono=hello.sent_mono,
    )


def identity(text: str) -> UUID:
    """Raises wire.Malformed."""
    try:
        return UUID(text)
    except ValueError:
        raise wire.Malformed(f"{text[:60]!r} is no UUID") from None


def refusal(edge: Edge, hello: wire.Hello, now: datetime) -> str:
    """Why this process cannot have the edge's name; "" if it can.

    A restart has the spool of the process it follows, which one process at a time can have, or names that
    process, if the spool was torn; and its boot is the same. A copied disk has both, but boots elsewhere.
    """
    holder = str(edge.instance or "")
    if not holder or edge.heard_at is None or holder == hello.instance:
        return ""
    if hello.boot == edge.boot and (hello.spool == str(edge.spool) or hello.previous == holder):
        return ""
    silent = now - edge.heard_at
    if silent > LEASE:
        return ""
    return f"another process of this name was heard {silent.total_seconds():.0f} s ago: one name, one edge"


def complete_book(edge: Edge, hello: wire.Hello, current_epoch: str, key_version: int | None = None) -> bool:
    """Send the whole book if the edge's differs; whether it was sent.

    The same difference again is answered again after a while only: the book may be on its way.
    """
    with connection.cursor() as cursor:
        due = (current_epoch, edge.revision, orders.count(cursor, [edge.pk])[edge.pk])
        if (hello.epoch, hello.revision, hello.orders) == due:
            _books_sent.pop(edge.name, None)
            return False
        has = (hello.instance, hello.epoch, hello.revision, hello.orders)
        sent, at = _books_sent.get(edge.name, (None, 0.0))
        if sent == has and time.monotonic() - at < BOOK_AGAIN_S:
            return False
        book = orders.whole_book(cursor, edge.pk, current_epoch)
    send_to_edge(edge, "edge.book", book, key_version)
    _books_sent[edge.name] = (has, time.monotonic())
    logger.info("edge %s: whole book of %d orders, revision %d", edge.name, len(book.ids), book.revision)
    return True


def forget_books() -> None:
    """Know no more which books were sent by this process."""
    _books_sent.clear()
