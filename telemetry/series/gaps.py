"""When readings of channels are missing, as a chart can show it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from devices.models import Channel
from telemetry import gaps
from telemetry.gaps import FoundGap

PAGE = 10_000


@dataclass
class Period:
    """A time in which readings are missing, and for which reasons."""

    start: datetime
    end: datetime
    reasons: set[str]


def periods(
    channels: Sequence[Channel], start: datetime, end: datetime, apart: timedelta, now: datetime
) -> dict[int, list[Period]]:
    """For each channel when it has gaps, in order; those no further than `apart` from each other are one.

    So there are never more of them than points in a chart, however many gaps there are.
    """
    found: dict[int, list[Period]] = {channel.pk: [] for channel in channels}
    for gap in _newest_first(channels, start, end, now):
        for channel in channels:
            if _is_of(gap, channel):
                _add(found[channel.pk], gap, start, end, apart)
    return {number: each[::-1] for number, each in found.items()}


def _newest_first(
    channels: Sequence[Channel], start: datetime, end: datetime, now: datetime
) -> Iterator[FoundGap]:
    instruments = {channel.instrument_id for channel in channels}
    before = None
    while True:
        page = gaps.found(gaps.Question(start, end, instruments, before=before, limit=PAGE), now)
        yield from page
        if len(page) < PAGE:
            return
        before = (page[-1].start, page[-1].ref)


def _is_of(gap: FoundGap, channel: Channel) -> bool:
    if gap.instrument is None:
        return gap.edge == channel.instrument.edge_id
    return gap.instrument == channel.instrument_id and gap.key in ("", channel.key)


def _add(later: list[Period], gap: FoundGap, start: datetime, end: datetime, apart: timedelta) -> None:
    """Put a gap before those that began later; it takes up all that it reaches."""
    new = Period(max(gap.start, start), min(gap.end, end), {gap.reason})
    while later and later[-1].start <= new.end + apart:
        reached = later.pop()
        new.end = max(new.end, reached.end)
        new.reasons |= reached.reasons
    later.append(new)
