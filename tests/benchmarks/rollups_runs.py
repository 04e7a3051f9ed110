"""What `tests.benchmarks.rollups` measures, in a process that knows its database from the start.

Readings are written as ingest writes them, a second of all channels after the other. Then a minute is rolled
up, and the next one. One of the rounds closes an hour, whose cost is spread over its minutes.
"""

import json
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta

import django
import psutil

django.setup()

from django.db import connection  # noqa: E402 - after the settings

from devices.models import Channel, Edge, Instrument  # noqa: E402
from telemetry import partitions, rollups  # noqa: E402
from telemetry.models import RollupMark, RollupMinute  # noqa: E402

INSTRUMENTS = 400
CHANNELS = 25  # of each
CORE = 0.05  # what rolling up may take at the most
MINUTE = timedelta(minutes=1)
HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)  # closes in the last round

READINGS = """
INSERT INTO sample (time, value, channel_id, quality)
SELECT second + c.id %% 100 * interval '1 ms', random() * 100, c.id,
    CASE WHEN random() < 0.02 THEN 2 ELSE 0 END
FROM generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 s', '1 s') AS second,
    (SELECT id FROM devices_channel ORDER BY id OFFSET 0) AS c
"""
MINUTES = """
INSERT INTO rollup_minute (bucket, min, max, sum, last, channel_id, n, bad)
SELECT minute, 1, 99, 3000, 50, c.id, 59, 1
FROM devices_channel c,
    generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 s', '1 min') AS minute
"""


def make_lab() -> None:
    edge = Edge.objects.create(name="bench")
    for number in range(INSTRUMENTS):
        bath = Instrument.objects.create(
            name=f"Bath {number}", driver="thermostat", edge=edge, address="tcp://127.0.0.1:23"
        )
        keys = [f"channel_{key}" for key in range(CHANNELS)]
        Channel.objects.bulk_create(Channel(instrument=bath, key=key, label=key) for key in keys)


def run(statement: str, start: datetime, end: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"start": start, "end": end})


def spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def round_of(start: datetime, backend: psutil.Process) -> tuple[float, float, float]:
    """Seconds of the database's CPU, of the task's, and in all, that it takes to roll up one minute."""
    run(READINGS, start, start + MINUTE)
    own = psutil.Process()
    before = spent(backend), spent(own), time.perf_counter()
    rollups.roll_up(start + MINUTE + timedelta(seconds=10))
    after = spent(backend), spent(own), time.perf_counter()
    made = RollupMinute.objects.filter(bucket=start).count()
    if made != INSTRUMENTS * CHANNELS:
        raise SystemExit(f"{made} minutes were made of {INSTRUMENTS * CHANNELS}")
    return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def main(minutes: int) -> None:
    make_lab()
    partitions.make_ahead(HOUR)
    start = HOUR - (minutes + 1) * MINUTE
    run(MINUTES, HOUR - 60 * MINUTE, start)
    RollupMark.objects.create(width="minute", closing=start, published=start)
    RollupMark.objects.create(width="hour", closing=HOUR - 60 * MINUTE, published=HOUR - 60 * MINUTE)
    connection.ensure_connection()
    backend = psutil.Process(connection.connection.info.backend_pid)
    rounds = [round_of(start + number * MINUTE, backend) for number in range(minutes + 1)]
    of_minutes = rounds[1:-1]  # the first warms up, the last closes the hour
    database, task, wall = (statistics.median(each) for each in zip(*of_minutes, strict=True))
    more = max(rounds[-1][0] - database, 0.0)
    core = (database + task + more / 60) / 60
    figure = {
        "figure": "rolling up 10,000 channels at 1 Hz",
        "database_s_per_minute": round(database, 2),
        "task_s_per_minute": round(task, 3),
        "seconds": round(wall, 2),
        "hour_s": round(more, 2),
        "core": round(core, 4),
        "target": CORE,
    }
    print(json.dumps(figure), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
