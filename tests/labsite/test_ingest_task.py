"""The ingest task: what an edge is told of its parcels, and what happens when a server is away."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection

from devices import edge_keys, wire
from devices.models import Edge, Heartbeat, Instrument
from labsite import acks, tasks
from labsite.pulse import Pulse, pulse
from telemetry.models import RejectedBatch, Sample
from tests.devices.mailbox import Mailbox
from tests.servers import Redis
from tests.telemetry.factories import NOW, at, batch, edge, instrument, parcel, url
from tests.waiting import until

SPOOL = "6f1d9d2c-52f1-4d0f-9a52-61b7c6a8a001"


@pytest.fixture
def bath(db: None) -> Instrument:
    edge_keys.forget()
    acks.forget()
    pulse.__dict__ |= Pulse().__dict__
    return instrument(edge("bench"))


@pytest.fixture
def bench(broker: str, bath: Instrument) -> Iterator[Mailbox]:
    mailbox = Mailbox(broker, "bench")
    yield mailbox
    mailbox.close()


def sealed(message: wire.Message, name: str = "bench", version: int = 1, **changed: Any) -> dict[str, Any]:
    return wire.seal(message, name, version, edge_keys.derive(name, version)) | changed


def good(bath: Instrument, first: int = 1) -> wire.Parcel:
    return parcel(batch(bath, "a", (at(-first), 1.0)), first=first)


def of_version(message: wire.Message, version: int) -> dict[str, Any]:
    """As an edge of another version of the wire would sign it."""
    made = sealed(message)
    key = edge_keys.derive("bench", 1)
    signature = wire.sign("Parcel", "bench", 1, made["body"].encode(), key, version)
    return made | {"version": version, "signature": signature}


def counted() -> dict[str, int]:
    fields: dict[str, int] = Heartbeat.objects.get(process="ingest").fields
    return fields


def test_a_parcel_is_answered_each_time_it_comes(bench: Mailbox, bath: Instrument) -> None:
    for _ in range(2):
        tasks.ingest(sealed(good(bath)))
        (ack,) = bench.take()
        assert (ack.spool, ack.sequences, ack.outcome, ack.through) == (SPOOL, [1], "stored", 1)
        assert ack.received <= ack.replied
    assert Sample.objects.count() == 1
    assert counted() == {"batches": 1, "readings": 1}


def test_a_rejected_batch_is_answered_for_itself(bench: Mailbox, bath: Instrument) -> None:
    tasks.ingest(sealed(parcel(batch(bath, "a", (at(-1), 1.0)), "%%%")))
    acks_ = {ack.outcome: (ack.sequences, ack.through) for ack in bench.take()}
    assert acks_ == {"stored": ([1], 2), "rejected": ([2], 2)}
    assert bytes(RejectedBatch.objects.get().packed) == b"%%%"


def test_another_version_of_the_wire_is_neither_stored_nor_forgotten(
    bench: Mailbox, bath: Instrument
) -> None:
    tasks.ingest(of_version(good(bath, 7), 99))
    (ack,) = bench.take()
    assert (ack.spool, ack.sequences, ack.outcome) == (SPOOL, [7], "refused")
    assert "version 99" in ack.reason
    assert not Sample.objects.exists()


def test_a_key_too_old_is_refused_with_the_newest(bench: Mailbox, bath: Instrument) -> None:
    Edge.objects.update(key_version=5)
    edge_keys.forget()
    for _ in range(3):
        tasks.ingest(sealed(good(bath)))
    (ack,) = bench.take()
    assert (ack.outcome, ack.sequences) == ("refused", [1])


def test_a_parcel_that_contradicts_itself_is_refused(bench: Mailbox, bath: Instrument) -> None:
    tasks.ingest(sealed(wire.Parcel(SPOOL, "live", [1, 2], [], [], 0)))
    (ack,) = bench.take()
    assert (ack.outcome, ack.sequences) == ("refused", [1, 2])


@pytest.mark.parametrize(
    "forged",
    [
        {"signature": "0" * 64},
        {"body": "{}"},
        {"edge": "nobody"},
        {"kind": "Hello"},
        {"version": None},
        {"edge": 1},
    ],
    ids=str,
)
def test_what_is_not_authentic_is_counted_and_dropped(
    bench: Mailbox, bath: Instrument, forged: dict[str, Any]
) -> None:
    tasks.ingest(sealed(good(bath)) | forged)
    assert bench.take() == []
    assert not Sample.objects.exists()
    assert sum(counted().values()) == 1


def test_the_heartbeats_of_all_workers_add_up(bench: Mailbox, bath: Instrument) -> None:
    one, other = Pulse(), Pulse()
    for worker in (one, other, one):
        worker.count("readings", 7)
        worker.told = float("-inf")
        worker.beat(NOW)
    one.count("readings")
    one.beat(NOW)
    assert counted() == {"readings": 21}


def test_without_a_broker_a_parcel_is_stored_and_answered_when_it_comes_again(
    bench: Mailbox, bath: Instrument, redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.stop()
    try:
        tasks.ingest(sealed(good(bath)))
    finally:
        redis_server.start()
    assert "is not told that its parcel is stored" in caplog.text
    assert Sample.objects.count() == 1
    tasks.ingest(sealed(good(bath)))
    assert [ack.outcome for ack in bench.take()] == ["stored"]


@pytest.mark.django_db(transaction=True)
def test_a_lost_database_means_no_answer_and_the_next_parcel_is_stored(
    bench: Mailbox, bath: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker's connection dies in mid-transaction, as when PostgreSQL is restarted."""

    def work() -> None:
        try:
            tasks.ingest.apply([sealed(good(bath))])
            answered.append(bench.take())
            tasks.ingest.apply([sealed(good(bath))])
            answered.append(bench.take())
        finally:
            connection.close()

    answered: list[list[Any]] = []
    worker = threading.Thread(target=work)
    with psycopg.connect(url(), autocommit=True) as other:
        with other.transaction():
            other.execute("LOCK TABLE spool_mark IN EXCLUSIVE MODE")
            worker.start()
            until(lambda: other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() != (0,))
            other.execute(
                "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE NOT l.granted AND a.datname = current_database()"
            )
        worker.join(20)
    assert [[ack.outcome for ack in acks_] for acks_ in answered] == [[], ["stored"]]
    assert "cannot be stored now" in caplog.text
    assert Sample.objects.count() == 1
