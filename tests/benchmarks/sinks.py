"""What feeding sinks costs ingest, and how fast they are fed: `python -m tests.benchmarks.sinks [repeats]`.

Prints one JSON line a figure. Feeds a real influxdb, if there is one, beside a bare POST of the same lines.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.ingest import ROOT, database


def main(repeats: str) -> int:
    with tempfile.TemporaryDirectory(prefix="labsite-bench-") as folder, database(Path(folder)) as url:
        environment = os.environ | {
            "LABSITE_DATA": str(Path(folder) / "data"),
            "LABSITE_DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "labsite.settings",
        }
        for words in (
            ["manage.py", "migrate", "-v0"],
            ["-m", "tests.benchmarks.sinks_runs", repeats, folder],
        ):
            subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "5"))
