"""How alarms change: by the life cycle's table, with a journal row each, all of it written at once.

Whoever changes alarms takes the turn of their edge first, inside a transaction, and reads them after that.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import OperationalError, connection

from alerts import lifecycle
from alerts.lifecycle import ASIDE, Event, State
from alerts.models import Alarm, AlarmEvent, Priority, Source

TURN = 0x1AD  # advisory, with an edge's id: who changes alarms of one edge takes turns
CHANNEL = "labsite_alarms"  # of PostgreSQL's NOTIFY: who sends notices and shows alarms listens to it

# What of an alarm changes; the rest is set when it is made.
COLUMNS = {
    "state": "text", "since": "timestamptz", "priority": "int2", "text": "text", "value": "float8",
    "reason": "text", "cause_id": "int8", "raised_at": "timestamptz", "cleared_at": "timestamptz",
    "acknowledged_at": "timestamptz", "acknowledged_by_id": "int4", "aside_by_id": "int4",
    "aside_reason": "text", "aside_until": "timestamptz", "active": "bool", "held": "bool",
    "unknown": "bool", "pending_at": "timestamptz", "due_at": "timestamptz", "judged_at": "timestamptz",
    "memory": "jsonb", "past": "jsonb",
}  # fmt: skip
JSON = ("memory", "past")
UPDATE = """
UPDATE alerts_alarm AS a SET {sets}, version = a.version + 1
FROM unnest(%s::int8[], %s::int4[], {arrays}) AS n(id, version, {names})
WHERE a.id = n.id AND a.version = n.version
""".format(
    sets=", ".join(f"{name} = n.{name}" for name in COLUMNS),
    arrays=", ".join(f"%s::{kind}[]" for kind in COLUMNS.values()),
    names=", ".join(COLUMNS),
)

logger = logging.getLogger(__name__)


class Conflict(OperationalError):
    """Somebody changed the same alarm meanwhile: nothing is written, the whole step is to be done again."""


def turn(edge: int | None) -> None:
    """Wait until nobody else changes alarms of this edge (None: of contacts and sinks), until the commit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [TURN, edge or 0])


@dataclass
class Changes:
    """What is to be written. `source`: where these changes come from; `now`: the centre's clock."""

    now: datetime
    source: Source
    alarms: dict[int, Alarm] = field(default_factory=dict)  # by their place in memory
    journal: list[AlarmEvent] = field(default_factory=list)
    causes: list[tuple[Alarm, Alarm]] = field(default_factory=list)  # whose consequence which is
    wakes: bool = False  # there is something else for the outbox

    def touch(self, alarm: Alarm) -> None:
        """It has changed (what it remembers) without an event."""
        self.alarms[id(alarm)] = alarm

    def move(
        self,
        alarm: Alarm,
        event: Event,
        at: datetime,
        *,
        by: Any = None,
        comment: str = "",
        until: datetime | None = None,
        past: bool = False,
    ) -> bool:
        """Let an event happen to an alarm, at this event time; False if it cannot happen where it stands."""
        before = State(alarm.state)
        after = lifecycle.after(before, event)
        if after is None:
            return False
        _effect(alarm, event, at, by=by, comment=comment, until=until)
        if after != before:
            alarm.state, alarm.since = after, at
        row = AlarmEvent(
            alarm=alarm, event=event, before=before, after=after, at=at, stored_at=self.now, past=past,
            priority=alarm.priority, value=alarm.value, by=by, source=self.source, comment=comment[:1000],
            until=until, told_at=self.now if is_quiet(before, after, event, past=past) else None,
        )  # fmt: skip
        self.journal.append(row)
        self.touch(alarm)
        return True

    def blame(self, alarm: Alarm, cause: Alarm) -> None:
        """It is a consequence of this one, which may not be stored yet."""
        if cause.pk is None or alarm.cause_id != cause.pk:
            self.causes.append((alarm, cause))
            self.touch(alarm)

    def note_past(self, alarm: Alarm, event: Event, at: datetime) -> None:
        """An excursion learnt too late: history, which moves nothing and is told to nobody."""
        state = State(alarm.state)
        self.journal.append(
            AlarmEvent(
                alarm=alarm,
                event=event,
                before=state,
                after=state,
                at=at,
                stored_at=self.now,
                past=True,
                priority=alarm.priority,
                value=None,
                source=self.source,
                told_at=self.now,
            )
        )

    def save(self) -> None:
        """Write all of it; raises Conflict, after which the transaction must be given up."""
        kept = [alarm for alarm in self.alarms.values() if alarm.pk is not None]
        causes = {id(cause): cause for _, cause in self.causes if cause.pk is None}
        Alarm.objects.bulk_create(list(causes.values()))
        for alarm, cause in self.causes:
            alarm.cause = cause
        made = [alarm for alarm in self.alarms.values() if alarm.pk is None]
        Alarm.objects.bulk_create(made, batch_size=2_000)
        if kept:
            _update(kept)
        if self.journal:
            AlarmEvent.objects.bulk_create(self.journal, batch_size=2_000, ignore_conflicts=True)
            _log(self.journal)
        if self.journal or self.wakes:
            notify()
        self.alarms, self.journal, self.causes, self.wakes = {}, [], [], False


