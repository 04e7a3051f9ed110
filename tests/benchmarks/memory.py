"""Memory of everything that `make run` starts with the demo lab, and of the edge."""

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from devices import simulators
from labsite.onebox import ports
from tests.benchmarks import report
from tests.benchmarks.alone import Bench, edge_polling
from tests.faults.soak import example
from tests.servers import Process, dying_with_tests
from tests.waiting import until

SETTLE_S = float(os.environ.get("LABSITE_BENCH_SECONDS", "40"))


def pss(pid: int) -> float:
    """Proportional set size in MB: what is shared counts in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"no Pss of {pid}")


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


DECLARED = ("scpi", "modbus", "http_json")


def every_simulated() -> list[Bench]:
    """One of each driver with a simulator, those that a lab declares as their examples do."""
    return [Bench(name, options=example(name) if name in DECLARED else {}) for name in simulators.SIMULATORS]


def every_driver() -> list[Bench]:
    """One of every driver there is."""
    others = [
        Bench("edge_host", addresses=["edge://local"]),
        Bench("labsite_simulated", addresses=["simulated://local"], options=example("labsite_simulated")),
        Bench("mqtt_in", addresses=["mqtt://127.0.0.1:1"], options=example("mqtt_in"), answers=False),
    ]
    return [*every_simulated(), *others]


def edge_with_all_drivers() -> None:
    with tempfile.TemporaryDirectory() as name:
        benches = every_driver()
        with edge_polling(Path(name), *benches) as (edge, _):
            time.sleep(SETTLE_S)
            resident = edge.memory_info().rss / 1e6
    report(
        "memory, edge with all drivers",
        resident,
        "MB resident",
        "<= 96",
        met=resident <= 96,
        drivers=len(benches),
    )


def main() -> None:
    edge_with_all_drivers()
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LABSITE_")},
            "LABSITE_DATA": str(Path(name) / "var"),
            "LABSITE_PORT": str(ports.free()),
        }
        command = dying_with_tests([sys.executable, "-m", "labsite.onebox", "run"], "SIGTERM")
        with Process(command, log, environment).start() as onebox:
            until(lambda: "http://" in onebox.output, 90, "it prints its address", every=0.2)
            time.sleep(SETTLE_S)
            each = {
                f"{process.name()} {' '.join(process.cmdline()[1:4])}"[:60]: pss(process.pid)
                for process in family(onebox.pid)
            }
            edge = (
                next(p for p in family(onebox.pid) if "devices.edge" in p.cmdline()).memory_info().rss / 1e6
            )
    total = sum(each.values())
    report("memory, edge of the demo lab", edge, "MB resident", "<= 96", met=edge <= 96)
    report("memory, all of make run with the demo lab", total, "MB PSS", "<= 450", met=total <= 450, **each)


if __name__ == "__main__":
    main()
