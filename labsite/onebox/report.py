"""What `status` and `logs` print."""

import time
from collections import deque
from pathlib import Path

from labsite import settings
from labsite.onebox import lock
from labsite.onebox.console import Tail
from labsite.onebox.run import control

NOT_RUNNING = 3  # the exit code that the Linux Standard Base gives a service that does not run


def status() -> int:
    """Each process, its state, its number and what it does not share of its memory with others."""
    found = lock.holder(settings.DATA_DIR)
    if found is None:
        print("Labsite is not running.")
        return NOT_RUNNING
    print(f"Labsite runs at {found.address} (pid {found.pid}), data in {settings.DATA_DIR}")
    try:
        processes = control(settings.DATA_DIR).getAllProcessInfo()
    except OSError:
        print("Its process manager does not answer: it is starting or stopping.")
        return NOT_RUNNING
    for process in processes:
        memory = f"{proportional_megabytes(process['pid']):5.0f} MB" if process["pid"] else ""
        print(f"  {process['name']:<12} {process['statename']:<9} {memory:>8}  {process['description']}")
    return 0


def proportional_megabytes(pid: int) -> float:
    """Memory of a process and its children, each page divided by the number of processes that share it."""
    return sum(own_proportional_kilobytes(each) for each in [pid, *descendants(pid)]) / 1024


def own_proportional_kilobytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [each for child in map(int, children) for each in (child, *descendants(child))]


def logs(names: list[str], lines: int, *, follow: bool) -> int:
    """The last lines of each process; then, if asked, what comes until Ctrl-C."""
    folder = settings.DATA_DIR / "logs"
    paths = [path for path in sorted(folder.glob("*.log")) if not names or path.stem in names]
    for path in paths:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in deque(file, maxlen=lines):
                show(path, line)
    try:
        while follow:
            follow = bool(paths)
            follow_on(paths)
    except KeyboardInterrupt:
        pass
    return 0


def follow_on(paths: list[Path]) -> None:
    tails = [Tail(path) for path in paths]
    for tail in tails:
        tail.open(at_end=True)
    while True:
        for tail in tails:
            for line in tail.lines():
                show(tail.path, line)
        time.sleep(0.3)


def show(path: Path, line: str) -> None:
    print(f"{path.stem:<12} {line.rstrip()}", flush=True)
