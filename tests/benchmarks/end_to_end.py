"""From reading to API: 200 thermostats at 1 Hz through all real processes."""

import os
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from labsite.onebox import ports
from tests.benchmarks import report
from tests.faults.lab import Lab
from tests.waiting import until

INSTRUMENTS = 200
SECONDS = float(os.environ.get("LABSITE_BENCH_SECONDS", "40"))
LOOKS_PER_S = 4
KEY = "ch0.temperature"


def start_web(lab: Lab) -> httpx.Client:
    """The web process, and a client with a token."""
    port = ports.free()
    lab.environment["DJANGO_SUPERUSER_PASSWORD"] = os.urandom(12).hex()
    lab.manage("createsuperuser", "--noinput", "--username", "bench", "--email", "")
    token = lab.manage("create_token", "bench").split()[-1]
    command = (
        sys.executable,
        "-m",
        "uvicorn",
        "labsite.asgi:application",
        "--port",
        str(port),
        "--no-access-log",
    )
    lab.start("web", command)
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}/api/v1/", headers={"Authorization": f"Bearer {token}"}
    )
    until(lambda: answers(client), 20, f"the web process answers\n{lab.logs()}")
    return client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("health/").status_code == 200
    except httpx.TransportError:
        return False


def ages(client: httpx.Client, seconds: float) -> list[float]:
    """For each reading that appears in the API: seconds since it was read, when it is first seen there."""
    seen: dict[int, str] = {}
    found: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reply = client.get("latest/", params={"key": KEY, "page_size": INSTRUMENTS}).raise_for_status().json()
        now = datetime.now(UTC)
        for latest in reply["results"]:
            if seen.get(latest["channel"], latest["time"]) != latest["time"]:
                found.append((now - datetime.fromisoformat(latest["time"])).total_seconds())
            seen[latest["channel"]] = latest["time"]
        time.sleep(1 / LOOKS_PER_S)
    return found


def cpu_of(lab: Lab) -> float:
    """CPU seconds of the product's own processes so far."""
    own = [lab.processes[name] for name in ("ingest", "central", "beat", "edge", "web")]
    pids = [process.pid for process in [*own, lab.postgres, lab.redis]]
    family = [p for pid in pids for p in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    return sum(sum(process.cpu_times()[:2]) for process in family)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, Lab(Path(name), instruments=INSTRUMENTS, interval=1.0) as lab:
        with closing(start_web(lab)) as client:
            ages(client, 10)
            before, started = cpu_of(lab), time.monotonic()
            late = sorted(ages(client, SECONDS))
            used = (cpu_of(lab) - before) / (time.monotonic() - started)
        lab.stop("web")
    p99 = late[int(len(late) * 0.99)]
    report(
        f"end to end, {INSTRUMENTS} thermostats at 1 Hz, reading to API",
        value=p99,
        unit="s, p99",
        target="<= 1.5",
        met=p99 <= 1.5,
        p50=late[len(late) // 2],
        readings_seen=len(late),
        cpu_cores=used,
    )


if __name__ == "__main__":
    main()
