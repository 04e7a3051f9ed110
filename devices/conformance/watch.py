"""What a driver does to the process it runs in: how long it holds the event loop, what it leaves behind."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DESCRIPTORS = Path("/proc/self/fd")
SCHEDULED = "/proc/thread-self/schedstat"  # ns on a CPU, ns waited for one, turns (kernel: sched-stats)
UNKNOWN, CLOSED = -1, -2  # in place of a file
GRACE = 2.0  # seconds for threads and sockets that are on their way out


class Held:
    """How long single callbacks held the loop, without the time in which the machine ran something else."""

    def __init__(self) -> None:
        self.worst = 0.0  # seconds
        self.what = ""

    def note(self, seconds: float, handle: object) -> None:
        if seconds > self.worst:
            self.worst, self.what = seconds, f"{handle!r}"[:200]


@contextmanager
def held() -> Iterator[Held]:
    """Watch each callback and each step of a task on this thread's loop.

    What counts is time on the CPU and time asleep (a blocking call); a busy machine makes neither longer.
    """
    watched = Held()
    loop = asyncio.get_running_loop()
    run = asyncio.Handle._run  # noqa: SLF001 - the one place that all callbacks pass
    with _Stopwatch() as stopwatch:

        def measured(self: asyncio.Handle) -> None:
            start = stopwatch.now()
            try:
                run(self)
            finally:
                if self._loop is loop:  # type: ignore[attr-defined]
                    watched.note(stopwatch.now() - start, self)

        asyncio.Handle._run = measured  # type: ignore[method-assign]  # noqa: SLF001
        try:
            yield watched
        finally:
            asyncio.Handle._run = run  # type: ignore[method-assign]  # noqa: SLF001


class _Stopwatch:
    """Stands still while this thread waits for a CPU; without Linux's figures, whenever it has none."""

    def __enter__(self) -> "_Stopwatch":
        try:
            self._file = os.open(SCHEDULED, os.O_RDONLY)
        except OSError:
            self._file = UNKNOWN
        return self

    def __exit__(self, *error: object) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = CLOSED

    def now(self) -> float:
        if self._file == CLOSED:  # as it is at the end of the callback in which it was closed
            return 0.0
        if self._file == UNKNOWN:
            return time.thread_time()
        waited = int(os.pread(self._file, 100, 0).split()[1])
        return (time.monotonic_ns() - waited) / 1e9


class Belongings:
    """The files, threads and tasks that a process has at one moment."""

    def __init__(self) -> None:
        self.files = _files()
        self.threads = set(threading.enumerate())
        self.tasks = asyncio.all_tasks()

    def more(self) -> list[str]:
        """What has come since, in words."""
        files = {path for number, path in _files().items() if self.files.get(number) != path}
        threads = [thread.name for thread in set(threading.enumerate()) - self.threads]
        tasks = [repr(task)[:120] for task in asyncio.all_tasks() - self.tasks]
        return [
            *(f"file {path}" for path in sorted(files)),
            *(f"thread {name}" for name in sorted(threads)),
            *(f"task {task}" for task in sorted(tasks)),
        ]

    async def left_behind(self) -> list[str]:
        """What has come since and does not go."""
        end = time.monotonic() + GRACE
        while (more := self.more()) and time.monotonic() < end:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.02)
        return more


def _files() -> dict[str, str]:
    found = {}
    for link in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
        try:
            found[link.name] = str(link.readlink())
        except OSError:  # the one by which the folder itself was read
            continue
    return found
