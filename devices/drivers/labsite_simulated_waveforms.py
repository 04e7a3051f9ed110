"""Made-up values: functions of time and seed only, so that two who ask at one time are told the same.

Times are seconds of UTC since 1970; phases, windows and noise go by them, not by when one began to ask.
"""

import math
from collections.abc import Callable
from hashlib import blake2b

TICK = 0.001  # seconds; noise is another from tick to tick


def chance(*of: object) -> float:
    """Evenly between 0 and 1, always the same for the same things."""
    digest = blake2b(repr(of).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def gauss(*of: object) -> float:
    """A number of the normal distribution with deviation 1."""
    radius = math.sqrt(-2 * math.log(1 - chance("radius", *of)))
    return radius * math.cos(2 * math.pi * chance("angle", *of))


def sine(turn: float) -> float:
    return math.sin(2 * math.pi * turn)


def triangle(turn: float) -> float:
    return 1 - 4 * abs((turn + 0.25) % 1 - 0.5)


def ramp(turn: float) -> float:
    """Up from −1 to 1, and at once back."""
    return 2 * (turn % 1) - 1


def square(turn: float, duty: float) -> float:
    return 1.0 if turn % 1 < duty else -1.0


PERIODIC: dict[str, Callable[[float], float]] = {"sine": sine, "triangle": triangle, "ramp": ramp}


def walk(at: float, period: float, *of: object) -> float:
    """To and fro without a goal, mostly between −1 and 1; it takes about `period` to get somewhere else."""
    return sum(_drift(at, period * 0.5**octave, octave, *of) * 0.5**octave for octave in range(5)) / 1.2


def _drift(at: float, period: float, *of: object) -> float:
    place = at / period
    before = math.floor(place)
    share = place - before
    smooth = share * share * (3 - 2 * share)
    first, second = (gauss(*of, number) for number in (before, before + 1))
    return first + (second - first) * smooth


def noise(at: float, *of: object) -> float:
    return gauss(*of, math.floor(at / TICK))


def place_in(at: float, period: float, count: int) -> int:
    """Which of `count` steps of equal length it is time for; all of them take a period."""
    return min(int(at / period % 1 * count), count - 1)


def in_window(at: float, every: float, lasts: float, *of: object) -> bool:
    """Whether it is within a window of length `lasts`, of which one lies somewhere in each `every`."""
    if not every:
        return False
    number = math.floor(at / every)
    start = number * every + chance(*of, number) * max(every - lasts, 0.0)
    return start <= at < start + lasts
