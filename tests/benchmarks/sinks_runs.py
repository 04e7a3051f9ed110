"""What `tests.benchmarks.sinks` measures, in a process that knows its database from the start."""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.ingest_runs import LOADS, Lab, Load, labsite  # isort: skip - it sets Django up

from django.db import connection
from django.utils import timezone

from telemetry import outbox
from telemetry.models import RollupMark, Sink
from telemetry.outbox import Position
from telemetry.sinks import drain, told
from telemetry.sinks.client import Client
from telemetry.sinks.directory import Directory
from telemetry.sinks.schemas import form
from tests.telemetry.sinks.servers import INFLUXD, Influx

FEEDING_MOST = 0.1  # of the time that ingest takes
BATCH = 5000


def feeding(lab: Lab, load: Load, repeats: int) -> Iterator[dict[str, float | str]]:
    """Ingest with a sink to be fed and without, in turns; and which part of the former the outbox takes."""
    closing = timezone.now() if load.track == "backlog" else lab.clock
    RollupMark.objects.update_or_create(width="minute", defaults={"closing": closing, "published": lab.clock})
    times: dict[bool, list[float]] = {True: [], False: []}
    shares = []
    for repeat in range(repeats + 1):  # the first warms up
        for is_fed in (True, False) if repeat % 2 else (False, True):
            Sink.objects.update(enabled=is_fed)
            parcels = [lab.parcel(load) for _ in range(load.parcels)]
            with timed_puts() as puts:
                times[is_fed].append(labsite(lab, parcels))
            if is_fed:
                shares.append(sum(puts) / times[True][-1])
    fed, bare = (statistics.median(times[is_fed][1:]) for is_fed in (True, False))
    yield {
        "figure": f"feeding sinks, the outbox's part of ingest, {load.name}",
        "share": round(statistics.median(shares[1:]), 3),
        "readings_per_second": round(load.readings / fed),
        "without_per_second": round(load.readings / bare),
        "target": FEEDING_MOST,
    }


@contextmanager
def timed_puts() -> Iterator[list[float]]:
    """Seconds of each call of outbox.put."""
    put, found = outbox.put, []

    def timed(*words: Any) -> None:
        started = time.perf_counter()
        put(*words)
        found.append(time.perf_counter() - started)

    outbox.put = timed  # type: ignore[assignment]
    try:
        yield found
    finally:
        outbox.put = put


def forming(sink: Sink) -> Iterator[dict[str, float | str]]:
    """From rows of the outbox to lines, without a server."""
    directory = Directory()
    started, count = time.perf_counter(), 0
    position = Position(0, 0)
    while rows := outbox.following(position, drain.ROWS, drain.BYTES):
        for row in rows:
            count += len(form(told.of_payload(row.payload, row.stored_at), sink, directory).lines)
        position = rows[-1].position
    yield {
        "figure": "sinks, points formed from the outbox",
        "points_per_second": round(count / (time.perf_counter() - started)),
    }


def draining(sink: Sink, folder: Path) -> Iterator[dict[str, float | str]]:
    """Into a real influxdb, beside a bare POST of the same number of lines, formed before."""
    with Influx(folder / "influx").start() as influx:
        sink.url, sink.api = influx.url, "v1"
        sink.save()
        feeds = drain.Drain(sink.pk)
        feeds.step(timezone.now())  # makes the database
        sink.refresh_from_db()
        before, started = sink.points, time.perf_counter()
        while (following := feeds.step(timezone.now())) and (following.at_once or following.at):
            pass
        sink.refresh_from_db()
        rate = (sink.points - before) / (time.perf_counter() - started)
        if sink.failures:
            raise SystemExit(f"not fed: {sink.error}")
        bare = posting(sink, sink.points - before)
        yield {
            "figure": "sinks, influxdb 1.6.7 is fed",
            "points_per_second": round(rate),
            "bare_post_per_second": round(bare),
            "ratio": round(rate / bare, 2),
            "points": sink.points,
            "found": influx.count("quality"),
        }


def posting(sink: Sink, count: int) -> float:
    """So many points a second by nothing but the client."""
    client = Client(sink)
    at = time.time_ns()
    lines = [
        f"bare,channel=c{n % 26},instrument=i{n // 26 % 400} quality=0i,value=20.{n % 1000} {at + n * 1000}"
        for n in range(count)
    ]
    started = time.perf_counter()
    for start in range(0, count, BATCH):
        client.write(lines[start : start + BATCH])
    return count / (time.perf_counter() - started)


def main(repeats: int, folder: Path) -> None:
    lab = Lab()
    sink = Sink.objects.create(name="copy", url="http://127.0.0.1:9", bucket="lab", batch_size=BATCH)
    for load in LOADS:
        for figure in feeding(lab, load, repeats):
            print(json.dumps(figure), flush=True)  # noqa: T201
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE outbox")
    Sink.objects.update(enabled=True)
    for load in LOADS:
        labsite(lab, [lab.parcel(load) for _ in range(load.parcels)])
    for figures in (forming(sink), draining(sink, folder) if INFLUXD else ()):
        for figure in figures:
            print(json.dumps(figure), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
