"""What a simulated Metatron server knows: status, history, jobs; and how time changes them.

Section numbers are those of the protocol notes. All times are ns of UTC.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

HISTORY_MAX = 1_000
JOBS_MAX = 100
RAMP_POINTS = 50


@dataclass(slots=True)
class Job:
    """One run, as §3 lists its keys; `extras` are flattened into its metrics."""

    id: UUID
    started: int
    job_type: str = "calibration"
    status: str = "pending"
    completed: int | None = None
    energy: float | None = None
    accuracy: float | None = None
    duration: float | None = None
    iterations: int | None = None
    extras: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "job_type": self.job_type,
            "status": self.status,
            "started_at": rfc3339(self.started),
            "completed_at": None if self.completed is None else rfc3339(self.completed),
            "metrics": {
                "energy": self.energy,
                "accuracy": self.accuracy,
                "duration_secs": self.duration,
                "iterations": self.iterations,
                **self.extras,
            },
        }


@dataclass(slots=True)
class State:
    """All of it is in memory: a restart begins with a new one."""

    random: Random
    algorithm: str = "VQE"
    mode: str = "Explore"
    psi: float = 0.0
    rho: float = 0.0
    omega: float = 0.0
    health: dict[str, bool] = field(
        default_factory=lambda: {"scs_ready": True, "dionice_ready": True, "qdash_ready": True}
    )
    triton: dict[str, Any] | None = None
    last_update: int = 0
    history: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=HISTORY_MAX))
    jobs: deque[Job] = field(default_factory=lambda: deque(maxlen=JOBS_MAX))

    def update(self, at: int, psi: float, rho: float, omega: float) -> None:
        """New metrics: the status, and one point of history that is stamped a moment later."""
        self.psi, self.rho, self.omega, self.last_update = psi, rho, omega, at
        stamp = rfc3339(at + self.random.randrange(40, 900))
        self.history.append(
            {"timestamp": stamp, "psi": psi, "rho": rho, "omega": omega, "algorithm": self.algorithm}
        )

    def ramp(self, at: int) -> None:
        """The made-up points of the start-up (§3); the last one is stamped about `at`."""
        stamps = [at]
        for _ in range(RAMP_POINTS - 1):
            stamps.append(stamps[-1] - self.random.randrange(900, 2_600))
        for i, stamp in enumerate(reversed(stamps)):
            share = i / RAMP_POINTS
            self.update(stamp, 0.75 + share * 0.15, 0.80 + share * 0.10, 0.70 + share * 0.15)

    def new_job(self, at: int, job_type: str = "calibration") -> Job:
        """The oldest is dropped once there are too many, even if it is still running."""
        job = Job(UUID(int=self.random.getrandbits(128), version=4), at, job_type)
        self.jobs.append(job)
        return job

    def job(self, wanted: UUID) -> Job | None:
        return next((job for job in self.jobs if job.id == wanted), None)

    def status(self) -> dict[str, Any]:
        return {
            "algorithm": self.algorithm,
            "mode": self.mode,
            "psi": self.psi,
            "rho": self.rho,
            "omega": self.omega,
            "backend_health": self.health,
            "backend_info": {
                "provider": "local",
                "name": "local_sim",
                "num_qubits": 13,
                "is_simulator": True,
                "mode": None,
            },
            "available_backends": ["local_sim"],
            "triton_status": self.triton,
            "last_update": rfc3339(self.last_update),
        }


def rfc3339(at: int) -> str:
    """As the server writes it: UTC with Z and 0, 3, 6 or 9 digits behind the point, as many as needed."""
    seconds, rest = divmod(at, 1_000_000_000)
    digits = f"{rest:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def compact(value: Any) -> bytes:
    """JSON as the server writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
