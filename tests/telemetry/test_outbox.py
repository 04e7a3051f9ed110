"""The outbox is read in an order that no slow transaction comes after."""

from datetime import timedelta

import numpy as np
import psycopg
import pytest
from django.db import connection, transaction

from telemetry import outbox, partitions
from telemetry.columns import Columns
from telemetry.models import OutboxFloor
from telemetry.outbox import Position, Row
from tests.telemetry.factories import NOW, url

pytestmark = pytest.mark.django_db(transaction=True)

START = Position(0, 0)


def put(value: float) -> None:
    """One reading."""
    outbox.put(columns(value), [], [], [], NOW)


def columns(value: float) -> Columns:
    return Columns(
        np.array([1], np.int64),
        np.array([value]),
        np.array([7], np.int32),
        np.array([0], np.int16),
        np.array([0], np.int8),
    )


def values(rows: list[Row]) -> list[float]:
    return [float(outbox.taken(row.payload)[0].value[0]) for row in rows]


def test_what_commits_late_is_neither_passed_nor_overtaken() -> None:
    put(1.0)
    with psycopg.connect(url()) as slow:  # has its number, and holds it
        slow.execute("CREATE TEMPORARY TABLE busy (a int)")
        payload = slow.execute("SELECT payload FROM outbox").fetchone()
        assert payload is not None
        slow.execute("INSERT INTO outbox (stored_at, payload) VALUES (%s, %s)", [NOW, payload[0]])
        put(2.0)
        first = outbox.following(START, 100, 10**6)
        assert values(first) == [1.0]  # the second may have to come after the slow one's
        assert outbox.following(first[-1].position, 100, 10**6) == []
        slow.commit()
    rest = outbox.following(first[-1].position, 100, 10**6)
    assert values(rest) == [1.0, 2.0]  # the slow one's copy comes first: its transaction began before
    assert [row.position for row in rest] == sorted(row.position for row in rest)


def test_it_is_read_in_pieces_but_one_row_at_least() -> None:
    for number in range(5):
        put(float(number))
    assert values(outbox.following(START, 2, 10**6)) == [0.0, 1.0]
    assert values(outbox.following(START, 100, 1)) == [0.0]
    size = len(outbox.following(START, 1, 1)[0].payload)
    assert len(outbox.following(START, 100, size * 3)) == 3


def test_the_present_is_behind_all_that_is_stored_and_before_what_follows() -> None:
    put(1.0)
    with transaction.atomic():
        present = outbox.present(NOW, fed=True)
    assert outbox.following(present, 100, 10**6) == []
    put(2.0)
    assert values(outbox.following(present, 100, 10**6)) == [2.0]
    assert not outbox.is_lost(present)
    assert not OutboxFloor.objects.exists()


def test_where_nobody_was_fed_nobody_can_start_from() -> None:
    put(1.0)
    before = outbox.following(START, 100, 10**6)[-1].position
    with transaction.atomic():
        present = outbox.present(NOW, fed=False)
    assert outbox.is_lost(before)
    assert not outbox.is_lost(present)
    outbox.raise_floor(before, NOW)  # it does not sink
    assert OutboxFloor.objects.get().xid == present.xid


def test_positions_of_another_life_of_the_database_are_lost() -> None:
    """After a dump was loaded into a new server its transactions count from the beginning again."""
    there = Position(10**12, 5)
    assert outbox.is_lost(there)
    outbox.raise_floor(there, NOW)
    partitions.ensure([partitions.holding("outbox", NOW.date())])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outbox (xid, stored_at, payload) VALUES ('1000000000000', %s, '')",
            [NOW + timedelta(seconds=1)],
        )
    with transaction.atomic():
        present = outbox.present(NOW, fed=False)
    assert not outbox.is_lost(present)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM outbox")
        assert cursor.fetchone() == (0,)
