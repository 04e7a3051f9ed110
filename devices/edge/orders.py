"""The order book: what this edge polls, kept on disk so that it goes on without its centre.

No order lapses by age. What ends one is a stop, or a book of the centre's that no longer lists it.
"""

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from devices import files
from devices.wire import Book, Message, Order, Poll, Stop

logger = logging.getLogger(__name__)


class Kept(Message, frozen=True):
    """The order book's file."""

    epoch: str = ""
    revision: int = 0
    listed_at: int = 0
    listed: list[str] = []
    stopped: dict[str, int] = {}
    orders: list[Order] = []


class OrderBook:
    """Orders by instrument. Each change returns whether something changed, so that the caller can act."""

    def __init__(self, kept: Kept | None = None) -> None:
        kept = kept or Kept()
        self.epoch = kept.epoch
        self.revision = kept.revision
        self.orders = {order.instrument: order for order in kept.orders}
        self._listed_at = kept.listed_at  # revision of the last book heard of ...
        self._listed = frozenset(kept.listed)  # ... and whom it named
        self._stopped = dict(kept.stopped)  # stops newer than that book

    def poll(self, message: Poll) -> bool:
        """Take one order, unless a newer one, a stop or a book overtook it on the way."""
        order = message.order
        if not self._same_epoch(message.epoch) or self._is_over(order):
            return False
        self.revision = max(self.revision, order.revision)
        present = self.orders.get(order.instrument)
        if present is not None and (present == order or present.revision > order.revision):
            return False
        self.orders[order.instrument] = order
        self._stopped.pop(order.instrument, None)
        return True

    def stop(self, message: Stop) -> bool:
        """Drop an instrument's order, unless the instrument was ordered again since."""
        if not self._same_epoch(message.epoch):
            return False
        self.revision = max(self.revision, message.revision)
        newest = max(message.revision, self._stopped.get(message.instrument, 0))
        present = self.orders.get(message.instrument)
        if present is not None and present.revision > message.revision:
            return False
        self._stopped[message.instrument] = newest
        return self.orders.pop(message.instrument, None) is not None

    def book(self, message: Book) -> bool:
        """Drop what the centre no longer lists; take the orders, if they are told.

        A whole book of another epoch (the centre's database was restored) replaces everything.
        """
        if not self._same_epoch(message.epoch):
            if message.orders is not None:
                self._replace(message)
            return message.orders is not None
        if message.revision < self._listed_at:
            return False
        before = dict(self.orders)
        self._listed_at, self._listed = message.revision, frozenset(message.ids)
        self.revision = max(self.revision, message.revision)
        self._stopped = {key: at for key, at in self._stopped.items() if at > message.revision}
        self.orders = {key: order for key, order in self.orders.items() if not self._is_over(order)}
        for order in message.orders or []:
            self.poll(Poll(message.epoch, order))
        return self.orders != before

    def kept(self) -> Kept:
        """The book as it goes to disk."""
        orders = list(self.orders.values())
        listed = sorted(self._listed)
        return Kept(self.epoch, self.revision, self._listed_at, listed, dict(self._stopped), orders)

    def _same_epoch(self, epoch: str) -> bool:
        """Before its first book an edge takes the epoch of the first message."""
        if not self.epoch:
            self.epoch = epoch
        return epoch == self.epoch

    def _is_over(self, order: Order) -> bool:
        if order.revision <= self._stopped.get(order.instrument, -1):
            return True
        return order.revision <= self._listed_at and order.instrument not in self._listed

    def _replace(self, message: Book) -> None:
        orders: Iterable[Order] = message.orders or []
        self.epoch, self.revision = message.epoch, message.revision
        self._listed_at, self._listed, self._stopped = message.revision, frozenset(message.ids), {}
        self.orders = {order.instrument: order for order in orders}


def load(path: Path) -> OrderBook:
    """The book on disk; an empty one if there is none or it cannot be read (the centre sends it again)."""
    try:
        return OrderBook(msgspec.json.decode(path.read_bytes(), type=Kept))
    except FileNotFoundError:
        return OrderBook()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning(
            "order book %s cannot be read (%s); set aside, the centre will send it again", path, error
        )
        with contextlib.suppress(OSError):
            path.replace(path.with_suffix(".torn"))
        return OrderBook()


def save(path: Path, kept: Kept) -> None:
    """Replace the book on disk as a whole: after a power cut there is the old one or the new one."""
    files.replace(path, msgspec.json.encode(kept))
