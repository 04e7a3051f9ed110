"""What `tests.benchmarks.history` measures, in a process that knows its database from the start.

Ten channels at 1 Hz, with as many readings as are asked for, roll-ups of minutes for two months and of hours
for a year: filled by SQL, as the roll-up task would leave them.
"""

import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import django
import msgspec
import psutil

django.setup()

from django.db import connection  # noqa: E402 - after the settings
from django.utils import timezone  # noqa: E402

from devices.api import LatestSerializer, LatestViewSet  # noqa: E402
from devices.models import Channel, Edge, Instrument, Latest  # noqa: E402
from telemetry import export, partitions, series  # noqa: E402
from telemetry.api.series import told  # noqa: E402
from telemetry.models import RollupMark  # noqa: E402
from tests.benchmarks import report  # noqa: E402

CHANNELS = 10
INSTRUMENTS = 1000  # whose latest readings are asked for
POINTS = 2000
REPEATS = 21
LATEST = "SELECT channel_id, time, value, quality, text, seen_at, stored_at FROM devices_latest"

SAMPLES = """
INSERT INTO sample (time, value, channel_id, quality)
SELECT time, round((20 + sin(extract(epoch FROM time) / 600))::numeric, 3), channel, 0
FROM unnest(%(channels)s::int4[]) AS channel,
    generate_series(%(first)s::timestamptz, %(last)s - interval '1 s', interval '1 s') AS time
ORDER BY channel, time
"""
ROLLED = """
INSERT INTO rollup_{width} (channel_id, bucket, n, bad, min, max, sum, last)
SELECT channel, time, {n}, 0, 19, 21, 20 * {n}, 20 FROM unnest(%(channels)s::int4[]) AS channel,
    generate_series(%(first)s::timestamptz, %(last)s - interval '1 {width}', interval '1 {width}') AS time
ORDER BY channel, time
"""
BARE_DAY = """
SELECT date_bin(interval '1 minute', time, '2001-01-01'), count(*), min(value), max(value), avg(value)
FROM sample WHERE channel_id = %s AND time >= %s AND time < %s GROUP BY 1 ORDER BY 1
"""
BARE_YEAR = """
SELECT date_bin(interval '6 hours', bucket, '2001-01-01'), sum(n), min(min), max(max), sum(sum) / sum(n)
FROM rollup_hour WHERE channel_id = %s AND bucket >= %s AND bucket < %s GROUP BY 1 ORDER BY 1
"""
BARE_COPY = """
COPY (SELECT time, value, quality, text FROM sample WHERE channel_id = ANY('{%s}')) TO STDOUT (FORMAT csv)
"""


