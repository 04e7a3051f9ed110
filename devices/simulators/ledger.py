"""The ledger: every reply with readings that a simulator handed to the kernel, in SQLite.

It is the judge of all "nothing lost" tests. One writer (the simulator), any number of readers while it
runs. A killed simulator loses at most what it sent in its last fifth of a second; one that starts again on
the same file goes on in a new run.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from devices import simulators

COMMIT_EVERY = 0.1

SCHEMA = """
CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, started_at INTEGER, pid INTEGER);
CREATE TABLE IF NOT EXISTS instrument (
    run INTEGER, number INTEGER, address TEXT, driver TEXT, PRIMARY KEY (run, number)
);
CREATE TABLE IF NOT EXISTS reply (
    id INTEGER PRIMARY KEY, run INTEGER, instrument INTEGER, sent_at INTEGER, sent_mono INTEGER, reply TEXT
);
"""
INSERT = """
INSERT INTO reply (run, instrument, sent_at, sent_mono, reply)
SELECT ?, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]') FROM json_each(?)
"""
SELECT = """
SELECT reply.run, instrument, address, driver, sent_at, sent_mono, reply FROM reply
JOIN instrument ON instrument.run = reply.run AND instrument.number = reply.instrument
ORDER BY reply.id
"""


class Ledger:
    """The writer's side. `add` only appends to a list; a thread of its own commits."""

    def __init__(self, path: Path) -> None:
        self._rows: list[tuple[int, int, int, str]] = []
        self._stopping = threading.Event()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")  # it outlives the process, not a power cut
        self._database.executescript(SCHEMA)
        cursor = self._database.execute(
            "INSERT INTO run (started_at, pid) VALUES (?, ?)", (_now(), os.getpid())
        )
        self.run = cursor.lastrowid
        self._thread = threading.Thread(target=self._commit_until_stopped, name="ledger", daemon=True)
        self._thread.start()

    def enter(self, number: int, address: str, driver: str) -> None:
        """Note where an instrument of this run is found, and which driver reads it."""
        values = (self.run, number, address, driver)
        self._database.execute("INSERT INTO instrument VALUES (?, ?, ?, ?)", values)

    def add(self, instrument: int, reply: str) -> None:
        """Note a reply that was handed to the kernel just now."""
        self._rows.append((instrument, _now(), time.monotonic_ns() // 1000, reply))

    def close(self) -> None:
        """Commit what there is."""
        self._stopping.set()
        self._thread.join()
        self._database.close()

    def _commit_until_stopped(self) -> None:
        while not self._stopping.wait(COMMIT_EVERY):
            self._commit()
        self._commit()

    def _commit(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            # One statement for all: with one a row, the thread would take the interpreter's lock at each.
            self._database.execute(INSERT, (self.run, msgspec.json.encode(rows).decode()))


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as it was sent. Times in µs: UTC, and the sender's monotonic clock."""

    run: int
    instrument: int  # number in its run, from 0
    address: str
    driver: str
    sent_at: int
    sent_mono: int
    values: dict[str, Any]  # by the driver's channel keys; None where the instrument had none
    device_times: tuple[float, ...]  # the instrument's own clock, which tells one reply from the next


def replies(path: Path) -> Iterator[Reply]:
    """All replies committed so far, in the order in which they were sent; each sample of one by itself."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        for run, instrument, address, driver, sent_at, sent_mono, text in database.execute(SELECT):
            for values, device_times in simulators.load(driver).read_all(text):
                yield Reply(run, instrument, address, driver, sent_at, sent_mono, values, device_times)


def _now() -> int:
    return time.time_ns() // 1000
