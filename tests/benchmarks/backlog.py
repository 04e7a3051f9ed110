"""How fast a backlog drains, through edge, broker and ingest, beside the ingest benchmark of the same run."""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from devices.edge.recorder import Draft
from devices.edge.spool import Row, Spool
from tests.benchmarks import report
from tests.faults.lab import Lab

INSTRUMENTS = 40
LOOK_EVERY = 0.02
DRAINED_WITHIN = 120.0
SECONDS = 1_200  # of polls at 1 Hz that wait in the spool
KEYS = tuple(f"ch{number % 2}.{number}" for number in range(26))


def fill(lab: Lab) -> range:
    """Put polls of the past into the edge's spool, in batches of a second, as an outage leaves them.

    Returns their sequences.
    """
    instruments = [lab.instrument_id(f"thermostat {number}") for number in range(INSTRUMENTS)]
    now = time.time_ns() // 1000
    spool = Spool(lab.spool, 1 << 30, now)
    sequences: list[int] = []
    for first in range(0, SECONDS, 100):
        starts = (now - (SECONDS - n + 60) * 1_000_000 for n in range(first, first + 100))
        sequences += spool.save(second(instruments, start) for start in starts)
    spool.close()
    return range(sequences[0], sequences[-1] + 1)


def second(instruments: list[str], start: int) -> Row:
    draft = Draft("", 0, sure=True)
    for number, instrument in enumerate(instruments):
        draft.row(instrument, KEYS, start + number * 1_000)
        draft.values.extend(round(random.gauss(20, 1), 3) for _ in KEYS)  # as the ingest benchmark has them
    return draft.packed()


def marks(database: str) -> Iterator[tuple[float, int]]:
    """Through which batch the centre has them, again and again, with the time of the look.

    On one connection: to make one for each look would take a tenth of a processor from what is measured.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        while True:
            found = connection.execute("SELECT max(through) FROM spool_mark").fetchone()
            assert found is not None
            yield time.monotonic(), int(found[0])
            time.sleep(LOOK_EVERY)


def drained(lab: Lab, waiting: range) -> float:
    """Batches a second, from the commit of the backlog's first parcel to that of its last."""
    first = 0
    started = deadline = time.monotonic()
    for at, through in marks(lab.database):
        if not first and through > waiting.start:
            first, started = through, at
        if through >= waiting.stop - 1:
            return (waiting.stop - 1 - first) / (at - started)
        assert at < deadline + DRAINED_WITHIN, f"{waiting} not drained\n{lab.logs()}"
    raise AssertionError


def measure() -> float:
    """Readings a second, from the first parcel of the backlog to the last."""
    with tempfile.TemporaryDirectory() as name, Lab(Path(name), INSTRUMENTS, interval=1.0) as lab:
        lab.stop("edge")
        waiting = fill(lab)
        lab.start("edge")
        return drained(lab, waiting) * INSTRUMENTS * len(KEYS)


def main() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.ingest", "3"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    catching_up = next(line for line in map(json.loads, lines) if "catching up" in line["figure"])
    ingest = float(catching_up["readings_per_second"])
    rate = measure()
    report(
        "backlog, drained beside live polls",
        value=rate / ingest,
        unit="of the ingest benchmark",
        target=">= 0.8",
        met=rate >= 0.8 * ingest,
        readings_per_second=rate,
        ingest_per_second=ingest,
    )


if __name__ == "__main__":
    main()
