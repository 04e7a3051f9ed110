"""What the replaced Metatron server answered: shapes, order of keys and spelling (notes §2 and §3)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from devices.readings import RUN_ENDED

JOBS_MAX = 100
HISTORY_MAX = 1_000
METRICS = ("energy", "accuracy", "duration_secs", "iterations")
# The server knew four states.
STATUSES = {
    "pending": "pending",
    "completed": "completed",
    "failed": "failed",
    "aborted": "failed",
    "lost": "failed",
}
HEALTH = {"service": "metatron_telemetry", "status": "ok"}


class Point(NamedTuple):
    """The three figures at one time."""

    time: datetime
    psi: float
    rho: float
    omega: float
    algorithm: str


class Backend(NamedTuple):
    provider: str
    name: str
    num_qubits: int
    is_simulator: bool
    mode: str | None


class Job(NamedTuple):
    """A run. `state` is one of devices.readings.RUN_STATES."""

    id: UUID
    kind: str
    state: str
    started: datetime
    ended: datetime | None
    metrics: Mapping[str, Any]


def status(
    now: Point,
    mode: str,
    health: Mapping[str, bool],
    backend: Backend,
    available: Sequence[str],
    triton: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """`health`: scs, dionice and qdash."""
    return {
        "algorithm": now.algorithm,
        "mode": mode,
        "psi": now.psi,
        "rho": now.rho,
        "omega": now.omega,
        "backend_health": {f"{name}_ready": health[name] for name in ("scs", "dionice", "qdash")},
        "backend_info": backend._asdict(),
        "available_backends": list(available),
        "triton_status": triton,
        "last_update": rfc3339(now.time),
    }


def job(of: Job) -> dict[str, Any]:
    """Metrics that the server did not name come behind those it did, by name."""
    metrics = dict(of.metrics)
    if metrics.get("duration_secs") is None and of.ended is not None:
        metrics["duration_secs"] = (of.ended - of.started).total_seconds()
    extras = {name: metrics[name] for name in sorted(metrics) if name not in METRICS}
    return {
        "id": str(of.id),
        "job_type": of.kind,
        "status": STATUSES.get(of.state, "failed" if of.ended else "running"),
        "started_at": rfc3339(of.started),
        "completed_at": rfc3339(of.ended) if of.ended and of.state in RUN_ENDED else None,
        "metrics": {**{name: metrics.get(name) for name in METRICS}, **extras},
    }


def point(of: Point) -> dict[str, Any]:
    return {
        "timestamp": rfc3339(of.time),
        "psi": of.psi,
        "rho": of.rho,
        "omega": of.omega,
        "algorithm": of.algorithm,
    }


def job_id(instrument: UUID, key: str) -> UUID:
    """The id of a run: its instrument's own name of it if that is a UUID, else one that is made of it."""
    try:
        return UUID(key)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"labsite:{instrument}/{key}")


def rfc3339(time: datetime) -> str:
    """UTC with Z and nine digits, of which a stored time has six."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def scaled(value: float, low: float | None, high: float | None) -> float:
    """From `low` to `high` as 0 to 1; without them as it is. `low` may be the greater one."""
    if low is None or high is None:
        return float(value)
    return min(max((value - low) / (high - low), 0.0), 1.0)


def written(content: Any) -> bytes:
    """JSON as the server wrote it: compact, floats by their shortest digits."""
    return msgspec.json.encode(content)
