"""Labsite itself: its processes, edges, queues, the store, sinks and alarms."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from celery import current_app
from django.db import connection
from django.db.models import Count
from kombu.exceptions import OperationalError as BrokerAway
from prometheus_client.core import Metric

from alerts.lifecycle import STANDING, UNACKNOWLEDGED
from alerts.models import Alarm, Notice, NoticeState, Priority
from devices import outgoing
from devices.models import PUSH_EDGE, Edge
from labsite import __version__, status
from labsite.metrics.families import Labels, Value, column, counter, gauge
from telemetry.models import Sink

CENTRAL_QUEUES = ("ingest", "central")

# What an edge tells of itself (driver edge_host), as metrics: key, name, what it is, to base units.
EDGE_GAUGES = (
    ("instruments", "labsite_edge_instruments", "Instruments that an edge polls", 1),
    ("connected", "labsite_edge_connected", "Instruments that an edge is connected to", 1),
    ("spool_waiting", "labsite_edge_spool_batches", "Batches that wait in an edge's spool", 1),
    ("spool_age", "labsite_edge_spool_age_seconds", "Age of the oldest batch that waits", 1),
    ("spool_size", "labsite_edge_spool_bytes", "Size of the spool on disk", 1 << 20),
    (
        "clock_offset",
        "labsite_edge_clock_offset_seconds",
        "How far the edge's clock is ahead of the centre's",
        1,
    ),
    ("cpu", "labsite_edge_cpu_ratio", "Share of one core", 1e-2),
    ("memory", "labsite_edge_memory_bytes", "Resident memory", 1 << 20),
    ("disk_free", "labsite_edge_disk_free_ratio", "Free share of the disk with the spool", 1e-2),
    ("temperature", "labsite_edge_temperature_celsius", "Of the edge's processor", 1),
)
EDGE_COUNTERS = (
    ("polls", "labsite_edge_polls", "Polls begun since the edge started"),
    ("overruns", "labsite_edge_overruns", "Polls that were due while the one before still ran"),
    ("skipped", "labsite_edge_skipped", "Polls that were due and not begun"),
    ("connects", "labsite_edge_connects", "Connections made to instruments"),
    ("failures", "labsite_edge_failures", "Polls and connections that failed"),
)

LATENESS = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM stored_at - time)::float8)
FROM devices_latest WHERE stored_at > now() - interval '1 minute' AND quality & 3 <> 2 AND seen_at = time
"""
ROLLUPS = "SELECT width, extract(epoch FROM %s - published)::float8 FROM rollup_mark ORDER BY width"


class Own:
    """A collector of how Labsite is doing at this moment."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def collect(self) -> Iterator[Metric]:
        yield gauge("labsite_version", "1 beside the version that runs", [((__version__,), 1)], ("version",))
        yield from _processes(status.processes(self._at))
        yield from _edges(status.edges(self._at))
        yield gauge("labsite_queue_messages", "Messages that wait in the broker", _queues(), ("queue",))
        yield from self._store()
        yield from _sinks(self._at)
        yield from _alarms()

    def _store(self) -> Iterator[Metric]:
        disk = status.disk()
        yield gauge("labsite_disk_bytes", "Of the disk with the data folder", [((), disk["total"])])
        yield gauge("labsite_disk_free_bytes", "Of the disk with the data folder", [((), disk["free"])])
        yield gauge("labsite_database_bytes", "Size of the database", [((), status.database_bytes())])
        with connection.cursor() as cursor:
            cursor.execute(ROLLUPS, [self._at])
            behind = [((width,), seconds) for width, seconds in cursor.fetchall()]
            cursor.execute(LATENESS)
            (late,) = cursor.fetchone()
        yield gauge("labsite_rollup_behind_seconds", "Age of the newest roll-up's end", behind, ("width",))
        yield gauge(
            "labsite_reading_lateness_seconds",
            "From reading to storing, of the newest readings of a minute",
            zip([("50",), ("99",)], late or (), strict=False),
            ("percentile",),
        )


def _processes(told: list[dict[str, Any]]) -> Iterator[Metric]:
    yield gauge(
        "labsite_process_age_seconds",
        "Since the last word of a process",
        (((each["process"],), each["age"]) for each in told),
        ("process",),
    )
    for each in told:
        figures = {name: value for name, value in each["said"].items() if isinstance(value, int | float)}
        rows = [((name,), value) for name, value in sorted(figures.items())]
        if each["process"] == "ingest":
            yield counter("labsite_ingest", "What ingest took in, of each kind", rows, ("what",))


def _edges(told: list[dict[str, Any]]) -> Iterator[Metric]:
    rows: list[tuple[Labels, dict[str, Any]]] = [((each["name"],), each["status"]) for each in told]
    yield gauge(
        "labsite_edge_age_seconds",
        "Since an edge was heard",
        (((each["name"],), each["age"]) for each in told),
        ("edge",),
    )
    for key, name, what, scale in EDGE_GAUGES:
        yield gauge(name, what, column(rows, key, scale), ("edge",))
    for key, name, what in EDGE_COUNTERS:
        yield counter(name, what, column(rows, key), ("edge",))
    yield gauge(
        "labsite_edge_lateness_seconds",
        "How late polls of the last minute began",
        (
            ((*labels, percentile), value)
            for percentile, key in (("50", "lateness_p50"), ("99", "lateness_p99"))
            for labels, value in column(rows, key, 1e-3)
        ),
        ("edge", "percentile"),
    )


def _queues() -> list[tuple[Labels, Value]]:
    """None while the broker is away."""
    edges = Edge.objects.filter(retired_at=None).exclude(name=PUSH_EDGE).order_by("name")
    queues = [*CENTRAL_QUEUES, *(edge.queue for edge in edges)]
    try:
        with current_app.producer_or_acquire() as producer:
            waiting = producer.connection.ensure(producer, outgoing.waiting, **outgoing.RETRY)
            return [((queue,), length) for queue, length in waiting(producer, queues).items()]
    except (BrokerAway, OSError):
        return []


def _sinks(at: datetime) -> Iterator[Metric]:
    sinks = list(Sink.objects.filter(enabled=True))
    yield gauge(
        "labsite_sink_behind_seconds",
        "Age of what a sink was last fed",
        (((each.name,), (at - each.at_time).total_seconds() if each.at_time else None) for each in sinks),
        ("sink",),
    )
    yield gauge(
        "labsite_sink_failures",
        "Failed attempts in a row",
        (((each.name,), each.failures) for each in sinks),
        ("sink",),
    )
    yield counter(
        "labsite_sink_points", "Points written", (((each.name,), each.points) for each in sinks), ("sink",)
    )


def _alarms() -> Iterator[Metric]:
    names = {each: each.name.lower() for each in Priority}
    for name, what, states in (
        ("labsite_alarms_standing", "Alarms that stand", STANDING),
        ("labsite_alarms_unacknowledged", "Alarms that nobody has acknowledged", UNACKNOWLEDGED),
    ):
        counted = dict(
            Alarm.objects.filter(state__in=states).values_list("priority").annotate(Count("pk")).order_by()
        )
        rows = [((word,), counted.get(priority, 0)) for priority, word in names.items()]
        yield gauge(name, what, rows, ("priority",))
    for name, what, state in (
        ("labsite_notices_waiting", "Notices on their way", NoticeState.WAITING),
        ("labsite_notices_undelivered", "Notices that could not be delivered", NoticeState.FAILED),
    ):
        yield gauge(name, what, [((), Notice.objects.filter(state=state).count())])
