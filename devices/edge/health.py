"""How the edge itself is doing: what its status in each hello and the instrument `edge_host` say."""

import os
import shutil
import time
from math import log2
from pathlib import Path

WINDOW_S = 30.0  # two of these make the last minute that lateness is told of
STEPS_PER_OCTAVE = 8  # of the histogram: 9 % from step to step
STEPS = 27 * STEPS_PER_OCTAVE  # from 1 µs to over a minute
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
STATM = Path("/proc/self/statm")


class Lateness:
    """How late polls began, as a histogram of the last half to whole minute."""

    def __init__(self) -> None:
        self._present = [0] * STEPS
        self._before = [0] * STEPS
        self._turned = time.monotonic()

    def add(self, seconds: float) -> None:
        step = int(log2(seconds * 1e6 + 1) * STEPS_PER_OCTAVE) if seconds > 0 else 0
        self._present[min(step, STEPS - 1)] += 1

    def turn(self) -> None:
        """Called now and then: forget what is older than a minute."""
        if time.monotonic() - self._turned >= WINDOW_S:
            self._before, self._present = self._present, [0] * STEPS
            self._turned = time.monotonic()

    def quantile(self, share: float) -> float | None:
        """Seconds; None if nothing was polled."""
        counts = [a + b for a, b in zip(self._present, self._before, strict=True)]
        left = sum(counts) * share
        if not left:
            return None
        for step, count in enumerate(counts):
            left -= count
            if left <= 0:
                return float(2 ** ((step + 1) / STEPS_PER_OCTAVE) - 1) / 1e6
        return None


class Tally:
    """What the polling loop counts from the process's start."""

    def __init__(self) -> None:
        self.lateness = Lateness()
        self.polls = self.answered = self.overruns = self.skipped = self.connects = self.failures = 0
        self.connected = 0  # now

    def started(self, late: float) -> None:
        """A poll begins, `late` seconds after it was due."""
        self.polls += 1
        self.lateness.add(late)


class Host:
    """The machine and this process on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cpu, self._at = time.process_time(), time.monotonic()

    def figures(self) -> dict[str, float | None]:
        """CPU: share of one core since it was last asked, in percent; memory in MiB; temperature in °C."""
        cpu, now = time.process_time(), time.monotonic()
        share = (cpu - self._cpu) / max(now - self._at, 1e-3) * 100
        self._cpu, self._at = cpu, now
        return {
            "cpu": share,
            "memory": _resident(),
            "load": os.getloadavg()[0],
            "disk_free": _disk_free(self._folder),
            "temperature": _temperature(),
        }


def _resident() -> float | None:
    try:
        pages = int(STATM.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _disk_free(folder: Path) -> float | None:
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return None
    return disk.free / disk.total * 100 if disk.total else None


def _temperature() -> float | None:
    try:
        return int(THERMAL.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None
