"""Breaks each part of a running laboratory on purpose. The instruments' own ledger says what must be there.

Each test leaves the laboratory whole. `make test-faults` makes the outages longer (LABSITE_OUTAGE_S).
"""

import ctypes.util
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from devices import wire
from tests.faults.judge import Verdict, judge, microseconds, now, polled_throughout
from tests.faults.lab import CELERY, CENTRE, Lab
from tests.waiting import until

OUTAGE_S = float(os.environ.get("LABSITE_OUTAGE_S", "12"))
RECOVERY_S = 15.0 + 10.0  # promised, and slack for a busy machine
FEW = 12  # messages that may wait in a queue which nobody reads


def live_again(lab: Lab, within: float = RECOVERY_S) -> None:
    """Values read from now on are the latest ones of every instrument."""
    start = now()
    until(lambda: lab.oldest_latest() > start, within, f"live values\n{lab.logs()}", every=0.1)


def outage(lab: Lab, seconds: float = OUTAGE_S) -> None:
    """Let the instruments answer for so long, whatever else is broken; polling must go on."""
    start = now()
    lab.until_answered(start + timedelta(seconds=seconds))
    polled_throughout(lab, start, now())


def assert_spotless(verdict: Verdict) -> None:
    """All that was answered is stored, once, as it was, and nothing is called missing."""
    assert verdict.answered > 0
    assert not [*verdict.missing, *verdict.untrue], str(verdict)
    assert not verdict.gaps_for("unsaved", "not running", "not connected", "overflow", "torn"), str(verdict)


def assert_only_missing(verdict: Verdict, *reasons: str) -> None:
    """As spotless, but what lies in a gap of one of these reasons may be missing."""
    gaps = verdict.gaps_for(*reasons)
    uncovered = [
        reply
        for reply in verdict.missing
        if not any(
            gap.instrument in ("", f"thermostat {reply.instrument}")
            and microseconds(gap.start) - 100_000 <= reply.sent_at <= microseconds(gap.end) + 100_000
            for gap in gaps
        )
    ]
    assert not [*uncovered, *verdict.untrue], f"not covered: {uncovered}; {verdict}"


def test_edge_killed(lab: Lab) -> None:
    since = now()
    outage(lab, 3)
    lab.kill("edge")
    lab.start("edge")
    live_again(lab)
    verdict = judge(lab, since, patience=5)
    assert_only_missing(verdict, "unsaved")
    assert {gap.reason for gap in verdict.gaps} <= {"unsaved", "not running", "overrun"}
    assert all(gap.seconds <= 2.0 for gap in verdict.gaps_for("unsaved")), str(verdict)
    assert verdict.gaps_for("unsaved")


@pytest.mark.parametrize("times", [3])
def test_ingest_killed_in_the_middle_of_a_batch(lab: Lab, times: int) -> None:
    since = now()
    for _ in range(times):
        with psycopg.connect(lab.database) as lock:
            lock.execute("LOCK TABLE devices_latest IN ACCESS EXCLUSIVE MODE")
            until(lambda: waits_for_a_lock(lab), 10, "the ingest worker is in the middle of its transaction")
            lab.kill("ingest")
        lab.start("ingest")
        live_again(lab)
    assert_spotless(judge(lab, since))


def waits_for_a_lock(lab: Lab) -> bool:
    return bool(
        lab.rows("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'devices_latest'::regclass")
    )


def test_beat_dead_and_edge_restarted_meanwhile(lab: Lab) -> None:
    since = now()
    lab.kill("beat")
    outage(lab)
    lab.stop("edge")
    lab.start("edge")
    live_again(lab)
    assert_only_missing(judge(lab, since), "not running")
    lab.start("beat")


def test_redis_killed_and_old_messages_come_again(lab: Lab) -> None:
    since = now()
    with redis.Redis.from_url(lab.redis.url) as client:
        client.save()
    lab.redis.kill()
    outage(lab)
    lab.redis.start()
    live_again(lab)
    assert_spotless(judge(lab, since))


