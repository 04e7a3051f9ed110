"""Faults on demand: when an instrument misbehaves, and what its answer then looks like. No transport in here.

A fault is written `KIND[:key=value,…]`. Each holds at all times and for every exchange, unless limited:

    p=0.01            for this share of exchanges (refuse: of connections)
    from=10,to=20     only between these seconds since the start
    every=60,for=5    only for 5 s of each 60 s, counted from `from`
    instrument=2      only for this one (of --count, from 0)
    delay=0.5         slow: seconds until the answer; merge: how long answers are held to go out together
    channel=0         a fault of the instrument itself, where it has channels
"""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

KINDS = {
    "refuse": "switched off: connections are reset and new ones refused",
    "hang": "the request is read and never answered",
    "close": "the connection is closed midway through the answer",
    "garbage": "noise or half an answer comes as the answer",
    "slow": "the answer comes late",
    "split": "the answer comes in several packets",
    "merge": "answers are held and sent in one packet",
}
NUMBERS = {"p": 1.0, "from": 0.0, "to": math.inf, "every": 0.0, "for": 0.0, "delay": 0.0}
DELAYS = {"slow": 1.0, "merge": 0.02}
PIECES_APART = 0.005  # seconds; enough for the kernel to send each by itself

Garbage = Callable[[bytes, random.Random], bytes]


class BadFault(ValueError):
    """A fault cannot be read; the message is for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and when it holds; times in seconds since the start."""

    kind: str
    p: float = 1.0
    start: float = 0.0
    end: float = math.inf
    every: float = 0.0
    lasts: float = 0.0
    delay: float = 0.0
    instrument: int | None = None
    channel: int = 0

    @classmethod
    def parse(cls, text: str, more_kinds: Iterable[str] = ()) -> "Fault":
        """Raises BadFault."""
        kind, _, rest = text.partition(":")
        kinds = [*KINDS, *more_kinds]
        if kind not in kinds:
            raise BadFault(f"fault {text!r}: no kind {kind!r}; there are {', '.join(kinds)}")
        pairs = dict(_pair(text, part) for part in rest.split(",") if rest)
        numbers = {name: _number(text, name, pairs.pop(name, default)) for name, default in NUMBERS.items()}
        instrument, channel = pairs.pop("instrument", None), pairs.pop("channel", "0")
        if pairs:
            known = ", ".join([*NUMBERS, "instrument", "channel"])
            raise BadFault(f"fault {text!r}: no key {', '.join(pairs)}; there are {known}")
        fault = cls(
            kind,
            p=numbers["p"],
            start=numbers["from"],
            end=numbers["to"],
            every=numbers["every"],
            lasts=numbers["for"],
            delay=numbers["delay"] or DELAYS.get(kind, 0.0),
            instrument=None if instrument is None else _whole(text, "instrument", instrument),
            channel=_whole(text, "channel", channel),
        )
        fault._check(text)
        return fault

    def _check(self, text: str) -> None:
        if not 0 < self.p <= 1:
            raise BadFault(f"fault {text!r}: p is a share, more than 0 and at most 1")
        if not self.start < self.end:
            raise BadFault(f"fault {text!r}: from must be before to")
        if bool(self.every) != bool(self.lasts) or self.lasts > self.every:
            raise BadFault(f"fault {text!r}: every and for go together, for being the shorter")

    def holds(self, instrument: int, at: float) -> bool:
        """Whether it is the fault's time and instrument."""
        if self.instrument not in (None, instrument) or not self.start <= at < self.end:
            return False
        return not self.every or (at - self.start) % self.every < self.lasts


@dataclass(frozen=True, slots=True)
class Delivery:
    """What goes out in place of an answer: pieces with the seconds to wait before each."""

    pieces: tuple[tuple[float, bytes], ...]
    answered: bool  # the pieces are the whole answer, undamaged
    closes: bool = False
    joins: bool = False  # it goes out together with what waits before it


class Faults:
    """All faults of a simulator. The same seed and the same exchanges: the same faults."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        self.faults = tuple(faults)
        self._of_exchanges = [f for f in self.faults if f.kind in KINDS and f.kind != "refuse"]
        self._random = random.Random(seed)  # noqa: S311 - a simulation

    def deliver(
        self, answer: bytes, instrument: int, at: float, garbage: Garbage | None = None
    ) -> Delivery | None:
        """How an answer goes out; None: as it is. The first fault that applies wins."""
        for fault in self._of_exchanges:
            if fault.holds(instrument, at) and (fault.p >= 1 or self._random.random() < fault.p):
                return self._delivery(fault, answer, garbage or torn_line)
        return None

    def standing(self, kind: str, instrument: int, at: float) -> Fault | None:
        """The fault of this kind that holds now, whatever its p."""
        return next((f for f in self.faults if f.kind == kind and f.holds(instrument, at)), None)

    def has(self, kind: str) -> bool:
        return any(fault.kind == kind for fault in self.faults)

    def chance(self, share: float) -> bool:
        return share >= 1 or self._random.random() < share

    def _delivery(self, fault: Fault, answer: bytes, garbage: Garbage) -> Delivery:
        if fault.kind == "hang":
            return Delivery((), answered=False)
        if fault.kind == "close":
            return Delivery(((0.0, answer[: len(answer) // 2]),), answered=False, closes=True)
        if fault.kind == "garbage":
            return Delivery(((0.0, garbage(answer, self._random)),), answered=False)
        if fault.kind == "split":
            return Delivery(self._pieces(answer), answered=True)
        return Delivery(((fault.delay, answer),), answered=True, joins=fault.kind == "merge")  # or slow

    def _pieces(self, answer: bytes) -> tuple[tuple[float, bytes], ...]:
        cuts = sorted(self._random.sample(range(1, len(answer)), min(3, len(answer) - 1)))
        bounds = [0, *cuts, len(answer)]
        pieces = [answer[a:b] for a, b in pairwise(bounds)]
        return tuple((PIECES_APART if number else 0.0, piece) for number, piece in enumerate(pieces))


def torn_line(answer: bytes, chance: random.Random) -> bytes:
    """Half an answer, or noise, as one line: none that could be taken for an answer with other values."""
    if chance.random() < 0.5:
        return answer[: len(answer) // 2] + b"\n"
    noise = chance.randbytes(chance.randint(1, 200))
    return b"\xff" + noise.replace(b"\n", b"").replace(b"\r", b"") + b"\n"


def _pair(text: str, part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals:
        raise BadFault(f"fault {text!r}: {part!r} is not key=value")
    return name.strip(), value.strip()


def _number(text: str, name: str, value: str | float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not number >= 0:
        raise BadFault(f"fault {text!r}: {name} is {value!r}; write a number of 0 or more")
    return number


def _whole(text: str, name: str, value: str) -> int:
    if not value.isdecimal():
        raise BadFault(f"fault {text!r}: {name} is {value!r}; write a whole number")
    return int(value)
