"""What it costs one beat to renew 20,000 orders at 20 edges: `python -m tests.benchmarks.orders`.

Prints one JSON line. The queues are emptied and the edges marked as heard by the benchmark itself.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import django
import psutil
import psycopg
import redis
from django.core.management import call_command

from tests.benchmarks import report
from tests.servers import Postgres, Process, Redis
from tests.waiting import until

ROOT = Path(__file__).parents[2]
EDGES = 20
INSTRUMENTS = 20_000
SECONDS = 20.0
WARM_UP = 5.0
TARGET = 0.30
PERIOD_S = 30.0
BEAT = [sys.executable, "-m", "celery", "-A", "labsite", "beat", "-S", "devices.schedule.OrderScheduler"]

HEARD = "UPDATE devices_edge SET heard_at = now()"
FILL_EDGES = """
INSERT INTO devices_edge (name, key_version, key_heard, revision, created_at, boot, status, heard_at)
SELECT 'bench-' || n, 1, 1, 0, now(), '', '{}', now() FROM generate_series(1, %s) AS n
"""
FILL_INSTRUMENTS = """
INSERT INTO devices_instrument
    (id, name, driver, edge_id, address, options, interval, in_service, tags, demo, revision, created_at)
SELECT gen_random_uuid(), 'Bath ' || n, 'thermostat', (SELECT min(id) FROM devices_edge) + n %% %s,
    'tcp://10.0.' || n / 250 || '.' || n %% 250 || ':23',
    '{"dialect": "auto"}', 1, true, '{}', false, 0, now()
FROM generate_series(1, %s) AS n
"""


def migrate() -> None:
    django.setup()
    call_command("migrate", verbosity=0, skip_checks=True)


def drained(broker: redis.Redis) -> int:
    """Empty all queues; how many messages that were."""
    with broker.pipeline() as pipeline:
        for number in range(1, EDGES + 1):
            pipeline.llen(f"edge.bench-{number}")
            pipeline.delete(f"edge.bench-{number}")
        return sum(int(length) for length in pipeline.execute()[::2])


def measure(
    pid: int, database: "psycopg.Connection[object]", broker: redis.Redis, seconds: float
) -> dict[str, float]:
    """The CPU time of the beat process for so long, and how many orders it renewed meanwhile."""
    beat = psutil.Process(pid)
    renewed = 0
    started, before = time.monotonic(), beat.cpu_times()
    while time.monotonic() - started < seconds:
        database.execute(HEARD)
        for _ in range(10):
            renewed += drained(broker)
            time.sleep(0.1)
    took, after = time.monotonic() - started, beat.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return {
        "renewals_per_second": renewed / took,
        "cores": cpu / took,
        "rss_mb": beat.memory_info().rss / 1e6,
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="labsite-bench-") as folder:
        figures = bench(Path(folder))
    met = figures["cores"] <= TARGET and figures["renewals_per_second"] >= 0.95 * INSTRUMENTS / PERIOD_S
    report(
        "orders", figures.pop("cores"), "cores", f"<= {TARGET}", met=met, instruments=INSTRUMENTS, **figures
    )


def bench(folder: Path) -> dict[str, float]:
    """Start what is needed, fill the database, measure."""
    with Postgres(folder / "postgres").start() as postgres, Redis(folder / "redis").start() as broker_server:
        os.environ |= {
            "LABSITE_DATA": str(folder),
            "LABSITE_DATABASE_URL": postgres.make_database(),
            "LABSITE_BROKER_URL": broker_server.url,
            "DJANGO_SETTINGS_MODULE": "labsite.settings",
        }
        migrate()
        with (
            psycopg.connect(postgres.url(), autocommit=True) as database,
            redis.Redis.from_url(broker_server.url) as broker,
        ):
            database.execute(FILL_EDGES, [EDGES])
            database.execute(FILL_INSTRUMENTS, [EDGES, INSTRUMENTS])
            database.execute("ANALYZE")
            with Process(BEAT, folder / "beat.log", dict(os.environ)).start() as beat:
                until(lambda: drained(broker), 20, "the first renewal")
                measure(beat.pid, database, broker, WARM_UP)
                return measure(beat.pid, database, broker, SECONDS)


if __name__ == "__main__":
    main()
