"""A Metatron server's jobs as runs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from devices.drivers import json_values
from devices.readings import INT_MAX, Run

JOBS_MAX = 1_000  # taken of an answer; the server keeps 100
METRICS_MAX = 100
STATES = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "paused": "paused",
    "cancelled": "aborted",
    "canceled": "aborted",
    "aborted": "aborted",
}
COUNTED = ("pending", "running", "completed", "failed", "unknown")
OVER = ("completed", "failed", "aborted", "lost")


def runs(jobs: Iterable[Any]) -> dict[str, Run]:
    """By their ids, oldest first; what is no job is left out."""
    found = (_run(job) for job in list(jobs)[-JOBS_MAX:])
    return {run.id: run for run in found if run is not None}


def counts(known: Mapping[str, Run]) -> dict[str, int]:
    """How many there are of each state, by the channels' keys."""
    counted = Counter(run.state if run.state in COUNTED else "unknown" for run in known.values())
    return {f"jobs.{state}": counted[state] for state in COUNTED}


def changed(known: dict[str, Run], now: Mapping[str, Run], clock: int) -> list[Run]:
    """The runs that are not as they were `known`, which is brought up to date. One that vanished before
    it was over is lost; `clock` is the server's, in µs."""
    fresh = [run for run in now.values() if known.get(run.id) != run]
    vanished = [run for name, run in known.items() if name not in now and run.state not in OVER]
    fresh += [run._replace(state="lost") for run in vanished]
    known.clear()
    known.update(now)
    return [run._replace(time=_time(run, clock)) for run in fresh]


def _run(job: Any) -> Run | None:
    name = json_values.text(job.get("id")) if isinstance(job, dict) else None
    if not name:
        return None
    state = STATES.get(str(job.get("status")).lower(), "unknown")
    start, end = json_values.moment(job.get("started_at")), json_values.moment(job.get("completed_at"))
    kind = json_values.text(job.get("job_type")) or "job"
    fields: dict[str, Any] = {"metrics": _metrics(job.get("metrics"))}
    if state == "unknown":
        fields["status"] = (json_values.text(job.get("status")) or "")[:60]
    if start is not None and end is not None:
        fields["duration"] = round((end - start) / 1e6, 6)  # duration_secs is only nominal
    progress = 1.0 if state == "completed" else None
    title = f"{kind} {name[:8]}"
    return Run(name[:200], kind[:60], state, title, progress, start, end, fields)


def _metrics(metrics: Any) -> dict[str, Any]:
    """Those that are there: numbers, and what else is short enough to be told."""
    if not isinstance(metrics, dict):
        return {}
    kept: dict[str, Any] = {}
    for name, value in list(metrics.items())[:METRICS_MAX]:
        whole = isinstance(value, int) and abs(value) <= INT_MAX
        plain: float | bool | str | None = value if whole else json_values.number(value)
        if plain is None and isinstance(value, str):
            plain = (json_values.text(value) or "")[:200]
        if plain is not None:
            kept[(json_values.text(name) or "")[:60]] = plain
    return kept


def _time(run: Run, clock: int) -> int | None:
    """Since when it is as it is, by the server's clock as far as it tells: the later word counts. `clock` is
    cut to whole seconds, so that no end is before a word from the time before it."""
    if run.state in OVER and run.end is not None:
        return max(run.end, _after(run.start, 2))
    return max(clock, _after(run.start, 0 if run.state == "pending" else 1)) or None


def _after(start: int | None, more: int) -> int:
    return 0 if start is None else start + more
