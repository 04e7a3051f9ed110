"""What has not been told yet: changes of alarms and happenings, read from the outbox in order and marked."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from django.db import connection

from alerts.lifecycle import ASIDE, Event, State
from alerts.models import RuleKind

MOST = 50_000  # rows at once: more than a laboratory has alarms, so that a flood is one group
CHANGES = """
SELECT e.id, e.alarm_id, e.event, e.after, e.at, e.past, e.priority, a.state,
    a.rule_id, a.instrument_id, a.edge_id, a.contact_id, a.cause_id, r.kind, a.chatter_at IS NOT NULL
FROM ({which}) e
JOIN alerts_alarm a ON a.id = e.alarm_id
JOIN alerts_rule r ON r.id = a.rule_id
ORDER BY e.id
"""
UNTOLD = CHANGES.format(
    which="SELECT * FROM alerts_alarmevent WHERE told_at IS NULL ORDER BY id LIMIT %(most)s"
)
NAMED = CHANGES.format(which="SELECT * FROM alerts_alarmevent WHERE id = ANY(%(ids)s)")
HAPPENINGS = """
SELECT id, instrument_id, kind, time, stored_at FROM alerts_happening
WHERE told_at IS NULL ORDER BY id LIMIT %s
"""
# To whom the trouble was told that each of these changes ends.
TOLD = """
SELECT DISTINCT e.alarm_id, n.route_id, n.contact_id
FROM alerts_alarmevent e
JOIN LATERAL (
    SELECT p.id FROM alerts_alarmevent p
    WHERE p.alarm_id = e.alarm_id AND p.at <= e.at AND p.event = 'raise' AND NOT p.past
    ORDER BY p.at DESC, p.id DESC LIMIT 1
) raised ON TRUE
JOIN alerts_noticeline l ON l.event_id = raised.id
JOIN alerts_notice n ON n.id = l.notice_id
JOIN alerts_contact c ON c.id = n.contact_id AND c.enabled
WHERE e.id = ANY(%s) AND n.route_id IS NOT NULL AND n.kind <> 'chatter'
    AND (n.state = 'sent' OR (n.state = 'waiting' AND n.kind IN ('alarm', 'recovery', 'calm')))
"""


class Item(Protocol):
    """What is told: `keys` say with what else it belongs."""

    @property
    def id(self) -> int: ...
    @property
    def keys(self) -> Collection[Hashable]: ...


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an alarm; `state` is where the alarm stands by now."""

    id: int
    alarm: int
    event: str
    after: str
    at: datetime
    past: bool
    priority: int
    state: str
    rule: int
    instrument: UUID | None
    edge: int | None
    contact: int | None
    cause: int | None
    kind: str
    chatters: bool

    @property
    def begins(self) -> bool:
        """A trouble that people are to hear of. Of the past only what latched is told, by its end."""
        if self.past:
            return self.event == Event.LATCH
        return self.event == Event.RAISE and self.after == State.UNACKNOWLEDGED

    @property
    def ends(self) -> bool:
        """A trouble that people were told of is over. What a rule of events raises has no end to tell."""
        if self.past or self.kind == RuleKind.EVENT:
            return False
        if self.event == Event.UNSUPPRESS:
            return self.state == State.NORMAL
        return self.event in (Event.CLEAR, Event.LATCH) and self.after not in ASIDE

    @property
    def keys(self) -> Collection[Hashable]:
        own = (("rule", self.rule), ("cause", self.cause or self.alarm))
        return own if self.instrument is None else (*own, ("instrument", self.instrument))


@dataclass(frozen=True, slots=True)
class Happened:
    """A happening."""

    id: int
    instrument: UUID
    kind: str
    time: datetime
    stored_at: datetime

    @property
    def keys(self) -> Collection[Hashable]:
        return (("instrument", self.instrument),)


def changes() -> list[Change]:
    """Those that have not been told, in order."""
    with connection.cursor() as cursor:
        cursor.execute(UNTOLD, {"most": MOST})
        return [Change(*row) for row in cursor.fetchall()]


def named(ids: Iterable[int]) -> list[Change]:
    """These changes, told or not."""
    with connection.cursor() as cursor:
        cursor.execute(NAMED, {"ids": list(ids)})
        return [Change(*row) for row in cursor.fetchall()]


def happenings() -> list[Happened]:
    """Those that have not been told, in order."""
    with connection.cursor() as cursor:
        cursor.execute(HAPPENINGS, [MOST])
        return [Happened(*row) for row in cursor.fetchall()]


def told(ends: Sequence[Change]) -> dict[int, set[tuple[int, int]]]:
    """By alarm: the (route, contact) that heard, or are about to hear, of what these changes end."""
    found: dict[int, set[tuple[int, int]]] = {}
    if ends:
        with connection.cursor() as cursor:
            cursor.execute(TOLD, [[end.id for end in ends]])
            for alarm, route, contact in cursor.fetchall():
                found.setdefault(alarm, set()).add((route, contact))
    return found


def mark(changed: Sequence[Change], happened: Sequence[Happened], now: datetime) -> None:
    """They are told, to whom they may concern."""
    for table, items in (("alerts_alarmevent", changed), ("alerts_happening", happened)):
        if items:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE {table} SET told_at = %s WHERE id = ANY(%s)",  # noqa: S608
                    [now, [item.id for item in items]],
                )