def is_quiet(before: State, after: State, event: Event, *, past: bool) -> bool:
    """Whether a change is for the journal only: what is aside tells nobody what its condition does.

    Of what is learnt late only that it latched is told.
    """
    if past:
        return event is not Event.LATCH
    return before == after and before in ASIDE and event in (Event.RAISE, Event.CLEAR, Event.LATCH)


def notify() -> None:
    """Wake who sends notices and shows alarms, when this transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def _effect(
    alarm: Alarm, event: Event, at: datetime, *, by: Any, comment: str, until: datetime | None
) -> None:
    """What an event does to an alarm beside moving it."""
    if event is Event.RAISE:
        alarm.raised_at, alarm.cleared_at = at, None
        alarm.acknowledged_at, alarm.acknowledged_by_id = None, None
    elif event in (Event.CLEAR, Event.LATCH):
        alarm.cleared_at = at
    elif event is Event.ACKNOWLEDGE:
        alarm.acknowledged_at, alarm.acknowledged_by_id = at, getattr(by, "pk", None)
    elif event in (Event.SHELVE, Event.REMOVE):
        alarm.aside_by_id, alarm.aside_reason = getattr(by, "pk", None), comment[:400]
        alarm.aside_until = until
    elif event in (Event.UNSHELVE, Event.RETURN):
        alarm.aside_by_id, alarm.aside_reason, alarm.aside_until = None, "", None
    elif event is Event.UNSUPPRESS:
        alarm.cause = None


def _update(alarms: Sequence[Alarm]) -> None:
    columns = [[getattr(alarm, name) for alarm in alarms] for name in COLUMNS if name not in JSON]
    with connection.cursor() as cursor:
        cursor.execute(
            UPDATE,
            [
                [alarm.pk for alarm in alarms],
                [alarm.version for alarm in alarms],
                *columns,
                *([_json(getattr(alarm, name)) for alarm in alarms] for name in JSON),
            ],
        )
        if cursor.rowcount != len(alarms):
            raise Conflict(f"{len(alarms) - cursor.rowcount} alarms were changed by somebody else meanwhile")
    for alarm in alarms:
        alarm.version += 1


def _json(value: object) -> str:
    return json.dumps(value)


def _log(journal: Iterable[AlarmEvent]) -> None:
    """One line a change: WARNING and up by priority where a person should look, else INFO."""
    for row in journal:
        if row.past:
            level = logging.INFO
        elif row.event == Event.RAISE and row.after == State.UNACKNOWLEDGED:
            level = logging.ERROR if row.priority == Priority.CRITICAL else logging.WARNING
        else:
            level = logging.INFO
        logger.log(
            level,
            "alarm %s: %s%s (%s → %s, priority %d)",
            row.alarm.text,
            Event(row.event).value,
            " in the past" if row.past else "",
            row.before,
            row.after,
            row.priority,
        )
