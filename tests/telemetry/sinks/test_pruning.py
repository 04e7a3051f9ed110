"""Days of the outbox go when all sinks have passed them, and at the latest when they are kept long enough."""

from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from devices.models import Instrument
from telemetry import partitions, tasks
from telemetry.models import Sink
from telemetry.sinks import pruning
from telemetry.sinks.drain import Drain
from tests.telemetry import factories
from tests.telemetry.factories import url
from tests.telemetry.sinks.factories import sink, stored
from tests.telemetry.sinks.servers import Answer, Scripted, each
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bath() -> Instrument:
    return factories.instrument(factories.edge())


def put(of: Instrument, days_ago: int) -> None:
    """Something that was stored for sinks some days ago."""
    stored(of, "a", [float(days_ago)])
    at = timezone.now() - timedelta(days=days_ago)
    partitions.ensure([partitions.holding("outbox", at.date())])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE outbox SET stored_at = %s WHERE id = (SELECT max(id) FROM outbox)", [at])


def days() -> list[int]:
    """How many days ago those were of which there is something in the outbox."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT stored_at::date FROM outbox ORDER BY 1")
        return [(timezone.now().date() - day).days for (day,) in cursor.fetchall()]


def test_a_day_that_all_have_passed_goes_and_one_that_one_still_needs_stays(bath: Instrument) -> None:
    with Scripted(each(Answer(204))) as server:
        quick = sink(server.url, "quick")
        slow = sink(server.url, "slow")
        off = sink(server.url, "off", enabled=False)
        for days_ago in (3, 2, 1, 0):
            put(bath, days_ago)
        Drain(quick.pk).step(timezone.now())
        assert pruning.prune(timezone.now()) == []
        assert days() == [3, 2, 1, 0]
        Sink.objects.filter(pk=slow.pk).update(batch_size=1)
        drain = Drain(slow.pk)
        drain.step(timezone.now())
        drain.step(timezone.now())
        assert [partition.table for partition in pruning.prune(timezone.now())] == ["outbox", "outbox"]
        assert days() == [1, 0]
        for of in (quick, slow):
            of.refresh_from_db()
            assert not of.must_rebuild
        until(lambda: not drain.step(timezone.now()).at_once, 5)  # type: ignore[union-attr]
        slow.refresh_from_db()
        assert slow.points == 4
        off.refresh_from_db()
        assert off.points == 0


def test_a_sink_behind_what_had_to_go_stops_and_says_so(
    bath: Instrument, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OUTBOX_DAYS = 2
    with Scripted(each(Answer(204))) as server:
        quick = sink(server.url, "quick")
        dead = sink(server.url, "dead")
        for days_ago in (4, 1, 0):
            put(bath, days_ago)
        Drain(quick.pk).step(timezone.now())
        tasks.keep_partitions()
        assert days() == [0]  # nothing is kept for one that must be rebuilt anyway
        assert Drain(dead.pk).step(timezone.now()) is None
        dead.refresh_from_db()
        assert dead.must_rebuild
        assert "rebuild_sink dead" in dead.error
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
        put(bath, 0)
        Drain(quick.pk).step(timezone.now())
        quick.refresh_from_db()
        assert (quick.points, quick.must_rebuild) == (4, False)


def test_a_day_that_a_slow_transaction_may_still_write_into_stays(bath: Instrument) -> None:
    """As of the day after tomorrow today's is not needed any more, but for one that began before its end."""
    copy = sink("http://127.0.0.1:9")
    put(bath, 0)
    later = timezone.now() + timedelta(days=2)
    Sink.objects.filter(pk=copy.pk).update(at_id=10**9, at_xid=10**15)  # passed
    with psycopg.connect(url()) as slow:
        slow.execute("SELECT pg_current_xact_id()")
        assert pruning.prune(later) == []
        slow.commit()
    assert "outbox" in {partition.table for partition in pruning.prune(later)}
    assert days() == []
