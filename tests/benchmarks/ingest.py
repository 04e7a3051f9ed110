"""Ingest into PostgreSQL beside a bare INSERT of the same: `python -m tests.benchmarks.ingest [repeats]`.

Prints one JSON line a figure. Uses the server of LABSITE_TEST_DATABASE_URL, if that is set.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.servers import Postgres

ROOT = Path(__file__).parents[2]


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """The URL of an empty database."""
    given = os.environ.get("LABSITE_TEST_DATABASE_URL")
    if not given:
        with Postgres(folder / "postgres").start() as postgres:
            yield postgres.make_database()
        return
    name = f"labsite_bench_{os.getpid()}"
    with psycopg.connect(given, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield f"{given.rsplit('/', 1)[0]}/{name}"
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def main(repeats: str) -> int:
    with tempfile.TemporaryDirectory(prefix="labsite-bench-") as folder, database(Path(folder)) as url:
        environment = os.environ | {
            "LABSITE_DATA": str(Path(folder) / "data"),
            "LABSITE_DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "labsite.settings",
        }
        for words in (["manage.py", "migrate", "-v0"], ["-m", "tests.benchmarks.ingest_runs", repeats]):
            subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "9"))
