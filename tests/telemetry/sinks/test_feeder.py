"""The thread that feeds sinks: servers killed in mid-flow, dead ones beside others, several workers."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import call_command

from devices.models import Heartbeat, Instrument
from devices.services import OPERATOR
from telemetry.models import Sink
from telemetry.sinks import client, editing
from telemetry.sinks.feeder import Feeder
from tests.servers import Process, dying_with_tests
from tests.telemetry import factories
from tests.telemetry.sinks.factories import now_us, sink, stored
from tests.telemetry.sinks.servers import (
    Answer,
    Influx,
    Scripted,
    Victoria,
    each,
    needs_influxd,
    needs_victoria,
)
from tests.waiting import until
from tests.web import database_url

pytestmark = pytest.mark.django_db(transaction=True)

PROGRAM = "import django; django.setup(); from telemetry.sinks.feeder import Feeder; Feeder().run()"


@pytest.fixture
def bath() -> Instrument:
    return factories.instrument(factories.edge())


@contextmanager
def feeding() -> Iterator[Feeder]:
    feeder = Feeder()
    feeder.start()
    try:
        yield feeder
    finally:
        feeder.stop(within=15.0)


def is_fed(copy: Sink, points: int) -> bool:
    copy.refresh_from_db()
    return copy.points >= points and not copy.failures


@needs_influxd
@needs_victoria
def test_killed_in_mid_flow_and_restarted_every_point_is_there_once(
    tmp_path: Path, bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both servers, killed at different times while points flow; a third that is never there."""
    monkeypatch.setattr("telemetry.sinks.drain.wait_after", lambda failures, asked, chance: 0.2)
    with Influx(tmp_path / "influx") as influx, Victoria(tmp_path / "victoria") as victoria, feeding():
        influx.start()
        victoria.start()
        one = sink(influx.url, "one", api="v1", batch_size=150)
        two = sink(victoria.url, "two", batch_size=150)
        dead = sink("http://127.0.0.1:9", "dead")
        begin = now_us() - 60_000_000
        for number in range(40):
            values = [float(number * 100 + place) for place in range(100)]
            stored(bath, "a", values, since=begin + number * 100_000)
            match number:
                case 8:
                    influx.kill()
                case 12:
                    victoria.kill()
                case 20:
                    until(lambda: Sink.objects.get(name="one").failures > 1, 20, "it is noticed")
                    influx.start()
                case 28:
                    until(lambda: Sink.objects.get(name="two").failures > 1, 20, "it is noticed")
                    victoria.start()
        until(lambda: is_fed(one, 4000), 30, "influxdb is fed")
        until(lambda: is_fed(two, 4000), 30, "victoria-metrics is fed")
        until(lambda: influx.count() >= 4000, 10, "influxdb shows all that it has taken")
        rows = influx.ask("SELECT value FROM thermostat")
        assert sorted(row["value"] for row in rows) == [float(number) for number in range(4000)]
        # VictoriaMetrics writes what it has taken to its disk a second later; what it lost so is filled in.
        call_command("rebuild_sink", "two")
        found = victoria.series("thermostat_value").values()
        assert sorted(value for series in found for value in series.values()) == list(range(4000))
        dead.refresh_from_db()
        assert dead.failures > 1
        assert dead.points == 0