def test_redis_killed_and_wiped(lab: Lab) -> None:
    since = now()
    lab.redis.kill()
    for dump in lab.redis.broker.folder.rglob("*.rdb"):
        dump.unlink()
    outage(lab)
    lab.redis.start()
    live_again(lab)
    assert_spotless(judge(lab, since))


def test_postgresql_killed(lab: Lab) -> None:
    since = now()
    lab.postgres.kill()
    outage(lab)
    lab.postgres.start()
    live_again(lab)
    assert_spotless(judge(lab, since))


@pytest.mark.parametrize("directions", [("up",), ("down",), ("up", "down")], ids="-".join)
def test_silent_wire_to_the_broker(lab: Lab, directions: tuple[str, ...]) -> None:
    since = now()
    lab.edge_wire.silence(*directions)
    outage(lab)
    lab.edge_wire.resume()
    live_again(lab)
    assert_spotless(judge(lab, since))


@pytest.mark.parametrize("direction", ["up", "down"])
def test_silent_wire_to_an_instrument(lab: Lab, direction: str) -> None:
    since = now()
    lab.instrument_wire.silence(direction)
    until(lambda: lab.gaps("not connected", since), 20, "the gap is told")
    lab.instrument_wire.resume()
    live_again(lab)
    verdict = judge(lab, since, patience=3)
    assert_only_missing(verdict, "not connected")
    assert {gap.instrument for gap in verdict.gaps_for("not connected")} == {"thermostat 0"}
    assert {reply.instrument for reply in verdict.missing} <= {0}


@contextmanager
def delivered_twice(lab: Lab) -> Iterator[None]:
    """Between the edge and the ingest worker: hands on each message two times."""
    stop = threading.Event()

    def relay() -> None:
        with redis.Redis.from_url(lab.redis.url) as client:
            while not stop.is_set():
                if taken := client.brpop(["ingest"], 0.2):
                    client.lpush("ingest.twice", taken[1], taken[1])

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(5)


def test_every_message_delivered_twice(lab: Lab) -> None:
    since = now()
    lab.stop("ingest")
    lab.start(
        "ingest", (*CELERY, "worker", "-Q", "ingest.twice", "-P", "threads", "-c", "2", "-n", "twice@test")
    )
    with delivered_twice(lab):
        outage(lab, 6)
        live_again(lab)
        verdict = judge(lab, since)
    lab.stop("ingest")
    lab.start("ingest")
    live_again(lab)
    assert_spotless(verdict)


def test_torn_spool(lab: Lab) -> None:
    since = now()
    lab.stop("ingest")
    outage(lab, 4)
    lab.kill("edge")
    for path in lab.spool.rglob("*"):
        if path.name.endswith(".sqlite"):
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size * 2 // 3)
                file.seek(8192)
                file.write(os.urandom(2048))
    lab.start("edge")
    lab.start("ingest")
    live_again(lab)
    verdict = judge(lab, since, patience=5)
    assert_only_missing(verdict, "unsaved", "torn", "not running")
    assert verdict.gaps_for("torn"), str(verdict)


def test_instruments_restarted(lab: Lab) -> None:
    since = now()
    outage(lab, 3)
    lab.stop("simulator")
    assert_only_missing(judge(lab, since), "not connected")
    restarted = now()
    lab.start_simulator()
    live_again(lab)
    verdict = judge(lab, restarted)
    assert not [*verdict.missing, *verdict.untrue], str(verdict)


def next_look(lab: Lab) -> None:
    """Wait until beat has said once more that it lives."""
    before = lab.beat_looked()
    until(lambda: lab.beat_looked() > before, 15, "beat's next word")


