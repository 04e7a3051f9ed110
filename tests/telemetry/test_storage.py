"""How much room what is stored takes: sums, growth, and when the disk is full."""

import json
from collections.abc import Sequence
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings as configured
from django.core.management import call_command
from django.db import connection
from django.test import Client

from devices.models import Edge
from labsite import pipeline
from telemetry import partitions, storage
from telemetry.storage import Disk, Figures, Kind, Storage, Table, days_until, figures
from tests import factories
from tests.telemetry.factories import NOW, at, batch, edge, instrument, parcel

DAY = 86_400.0
SAMPLES = Kind("readings_standard", "", ["sample"], configured.RETENTION_DAYS)
MINUTES = Kind("minutes", "", ["rollup_minute"], configured.MINUTE_RETENTION_DAYS)
FAR = Kind("far", "", ["sample_far"], None)


@pytest.mark.parametrize(
    ("free", "growths", "days"),
    [
        (100.0, [], None),
        (100.0, [(10.0, None)], 10.0),
        (100.0, [(10.0, 5.0)], None),
        (100.0, [(10.0, 10.0)], 10.0),
        (100.0, [(10.0, 5.0), (5.0, None)], 10.0),
        (100.0, [(10.0, 0.0), (0.0, None)], None),
        (0.0, [(10.0, None)], 0.0),
    ],
    ids=[
        "nothing grows",
        "without end",
        "ends in time",
        "ends as it is full",
        "one ends",
        "all ended",
        "full",
    ],
)
def test_when_the_disk_is_full(
    free: float, growths: Sequence[tuple[float, float | None]], days: float | None
) -> None:
    assert days_until(free, growths) == days


@pytest.mark.django_db
def test_growth_is_of_yesterdays_partition_and_goes_on_until_as_much_goes_as_comes() -> None:
    tables = [
        Table("sample", "sample_20261118", 900, 9),
        Table("sample", "sample_20261119", 1000, 10),
        Table("sample", "sample_20261120", 500, 5),
        Table("vector_sample", "vector_sample_20261119", 7777, 7),
    ]
    found = figures(SAMPLES, tables, NOW)
    assert (found.bytes, found.rows, found.bytes_per_day, found.rows_per_day) == (2400, 24, 1000.0, 10.0)
    assert found.full_bytes == 31_000
    assert found.grows_for == pytest.approx(28.6)


@pytest.mark.django_db
def test_of_a_longer_span_what_has_passed_of_it_counts() -> None:
    tables = [
        Table("rollup_minute", "rollup_minute_20261109", 7000, 70),
        Table("rollup_minute", "rollup_minute_20261116", 4500, 45),  # a Monday; it is Friday noon
    ]
    found = figures(MINUTES, tables, NOW)
    assert (found.bytes_per_day, found.rows_per_day) == (1000.0, 10.0)
    monday = figures(MINUTES, tables, NOW - timedelta(days=4))
    assert (monday.bytes_per_day, monday.rows_per_day) == (1000.0, 10.0)


@pytest.mark.django_db
def test_an_empty_partition_is_no_growth_and_what_is_kept_for_ever_has_no_end() -> None:
    assert figures(SAMPLES, [Table("sample", "sample_20261119", 16_384, 0)], NOW).bytes_per_day == 0
    Edge.objects.create(name="first", created_at=NOW - timedelta(days=10))
    found = figures(FAR, [Table("sample_far", "sample_far", 1000, 10)], NOW)
    assert (found.bytes_per_day, found.rows_per_day, found.full_bytes) == (100.0, 1.0, None)


def test_a_lab_below_its_retention_still_grows_and_says_what_it_will_take() -> None:
    told = Figures(SAMPLES, 2400, 24, 1000.0, 10.0)
    found = Storage(NOW, [told], 10_000, Disk(100_000, 50_000), None)
    assert (found.bytes_per_day, found.full_bytes, found.full_in_days) == (1000.0, 38_600, None)
    assert str(found.outlook) == "Never at this rate."
    tight = Storage(NOW, [told], 10_000, Disk(100_000, 5_500), None)
    assert tight.full_in_days == 5.5
    assert str(tight.outlook) == "In 5 days at this rate."
    elsewhere = Storage(NOW, [told], 10_000, None, None)
    assert "elsewhere" in str(elsewhere.outlook)


def filled() -> None:
    bench = edge()
    bath = instrument(bench)
    pipeline.ingest(bench, parcel(batch(bath, "a", *[(at(-DAY + n), 1.0) for n in range(500)])), NOW)
    (yesterday,) = [kept for kept in partitions.existing("sample") if not partitions.is_empty(kept)]
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {yesterday.name}")


@pytest.mark.django_db
def test_every_table_is_in_one_kind_and_rows_are_estimates_of_the_statistics() -> None:
    filled()
    found = storage.now(NOW)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        )
        assert sum(each.bytes for each in found.kinds) == cursor.fetchone()[0]
    of_samples = next(each for each in found.kinds if each.kind.name == "readings_standard")
    assert (of_samples.rows, of_samples.rows_per_day) == (500, 500.0)
    assert 500 * 50 < of_samples.bytes_per_day < 500 * 300
    assert found.database_bytes > sum(each.bytes for each in found.kinds)


# ---- the doors


@pytest.mark.django_db
def test_the_command_tells_the_same_as_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    filled()
    monkeypatch.setattr(configured, "DATABASE_IS_EMBEDDED", True)
    out = StringIO()
    call_command("storage", stdout=out)
    told = out.getvalue()
    assert "Readings, class standard" in told
    assert f"{configured.RETENTION_DAYS} days" in told
    assert "The disk is full: " in told
    out = StringIO()
    call_command("storage", "--json", stdout=out)
    reply = factories.client(factories.person()).get("/api/v1/storage/")
    assert reply.status_code == 200
    assert [each["kind"] for each in reply.json()["kinds"]] == [
        each["kind"] for each in json.loads(out.getvalue())["kinds"]
    ]
    assert reply.json()["disk"]["free"] > 0
    assert "database_bytes" in reply.json()


@pytest.mark.django_db
def test_the_api_and_the_page_are_for_staff(client: Client) -> None:
    viewer = factories.person("viewer", staff=False)
    assert factories.client().get("/api/v1/storage/").status_code == 401
    assert factories.client(viewer).get("/api/v1/storage/").status_code == 403
    client.force_login(viewer)
    assert client.get("/storage/").status_code == 403
    assert b"/storage/" not in client.get("/").content


@pytest.mark.django_db
def test_the_page_shows_the_outlook_and_each_kind(client: Client) -> None:
    filled()
    client.force_login(factories.person())
    assert b"/storage/" in client.get("/").content
    page = client.get("/storage/").content.decode()
    for words in ("lies elsewhere", "Readings, class standard", "Minutes", "Alarms and their journal"):
        assert words in page
