"""Rolls up in processes that can be killed: `python -m tests.telemetry.rolling`.

For each line of its input, a time in µs of UTC, a child begins to roll up to then, in small steps; its number
is printed. Once it has ended, whatever ended it, `0` or how it was killed is printed, and the next is begun.
"""

import os
import sys

import django

django.setup()

from telemetry.rollups import rounds  # noqa: E402 - after the settings
from telemetry.times import moment  # noqa: E402

STEP_US = 600_000_000


def main() -> None:
    rounds.STEP_US, rounds.LATE_MAX = STEP_US, 3
    for line in sys.stdin:
        child = os.fork()  # before this process has opened a connection
        if child == 0:
            rounds.roll_up(moment(int(line)))
            os._exit(0)
        print(child, flush=True)  # noqa: T201
        _, status = os.waitpid(child, 0)
        print(status, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
