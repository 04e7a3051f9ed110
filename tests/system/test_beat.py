"""A real beat beside a PostgreSQL and a Redis of its own: edits, takeover, outages."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devices import edge_keys, wire
from devices.outgoing import WAITING_MAX
from tests.devices.mailbox import Mailbox
from tests.servers import Postgres, Process, Redis, dying_with_tests
from tests.waiting import until

ROOT = Path(__file__).parents[2]
BEAT = [sys.executable, "-m", "celery", "-A", "labsite", "beat", "-S", "devices.schedule.OrderScheduler"]
EDIT_S = 2.0  # what is promised
HOLDER = "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory'"
FILL = """
INSERT INTO devices_edge (name, key_version, key_heard, revision, created_at, boot, status)
VALUES ('nina', 1, 1, 0, now(), '', '{}');
INSERT INTO devices_instrument
    (id, name, driver, edge_id, address, options, interval, in_service, tags, demo, revision, created_at)
SELECT gen_random_uuid(), 'Bath ' || n, 'thermostat', (SELECT id FROM devices_edge),
    'tcp://10.0.0.1:23', '{}', 1, true, '{}', false, 0, now()
FROM generate_series(1, 30) AS n;
"""


class Lab:
    """The servers, and what a test asks of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.beats = 0
        self.postgres = Postgres(folder / "postgres").start()
        self.redis = Redis(folder / "redis").start()
        self.environment = {
            **os.environ,
            "LABSITE_DATA": os.environ["LABSITE_DATA"],  # the keys of this test run
            "LABSITE_DATABASE_URL": self.postgres.make_database(),
            "LABSITE_BROKER_URL": self.redis.url,
        }
        migrate = Process(
            [sys.executable, "manage.py", "migrate", "--skip-checks"],
            folder / "migrate.log",
            self.environment,
        )
        assert migrate.start().wait(60) == 0, migrate.output
        self.sql(FILL)
        self.nina = Mailbox(self.redis.url, "nina", edge_keys.derive)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def hear(self) -> None:
        """The edge says hello."""
        self.sql("UPDATE devices_edge SET heard_at = now()")

    def beat(self) -> Process:
        self.beats += 1
        log = self.folder / f"beat-{self.beats}.log"
        return Process(dying_with_tests(BEAT), log, self.environment).start()

    def holder(self) -> str:
        """Which beat issues orders: `labsite beat <pid>`."""
        found = self.sql(HOLDER)
        return str(found[0][0]) if found else ""

    def two_heartbeats(self) -> None:
        """Let beat go round for at least 5 s."""
        self.sql("DELETE FROM devices_heartbeat")
        first = until(self.heartbeat, 15, "the first heartbeat")
        until(lambda: self.heartbeat() not in ([], first), 8, "the next heartbeat")

    def heartbeat(self) -> list[tuple[Any, ...]]:
        return self.sql("SELECT at FROM devices_heartbeat WHERE process = 'beat'")

    def edit(self, interval: float) -> float:
        """Change one instrument; when."""
        self.sql("UPDATE devices_instrument SET interval = %s WHERE name = 'Bath 1'", interval)
        return time.monotonic()

    def heard_of(self, interval: float) -> bool:
        """Whether the edge has got this interval since it last looked."""
        return interval in [poll.order.interval for poll in self.nina.take_kind(wire.Poll)]

    def stop(self) -> None:
        self.nina.close()
        with ExitStack() as stack:
            for server in (self.postgres, self.redis):
                if server.running is not None:
                    stack.callback(server.stop)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("beat"))
    yield lab
    lab.stop()


@pytest.fixture
def quiet(lab: Lab) -> Lab:
    """Nobody beats, nothing waits."""
    until(lambda: not lab.holder(), 15, "no beat is left")
    lab.hear()
    lab.nina.client.delete(lab.nina.queue)
    return lab


def after_edit(lab: Lab, interval: float, within: float) -> None:
    lab.hear()
    lab.edit(interval)
    until(lambda: lab.heard_of(interval), within, f"the edge hears of interval {interval}")


