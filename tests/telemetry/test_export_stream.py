"""Exports from the real web process: as fast as they are read, and gone when their client is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from devices.models import Channel
from labsite import pipeline
from telemetry import export, partitions
from tests import factories
from tests.telemetry.factories import batch, edge, instrument, parcel
from tests.waiting import until
from tests.web import Web, cookies

# More than fit the buffers between PostgreSQL and a client, and what is spare in the web process.
ROWS = 600_000
DAY = datetime(2026, 11, 20, tzinfo=UTC)
SPAN = {"from": "2026-11-20", "to": "2026-11-30"}
SPARE_MB = 20.0
UNDER_WAY = "SELECT state, wait_event FROM pg_stat_activity WHERE application_name = 'labsite export'"


@pytest.fixture
def channel(transactional_db: None) -> Channel:
    """One with many readings: ten a second."""
    found = instrument(edge(), keys=("a",)).channels.get()
    partitions.ensure([partitions.holding("sample", DAY.date())])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sample (time, value, channel_id, quality) SELECT %s + n * interval '0.1 s', n, %s, 0"
            " FROM generate_series(0, %s) AS n",
            [DAY, found.pk, ROWS - 1],
        )
    return found


@pytest.fixture
def person(transactional_db: None) -> User:
    return factories.person(staff=False)


@pytest.fixture
def web(channel: Channel, tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path).start() as web:
        yield web


def under_way() -> list[tuple[str, str]]:
    """What PostgreSQL says of exports."""
    with connection.cursor() as cursor:
        cursor.execute(UNDER_WAY)
        return list(cursor.fetchall())


def query(channel: Channel) -> dict[str, str]:
    return {"channel": str(channel.pk), **SPAN}


def waits() -> bool:
    """Whether an export has nobody who takes what it has."""
    return under_way() == [("active", "ClientWrite")]


def test_a_client_that_goes_away_frees_the_database(web: Web, channel: Channel, person: User) -> None:
    address, own = f"{web.url}/api/v1/export/", cookies(person)
    with httpx.stream("GET", address, params=query(channel), cookies=own) as reply:
        assert reply.status_code == 200
        until(waits, 20, "PostgreSQL waits for the client")
        again = httpx.get(address, params=query(channel), cookies=own)
        assert again.status_code == 429
    until(lambda: not under_way(), 10, "the query and its connection end")
    with httpx.stream("GET", address, params=query(channel), cookies=own) as reply:
        assert reply.status_code == 200
    until(lambda: not under_way(), 10, "and once more")
    assert "Traceback" not in web.output


def test_a_client_that_reads_slowly_makes_the_database_wait_and_gets_it_all(
    web: Web, channel: Channel, person: User
) -> None:
    process = psutil.Process(web.pid)
    address, own = f"{web.url}/api/v1/export/", cookies(person)
    httpx.get(address, params={"channel": channel.pk, "from": "now"}, cookies=own).raise_for_status()
    before = process.memory_info().rss
    with httpx.stream("GET", address, params=query(channel), cookies=own, timeout=30) as reply:
        until(waits, 20, "PostgreSQL waits for the client")
        held = process.memory_info().rss - before
        content = b"".join(reply.iter_raw())
    grown = process.memory_info().rss - before
    rows = [line for line in content.splitlines() if not line.startswith(b"#")]
    assert len(rows) == ROWS + 1
    assert rows[-1].split(b",")[5] == b"%d" % (ROWS - 1)
    assert max(held, grown) / 1e6 < SPARE_MB < len(content) / 1e6
    until(lambda: not under_way(), 10, "the connection ends with its export")


@pytest.mark.django_db(transaction=True)
def test_ingest_goes_on_while_an_export_is_read(channel: Channel) -> None:
    now = timezone.now()
    partitions.make_ahead(now)
    question = export.Question(
        list(Channel.objects.select_related("instrument").filter(pk=channel.pk)),
        DAY,
        now + timedelta(hours=1),
    )
    running = export.Running(question, now)
    content = [running.take(), running.take()]
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1 s'")
    stamp = round(now.timestamp()) * 1_000_000
    for number in range(5):
        readings = [(stamp + number * 1000 + n, float(n)) for n in range(100)]
        message = parcel(batch(channel.instrument, "a", *readings), first=number + 1)
        pipeline.ingest(channel.instrument.edge, message, now)
        content.append(running.take())
    late = now + timedelta(days=20)
    partitions.make_ahead(late)
    content += list(running)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 0")
        cursor.execute("SELECT count(*) FROM sample WHERE channel_id = %s", [channel.pk])
        assert cursor.fetchone() == (ROWS + 500,)
    rows = [line for line in b"".join(content).splitlines() if not line.startswith(b"#")]
    assert len(rows) == ROWS + 1  # as it was when it was asked
    assert under_way() == []
