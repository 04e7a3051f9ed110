"""What an alarm's row remembers of its condition, as `alerts.judging.conditions` works with it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from alerts.judging.conditions import SECOND, Delays, Memory
from alerts.models import Alarm
from telemetry.times import moment


def of(alarm: Alarm) -> Memory:
    """The present."""
    return Memory(
        alarm.active, alarm.held, alarm.unknown, microseconds(alarm.pending_at), microseconds(alarm.judged_at)
    )


def keep(alarm: Alarm, memory: Memory, delays: Delays) -> None:
    """But for `active`, which the alarm gets turn by turn."""
    alarm.held, alarm.unknown = memory.held, memory.unknown
    alarm.pending_at = moment_or_none(memory.pending)
    alarm.judged_at = moment_or_none(memory.judged)
    alarm.due_at = moment_or_none(memory.due(delays))


def forget(alarm: Alarm) -> None:
    """Nothing is known of its condition any more: the next reading decides."""
    alarm.active = alarm.held = alarm.unknown = False
    alarm.pending_at = alarm.due_at = None
    alarm.memory = {}


def of_past(alarm: Alarm) -> Memory:
    """What was said of the past so far, where that is under way."""
    said: Mapping[str, Any] = alarm.past
    return Memory(said["active"], said["held"], said["unknown"], said["pending"], said["judged"])


def past_of(memory: Memory) -> dict[str, Any]:
    """The same, as an alarm's row keeps it."""
    return {
        "active": memory.active,
        "held": memory.held,
        "unknown": memory.unknown,
        "pending": memory.pending,
        "judged": memory.judged,
    }


def microseconds(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * SECOND)


def moment_or_none(at: int | None) -> datetime | None:
    return None if at is None else moment(at)
