"""One edge with a real broker, whose centre is this program, and simulated instruments of any driver."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from devices import wire
from tests.benchmarks.cadence import EDGE, KEY, Centre
from tests.servers import Process, Redis, dying_with_tests
from tests.waiting import until


@dataclass(frozen=True)
class Bench:
    """Instruments of one driver, and how they are polled."""

    driver: str
    count: int = 1
    interval: float = 1.0
    settings: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    addresses: Sequence[str] = ()  # of such as need no simulator
    answers: bool = True  # whether they can be connected to


@contextmanager
def simulated(bench: Bench) -> Iterator[list[str]]:
    """The addresses of simulated instruments, in a process of their own."""
    if bench.addresses:
        yield list(bench.addresses)
        return
    command = [sys.executable, "-m", "devices.simulators", bench.driver, "--count", str(bench.count)]
    command += ["--seed", "1", *(word for text in bench.settings for word in ("--set", text))]
    with subprocess.Popen(dying_with_tests(command), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield [json.loads(process.stdout.readline())["address"] for _ in range(bench.count)]
        process.terminate()


def orders_for(bench: Bench, addresses: Sequence[str], first: int) -> list[wire.Order]:
    """Spread over the interval."""
    return [
        wire.Order(
            str(uuid.UUID(int=first + n)),
            f"{bench.driver} {n}",
            bench.driver,
            address,
            dict(bench.options),
            bench.interval,
            bench.interval * n / len(addresses),
            1,
        )
        for n, address in enumerate(addresses)
    ]


@contextmanager
def edge_polling(folder: Path, *benches: Bench) -> Iterator[tuple[psutil.Process, Centre]]:
    """The edge's process once all of these are connected, and its centre."""
    with ExitStack() as stack:
        broker = stack.enter_context(Redis(folder / "redis").start())
        orders: list[wire.Order] = []
        answering = 0
        for bench in benches:
            addresses = stack.enter_context(simulated(bench))
            orders += orders_for(bench, addresses, len(orders) + 1)
            answering += len(addresses) * bench.answers
        centre = Centre(broker.url, orders)
        centre.counts = True
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
        connected = lambda: float(centre.status.get("connected") or 0) >= answering  # noqa: E731
        until(connected, 90, f"all {answering} are connected: {edge.output[-3000:]}", every=0.5)
        yield psutil.Process(edge.pid), centre
