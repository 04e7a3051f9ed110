"""What instruments were to do, and what kept them from it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from devices import drivers
from devices.edges import microseconds
from devices.errors import ConfigurationError
from devices.models import Cadence, Channel
from devices.readings import AWAY, Flag, GapReason
from telemetry import gaps
from telemetry.completeness import begun
from telemetry.completeness.courses import By
from telemetry.completeness.due import Noted, Period, Span, periods
from telemetry.completeness.explained import Explained, Missing
from telemetry.models import ComputedChannel, StoragePolicy


@dataclass(frozen=True)
class Facts:
    """What the channels' instruments were to do, and what kept them from it."""

    periods: Mapping[UUID, list[Period]]
    gaps: Mapping[UUID, list[Missing]]
    keys: Mapping[int, str]  # of channels that are calibrated from another: that one's
    policies: frozenset[int]  # channels of which not each reading is stored
    heard: Mapping[int, int]  # quality of the latest reading, of channels that have one
    _explained: dict[tuple[UUID, str], Explained] = field(default_factory=dict)

    def explained(self, channel: Channel) -> Explained:
        """What all channels of an instrument share is made once."""
        instrument = channel.instrument_id
        key = channel.key if any(gap.key == channel.key for gap in self.gaps[instrument]) else ""
        found = self._explained.get((instrument, key))
        if found is None:
            found = Explained(self.periods[instrument], self.gaps[instrument], key)
            self._explained[instrument, key] = found
        return found


def of(channels: Sequence[Channel], start: datetime, until: datetime, now: datetime) -> Facts:
    instruments = {channel.instrument_id for channel in channels}
    numbers = [channel.pk for channel in channels]
    found = gaps.found(gaps.Question(start=start, end=until, instruments=instruments), now)
    calibrated = ComputedChannel.objects.filter(channel__in=numbers).exclude(source=None)
    policies = StoragePolicy.objects.filter(channel__in=numbers)
    latest = Channel.objects.filter(pk__in=numbers).exclude(latest=None)
    return Facts(
        _periods(instruments, found, start, until),
        _missing(instruments, found, until),
        dict(calibrated.values_list("channel_id", "source__key")),
        frozenset(policies.values_list("channel_id", flat=True)),
        dict(latest.values_list("pk", "latest__quality")),
    )


def _periods(
    instruments: set[UUID], found: Sequence[gaps.FoundGap], start: datetime, until: datetime
) -> dict[UUID, list[Period]]:
    """From a new instrument nothing is due before its first sign of life, as its edge may be new, too."""
    noted: dict[UUID, list[Noted]] = defaultdict(list)
    rows = Cadence.objects.filter(instrument__in=instruments, since__lt=until).order_by("since")
    for row in rows:
        since = microseconds(row.since)
        noted[row.instrument_id].append(Noted(since, row.interval, row.edge_id, row.in_service, row.polled))
    span = Span(microseconds(start), microseconds(until))
    new = [pk for pk, each in noted.items() if each[0].since > span.start]
    signs = begun.first_signs(new, found, start, until) if new else {}
    return {
        pk: periods(noted[pk], Span(max(signs.get(pk, span.start), span.start), span.end))
        for pk in instruments
    }


def _missing(
    instruments: set[UUID], found: Sequence[gaps.FoundGap], until: datetime
) -> dict[UUID, list[Missing]]:
    missing: dict[UUID, list[Missing]] = {pk: [] for pk in instruments}
    last = microseconds(until)
    for gap in found:
        if gap.reason == GapReason.OUT_OF_SERVICE:
            continue  # nothing is due then
        span = Span(microseconds(gap.start), microseconds(gap.end))
        one = Missing(span, gap.reason, gap.missed, gap.key, 0 if gap.instrument else gap.edge)
        for pk in [gap.instrument] if gap.instrument else instruments:
            missing[pk].append(one)
            if gap.open and gap.reason in AWAY and span.end < last:
                missing[pk].append(Missing(Span(span.end, last), gap.reason, 0, gap.key))
    return missing


def by(channel: Channel, facts: Facts) -> By | None:
    """Polls, unless its driver or its last reading says that it tells by itself."""
    if not any(period.is_due for period in facts.periods[channel.instrument_id]):
        return None
    instrument = channel.instrument
    key = facts.keys.get(channel.pk, channel.key)
    try:
        tells = drivers.load(instrument.driver).tells_each_poll(key, instrument.options)
    except ConfigurationError:
        tells = True  # a driver that only its edge has
    own_time = facts.heard.get(channel.pk, 0) & Flag.INSTRUMENT_TIME
    return By.POLLS if tells and not own_time else By.TIME
