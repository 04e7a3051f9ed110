"""What an alarm's row remembers of its condition, as `alerts.conditions` works with it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from alerts.conditions import SECOND, Delays, Memory
from alerts.models import Alarm
from telemetry.times import moment

PAST_APART = 300 * SECOND  # late readings so much later than the last ones tell of another time


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


def of_past(alarm: Alarm, first: int) -> Memory:
    """Of late readings, the first of which is of this time."""
    said: Mapping[str, Any] = alarm.past
    if not said or first - said["judged"] > PAST_APART:
        return Memory()
    return Memory(said["active"], said["held"], said["unknown"], said["pending"], said["judged"])


def keep_past(alarm: Alarm, memory: Memory) -> None:
    """Nothing where nothing is under way."""
    alarm.past = {}
    if memory.held or memory.active:
        alarm.past = {
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
