"""One batch of points into a server: what it refuses is found and left out, the rest of the batch goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from telemetry.sinks.outcome import Outcome, Verdict

SEARCHES_MOST = 64  # writes to find out which points of a batch were refused, while the others are stored
PROBES = 16  # points that are sent singly where a bad request may be no point's fault


class Kept(Exception):
    """Nothing can be written now; all of it stays for later."""

    def __init__(self, words: str, wait: float = 0.0) -> None:
        super().__init__(words)
        self.words, self.wait = words, wait


@dataclass(frozen=True, slots=True)
class BadPoint:
    """A point that the server does not take, with its words; `count`: or so many, which were not found."""

    line: str
    words: str
    count: int = 1


@dataclass(slots=True)
class Delivery:
    """A batch on its way. `write` writes points, `make_database` tries to make the database.

    `most`: the most points that the server takes at once, as far as is known.
    """

    write: Callable[[Sequence[str]], Outcome]
    make_database: Callable[[], Outcome]
    most: int
    refused: list[BadPoint] = field(default_factory=list)
    _taken: bool = False  # any point: a bad request is then the fault of others
    _made: bool = False
    _searches: int = 0

    def deliver(self, lines: Sequence[str]) -> int:
        """Write all of them; returns how many were taken. The others are in `refused` then. Raises Kept."""
        before = len(self.refused)
        start = 0
        while start < len(lines):
            part = lines[start : start + self.most]  # which may become less on the way
            self._deliver(part)
            start += len(part)
        return len(lines) - sum(each.count for each in self.refused[before:])

    def _deliver(self, lines: Sequence[str]) -> None:
        waiting = [lines]
        while waiting:
            part = waiting.pop()
            outcome = self.write(part)
            if outcome.verdict is Verdict.ACCEPTED:
                self._taken = True
            else:
                waiting += reversed(self._parts(part, outcome))

    def _parts(self, part: Sequence[str], outcome: Outcome) -> list[Sequence[str]]:
        """What is to be sent of a part in place of it as a whole."""
        if outcome.verdict is Verdict.KEPT:
            raise Kept(outcome.words, outcome.wait)
        if outcome.verdict is Verdict.NO_DATABASE:
            return self._with_database(part, outcome)
        if outcome.verdict is Verdict.DOUBTED and not self._is_of_points(part):
            raise Kept(outcome.words)
        if len(part) == 1 or outcome.dropped == len(part):
            self.refused += [BadPoint(line, outcome.words) for line in part]
            return []
        if outcome.verdict is Verdict.TOO_LARGE:
            self.most = min(self.most, (len(part) + 1) // 2)
        elif outcome.is_partial:
            self._taken = True
            self._searches += 1
            if self._searches > SEARCHES_MOST:
                count = max(outcome.dropped, 1)
                self.refused.append(BadPoint(f"{part[0]} … {count} of {len(part)}", outcome.words, count))
                return []
        middle = len(part) // 2
        return [part[:middle], part[middle:]]

    def _with_database(self, part: Sequence[str], outcome: Outcome) -> list[Sequence[str]]:
        """Send it again once the database is made; once is enough."""
        if not self._made:
            self._made = True
            made = self.make_database()
            if made.verdict is Verdict.ACCEPTED:
                return [part]
            raise Kept(f"{outcome.words}; it cannot be made: {made.words}", made.wait)
        raise Kept(outcome.words)

    def _is_of_points(self, part: Sequence[str]) -> bool:
        """Whether a bad request is the fault of some points: others are taken."""
        if self._taken:
            return True
        step = max(len(part) // PROBES, 1)
        for line in part[::step][:PROBES]:
            outcome = self.write([line])
            if outcome.verdict is Verdict.KEPT:
                raise Kept(outcome.words, outcome.wait)
            if outcome.verdict is Verdict.ACCEPTED:
                self._taken = True
                return True
        return False
