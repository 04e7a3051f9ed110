"""The triggers of migration 0002: no change of an instrument goes past its edge's revision."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from devices.listener import own_connection
from devices.models import Assignment, Cadence, Edge, Instrument

pytestmark = pytest.mark.django_db


def bare(name: str = "Bath 1", **fields: Any) -> Instrument:
    """An instrument as the database sees it, past all services."""
    return Instrument.objects.create(name=name, driver="none", address="tcp://h:1", **fields)


@pytest.fixture
def edge() -> Edge:
    return Edge.objects.create(name="bench")


def revision(edge: Edge) -> int:
    edge.refresh_from_db()
    return edge.revision


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bath 2"},
        {"driver": "other"},
        {"address": "tcp://h:2"},
        {"options": {"mode": "slow"}},
        {"interval": 2.5},
        {"in_service": False},
        {"retired_at": timezone.now()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_change_an_edge_must_hear_of_counts_once(edge: Edge, change: dict[str, Any]) -> None:
    instrument = bare(edge=edge)
    assert revision(edge) == 1
    Instrument.objects.filter(pk=instrument.pk).update(**change)
    instrument.refresh_from_db()
    assert (revision(edge), instrument.revision) == (2, 2)


def test_what_an_edge_need_not_hear_of_does_not_count(edge: Edge) -> None:
    instrument = bare(edge=edge)
    Instrument.objects.filter(pk=instrument.pk).update(demo=True, name=instrument.name)
    assert revision(edge) == 1


def test_saving_an_old_copy_does_not_turn_the_revision_back(edge: Edge) -> None:
    old = bare(edge=edge)
    Instrument.objects.filter(pk=old.pk).update(interval=2)
    Instrument.objects.filter(pk=old.pk).update(interval=old.interval)
    old.save()
    old.refresh_from_db()
    assert (revision(edge), old.revision) == (3, 3)


def test_raw_sql_and_bulk_changes_count_too(edge: Edge) -> None:
    Instrument.objects.bulk_create(
        Instrument(name=f"Bath {n}", driver="none", address="tcp://h:1", edge=edge) for n in range(3)
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE devices_instrument SET interval = 5")
    assert revision(edge) == 6
    assert sorted(Instrument.objects.values_list("revision", flat=True)) == [4, 5, 6]


def test_deleting_counts(edge: Edge) -> None:
    bare(edge=edge).delete()
    assert revision(edge) == 2


def test_a_move_counts_at_both_edges_and_changes_the_assignment(edge: Edge) -> None:
    other = Edge.objects.create(name="other")
    instrument = bare(edge=edge)
    Instrument.objects.filter(pk=instrument.pk).update(edge=other)
    assert (revision(edge), revision(other)) == (2, 1)
    first, second = Assignment.objects.filter(instrument=instrument).order_by("since")
    assert (first.edge, second.edge) == (edge, other)
    assert first.until is not None
    assert first.until - second.since == timedelta(seconds=10)
    assert second.until is None


def test_a_new_instrument_may_bring_readings_from_before_it_was_enrolled(edge: Edge) -> None:
    assignment = Assignment.objects.get(instrument=bare(edge=edge))
    assert assignment.since.year == 1970
    assert assignment.until is None


def cadences(instrument: Instrument) -> list[tuple[str, float, bool, bool]]:
    rows = Cadence.objects.filter(instrument=instrument).select_related("edge").order_by("since")
    return [(row.edge.name, row.interval, row.in_service, row.polled) for row in rows]


def earlier(instrument: Instrument) -> None:
    """What was noted so far was noted an hour before: in one transaction all has one time."""
    rows = Cadence.objects.filter(instrument=instrument)
    rows.update(since=F("since") - timedelta(hours=1))


def test_each_change_of_what_is_due_is_noted(edge: Edge) -> None:
    instrument = bare(edge=edge)
    row = Instrument.objects.filter(pk=instrument.pk)
    other = Edge.objects.create(name="other")
    for change in (
        {"interval": 5.0},
        {"in_service": False},
        {"in_service": True},
        {"edge": other},
        {"retired_at": timezone.now()},
        {"driver": "push", "retired_at": None},
    ):
        earlier(instrument)
        row.update(**change)
    assert cadences(instrument) == [
        ("bench", 1.0, True, True),
        ("bench", 5.0, True, True),
        ("bench", 5.0, False, True),
        ("bench", 5.0, True, True),
        ("other", 5.0, True, True),
        ("other", 5.0, False, True),
        ("other", 5.0, True, False),
    ]


def test_what_changes_nothing_of_what_is_due_is_not_noted(edge: Edge) -> None:
    instrument = bare(edge=edge)
    earlier(instrument)
    instrument.name = "Bath 2"
    instrument.save()
    assert len(cadences(instrument)) == 1


def test_of_two_changes_at_once_the_last_is_noted(edge: Edge) -> None:
    instrument = bare(edge=edge)
    Instrument.objects.filter(pk=instrument.pk).update(interval=9.0)
    assert cadences(instrument) == [("bench", 9.0, True, True)]


@pytest.mark.django_db(transaction=True)
def test_a_commit_notifies_with_the_edges_id() -> None:
    edge = Edge.objects.create(name="bench")
    with own_connection("test", "labsite_orders") as listening:
        bare(edge=edge)
        (notice,) = listening.notifies(timeout=5, stop_after=1)
    assert (notice.channel, notice.payload) == ("labsite_orders", str(edge.pk))


@pytest.mark.django_db(transaction=True)
def test_two_moves_in_opposite_directions_do_not_deadlock() -> None:
    edges = [Edge.objects.create(name=name) for name in ("one", "two")]
    there, back = bare("there", edge=edges[0]), bare("back", edge=edges[1])
    move = "UPDATE devices_instrument SET edge_id = %s WHERE id = %s"
    with (
        own_connection("test", "labsite_orders") as first,
        own_connection("test", "labsite_orders") as second,
    ):
        with first.transaction():
            first.execute(move, [edges[1].pk, there.pk])
            second.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                second.execute(move, [edges[0].pk, back.pk])
        second.execute(move, [edges[0].pk, back.pk])
    assert [revision(edge) for edge in edges] == [3, 3]
