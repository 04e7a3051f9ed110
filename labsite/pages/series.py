"""The series behind the chart of an instrument's page."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from devices.models import Instrument
from labsite.pages.cards import milliseconds
from telemetry import history


def content(
    instrument: Instrument, wanted: Collection[int], since: datetime, now: datetime
) -> dict[str, Any]:
    """What the chart is drawn from; numbers of channels that are not the instrument's are left out.

    `apart`: how many ms two points of a series may lie apart only because it was thinned.
    """
    channels = list(instrument.channels.filter(pk__in=wanted))
    recent = history.recent(channels, since, now)
    numbers = {channel.key: channel.pk for channel in channels}
    return {
        "apart": round(recent.apart.total_seconds() * 1000),
        "channels": [
            {"id": channel.pk, "times": times, "values": values}
            for channel in channels
            for times, values in [recent.points[channel.pk]]
        ],
        "gaps": [
            {
                "start": milliseconds(gap.start),
                "end": milliseconds(gap.end),
                "reason": gap.reason,
                "channel": numbers.get(gap.key),
            }
            for gap in history.gaps(instrument, since)
            if not gap.key or gap.key in numbers
        ],
    }
