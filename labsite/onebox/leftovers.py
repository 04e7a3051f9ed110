"""Processes that a killed Labsite left behind: found without doubt, and ended in order."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from labsite.onebox.postgres import Cluster
from labsite.onebox.redis import Broker

MARK = "LABSITE_RUN"  # in the environment of everything that is started on a data folder
PROC = Path("/proc")
PATIENCE_S = 10.0


def end(folder: Path, cluster: Cluster, broker: Broker) -> int:
    """End what still runs on this data folder: the programs first, then their servers. How many they were."""
    programs = marked(folder)
    # A manager among them stops the others in order by itself when it is asked.
    stop(programs, signal.SIGTERM, signal.SIGKILL)
    servers = [*owner_of(broker.pid_file, broker.folder), *owner_of(cluster.pid_file, cluster.data)]
    stop(servers, signal.SIGINT, signal.SIGQUIT)
    rest = [pid for pid in [*marked(folder), *servers] if is_there(pid)]
    stop(rest, signal.SIGKILL, signal.SIGKILL)
    return len(set(programs) | set(servers))


def marked(folder: Path) -> list[int]:
    """The processes that were started for this data folder, but for the caller and what called it."""
    mark = f"{MARK}={folder}".encode()
    own = ancestors()
    return [pid for pid in all_pids() if pid not in own and mark in environment(pid)]


def owner_of(pid_file: Path, folder: Path) -> list[int]:
    """The server that wrote this file, if the number still is that server's: it works in its own folder."""
    try:
        pid = int(pid_file.read_text(encoding="ascii").split("\n", 1)[0])
        works_in = (PROC / str(pid) / "cwd").readlink()
    except (OSError, ValueError):
        return []
    return [pid] if works_in == folder else []


def stop(pids: Iterable[int], ask: signal.Signals, make: signal.Signals) -> None:
    """Ask them to end, and make them if they have not in time."""
    for number in (ask, make):
        for pid in pids:
            send(pid, number)
        if gone(pids, PATIENCE_S):
            return


def gone(pids: Iterable[int], within: float) -> bool:
    """Wait until none of them is there; False if that takes longer."""
    end_at = time.monotonic() + within
    while any(is_there(pid) for pid in pids):
        if time.monotonic() > end_at:
            return False
        time.sleep(0.05)
    return True


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]


def environment(pid: int) -> list[bytes]:
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended meanwhile, or is another person's
        return []


def is_there(pid: int) -> bool:
    """Whether it runs; one that has ended and only waits to be taken note of does not."""
    try:
        return "\nState:\tZ" not in (PROC / str(pid) / "status").read_text(encoding="utf-8")
    except OSError:
        return False


def ancestors() -> set[int]:
    """This process and all above it."""
    found = set()
    pid = os.getpid()
    while pid > 1:
        found.add(pid)
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8")
        pid = int(stat.rpartition(")")[2].split()[1])
    return found