def test_a_sink_that_hangs_holds_up_neither_ingest_nor_other_sinks(
    bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", (3.0, 60.0))
    with Scripted(each(Answer(204, hang=60))) as hung, Scripted(each(Answer(204))) as quick, feeding():
        sink(hung.url, "hung")
        other = sink(quick.url, "other")
        stored(bath, "a", [0.0])
        until(lambda: hung.requests, 10, "the one hangs")
        for number in range(1, 21):
            stored(bath, "a", [float(number)])
        until(lambda: is_fed(other, 21), 20, "the other is fed")
        assert len(hung.requests) == 1
        hung.let_go.set()


def test_points_wait_for_each_other_as_long_as_the_sink_says(bath: Instrument) -> None:
    with Scripted(each(Answer(204))) as server, feeding():
        copy = sink(server.url, flush_interval=1.0)
        stored(bath, "a", [0.0])
        until(lambda: is_fed(copy, 1), 10)
        for number in range(1, 11):
            stored(bath, "a", [float(number)])
        until(lambda: is_fed(copy, 11), 10)
        assert len(server.requests) <= 5


def test_of_several_workers_one_feeds_and_the_next_goes_on(bath: Instrument) -> None:
    with Scripted(each(Answer(204))) as server:
        copy = sink(server.url)
        with feeding() as first:
            until(lambda: first.lanes, 10, "the first feeds it")
            with feeding() as second:
                stored(bath, "a", [1.0])
                until(lambda: is_fed(copy, 1), 10)
                assert not second.lanes
                first.stop()
                stored(bath, "a", [2.0])
                until(lambda: is_fed(copy, 2), 10, "the second goes on")
        assert len(server.taken) == 2


def test_a_sink_is_switched_off_and_on_and_forgotten(bath: Instrument) -> None:
    with Scripted(each(Answer(204))) as server, feeding() as feeder:
        copy = sink(server.url)
        other = sink("http://127.0.0.1:9", "other")
        until(lambda: len(feeder.lanes) == 2, 10)
        until(lambda: Heartbeat.objects.filter(process="sinks").exists(), 10)
        said = Heartbeat.objects.get(process="sinks").fields["sinks"]
        assert {each["name"] for each in said} <= {"copy", "other"}
        editing.set_enabled(copy, OPERATOR, on=False)
        until(lambda: len(feeder.lanes) == 1, 10)
        stored(bath, "a", [1.0])
        editing.set_enabled(copy, OPERATOR, on=True)  # the other was fed all the time: nothing is lost
        until(lambda: is_fed(copy, 1), 10)
        editing.delete_sink(other, OPERATOR)
        editing.set_enabled(copy, OPERATOR, on=False)
        stored(bath, "a", [2.0])  # for nobody
        editing.set_enabled(copy, OPERATOR, on=True)
        until(lambda: Sink.objects.filter(must_rebuild=True).exists(), 10, "it has missed something")
        editing.start_at_present(copy, OPERATOR)
        stored(bath, "a", [3.0])
        until(lambda: is_fed(copy, 2), 10)
        assert [line.split("value=")[1].split(" ")[0] for line in server.taken] == ["1", "3"]


def test_a_worker_killed_between_write_and_position_leaves_no_hole_and_no_double(
    bath: Instrument, tmp_path: Path
) -> None:
    """kill -9, by the server itself: at that moment it has the points, and nobody knows that it has."""
    feeder = Process(
        dying_with_tests([sys.executable, "-c", PROGRAM]),
        tmp_path / "log",
        os.environ | {"LABSITE_DATABASE_URL": database_url()},
    )

    def script(lines: list[str], headers: dict[str, str]) -> Answer:
        if len(server.requests) in (2, 4):
            feeder.send(signal.SIGKILL)
            feeder.wait()
        return Answer(204)

    with Scripted(script) as server, feeder:
        copy = sink(server.url, batch_size=10)
        for number in range(8):
            stored(bath, "a", [float(number * 10 + place) for place in range(10)])
        for _ in range(3):
            if feeder.running is None:
                feeder.start()
            until(lambda: feeder.running is None or is_fed(copy, 80), 30, feeder.output[-500:])
        assert is_fed(copy, 80)
        assert len(server.taken) == 80 + 2 * 10  # two batches went twice, and are the same
        assert len(set(server.taken)) == 80


def test_without_a_database_it_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def away(*args: object) -> None:
        tried.set()
        raise OSError("it is away")

    monkeypatch.setattr("devices.listener.own_connection", away)
    with feeding() as feeder:
        assert tried.wait(10)
        assert feeder.is_alive()
    assert not feeder.is_alive()
