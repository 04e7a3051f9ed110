"""Events and runs: alarms of those that a rule names, and notices of those that people asked to hear of."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from alerts.changes import Changes
from alerts.judging.connections import new_alarm
from alerts.judging.rulebook import Book
from alerts.judging.suppression import Reasons
from alerts.lifecycle import Event, State
from alerts.models import Alarm, Happening, Rule, RuleKind
from devices.edges import microseconds
from devices.readings import RUN_ENDED
from telemetry.events import NewEvent
from telemetry.runs import RunChange

NEWS_FOR = timedelta(minutes=15)  # what happened before is history: nobody is paged for old news
BEGUN = ("pending", "running", "paused")
RUN = "run."  # before the word for what became of a run


class Told(NamedTuple):
    """Something that happened at an instrument; `run`: the key of the run that it is of."""

    instrument: UUID
    at: datetime
    kind: str
    text: str
    run: int | None = None


def judge(
    book: Book, events: Sequence[NewEvent], runs: Sequence[RunChange], changes: Changes, *, live: bool
) -> None:
    """Raise alarms of events, note happenings. `live` says nothing of how old they are; their times do."""
    del live
    told = [Told(event.instrument, event.time, event.kind, event.text) for event in events]
    told += [each for run in runs if (each := of_run(run))]
    told = [each for each in told if each.instrument in book.instruments]
    if not told:
        return
    _note(book, told, changes)
    for rule, instruments in book.instrument_rules(RuleKind.EVENT):
        matching = [each for each in told if each.instrument in instruments and matches(rule, each)]
        _raise(book, rule, matching, changes)


def of_run(change: RunChange) -> Told | None:
    """What a change of a run is called: `run.started`, `run.failed` …; None for one of its progress only."""
    before, after = change.before, change.after
    if before == after or (before in RUN_ENDED and after in BEGUN):
        return None
    if after in ("running", "pending"):
        if before in BEGUN and before != "pending":
            word = "resumed"
        elif after == "pending" or before == "running":
            return None
        else:
            word = "started"
    elif after in ("paused", *RUN_ENDED):
        word = after
    else:
        return None
    at = (change.end if after in RUN_ENDED else change.start if word == "started" else None) or change.time
    return Told(change.instrument, at, f"{RUN}{word}", change.title, change.run)


def matches(rule: Rule, told: Told) -> bool:
    """Whether a rule is of such an event."""
    if rule.event_kind and rule.event_kind != told.kind:
        return False
    return rule.event_text.casefold() in told.text.casefold()


def _note(book: Book, told: Iterable[Told], changes: Changes) -> None:
    """Those that a route wants to hear of, for the outbox."""
    wanted = [
        Happening(
            instrument_id=each.instrument,
            run_id=each.run,
            time=each.at,
            kind=each.kind,
            text=each.text,
            stored_at=changes.now,
        )
        for each in told
        if each.kind in book.happenings and changes.now - each.at <= NEWS_FOR
    ]
    if wanted:
        Happening.objects.bulk_create(wanted)
        changes.wakes = True


def _raise(book: Book, rule: Rule, told: Sequence[Told], changes: Changes) -> None:
    """An event is over when it is told: its alarm stands, returned, until it is acknowledged (or reset)."""
    if not told:
        return
    alarms = {
        alarm.instrument_id: alarm
        for alarm in Alarm.objects.filter(
            rule=rule, channel=None, instrument__in={each.instrument for each in told}
        )
    }
    for each in sorted(told, key=lambda each: each.at):
        instrument = book.instruments[each.instrument]
        alarm = alarms.get(each.instrument) or new_alarm(rule, instrument, microseconds(each.at), each.text)
        alarms[each.instrument] = alarm
        alarm.rule, alarm.instrument = rule, instrument
        if changes.now - each.at > NEWS_FOR or Reasons.of([alarm]).why(alarm)[0]:
            changes.touch(alarm)
            changes.note_past(alarm, Event.RAISE, each.at)
            continue
        alarm.text, alarm.reason = new_alarm(rule, instrument, 0, each.text).text, each.text[:400]
        if alarm.state == State.UNACKNOWLEDGED:
            changes.move(alarm, Event.CLEAR, each.at)
        changes.move(alarm, Event.RAISE, each.at)
        changes.move(alarm, Event.LATCH if rule.latch else Event.CLEAR, each.at)
