"""What an instrument says now, as the replaced programs had it in memory."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from devices.models import Instrument, Latest
from devices.readings import QUALITY_MASK, Quality

MISSED = 3  # polls after which what was read last is no longer the present
GRACE = timedelta(seconds=10)  # that a reading may take to get here

Said = float | str | None


class Now(NamedTuple):
    """A channel's newest reading: its last value, and whether that still holds."""

    value: Said  # of a text channel its text; of a boolean one 0 or 1
    time: datetime
    seen_at: datetime
    is_bad: bool


def readings(instrument: Instrument) -> dict[str, Now]:
    """By the channels' keys; of one that was never read there is none."""
    rows = Latest.objects.filter(channel__instrument=instrument).values_list(
        "channel__key", "channel__kind", "value", "text", "time", "seen_at", "quality"
    )
    return {
        key: Now(
            text if kind == "text" else value,
            time,
            seen_at,
            quality & QUALITY_MASK == Quality.BAD,
        )
        for key, kind, value, text, time, seen_at, quality in rows
    }


def held(known: Mapping[str, Now]) -> dict[str, Said]:
    """The values: of an instrument that cannot be read at all the last ones; else without the bad."""
    is_lost = all(now.is_bad for now in known.values())
    return {key: now.value if is_lost or not now.is_bad else None for key, now in known.items()}


def newest(known: Mapping[str, Now]) -> datetime | None:
    """When it was read last."""
    return max((now.time for now in known.values()), default=None)


def is_stale(instrument: Instrument, now: Now, at: datetime) -> bool:
    """Whether several polls were missed, or it is known to be bad."""
    return now.is_bad or at - now.seen_at > MISSED * timedelta(seconds=instrument.interval) + GRACE
