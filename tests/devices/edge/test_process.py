"""A whole edge process on a real broker: started, stopped, killed, cut off."""

import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from devices.edge.settings import Settings
from devices.wire import Once, Poll, Welcome
from tests.devices.edge.doubles import EPOCH, KEY, Centre, Thermostats, order
from tests.servers import Process, Redis, dying_with_tests
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
TEMPERATURE = "ch0.temperature"


class Proxy:
    """Between an edge and its broker; while `hung` nothing passes in either direction, nothing is closed."""

    def __init__(self, port: int) -> None:
        self.hung = threading.Event()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(65536):
                if self.hung.is_set():
                    continue  # lost, as a firewall loses it
                sink.sendall(chunk)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def close(self) -> None:
        self._listener.close()
        for one in self._sockets:
            one.close()


@pytest.fixture
def settings(broker: str, tmp_path: Path) -> Settings:
    return Settings(f"edge-{uuid.uuid4().hex[:8]}", broker, 1, KEY, tmp_path / "spool")


@pytest.fixture
def thermostats() -> Iterator[Thermostats]:
    thermostats = Thermostats(2)
    yield thermostats
    thermostats.close()


Start = Callable[..., Process]


@pytest.fixture
def edge(settings: Settings, tmp_path: Path) -> Iterator[Process]:
    process = edge_process(settings, tmp_path)
    with process:
        yield process


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    given = {
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
        "LABSITE_EDGE": settings.name,
        "LABSITE_BROKER_URL": settings.broker_url,
        "LABSITE_EDGE_KEY": f"{settings.key_version}:{settings.key.hex()}",
        "LABSITE_SPOOL": str(settings.folder),
    }
    return {**given, **changes}


def edge_process(settings: Settings, tmp_path: Path, *command: str, **changes: str) -> Process:
    words = command or ("-m", "devices.edge")
    return Process(
        dying_with_tests([sys.executable, *words]), tmp_path / "edge.log", environment(settings, **changes)
    )


def test_an_order_becomes_readings_at_the_centre(
    settings: Settings, edge: Process, thermostats: Thermostats
) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    with Centre(settings) as centre:
        edge.start()
        centre.order(order(first, thermostats.address(0)), order(second, "edge://local", driver="edge_host"))
        until(lambda: len(centre.values(first, TEMPERATURE)) >= 20)
        assert edge.stop() == 0
        memory = centre.values(second, "memory")
        assert memory
        assert max(value or 0 for value in memory) < 64
        until(lambda: centre.hellos[-1].orders in (0, 2))
        answered = [float(number) for _, number in thermostats.answers]
        found = centre.values(first, TEMPERATURE)
        assert found == answered[: len(found)]
    assert "Traceback" not in edge.output


