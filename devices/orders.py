"""Standing orders as they stand in the database, read without models: there may be 100,000 of them.

Functions take a cursor, because beat reads through the very connection that holds its lock.
"""

import zlib
from typing import Any, Protocol
from uuid import UUID

import msgspec

from devices import wire

REVISION = "SELECT revision FROM devices_edge WHERE id = %s"
COUNT = """
SELECT edge_id, count(*) FROM devices_instrument
WHERE edge_id = ANY(%s) AND in_service AND retired_at IS NULL GROUP BY edge_id
"""
NAMES = "SELECT id FROM devices_instrument WHERE edge_id = %s AND in_service AND retired_at IS NULL"
WHOLE = """
SELECT id, name, driver, address, options::text, interval, revision FROM devices_instrument
WHERE edge_id = %s AND in_service AND retired_at IS NULL
"""
CHANGED = """
SELECT id, name, driver, address, options::text, interval, revision, in_service AND retired_at IS NULL
FROM devices_instrument WHERE edge_id = %s AND revision > %s ORDER BY revision
"""
# For each place its next few, by the index standing_orders and without a scan.
NEXT = """
SELECT place.edge, next.* FROM unnest(%s::bigint[], %s::uuid[], %s::int[]) AS place (edge, after, n),
LATERAL (
    SELECT id, name, driver, address, options::text, interval, revision FROM devices_instrument
    WHERE edge_id = place.edge AND id > place.after AND in_service AND retired_at IS NULL
    ORDER BY id LIMIT place.n
) AS next
"""


class Cursor(Protocol):
    """Django's or psycopg's."""

    def execute(self, query: Any, params: Any = None, /) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def fetchone(self) -> Any: ...


def phase_of(instrument: UUID, interval: float) -> float:
    """When in each interval an instrument is due, in seconds: polls spread evenly, always alike."""
    return zlib.crc32(instrument.bytes) / 2**32 * interval


def order_of(row: tuple[Any, ...]) -> wire.Order:
    """The order in a row of WHOLE."""
    instrument, name, driver, address, options, interval, revision = row
    return wire.Order(
        instrument=str(instrument),
        name=name,
        driver=driver,
        address=address,
        options=options_of(options),
        interval=interval,
        phase=phase_of(instrument, interval),
        revision=revision,
    )


def options_of(text: str) -> dict[str, Any]:
    """What cannot travel becomes an option no driver has: the edge refuses that order, and not the book."""
    try:
        options = msgspec.json.decode(text, type=dict[str, Any])
        msgspec.json.encode(options)
    except (msgspec.MsgspecError, OverflowError) as error:
        return {"unreadable": str(error)}
    return options


def whole_book(cursor: Cursor, edge: int, epoch: str) -> wire.Book:
    """All orders of an edge."""
    revision = _revision(cursor, edge)
    cursor.execute(WHOLE, [edge])
    orders = [order_of(row) for row in cursor.fetchall()]
    return wire.Book(epoch, revision, [order.instrument for order in orders], orders)


def names_only(cursor: Cursor, edge: int, epoch: str) -> wire.Book:
    """Which instruments an edge polls, without their orders."""
    revision = _revision(cursor, edge)
    cursor.execute(NAMES, [edge])
    return wire.Book(epoch, revision, [str(instrument) for (instrument,) in cursor.fetchall()])


def _revision(cursor: Cursor, edge: int) -> int:
    """Read before the orders: what changes in between is then newer than the book, never silently in it."""
    cursor.execute(REVISION, [edge])
    (revision,) = cursor.fetchone()
    return int(revision)


def changed_since(cursor: Cursor, edge: int, revision: int) -> list[tuple[wire.Order, bool]]:
    """The orders of an edge newer than a revision, oldest first, and whether each stands or has ended."""
    cursor.execute(CHANGED, [edge, revision])
    return [(order_of(row), stands) for *row, stands in cursor.fetchall()]


def count(cursor: Cursor, edges: list[int]) -> dict[int, int]:
    """How many orders stand at each of these edges."""
    cursor.execute(COUNT, [edges])
    return dict.fromkeys(edges, 0) | dict(cursor.fetchall())


def next_after(cursor: Cursor, places: list[tuple[int, UUID, int]]) -> list[tuple[int, UUID, wire.Order]]:
    """The next orders to renew: for each (edge, after which instrument, how many)."""
    edges, after, limits = (list(column) for column in zip(*places, strict=True))
    cursor.execute(NEXT, [edges, after, limits])
    return [(edge, row[0], order_of(tuple(row))) for edge, *row in cursor.fetchall()]
