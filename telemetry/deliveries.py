"""Which batches are at the centre: this makes a batch's readings, gaps and events exactly once together."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.backends.utils import CursorWrapper

INGEST_LOCK = 0x1AB  # advisory, with an edge's id: its two tracks take turns
PUSH_LOCK = 0x1AC  # with an instrument's: two pushes of one source take turns
ROLLUP_LOCK = 0x1AD  # held shared by whoever stores readings; roll-ups hold it alone to move `closing`

TURN = """
SELECT revision, coalesce((SELECT revision FROM definition_mark), 0),
    coalesce(
        (SELECT (extract(epoch FROM closing) * 1000000)::int8 FROM rollup_mark WHERE width = 'minute'), 0
    ),
    EXISTS (SELECT FROM sink WHERE enabled),
    EXISTS (SELECT FROM storage_policy)
FROM devices_edge WHERE id = %s
"""

REGISTER = """
INSERT INTO batch (edge_id, spool, sequence)
SELECT %(edge)s, %(spool)s, number FROM unnest(%(sequences)s::bigint[]) AS number
WHERE number > coalesce((SELECT through FROM spool_mark WHERE edge_id = %(edge)s AND spool = %(spool)s), 0)
ORDER BY number
ON CONFLICT DO NOTHING RETURNING sequence
"""

# From the mark on as far as there is no hole. `kept_from`: what is missing below it will never come.
ADVANCE = """
WITH RECURSIVE run(sequence) AS (
    SELECT greatest(
        coalesce((SELECT through FROM spool_mark WHERE edge_id = %(edge)s AND spool = %(spool)s), 0),
        %(kept_from)s - 1
    )
    UNION ALL
    SELECT b.sequence FROM run JOIN batch b
        ON b.edge_id = %(edge)s AND b.spool = %(spool)s AND b.sequence = run.sequence + 1
)
INSERT INTO spool_mark (edge_id, spool, through) SELECT %(edge)s, %(spool)s, max(sequence) FROM run
ON CONFLICT (edge_id, spool) DO UPDATE SET through = EXCLUDED.through RETURNING through
"""

PRUNE = "DELETE FROM batch WHERE edge_id = %(edge)s AND spool = %(spool)s AND sequence <= %(through)s"

# The newest batch that is at the centre beside these, and those before which the spool has one, also there.
AROUND = """
WITH there AS (
    SELECT sequence FROM batch WHERE edge_id = %(edge)s AND spool = %(spool)s
    UNION ALL SELECT through FROM spool_mark WHERE edge_id = %(edge)s AND spool = %(spool)s
)
SELECT coalesce((SELECT max(sequence) FROM there WHERE sequence <> ALL(%(sequences)s)), 0), ARRAY(
    SELECT number FROM unnest(%(sequences)s::bigint[]) AS number WHERE number > 1 AND (
        number - 1 <= (SELECT through FROM spool_mark WHERE edge_id = %(edge)s AND spool = %(spool)s)
        OR EXISTS (SELECT FROM there WHERE sequence = number - 1)
    )
)
"""


class Turn(NamedTuple):
    """What ingest must know of the centre, as it is once it is its turn.

    `revision`: of the edge and of what is defined of channels. `closing`: readings of before this, µs of UTC,
    come late for their roll-ups, which cannot move it meanwhile. `feeds`: there are sinks to be fed. `sifts`:
    some channels have a storage policy.
    """

    revision: tuple[int, int]
    closing: int
    feeds: bool
    sifts: bool


def turn(edge: int) -> Turn:
    """Wait until no other ingest is at work for this edge."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, %s), pg_advisory_xact_lock_shared(%s)",
            [INGEST_LOCK, edge, ROLLUP_LOCK],
        )
        return _turn(cursor, edge)


def turn_of_sources(edge: int, instruments: Iterable[UUID]) -> Turn:
    """Wait until no other push is at work for these instruments, which are this edge's."""
    locks = sorted(map(_lock, set(instruments)))
    with connection.cursor() as cursor:
        for lock in locks:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [PUSH_LOCK, lock])
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ROLLUP_LOCK])
        return _turn(cursor, edge)


def turn_of_instrument(instrument: UUID, edge: int, others: Iterable[int]) -> Turn:
    """Wait until nothing is at work that could store readings of an instrument, which is this edge's now and
    was these others'."""
    with connection.cursor() as cursor:
        for each in sorted({edge, *others}):
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [INGEST_LOCK, each])
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [PUSH_LOCK, _lock(instrument)])
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ROLLUP_LOCK])
        return _turn(cursor, edge)


def _lock(instrument: UUID) -> int:
    return int.from_bytes(instrument.bytes[-4:], signed=True)


def _turn(cursor: CursorWrapper, edge: int) -> Turn:
    """By a statement of its own: it must see what was committed before the locks were given."""
    cursor.execute(TURN, [edge])
    revision, definitions, closing, feeds, sifts = cursor.fetchone()
    return Turn((revision, definitions), closing, feeds, sifts)


def register(edge: int, spool: UUID, sequences: list[int]) -> set[int]:
    """Note that these batches are at the centre; returns those that were not yet."""
    with connection.cursor() as cursor:
        cursor.execute(REGISTER, {"edge": edge, "spool": spool, "sequences": sequences})
        return {sequence for (sequence,) in cursor.fetchall()}


def settle(edge: int, spool: UUID, kept_from: int) -> int:
    """Move the spool's mark up to the first batch that is missing; returns the mark."""
    with connection.cursor() as cursor:
        cursor.execute(ADVANCE, {"edge": edge, "spool": spool, "kept_from": kept_from})
        (through,) = cursor.fetchone()
        cursor.execute(PRUNE, {"edge": edge, "spool": spool, "through": through})
    return int(through)


def follows(edge: int, spool: UUID, sequence: int) -> bool:
    """Whether the batch before this one is at the centre. After `settle`, of what is beyond the mark."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM batch WHERE edge_id = %s AND spool = %s AND sequence = %s",
            [edge, spool, sequence - 1],
        )
        return cursor.fetchone() is not None


def around(edge: int, spool: UUID, sequences: list[int]) -> tuple[int, set[int]]:
    """The newest batch at the centre beside these (0: none), and which of these follow one that is there.

    Before `settle`. The first batch of a spool follows none.
    """
    with connection.cursor() as cursor:
        cursor.execute(AROUND, {"edge": edge, "spool": spool, "sequences": sequences})
        newest, following = cursor.fetchone()
    return newest, set(following)


def through(edge: int, spool: UUID) -> int:
    """Every batch of this spool up to here is at the centre."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT through FROM spool_mark WHERE edge_id = %s AND spool = %s", [edge, spool])
        row = cursor.fetchone()
    return int(row[0]) if row else 0
