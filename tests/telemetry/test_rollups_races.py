"""Rounds of rolling up beside ingest, beside each other, beside drops and slow readers."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from devices.models import Edge, Instrument
from labsite import pipeline
from telemetry import partitions, rollups
from telemetry.models import DirtyBucket, RollupMark, RollupMinute, Sample
from telemetry.rollups import buckets, rounds
from tests.telemetry.factories import NOW, at, batch, edge, instrument, moment, parcel, url
from tests.telemetry.rolled import check_published
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

GONE = -40 * 86_400.0  # a time of which raw readings are no longer kept
MINUTE = -7200.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in (rounds, partitions):
        monkeypatch.setattr(where, "PAUSE_S", 0.05)
    monkeypatch.setattr(rounds, "LOCK_TIMEOUT_MS", 100)
    monkeypatch.setattr(rounds, "STEP_US", 10 * rounds.DAY_US)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def bench() -> Edge:
    return edge()


@pytest.fixture
def bath(bench: Edge) -> Instrument:
    return instrument(bench)


def deliver(of: Instrument, first: int, *seconds: float) -> None:
    readings = [(at(each), 1.0) for each in seconds]
    pipeline.ingest(of.edge, parcel(batch(of, "a", *readings), first=first), NOW)


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """In a thread, which has a connection of its own."""
    try:
        return work(*args)
    finally:
        connection.close()


@contextmanager
def stored_but_not_committed(
    pool: ThreadPoolExecutor, of: Instrument, first: int, seconds: float
) -> Iterator[None]:
    """An ingest whose transaction stays open meanwhile."""
    stored, go_on = threading.Event(), threading.Event()

    def ingest() -> None:
        with transaction.atomic():
            deliver(of, first, seconds)
            stored.set()
            go_on.wait(20)

    open_one = pool.submit(apart, ingest)
    until(lambda: stored.is_set() or open_one.done())
    try:
        yield
    finally:
        go_on.set()
        open_one.result()


def minutes() -> dict[float, int]:
    return {(row.bucket - NOW).total_seconds(): row.n for row in RollupMinute.objects.all()}


def test_no_minute_closes_while_an_ingest_is_open_that_knows_it_as_open(
    pool: ThreadPoolExecutor, bath: Instrument
) -> None:
    deliver(bath, 1, MINUTE)
    rollups.roll_up(moment(-3600))
    closing = RollupMark.objects.get(width="minute").closing
    with stored_but_not_committed(pool, bath, 2, -120):
        rollups.roll_up(NOW)
        assert RollupMark.objects.get(width="minute").closing == closing
    rollups.roll_up(NOW)
    assert minutes() == {MINUTE: 1, -120: 1}


def test_whoever_waits_to_close_a_minute_holds_ingest_up_for_an_instant_only(
    pool: ThreadPoolExecutor, bath: Instrument
) -> None:
    other = instrument(edge("other"), "other bath")
    deliver(bath, 1, -300)  # with the partitions, for which all others would wait, too
    with stored_but_not_committed(pool, bath, 2, -120):
        closing = pool.submit(apart, rollups.roll_up, NOW)
        slowest, number = 0.0, 0
        while not closing.done():
            number += 1
            started = time.monotonic()
            deliver(other, number, -number)
            slowest = max(slowest, time.monotonic() - started)
    assert slowest < 10.0  # and not until that ingest ends
    assert Sample.objects.count() == number + 2


def test_a_reading_that_comes_while_a_round_computes_is_in_it_or_marked(
    pool: ThreadPoolExecutor, bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(bath, 1, MINUTE)
    compute = buckets.compute
    late: list[Future[None]] = []

    def and_meanwhile(*args: Any) -> None:
        if not late:
            late.append(pool.submit(apart, deliver, bath, 2, MINUTE + 1, -120))
            late[0].result()
        compute(*args)

    monkeypatch.setattr(rounds, "compute", and_meanwhile)
    monkeypatch.setattr(rounds, "LONGEST_S", 0.0)
    rollups.roll_up(NOW)
    assert minutes() == {MINUTE: 1}
    assert DirtyBucket.objects.count() == 2
    check_published()
    rollups.roll_up(NOW)
    assert minutes() == {MINUTE: 2, -120: 1}


def test_a_reading_between_closing_and_computing_counts(bath: Instrument) -> None:
    deliver(bath, 1, MINUTE)
    rounds.close(NOW)
    deliver(bath, 2, MINUTE + 1)
    assert DirtyBucket.objects.count() == 1
    assert not rounds.step()
    assert minutes() == {MINUTE: 2}
    assert not DirtyBucket.objects.exists()


def test_two_rounds_at_once_and_ingest_beside_them(
    pool: ThreadPoolExecutor, bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "STEP_US", 600_000_000)
    deliver(bath, 1, MINUTE)
    rollups.roll_up(moment(-5400))
    rolling = [pool.submit(apart, rollups.roll_up, moment(-600 * (6 - n))) for n in range(6)]
    number = 1
    while not all(round_.done() for round_ in rolling):
        number += 1
        deliver(bath, number, MINUTE - 60 * number, -number)
    for each in rolling:
        each.result()
    rollups.roll_up(NOW)
    check_published()
    assert RollupMark.objects.get(width="minute").published == moment(-60)
    assert not DirtyBucket.objects.exists()


def test_a_partition_is_not_dropped_when_a_late_reading_arrives_in_the_same_moment(
    pool: ThreadPoolExecutor, bath: Instrument
) -> None:
    deliver(bath, 1, GONE)
    rollups.roll_up(NOW)
    with stored_but_not_committed(pool, bath, 2, GONE + 60):
        dropping = pool.submit(apart, partitions.drop_expired, NOW)
        until(lambda: dropping.done() or is_waiting())
    assert [kept.table for kept in dropping.result()] == ["sample"]
    rollups.roll_up(NOW)
    assert partitions.drop_expired(NOW) == []
    assert minutes() == {GONE: 1, GONE + 60: 1}


def is_waiting() -> bool:
    """Whether somebody waits for a lock."""
    with psycopg.connect(url(), autocommit=True) as other:
        found = other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return bool(found and found[0])


@pytest.mark.parametrize("how", ["copy", "cursor"])
def test_a_long_export_holds_up_neither_ingest_nor_rolling_up_and_puts_a_drop_off(
    pool: ThreadPoolExecutor, bath: Instrument, how: str
) -> None:
    deliver(bath, 1, *[GONE + n for n in range(2000)])
    rollups.roll_up(NOW)
    with psycopg.connect(url()) as reader, exporting(reader, how) as read_on:
        read_on()
        dropping = pool.submit(apart, partitions.drop_expired, NOW)
        slowest, number = 0.0, 1
        while not dropping.done():
            number += 1
            started = time.monotonic()
            deliver(bath, number, -number)
            slowest = max(slowest, time.monotonic() - started)
        assert [kept.table for kept in dropping.result()] == ["sample"]
        assert slowest < 2.0
        rollups.roll_up(moment(3600))
        assert sum(minutes().values()) == 2000 + number - 1
        read_on()
    assert partitions.drop_expired(NOW) == []
    assert Sample.objects.count() == number - 1


@contextmanager
def exporting(reader: psycopg.Connection[Any], how: str) -> Iterator[Callable[[], object]]:
    """A question for all readings, of which the answer is taken a piece at a time."""
    if how == "cursor":
        with reader.cursor("export") as pieces:
            pieces.execute("SELECT * FROM samples")
            yield lambda: pieces.fetchmany(10)
        return
    asked = "COPY (SELECT s.* FROM samples s, generate_series(1, 50)) TO STDOUT"
    with reader.cursor() as cursor, cursor.copy(asked) as copy:
        yield copy.read
        while copy.read():
            pass
