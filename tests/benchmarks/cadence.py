"""How punctually one edge polls 1,000 and 5,000 thermostats at 1 Hz, and what it costs beside a bare loop.

The edge is the real process with a real broker; this program is its centre.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis
from celery import Celery

from devices import wire
from tests.benchmarks import report
from tests.servers import Process, Redis, dying_with_tests

KEY = bytes(range(32))
EDGE = "bench"
SECONDS = float(os.environ.get("LABSITE_BENCH_SECONDS", "40"))
WARM_UP_S = 15.0
TARGETS = {1_000: 20.0, 5_000: 100.0}  # p99 of lateness, ms


class Centre(threading.Thread):
    """Answers hellos with the whole book and parcels with an acknowledgement."""

    def __init__(self, url: str, orders: list[wire.Order]) -> None:
        super().__init__(daemon=True)
        self.orders = orders
        self.status: dict[str, float | str | None] = {}
        self.counts = False  # it takes this process time
        self.readings = 0
        self.done = threading.Event()
        self._client = redis.Redis.from_url(url)
        self._app = Celery(broker=url)

    def run(self) -> None:
        while not self.done.is_set():
            taken: Any = self._client.brpop(["ingest"], 1)
            if taken:
                self._answer(json.loads(taken[1]), time.time_ns() // 1000)
        self._app.close()
        self._client.close()

    def _answer(self, message: dict[str, Any], received: int) -> None:
        (envelope,), _, _ = json.loads(base64.b64decode(message["body"]))
        if message["headers"]["task"] == "labsite.hello":
            _, hello = wire.open_envelope(envelope, wire.Hello, lambda *_: KEY)
            self.status = hello.status
            self._send("edge.welcome", self._welcome(hello, received))
            if hello.orders != len(self.orders):
                ids = [order.instrument for order in self.orders]
                self._send("edge.book", wire.Book("epoch", 1, ids, self.orders))
        else:
            _, parcel = wire.open_envelope(envelope, wire.Parcel, lambda *_: KEY)
            if self.counts:
                self.readings += sum(
                    len(wire.unpack(wire.as_bytes(batch)).values) for batch in parcel.batches
                )
            now = time.time_ns() // 1000
            ack = wire.Ack(parcel.spool, parcel.sequences, "stored", "", 0, received, now, parcel.sent_mono)
            self._send("edge.ack", ack)

    def _welcome(self, hello: wire.Hello, received: int) -> wire.Welcome:
        now = time.time_ns() // 1000
        return wire.Welcome(
            hello.instance, True, "", "epoch", 1, hello.spool, 0, received, now, hello.sent_mono
        )

    def _send(self, task: str, message: wire.Message) -> None:
        self._app.send_task(
            task, (wire.seal(message, EDGE, 1, KEY),), queue=f"edge.{EDGE}", ignore_result=True
        )


@contextmanager
def simulated(folder: Path, count: int) -> Iterator[list[str]]:
    """The addresses of so many simulated thermostats."""
    command = [sys.executable, "-m", "devices.simulators", "thermostat", "--count", str(count)]
    command += ["--seed", "1", "--set", "physics=off"]
    with subprocess.Popen(dying_with_tests(command), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield [json.loads(process.stdout.readline())["address"] for _ in range(count)]
        process.terminate()


def orders_for(addresses: list[str]) -> list[wire.Order]:
    return [
        wire.Order(str(uuid.UUID(int=n + 1)), f"t{n}", "thermostat", address, {}, 1.0, n / len(addresses), 1)
        for n, address in enumerate(addresses)
    ]


def measure(folder: Path, count: int) -> dict[str, float]:
    """The edge's CPU share, p99 of lateness over the last minute, and polls that did not take place."""
    with ExitStack() as stack:
        broker = stack.enter_context(Redis(folder / "redis").start())
        addresses = stack.enter_context(simulated(folder, count))
        centre = Centre(broker.url, orders_for(addresses))
        centre.start()
        stack.callback(centre.join)
        stack.callback(centre.done.set)
        environment = {
            **os.environ,
            "LABSITE_EDGE": EDGE,
            "LABSITE_EDGE_KEY": f"1:{KEY.hex()}",
            "LABSITE_BROKER_URL": broker.url,
            "LABSITE_SPOOL": str(folder / "spool"),
        }
        command = dying_with_tests([sys.executable, "-m", "devices.edge"])
        edge = stack.enter_context(Process(command, folder / "edge.log", environment).start())
        return observe(edge.pid, centre, count)


def observe(pid: int, centre: Centre, count: int) -> dict[str, float]:
    process = psutil.Process(pid)
    deadline = time.monotonic() + 60
    while float(centre.status.get("connected") or 0) < count and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(WARM_UP_S)
    before, skipped = process.cpu_times(), missed(centre)
    time.sleep(SECONDS)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    deadline = time.monotonic() + max(65 - SECONDS, 0)  # until the start has left the window of lateness
    while time.monotonic() < deadline:
        time.sleep(0.5)
    return {
        "cpu": used / SECONDS,
        "late_p99_ms": float(centre.status.get("lateness_p99") or 0),
        "late_p50_ms": float(centre.status.get("lateness_p50") or 0),
        "skipped": missed(centre) - skipped,
        "rss_mb": process.memory_info().rss / 1e6,
    }


def missed(centre: Centre) -> float:
    return float(centre.status.get("skipped") or 0) + float(centre.status.get("overruns") or 0)


def baseline(folder: Path, count: int) -> dict[str, float]:
    """The same reads and writes by a bare loop."""
    with simulated(folder, count) as addresses:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.bare_loop",
            str(SECONDS),
            str(folder / "bare.sqlite"),
        ]
        done = subprocess.run(
            command, input="\n".join(addresses), capture_output=True, text=True, check=True, timeout=300
        )
    return dict(json.loads(done.stdout))


def main() -> None:
    for count, target in TARGETS.items():
        with tempfile.TemporaryDirectory() as name:
            bare = baseline(Path(name), count)
            edge = measure(Path(name), count)
        report(
            f"cadence, {count} thermostats at 1 Hz",
            value=edge["late_p99_ms"],
            unit="ms late, p99",
            target=f"<= {target:g}",
            met=edge["late_p99_ms"] <= target and (count == 1_000 or not edge["skipped"]),
            skipped=edge["skipped"],
            late_p50_ms=edge["late_p50_ms"],
            bare_late_p99_ms=bare["late_p99_ms"],
        )
        report(
            f"cadence, CPU beside a bare loop, {count} thermostats",
            value=edge["cpu"] / bare["cpu"],
            unit="times the bare loop",
            target="<= 1.5",
            met=edge["cpu"] <= 1.5 * bare["cpu"],
            cpu=edge["cpu"],
            bare_cpu=bare["cpu"],
        )


if __name__ == "__main__":
    main()
