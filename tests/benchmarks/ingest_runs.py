"""What `tests.benchmarks.ingest` measures, in a process that knows its database from the start.

Labsite, Labsite without its alarms, and the baseline take turns, and their medians are compared: the machine
is not alone. Each channel has two rules, beside the one for what is stale or bad.
"""

import json
import random
import statistics
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import django
import numpy as np

django.setup()

from django.db import connection  # noqa: E402 - after the settings
from django.utils import timezone  # noqa: E402

from alerts.judging import evaluation  # noqa: E402
from alerts.models import Rule, RuleKind  # noqa: E402
from devices import wire  # noqa: E402
from devices.models import Channel, Edge, Instrument  # noqa: E402
from labsite import pipeline  # noqa: E402
from telemetry.models import RollupMark  # noqa: E402

KEY = b"k" * 32
KEYS = [f"channel_{number}" for number in range(26)]  # as many as a thermostat has
JUDGING_MOST = 0.3  # of the time that ingest takes without
EPOCH_2000_US = 946_684_800_000_000

BASELINE_TABLE = """
CREATE TABLE bare (LIKE sample INCLUDING ALL) PARTITION BY RANGE (time);
CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM ('2020-01-01') TO ('{today}');
CREATE TABLE bare_2 PARTITION OF bare FOR VALUES FROM ('{today}') TO ('2100-01-01');
"""
BASELINE = b"""
INSERT INTO bare (time, value, channel_id, quality)
SELECT * FROM unnest($1::timestamptz[], $2::float8[], $3::int4[], $4::int2[]) ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class Load:
    """Parcels of `batches` each, in each batch one reading of every channel of so many instruments."""

    name: str
    track: str
    instruments: int
    batches: int
    parcels: int
    target: float  # of the baseline

    @property
    def readings(self) -> int:
        return self.instruments * len(KEYS) * self.batches * self.parcels


LOADS = (
    Load("catching up", "backlog", 40, 100, 2, target=1.5),
    Load("live", "live", 400, 1, 10, target=0.55),
)


@dataclass(frozen=True)
class Parcel:
    """One parcel, sealed, and the same readings as the baseline takes them: sorted binary arrays."""

    envelope: dict[str, Any]
    arrays: list[bytes]


class Lab:
    """One edge with its instruments, and a clock that gives each batch a second of its own."""

    def __init__(self) -> None:
        self.edge = Edge.objects.create(name="bench")
        self.instruments: list[UUID] = []
        self.channels: list[list[int]] = []
        for number in range(max(load.instruments for load in LOADS)):
            bath = Instrument.objects.create(
                name=f"Bath {number}", driver="thermostat", edge=self.edge, address="tcp://127.0.0.1:23"
            )
            made = [Channel(instrument=bath, key=key, label=key) for key in KEYS]
            self.instruments.append(bath.pk)
            self.channels.append([channel.pk for channel in Channel.objects.bulk_create(made)])
        Rule.objects.create(name="hot", kind=RuleKind.HIGH, high=30.0, on_delay=5.0)
        Rule.objects.create(name="cold", kind=RuleKind.LOW, low=10.0, deadband=1.0)
        self.spool = str(uuid4())
        self.sequence = 0
        today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
        self.clock = today - timedelta(days=1)
        with connection.cursor() as cursor:
            cursor.execute(BASELINE_TABLE.format(today=today.date()))

    def parcel(self, load: Load) -> Parcel:
        batches, columns = [], []
        for _ in range(load.batches):
            self.clock += timedelta(seconds=1)
            values = [round(random.gauss(20, 1), 3) if random.random() < 0.9 else None for _ in range(26)]
            readings = values * load.instruments
            batches.append(wire.as_text(wire.pack(self._batch(load, readings))))
            columns.append(readings)
        first, self.sequence = self.sequence + 1, self.sequence + load.batches
        message = wire.Parcel(
            spool=self.spool,
            track=load.track,
            sequences=list(range(first, first + load.batches)),
            shifts=[0] * load.batches,
            batches=batches,
            sent_mono=0,
        )
        return Parcel(wire.seal(message, "bench", 1, KEY), self._arrays(load, columns))

    def _batch(self, load: Load, readings: list[float | None]) -> wire.Batch:
        rows: list[int] = []
        for number in range(load.instruments):
            rows += [number, 0, 997 if number else microseconds(self.clock)]
        names = [str(key) for key in self.instruments[: load.instruments]]
        return wire.Batch(instruments=names, keysets=[KEYS], rows=rows, values=readings)

    def _arrays(self, load: Load, columns: Sequence[Sequence[float | None]]) -> list[bytes]:
        """Sorted by channel and time."""
        last = microseconds(self.clock) - EPOCH_2000_US
        channels = np.array(self.channels[: load.instruments]).ravel()
        late = np.repeat(np.arange(load.instruments) * 997, len(KEYS))
        seconds = np.arange(load.batches) - load.batches + 1
        times = (last + late[:, None] + seconds[None, :] * 1_000_000).ravel()
        values = np.array(columns, dtype=float).T.ravel()
        return [
            array(times, ">i8", 1184),
            array(values, ">f8", 701),
            array(np.repeat(channels, load.batches), ">i4", 23),
            array(np.zeros(len(times)), ">i2", 21),
        ]


def microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def array(items: Any, kind: str, oid: int) -> bytes:
    """PostgreSQL's binary form of an array; NaN is NULL."""
    elements = np.empty(len(items), np.dtype([("length", ">i4"), ("item", kind)]))
    elements["length"] = elements["item"].itemsize
    elements["item"] = items
    head = struct.pack(">iIIii", 1, 1, oid, len(items), 1)
    absent = np.isnan(items)
    if not absent.any():
        return head + elements.tobytes()
    elements["length"][absent] = -1
    kept = np.ones((len(elements), elements.dtype.itemsize), bool)
    kept[absent, 4:] = False
    return head + elements.view(np.uint8).reshape(kept.shape)[kept].tobytes()