def test_a_single_poll_is_answered_and_not_stored(
    settings: Settings, edge: Process, thermostats: Thermostats
) -> None:
    instrument, trial = str(uuid.uuid4()), str(uuid.uuid4())
    with Centre(settings) as centre:
        edge.start()
        once = Once(trial, time.time_ns() // 1000)
        for _ in range(2):  # a broker may deliver twice
            centre.send("edge.poll", Poll(EPOCH, order(instrument, thermostats.address(), revision=-1), once))
        until(lambda: centre.tried)
        centre.order(order(str(uuid.uuid4()), thermostats.address(1)))
        until(lambda: thermostats.answers[-1][0] == 1 and len(thermostats.answers) > 5)
        assert edge.stop() == 0
        (tried,) = centre.tried
        assert (tried.trial, tried.error, tried.shared) == (trial, "", False)
        assert {reading.key: reading.value for reading in tried.readings}[TEMPERATURE] == 0.0
        assert not centre.values(instrument, TEMPERATURE)
        assert [number for number, _ in thermostats.answers].count(0) == 1
    assert "Traceback" not in edge.output


def test_readings_outlive_a_stop_without_a_broker(
    settings: Settings, edge: Process, thermostats: Thermostats, redis_server: Redis
) -> None:
    instrument = str(uuid.uuid4())
    with Centre(settings) as centre:
        edge.start()
        centre.order(order(instrument, thermostats.address()))
        until(lambda: len(centre.values(instrument, TEMPERATURE)) >= 5)
        redis_server.kill()
        sent = len(thermostats.answers)
        until(lambda: len(thermostats.answers) >= sent + 20)
        edge.send(signal.SIGTERM)
        assert edge.wait(within=2.5) == 0
        stopped_at = len(thermostats.answers)
        edge.start()
        until(lambda: len(thermostats.answers) >= stopped_at + 5, what="it polls before it has a broker")
        redis_server.start()
        until(lambda: float(stopped_at + 5) in centre.values(instrument, TEMPERATURE), 20)
        edge.stop()
        found = [value for value in centre.values(instrument, TEMPERATURE) if value is not None]
        assert found == sorted(set(found))
        # One answer may be on its way when the process stops.
        assert len(set(map(float, range(int(found[-1])))) - set(found)) <= 1
        assert {gap.reason for gap in centre.gaps()} == {"not running"}


def test_a_killed_edge_loses_a_second_and_says_so(
    settings: Settings, edge: Process, thermostats: Thermostats
) -> None:
    instrument = str(uuid.uuid4())
    with Centre(settings) as centre:
        edge.start()
        centre.order(order(instrument, thermostats.address()))
        until(lambda: len(centre.values(instrument, TEMPERATURE)) >= 15)
        edge.kill()
        killed_at = len(thermostats.answers)
        edge.start()
        until(lambda: float(killed_at + 15) in centre.values(instrument, TEMPERATURE), 20)
        edge.stop()
        found = [value for value in centre.values(instrument, TEMPERATURE) if value is not None]
        missing = sorted(set(map(float, range(int(found[-1])))) - set(found))
        assert all(killed_at - 15 <= number <= killed_at for number in missing)
        gaps = {gap.reason: gap for gap in centre.gaps()}
        assert 0 < gaps["unsaved"].end - gaps["unsaved"].start <= 2_000_000
        assert set(gaps) <= {"unsaved", "not running", "overrun"}  # the last on a machine that is busy
        if "not running" in gaps:  # it took more than two seconds to come back
            assert gaps["unsaved"].end == gaps["not running"].start
        assert centre.hellos[0].instance == centre.hellos[-1].previous


def test_a_broker_that_hangs_disturbs_no_poll(
    settings: Settings, tmp_path: Path, thermostats: Thermostats, redis_server: Redis
) -> None:
    port = redis_server.broker.port
    proxy = Proxy(port)
    url = settings.broker_url.replace(f":{port}", f":{proxy.port}")
    instrument = str(uuid.uuid4())
    with Centre(settings) as centre, edge_process(settings, tmp_path, LABSITE_BROKER_URL=url) as edge:
        edge.start()
        centre.order(order(instrument, thermostats.address()))
        until(lambda: len(centre.values(instrument, TEMPERATURE)) >= 5)
        proxy.hung.set()
        sent = len(thermostats.answers)
        until(lambda: len(thermostats.answers) >= sent + 100, 14, "ten polls a second while the broker hangs")
        proxy.hung.clear()
        until(lambda: float(sent + 100) in centre.values(instrument, TEMPERATURE), 15)
        second = str(uuid.uuid4())
        centre.order(
            order(instrument, thermostats.address()),
            order(second, thermostats.address(1), revision=2),
            revision=2,
        )
        until(lambda: centre.values(second, TEMPERATURE), 15, "orders are heard again")
        found = [value for value in centre.values(instrument, TEMPERATURE) if value is not None]
        assert len(found) == len(set(found))
        assert set(map(float, range(sent + 100))) <= set(found)
        assert centre.gaps() == []
        proxy.hung.set()
        edge.send(signal.SIGTERM)
        assert edge.wait(within=2.5) == 0
    proxy.close()


def test_a_second_process_is_told_that_there_is_one(
    settings: Settings, edge: Process, tmp_path: Path
) -> None:
    edge.start()
    until(lambda: "ready" in edge.output)
    second = subprocess.run(
        [sys.executable, "-m", "devices.edge"],
        env=environment(settings), cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert second.stderr.strip().splitlines() == [
        f"labsite edge: LABSITE_SPOOL: another process has the spool in {settings.folder}"
    ]


@pytest.mark.parametrize(
    "variable", ["LABSITE_EDGE", "LABSITE_BROKER_URL", "LABSITE_EDGE_KEY", "LABSITE_SPOOL"]
)
def test_what_is_missing_is_said_in_one_line(settings: Settings, variable: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "devices.edge"],
        env=environment(settings, **{variable: ""}), cwd=ROOT, capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert variable in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_celerys_own_command_works_too(settings: Settings, tmp_path: Path, thermostats: Thermostats) -> None:
    instrument = str(uuid.uuid4())
    command = ("-m", "celery", "-A", "devices.edge", "worker", "-Q", settings.queue)
    with Centre(settings) as centre, edge_process(settings, tmp_path, *command) as edge:
        edge.start()
        centre.order(order(instrument, thermostats.address()))
        until(lambda: len(centre.values(instrument, TEMPERATURE)) >= 5)
        assert edge.stop() == 0


def test_a_message_that_is_not_the_centres_is_dropped(
    settings: Settings, edge: Process, thermostats: Thermostats
) -> None:
    stranger = Settings(settings.name, settings.broker_url, 1, b"x" * 32, settings.folder)
    mine, theirs = str(uuid.uuid4()), str(uuid.uuid4())
    with Centre(settings) as centre:
        edge.start()
        Centre(stranger).order(order(theirs, thermostats.address(1)), revision=9)
        centre.order(order(mine, thermostats.address(0)))
        until(lambda: centre.values(mine, TEMPERATURE))
        assert centre.values(theirs, TEMPERATURE) == []
        until(lambda: "NotAuthentic" in edge.output)


def test_two_instances_of_one_name(
    settings: Settings, edge: Process, tmp_path: Path, thermostats: Thermostats
) -> None:
    """A copied disk: the second process is refused the name, polls nothing and takes nobody's messages."""
    instrument = str(uuid.uuid4())
    copy = Settings(settings.name, settings.broker_url, 1, KEY, tmp_path / "copy")
    (tmp_path / "second").mkdir()
    with Centre(settings) as centre, edge_process(copy, tmp_path / "second") as second:
        edge.start()
        until(lambda: centre.hellos)
        centre.holder = centre.hellos[0].instance
        centre.order(order(instrument, thermostats.address()))
        until(lambda: centre.values(instrument, TEMPERATURE))
        second.start()
        until(lambda: "does not hold the name" in second.output, 30)
        for revision in range(2, 12):
            centre.order(order(instrument, thermostats.address(), revision=revision), revision=revision)
        until(lambda: any(h.revision == 11 for h in centre.hellos if h.instance == centre.holder), 15)
        (spool,) = {spool for spool, _ in centre.batches}
        assert edge.stop() == 0
        centre.holder = ""
        until(lambda: "holds the name" in second.output.partition("does not hold")[2], 30)
        centre.order(order(instrument, thermostats.address(), revision=12), revision=12)
        until(lambda: {spool for spool, _ in centre.batches} != {spool}, 20, "the second takes over")
        assert second.stop() == 0


def test_answers_to_other_processes_make_no_noise(settings: Settings, edge: Process) -> None:
    """One to the process before is dropped; one to another goes back into the queue, once."""
    with Centre(settings) as centre:
        edge.start()
        until(lambda: centre.hellos)
        before = centre.hellos[0].instance
        edge.kill()
        for instance in (before, str(uuid.uuid4())):
            centre.send("edge.welcome", Welcome(instance, True, "", EPOCH, 1, "", 0, 0, 0, 0))
        edge.start()
        until(lambda: any(hello.previous == before for hello in centre.hellos))
        until(lambda: "for another instance" in edge.output)
        assert edge.stop() == 0
    assert "the process before this one is dropped" in edge.output
    assert not [line for line in edge.output.splitlines() if "Traceback" in line or "Warning" in line]
    assert "WARNING celery" not in edge.output


def test_no_django_is_imported(settings: Settings) -> None:
    code = (
        "import sys, devices.edge.__main__, devices.drivers.thermostat, devices.drivers.edge_host\n"
        "heavy = ('django', 'django.utils', 'rest_framework', 'psycopg', 'numpy', 'kombu.transport.pyamqp')\n"
        "print([name for name in heavy if sys.modules.get(name)])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(settings), cwd=ROOT, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert ended.stdout.strip() == "[]"


def test_it_is_small(settings: Settings, edge: Process, thermostats: Thermostats) -> None:
    instrument = str(uuid.uuid4())
    with Centre(settings) as centre:
        edge.start()
        centre.order(order(instrument, thermostats.address()))
        until(lambda: len(centre.values(instrument, TEMPERATURE)) >= 15)
        assert psutil.Process(edge.pid).memory_info().rss <= 64 << 20


def test_the_unacked_keys_are_the_edges_own(settings: Settings, edge: Process) -> None:
    with Centre(settings) as centre, redis.Redis.from_url(settings.broker_url) as client:
        edge.start()
        centre.order(order())
        until(lambda: centre.hellos and centre.hellos[-1].orders == 1, 15)
        assert not {b"unacked", b"unacked_index"} & set(client.keys())
