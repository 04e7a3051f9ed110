"""Partitions by day: made ahead, made on demand, dropped without holding anybody up."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction

from labsite import pipeline
from telemetry import partitions, tasks
from telemetry.models import Sample
from telemetry.partitions import Partition
from tests.telemetry.factories import NOW, at, batch, edge, instrument, parcel, url

OLD = Partition("sample", date(2026, 9, 1))
KEPT = Partition("sample", NOW.date() - timedelta(days=settings.RETENTION_DAYS))


@pytest.mark.django_db
def test_partitions_are_made_from_yesterday_to_a_week_ahead() -> None:
    partitions.make_ahead(NOW)
    partitions.make_ahead(NOW)
    made = [NOW.date() + timedelta(days=number) for number in range(-1, partitions.DAYS_AHEAD + 1)]
    for table in ("sample", "sample_demo"):
        found = [partition.day for partition in partitions.existing(table)]
        assert [day for day in found if day in made] == made


@pytest.mark.django_db
def test_what_was_kept_long_enough_is_dropped_each_table_by_its_own_days() -> None:
    demo = Partition("sample_demo", NOW.date() - timedelta(days=settings.DEMO_RETENTION_DAYS + 1))
    partitions.ensure([OLD, KEPT, demo])
    assert partitions.drop_expired(NOW) == []
    assert KEPT in partitions.existing("sample")
    assert OLD not in partitions.existing("sample")
    assert demo not in partitions.existing("sample_demo")


@pytest.mark.django_db
def test_the_task_keeps_todays_partition() -> None:
    tasks.keep_partitions()
    tasks.keep_partitions()
    assert partitions.existing("sample")


def test_two_at_once_make_a_partition_once(transactional_db: None) -> None:
    def make(_: int) -> None:
        try:
            with transaction.atomic():
                partitions.ensure([OLD, KEPT])
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(8)))
    assert OLD in partitions.existing("sample")
    partitions.drop_expired(NOW)


def test_making_a_partition_waits_for_no_reader(transactional_db: None) -> None:
    with psycopg.connect(url()) as reader:
        reader.execute("SELECT count(*) FROM sample")
        with connection.cursor() as cursor, transaction.atomic():
            cursor.execute("SET LOCAL lock_timeout = '1s'")
            partitions.ensure([OLD])
    assert partitions.drop_expired(NOW) == []


def test_a_slow_reader_puts_a_drop_off_and_holds_up_no_ingest(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "PAUSE_S", 0.1)
    bench = edge()
    bath = instrument(bench)
    partitions.make_ahead(NOW)
    partitions.ensure([OLD])

    def drop() -> list[Partition]:
        try:
            return partitions.drop_expired(NOW)
        finally:
            connection.close()

    with psycopg.connect(url()) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT count(*) FROM sample")
        dropping = pool.submit(drop)
        slowest, number = 0.0, 0
        while not dropping.done():
            number += 1
            started = time.monotonic()
            pipeline.ingest(bench, parcel(batch(bath, "a", (at(-number), 1.0)), first=number), NOW)
            slowest = max(slowest, time.monotonic() - started)
        assert dropping.result() == [OLD]
    assert slowest < 2.0
    assert Sample.objects.count() == number
    assert partitions.drop_expired(NOW) == []
    assert OLD not in partitions.existing("sample")
