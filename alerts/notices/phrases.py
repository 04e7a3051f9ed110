"""Words and times as every notice says them."""

import re
from datetime import datetime, tzinfo

from alerts.models import Alarm, Priority
from devices import numbers

SHAPES = {Priority.CRITICAL: "■", Priority.HIGH: "▲", Priority.MEDIUM: "◆", Priority.LOW: "●"}
NO_TEXT = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")  # or would turn its direction


def headline(alarm: Alarm) -> str:
    """An alarm in one line: `▲ 2 high · UPS rack A input voltage below 180 V`."""
    return f"{mark(alarm.priority)} · {clean(alarm.text)}"


def mark(priority: int) -> str:
    """A priority by shape, number and word: never by colour alone."""
    return f"{SHAPES[Priority(priority)]} {int(priority)} {Priority(priority).label}"


def clean(text: str) -> str:
    """Words of an instrument or a person on one line, without signs that would not be text."""
    return " ".join(NO_TEXT.sub(" ", text).split())


def clock(at: datetime, now: datetime, local: tzinfo) -> str:
    """A time by the clocks of a zone, with its name; with the date unless that is today's."""
    there = at.astimezone(local)
    is_today = there.date() == now.astimezone(local).date()
    day = "" if is_today else f"{there:%Y-%m-%d} "
    return f"{day}{there:%H:%M %Z}"


def since(at: datetime, now: datetime) -> str:
    """How long, as people say it: seconds up to a minute, then minutes."""
    seconds = (now - at).total_seconds()
    return numbers.duration(seconds) if seconds < 60 else numbers.interval(round(seconds / 60) * 60)
