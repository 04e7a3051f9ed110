"""What computed channels and storage policies add to ingest: `python -m tests.benchmarks.computed [repeats]`.

Prints one JSON line a figure. Uses the server of LABSITE_TEST_DATABASE_URL, if that is set.
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
        for words in (["manage.py", "migrate", "-v0"], ["-m", "tests.benchmarks.computed_runs", repeats]):
            subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "5"))