def test_edge_away(lab: Lab) -> None:
    """The centre goes on ordering; an edge that does not listen gets no heap of messages."""
    lab.kill("edge")
    end = time.monotonic() + OUTAGE_S
    changes = 0
    while time.monotonic() < end or changes < 3:
        changes += 1
        lab.apply(lab.lab_file(lab.interval + 0.001 * changes))
        next_look(lab)
    lab.apply(lab.lab_file())
    assert lab.waiting(f"edge.{lab.edge_name}") <= FEW
    since = now()
    lab.start("edge")
    live_again(lab)
    assert_only_missing(judge(lab, since), "unsaved", "not running")
    until(lambda: not lab.waiting(f"edge.{lab.edge_name}"), 10, "what waited was taken")


def test_centre_away(lab: Lab) -> None:
    since = now()
    lab.kill(*CENTRE)
    outage(lab, 2 * OUTAGE_S)
    assert lab.waiting("ingest") <= FEW
    for name in CENTRE:
        lab.start(name)
    live_again(lab)
    assert_spotless(judge(lab, since))


def test_one_bad_reading_in_a_batch(lab: Lab) -> None:
    """A reading of an instrument that is not this edge's is refused; its neighbours are stored."""
    lab.manage("enrol_edge", "elsewhere")
    own, other = lab.instrument_id("thermostat 0"), lab.instrument_id("edge elsewhere")
    at = microseconds(now()) - 5_000_000
    batch = wire.Batch(
        instruments=[own, other, "not-an-instrument"],
        keysets=[["ch0.temperature"]],
        rows=[0, 0, at, 1, 0, 1, 2, 0, 1, 0, 0, 1],
        values=[20.25, 99.0, 98.0, 20.5],
    )
    lab.deliver(
        wire.Parcel(
            "0b5a7a3e-0000-4000-8000-000000000001", "backlog", [1], [0], [wire.as_text(wire.pack(batch))], 0
        )
    )
    question = (
        "SELECT s.value FROM sample s JOIN devices_channel c ON c.id = s.channel_id "
        "WHERE c.key = 'ch0.temperature' AND s.value IN (20.25, 99, 98, 20.5) AND s.time >= to_timestamp(%s)"
    )
    found = until(lambda: lab.rows(question, at / 1e6 - 1), 15, "the good readings of the batch")
    assert sorted(value for (value,) in found) == [20.25, 20.5]
    live_again(lab)


def test_edge_of_a_newer_version(lab: Lab) -> None:
    """What this centre cannot read is neither stored nor forgotten, and comes once it can."""
    since = now()
    lab.stop("edge")
    newer = (
        "import runpy, devices.wire as w; w.VERSION = 99; runpy.run_module('devices.edge', {}, '__main__')"
    )
    lab.start("edge", (sys.executable, "-c", newer))
    outage(lab, 4)
    until(lambda: "version 99" in lab.processes["edge"].output, 15, f"the edge is told\n{lab.logs()}")
    lab.stop("edge")
    lab.start("edge")
    live_again(lab)
    assert_only_missing(judge(lab, since), "not running")


@pytest.mark.parametrize("hours", [1, -1])
def test_clock_of_the_edge_stepped(lab: Lab, hours: int) -> None:
    """Readings keep their true times; the step is noticed against the monotonic clock and the centre's."""
    since = now()
    library = ctypes.util.find_library("faketime") or next(
        map(str, Path("/usr/lib").rglob("libfaketime.so.1"))
    )
    clock = lab.folder / "clock"
    clock.write_text("+0s", encoding="ascii")
    lab.stop("edge")
    lab.start(
        "edge",
        LD_PRELOAD=library,
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        DONT_FAKE_MONOTONIC="1",
    )
    live_again(lab)
    clock.write_text(f"{hours * 3600:+d}s", encoding="ascii")
    outage(lab, 6)
    live_again(lab)
    verdict = judge(lab, since)
    lab.stop("edge")
    lab.start("edge")
    live_again(lab)
    assert_only_missing(verdict, "not running")
