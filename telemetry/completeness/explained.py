"""What explains that readings are missing: an instrument's gaps, cut into hours; arithmetic only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from devices.readings import AWAY, GapReason
from telemetry.completeness.due import SETTLED, Period, Span, in_service, ticks, united, without

BAD = "bad readings"
CHANGED = "order changed"  # it was on its way to the edge
ALWAYS = Span(0, 1 << 62)
# Facts first: what is only so for the present counts for what nothing else explains.
ORDER = (
    GapReason.NOT_CONNECTED,
    GapReason.IN_USE,
    GapReason.OVERRUN,
    GapReason.NOT_RUNNING,
    GapReason.UNSAVED,
    GapReason.OVERFLOW,
    GapReason.TORN,
    GapReason.EDGE_SILENT,
    GapReason.ON_ITS_WAY,
)


class Missing(NamedTuple):
    """A gap of an instrument. `missed`: polls that the edge counted; 0: it could not. Edge 0: whichever."""

    span: Span
    reason: str
    missed: int
    key: str = ""
    edge: int = 0


@dataclass(frozen=True)
class Hour:
    """Of one instrument and hour what its gaps explain: polls by reason, and by time."""

    polls: Mapping[str, int] = field(default_factory=dict)
    outages: int = 0  # that began in it: each has one bad reading a channel
    doubt: int = 0  # polls by which counting by time can be wrong


class Explained:
    """An instrument's gaps and periods, asked hour by hour. `key`: of the channel; "": what all share."""

    def __init__(self, periods: Sequence[Period], gaps: Iterable[Missing], key: str = "") -> None:
        self._periods = periods
        mine = [gap for gap in gaps if gap.key in ("", key)]
        self._counted = [gap for gap in mine if gap.missed]
        self._spans = _by_reason(periods, mine)
        self._hours: dict[Span, Hour] = {}
        self._due: dict[Span, int] = {}

    def spans(self, interval: float) -> list[Span]:
        """All time in which something explains that there is no reading, or none was due.

        The reading of a poll that overran stands at the end of what it kept from being polled.
        """
        counted = [
            Span(gap.span.start - round(interval), gap.span.end)
            if gap.reason == GapReason.OVERRUN
            else gap.span
            for gap in self._counted
        ]
        due = united(period.span for period in self._periods if period.is_due)
        return united(
            [*counted, *(span for some in self._spans.values() for span in some), *without([ALWAYS], due)]
        )

    def due(self, hour: Span) -> int:
        """Polls due in it, of which all channels of an instrument ask."""
        if hour not in self._due:
            self._due[hour] = ticks(self._periods, hour)
        return self._due[hour]

    def hour(self, hour: Span) -> Hour:
        """What they explain of it; all channels of an instrument ask the same."""
        if hour not in self._hours:
            self._hours[hour] = self._hour(hour)
        return self._hours[hour]

    def _hour(self, hour: Span) -> Hour:
        polls: dict[str, int] = {}
        outages = 0
        for gap in self._counted:
            polls[gap.reason] = polls.get(gap.reason, 0) + _share(gap, hour)
            outages += gap.reason in AWAY and hour.start <= gap.span.start < hour.end
        doubt = 0
        for reason, spans in self._spans.items():
            parts = [part for span in spans if (part := span.within(hour)).length]
            if parts:
                due = sum(ticks(self._periods, part) for part in parts)
                polls[reason] = polls.get(reason, 0) + due
                doubt += len(parts)
        doubt += sum(hour.start < period.span.start < hour.end for period in self._periods)
        return Hour({reason: count for reason, count in polls.items() if count}, outages, doubt)

    def seconds(self, hour: Span) -> dict[str, int]:
        """µs of the hour for which each reason stands, each time once, while in service."""
        found: dict[str, int] = {}
        taken: list[Span] = []
        whole: dict[str, list[Span]] = {reason: list(spans) for reason, spans in self._spans.items()}
        for gap in self._counted:
            whole.setdefault(gap.reason, []).append(gap.span)
        for reason in sorted(whole, key=_rank):
            parts = [part for span in united(whole[reason]) if (part := span.within(hour)).length]
            left = without(parts, taken)
            if time := in_service(self._periods, left):
                found[reason] = time
            taken = united([*taken, *parts])
        return found


def _by_reason(periods: Sequence[Period], gaps: Sequence[Missing]) -> dict[str, list[Span]]:
    """The times of gaps in which nobody counted, each under the first reason that there is for it."""
    taken = united(gap.span for gap in gaps if gap.missed)
    found: dict[str, list[Span]] = {}
    uncounted = [gap for gap in gaps if not gap.missed]
    for reason in sorted({gap.reason for gap in uncounted}, key=_rank):
        mine = [part for gap in uncounted if gap.reason == reason for part in _at_its_edge(gap, periods)]
        spans = united(mine)
        found[reason] = without(spans, taken)
        taken = united([*taken, *spans])
    changed = united(
        Span(period.began, period.began + SETTLED)
        for period in periods
        if period.began >= periods[0].span.start
    )
    found[CHANGED] = without(changed, taken)
    return {reason: spans for reason, spans in found.items() if spans}


def _at_its_edge(gap: Missing, periods: Sequence[Period]) -> Iterator[Span]:
    """A gap of all an edge counts while the instrument was there."""
    if not gap.edge:
        yield gap.span
        return
    for period in periods:
        if period.edge == gap.edge and (part := gap.span.within(period.span)).length:
            yield part


def _share(gap: Missing, hour: Span) -> int:
    """So many of the polls that a gap counted lie in the hour: what adds up, however the time is cut."""
    if not gap.span.length:
        return gap.missed if hour.start <= gap.span.start < hour.end else 0
    part = gap.span.within(hour)
    if not part.length:
        return 0
    whole = gap.span.length
    until, before = part.end - gap.span.start, part.start - gap.span.start
    return round(gap.missed * until / whole) - round(gap.missed * before / whole)


def _rank(reason: str) -> tuple[int, str]:
    return (ORDER.index(GapReason(reason)) if reason in ORDER else len(ORDER), reason)


def allocated(missing: int, hour: Hour, bad: int) -> dict[str, int]:
    """For how many of the missing readings of a channel there is which reason; the rest none explains.

    `bad`: bad readings of that hour; of an outage's first failed poll the gap tells, too.
    """
    reasons = {BAD: max(bad - hour.outages, 0)}
    reasons |= {reason: hour.polls[reason] for reason in sorted(hour.polls, key=_rank)}
    found: dict[str, int] = {}
    for reason, count in reasons.items():
        taken = min(count, missing)
        if taken > 0:
            found[reason] = taken
            missing -= taken
    return found