def test_an_edit_reaches_the_edge_within_two_seconds(quiet: Lab) -> None:
    with quiet.beat():
        until(quiet.holder, 15, "beat holds the lock")
        until(quiet.nina.take, 15, "beat sends")
        for number in range(5):
            after_edit(quiet, 2.0 + number, EDIT_S)


def test_beat_writes_its_heartbeat_and_no_file(quiet: Lab) -> None:
    before = set(ROOT.iterdir())
    with quiet.beat() as beat:
        quiet.two_heartbeats()
        ((fields,),) = quiet.sql("SELECT fields FROM devices_heartbeat WHERE process = 'beat'")
        assert (fields["edges"], fields["orders"], fields["broker"]) == (1, 30, True)
        assert beat.stop() == 0
    assert {path.name for path in set(ROOT.iterdir()) - before} == set()


def test_another_beat_takes_over_from_one_that_was_killed(quiet: Lab) -> None:
    with quiet.beat() as one:
        until(quiet.holder, 15, "the first beat holds the lock")
        with quiet.beat() as two:
            until(lambda: "another beat" in two.output, 15, "the second waits")
            assert quiet.holder() == f"labsite beat {one.pid}"
            one.kill()
            until(lambda: quiet.holder() == f"labsite beat {two.pid}", 5, "the second takes over")
            until(lambda: "issues the orders" in two.output.split("waits")[-1], 5)
            quiet.nina.take()
            after_edit(quiet, 11.0, EDIT_S)


def test_nothing_piles_up_while_the_edge_does_not_read(quiet: Lab) -> None:
    quiet.nina.fill(WAITING_MAX + 1)
    with quiet.beat():
        until(quiet.holder, 15, "beat holds the lock")
        quiet.edit(12.0)
        quiet.two_heartbeats()
        assert len(quiet.nina) == WAITING_MAX + 1
        quiet.nina.client.delete(quiet.nina.queue)
        quiet.hear()
        until(lambda: quiet.heard_of(12.0), EDIT_S, "the edge hears of what it missed")


def stopped_for(server: Postgres | Redis, condition: Callable[[], object]) -> None:
    """An outage that lasts until beat has noticed."""
    server.stop()
    try:
        until(condition, 15, "beat notices")
    finally:
        server.start()


def test_beat_survives_outages_of_redis_and_of_postgresql(quiet: Lab) -> None:
    with quiet.beat() as beat:
        until(quiet.holder, 15, "beat holds the lock")
        stopped_for(quiet.redis, lambda: "broker away" in beat.output)
        until(lambda: "the broker is back" in beat.output, 10, "the broker is back")
        after_edit(quiet, 21.0, EDIT_S)
        stopped_for(quiet.postgres, lambda: "database away" in beat.output)
        until(lambda: "the database is back" in beat.output, 10, "the database is back")
        after_edit(quiet, 22.0, EDIT_S)


def test_beat_survives_a_redis_that_hangs(quiet: Lab) -> None:
    with quiet.beat() as beat:
        until(quiet.holder, 15, "beat holds the lock")
        until(quiet.nina.take, 15, "beat sends")
        quiet.redis.send(signal.SIGSTOP)
        try:
            until(lambda: "broker away" in beat.output, 15, "beat notices")
        finally:
            quiet.redis.send(signal.SIGCONT)
        until(lambda: "the broker is back" in beat.output, 12, "the broker is back")
        after_edit(quiet, 25.0, EDIT_S)


def test_beat_may_start_before_its_servers(quiet: Lab) -> None:
    quiet.postgres.stop()
    quiet.redis.stop()
    with quiet.beat() as beat:
        until(lambda: "database away" in beat.output, 15, "beat notices")
        quiet.postgres.start()
        until(lambda: "broker away" in beat.output, 15, "beat notices")
        quiet.redis.start()
        until(lambda: "the broker is back" in beat.output, 10, "the broker is back")
        after_edit(quiet, 31.0, EDIT_S)
