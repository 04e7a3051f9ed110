"""Memory of everything that `make run` starts with the demo lab, and of the edge."""

import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from labsite.onebox import ports
from tests.benchmarks import report
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


def main() -> None:
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
    report("memory, edge with thermostats", edge, "MB resident", "<= 64", met=edge <= 64)
    report("memory, all of make run with the demo lab", total, "MB PSS", "<= 450", met=total <= 450, **each)


if __name__ == "__main__":
    main()
