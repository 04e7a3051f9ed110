"""Suppression by design: consequences of what is told already, and what is not meant now.

One cause gives one alarm. A channel's readings are bad because its instrument is not connected;
that is not, because its edge is silent. And a rule may say itself while what it is suppressed: while another
alarm stands, while the instrument has a run, and always while it is out of service.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from alerts.changes import Changes
from alerts.lifecycle import Event, State
from alerts.models import Alarm, RuleKind
from devices.models import Run

LATCHED = (State.LATCHED, State.LATCHED_ACKNOWLEDGED)  # over, but not done with
GRACE = timedelta(seconds=10)  # after its end a cause counts still: what it caused ends a moment later

# Whose consequence an alarm of a kind can be.
CAUSES: dict[str, tuple[str, ...]] = {
    RuleKind.STALE: (RuleKind.NOT_CONNECTED, RuleKind.EDGE_SILENT),
    RuleKind.NO_PROGRESS: (RuleKind.NOT_CONNECTED, RuleKind.EDGE_SILENT),
    RuleKind.NOT_CONNECTED: (RuleKind.EDGE_SILENT,),
}


@dataclass
class Reasons:
    """What stands, looked up once for many alarms: `why(alarm)` tells whether one of them is suppressed."""

    standing: list[Alarm] = field(default_factory=list)
    runs: set[tuple[object, str]] = field(default_factory=set)

    @classmethod
    def of(cls, alarms: Iterable[Alarm]) -> "Reasons":
        """Two questions at most. A cause counts from when its condition holds, before its delay is over."""
        alarms = list(alarms)
        rules = {alarm.rule.suppressed_by_id for alarm in alarms if alarm.rule.suppressed_by_id}
        kinds = {kind for alarm in alarms for kind in CAUSES.get(alarm.rule.kind, ())}
        standing: list[Alarm] = []
        if rules or kinds:
            edges = {alarm.edge_id for alarm in alarms if alarm.edge_id}
            found = Alarm.objects.filter(edge__in=edges).select_related("rule")
            wanted = Q(rule__in=rules) | Q(rule__kind__in=kinds)
            lately = timezone.now() - GRACE
            stands = Q(held=True) | Q(active=True) | Q(state__in=LATCHED) | Q(cleared_at__gt=lately)
            standing = list(found.filter(wanted).filter(stands))
        watched = {
            alarm.instrument_id for alarm in alarms if alarm.rule.suppressed_in and alarm.instrument_id
        }
        runs = Run.objects.filter(instrument__in=watched, state__in=("pending", "running", "paused"))
        return cls(standing, set(runs.values_list("instrument_id", "state")) if watched else set())

    def why(self, alarm: Alarm, also: Iterable[Alarm] = ()) -> tuple[bool, Alarm | None]:
        """Whether it is suppressed, and by which alarm, if by one. `also`: standing, but not stored yet."""
        rule = alarm.rule
        if alarm.instrument is not None and (alarm.instrument.retired_at or not alarm.instrument.in_service):
            return True, None
        for other in (*(each for each in also if each.held or each.active), *self.standing):
            if other is not alarm and other.pk != (alarm.pk or -1) and _covers(other, alarm):
                return True, other
        is_in_run = any((alarm.instrument_id, state) in self.runs for state in rule.suppressed_in)
        return is_in_run, None


def _covers(cause: Alarm, alarm: Alarm) -> bool:
    """Whether what stands at the same instrument, or at its edge, is why this one would."""
    is_same_instrument = cause.instrument_id is not None and cause.instrument_id == alarm.instrument_id
    is_of_edge = cause.instrument_id is None and cause.edge_id is not None and cause.edge_id == alarm.edge_id
    if not (is_same_instrument or is_of_edge):
        return False
    return cause.rule_id == alarm.rule.suppressed_by_id or cause.rule.kind in CAUSES.get(alarm.rule.kind, ())


def settle(
    alarm: Alarm,
    changes: Changes,
    at: datetime,
    reasons: Reasons | None = None,
    also: Iterable[Alarm] = (),
) -> None:
    """Bring an alarm's state in line with its condition and with what suppresses it; shelved it stays."""
    state = State(alarm.state)
    if state in (State.SHELVED, State.OUT):
        return
    suppressed, cause = (reasons or Reasons.of([alarm])).why(alarm, also) if alarm.active else (False, None)
    if state == State.SUPPRESSED and not suppressed:
        changes.move(alarm, Event.UNSUPPRESS, at)
    if suppressed:
        if cause is not None:
            changes.blame(alarm, cause)
        changes.move(alarm, Event.SUPPRESS, at)  # where the table lets it
    elif alarm.active:
        changes.move(alarm, Event.RAISE, at)
    elif alarm.state in (State.UNACKNOWLEDGED, State.ACKNOWLEDGED):
        changes.move(alarm, Event.LATCH if alarm.rule.latch else Event.CLEAR, at)
