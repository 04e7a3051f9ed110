"""What a person sees in the terminal in which Labsite runs: warnings, one line each."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

SERIOUS = ("WARN", "WARNING", "ERROR", "CRIT", "CRITICAL", "FATAL", "PANIC")
LEVEL = re.compile(rf"\b({'|'.join(SERIOUS)})\b:?")
DATED = re.compile(r"\d{4}-\d\d-\d\d[ T]")
LONGEST = 300
MOST_LINES = 12  # to be shown
EACH_S = 10.0  # in so many seconds; a flood is for the log files


@dataclass
class Tail:
    """Follows one log file from its end, also over rotation."""

    path: Path
    file: IO[str] | None = None
    inode: int = 0

    def lines(self) -> Iterator[str]:
        """What was written since the last call."""
        if self.file is not None:
            yield from self.file
        if self.path.exists() and self.path.stat().st_ino != self.inode:
            yield from self.open()

    def open(self, *, at_end: bool = False) -> IO[str]:
        self.close()
        self.file = self.path.open(encoding="utf-8", errors="replace")
        self.inode = self.path.stat().st_ino
        if at_end:
            self.file.seek(0, 2)
        return self.file

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


@dataclass
class Console:
    """Shows the warnings of all log files in a folder."""

    logs: Path
    tails: dict[Path, Tail] = field(default_factory=dict)
    since: float = 0.0
    shown: int = 0
    held_back: int = 0

    def skip(self) -> None:
        """Show only what comes from now on."""
        for path in self.logs.glob("*.log"):
            tail = self.tails[path] = Tail(path)
            tail.open(at_end=True)

    def show(self) -> None:
        """Print the warnings that came since the last call; at the latest now, how many were held back."""
        if time.monotonic() - self.since > EACH_S:
            self.count_anew()
        for path in sorted(self.logs.glob("*.log")):
            tail = self.tails.setdefault(path, Tail(path))
            for line in tail.lines():
                if warning := serious(line):
                    self.print(path.stem, warning)

    def print(self, process: str, warning: str) -> None:
        """That a process died is always shown; it is why the others complain."""
        if self.shown < MOST_LINES or process == "supervisor":
            print(f"{time.strftime('%H:%M:%S')} {process:<10} {warning}", flush=True)
            self.shown += 1
        else:
            self.held_back += 1

    def close(self) -> None:
        for tail in self.tails.values():
            tail.close()

    def count_anew(self) -> None:
        if self.held_back:
            print(f"({self.held_back} more lines; see `make logs`)", flush=True)
        self.since, self.shown, self.held_back = time.monotonic(), 0, 0


def serious(line: str) -> str:
    """Level and message of a line that a person should see, in whatever form it was logged; else nothing."""
    if line.startswith("{"):
        return serious_record(line)
    found = LEVEL.search(line[:120])
    return line[found.start() :].strip()[:LONGEST] if found and DATED.match(line) else ""


def serious_record(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return ""
    if record.get("level") not in SERIOUS:
        return ""
    return f"{record['level']} {record.get('message', '')}"[:LONGEST]
