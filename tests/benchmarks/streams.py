"""What 50 QuantStudios that stream their runs cost one edge."""

import os
import tempfile
import time
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.alone import Bench, edge_polling

COUNT = 50
SECONDS = float(os.environ.get("LABSITE_BENCH_SECONDS", "60"))
WARM_UP_S = 30.0  # until all runs are under way
CPU_MAX = 0.25


def main() -> None:
    machines = Bench("quantstudio", COUNT, interval=5.0)
    with tempfile.TemporaryDirectory() as name, edge_polling(Path(name), machines) as (edge, centre):
        time.sleep(WARM_UP_S)
        before, stored = edge.cpu_times(), centre.readings
        time.sleep(SECONDS)
        after, stored = edge.cpu_times(), centre.readings - stored
        resident = edge.memory_info().rss / 1e6
    used = (after.user + after.system - before.user - before.system) / SECONDS
    report(
        f"streams, {COUNT} QuantStudios to one edge",
        used,
        "of a core",
        f"<= {CPU_MAX}",
        met=used <= CPU_MAX and stored > COUNT * SECONDS,
        readings_per_s=stored / SECONDS,
        rss_mb=resident,
    )


if __name__ == "__main__":
    main()