class Lab:
    """The filled database."""

    def __init__(self, readings: int) -> None:
        self.now = timezone.now().replace(microsecond=0)
        self.edge = Edge.objects.create(name="bench", heard_at=self.now)
        bath = self._instrument("Bath")
        self.channels = [
            Channel.objects.create(instrument=bath, key=f"c{number}", label="c", unit="Cel")
            for number in range(CHANNELS)
        ]
        self.since = self.now - timedelta(seconds=readings // CHANNELS)
        self.published = {
            "minute": self.now.replace(second=0) - timedelta(minutes=1),
            "hour": self.now.replace(minute=0, second=0) - timedelta(hours=1),
        }
        self._fill(SAMPLES, "sample", self.since, self.now)
        for width, days, n in (("minute", 60, 60), ("hour", 366, 3600)):
            last = self.published[width]
            first = last - timedelta(days=days)
            self._fill(ROLLED.format(width=width, n=n), f"rollup_{width}", first, last)
            RollupMark.objects.update_or_create(width=width, defaults={"closing": last, "published": last})
        self._latest()
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")

    def _instrument(self, name: str) -> Instrument:
        return Instrument.objects.create(
            name=name, driver="thermostat", edge=self.edge, address="tcp://127.0.0.1:1"
        )

    def _fill(self, statement: str, table: str, first: datetime, last: datetime) -> None:
        days = range((last - first).days + 2)
        partitions.ensure(partitions.holding(table, (first + timedelta(days=day)).date()) for day in days)
        with connection.cursor() as cursor:
            cursor.execute(
                statement, {"channels": [each.pk for each in self.channels], "first": first, "last": last}
            )

    def _latest(self) -> None:
        for number in range(INSTRUMENTS):
            channel = Channel.objects.create(
                instrument=self._instrument(f"Bath {number}"), key="c", label="c"
            )
            Latest.objects.create(
                channel=channel, time=self.now, value=20.0, seen_at=self.now, stored_at=self.now
            )


def median(question: Callable[[], object]) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        question()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def rows(statement: str, *parameters: Any) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def course(lab: Lab, name: str, span: timedelta, most: float, bare: str) -> None:
    """A series of one channel, as its answer in bytes, and the least that SQL could do for it."""
    channel = Channel.objects.select_related("instrument").get(pk=lab.channels[0].pk)
    start = lab.now - span

    def question() -> bytes:
        return msgspec.json.encode(told(series.ask([channel], start, lab.now, lab.now, POINTS)))

    (one,) = series.ask([channel], start, lab.now, lab.now, POINTS).series
    taken = median(question)
    baseline = median(lambda: rows(bare, channel.pk, start, lab.now))
    report(
        f"history, {name}", taken, "ms", f"<= {most:g}", met=taken <= most and len(one.time) <= POINTS,
        points=len(one.time), baseline_ms=baseline, ratio=taken / baseline,
    )  # fmt: skip


def latest() -> None:
    """All latest readings: from the database, and as the API tells them."""
    queryset = LatestViewSet.queryset.order_by("channel_id")[:INSTRUMENTS]
    statement, parameters = queryset.query.sql_with_params()
    taken = median(lambda: rows(statement, *parameters))
    whole = median(lambda: [LatestSerializer().to_representation(each) for each in queryset.all()])
    baseline = median(lambda: rows(LATEST))
    report(
        f"latest of {INSTRUMENTS} instruments", taken, "ms", "<= 30", met=taken <= 30,
        with_objects_ms=whole, baseline_ms=baseline, ratio=taken / baseline,
    )  # fmt: skip


def copied(lab: Lab) -> float:
    """Seconds of a plain COPY, its rows read one by one and thrown away."""
    connection.ensure_connection()
    numbers = ",".join(str(each.pk) for each in lab.channels)
    started = time.perf_counter()
    with connection.connection.cursor() as cursor, cursor.copy(BARE_COPY % numbers) as copy:
        for _ in copy:
            pass
    return time.perf_counter() - started


def exported(lab: Lab, form: str, least: float) -> None:
    """All readings, each part thrown away once it is there."""
    process = psutil.Process()
    channels = list(
        Channel.objects.select_related("instrument").filter(pk__in=[each.pk for each in lab.channels])
    )
    question = export.Question(channels, lab.since, lab.now, form)
    list(export.Running(export.Question(channels, lab.now, lab.now, form), lab.now))  # what it loads is there
    before = most = process.memory_info().rss / 1e6
    size, cpu, started = 0, time.process_time(), time.perf_counter()
    for number, part in enumerate(export.Running(question, lab.now)):
        size += len(part)
        if number % 50 == 0:
            most = max(most, process.memory_info().rss / 1e6)
    taken, cpu = time.perf_counter() - started, time.process_time() - cpu
    baseline = copied(lab)
    count = round((lab.now - lab.since).total_seconds()) * CHANNELS
    report(
        f"export, {form}", count / taken, "rows/s", f">= {least:.0f}", met=count / taken >= least,
        cpu_us_per_row=1e6 * cpu / count,
        rows=count, megabytes=size / 1e6, rss_before_mb=before, rss_most_mb=most,
        baseline_rows_per_second=count / baseline, ratio=baseline / taken,
    )  # fmt: skip


def main(readings: int) -> None:
    lab = Lab(readings)
    course(lab, "24 h at 1 Hz", timedelta(days=1), 50, BARE_DAY)
    course(lab, "a year", timedelta(days=365), 100, BARE_YEAR)
    latest()
    exported(lab, "csv", 200_000)
    exported(lab, "parquet", 100_000)


if __name__ == "__main__":
    main(int(sys.argv[1]))