def labsite(lab: Lab, parcels: Sequence[Parcel]) -> float:
    """Seconds from the sealed parcels to the last commit."""
    started = time.perf_counter()
    for parcel in parcels:
        envelope, message = wire.open_envelope(parcel.envelope, wire.Parcel, lambda *_: KEY)
        outcome = pipeline.ingest(lab.edge, message, timezone.now())
        if outcome.rejected or not outcome.readings:
            raise SystemExit(f"not stored: {envelope.edge} {outcome}")
    return time.perf_counter() - started


def unjudged(lab: Lab, parcels: Sequence[Parcel]) -> float:
    """The same without the step that judges."""
    judge, evaluation.judge = evaluation.judge, lambda *_: None
    try:
        return labsite(lab, parcels)
    finally:
        evaluation.judge = judge


def baseline(parcels: Sequence[Parcel]) -> float:
    """Seconds of the bare statement, once a parcel, each its own transaction."""
    connection.ensure_connection()
    server = connection.connection.pgconn
    started = time.perf_counter()
    for parcel in parcels:
        result = server.exec_params(BASELINE, parcel.arrays, [1185, 1022, 1007, 1005], [1, 1, 1, 1])
        if result.error_message:
            raise SystemExit(result.error_message.decode())
    return time.perf_counter() - started


def measure(lab: Lab, load: Load, repeats: int) -> Iterator[dict[str, float | str]]:
    rates: dict[str, list[float]] = {"labsite": [], "unjudged": [], "baseline": []}
    # What catches up comes late for its roll-ups, and is marked; what is live does not.
    closing = timezone.now() if load.track == "backlog" else lab.clock
    RollupMark.objects.update_or_create(width="minute", defaults={"closing": closing, "published": lab.clock})
    for _ in range(repeats + 1):  # the first warms up
        parcels = [lab.parcel(load) for _ in range(load.parcels)]
        rates["labsite"].append(load.readings / labsite(lab, parcels))
        rates["baseline"].append(load.readings / baseline(parcels))
        others = [lab.parcel(load) for _ in range(load.parcels)]
        rates["unjudged"].append(load.readings / unjudged(lab, others))
    median = {name: statistics.median(found[1:]) for name, found in rates.items()}
    ratios = [ours / bare for ours, bare in zip(rates["labsite"], rates["baseline"], strict=True)][1:]
    yield {
        "figure": f"ingest, {load.name}",
        "readings_per_second": round(median["labsite"]),
        "baseline_per_second": round(median["baseline"]),
        "ratio": round(median["labsite"] / median["baseline"], 2),
        "ratio_lowest": round(min(ratios), 2),
        "target": load.target,
    }
    yield {
        "figure": f"judging two rules a channel, {load.name}",
        "readings_per_second": round(median["labsite"]),
        "unjudged_per_second": round(median["unjudged"]),
        "more_time": round(median["unjudged"] / median["labsite"] - 1, 3),
        "target": JUDGING_MOST,
    }


def main(repeats: int) -> None:
    lab = Lab()
    for load in LOADS:
        for figure in measure(lab, load, repeats):
            print(json.dumps(figure), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
