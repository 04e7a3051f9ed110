"""What clocks do to alarms: delays that run out, silence, what is put aside for a time, causes that are over.

The centre's own clock decides only where people are meant (shelving) and where an edge is silent. For all
else an edge's readings must have come up to then (`Reach`): nothing is stale that merely waits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from alerts import changes
from alerts.changes import Changes
from alerts.judging import conditions, evaluation, late, memory, progress, reach, rulebook, silence, sinks
from alerts.judging.conditions import Delays, Turn
from alerts.judging.rulebook import Book
from alerts.judging.suppression import CAUSES, Reasons, settle
from alerts.lifecycle import Event, State
from alerts.models import Alarm, Reach, RuleKind, Source
from devices.edges import microseconds
from devices.models import PUSH_EDGE

SLOW_EVERY = timedelta(seconds=2)  # what is looked at less often
IN_A_WAY = (State.NORMAL, State.RETURNED, State.LATCHED, State.LATCHED_ACKNOWLEDGED)

DUE = """
SELECT DISTINCT a.edge_id FROM alerts_alarm a JOIN alerts_reach r ON r.edge_id = a.edge_id
WHERE a.due_at <= r.complete_at
"""
REVISION = """
SELECT (SELECT number FROM alerts_revision WHERE id = 1), sum(revision), count(*) FROM devices_edge
"""
NO_INSTRUMENT = UUID(int=0)


@dataclass
class Timers:
    """One look after the other at all that a clock decides. Made again, it goes on where the database is."""

    slow_at: datetime | None = None
    revision: object = None

    def round(self, now: datetime, listening_since: datetime | None) -> None:
        """`listening_since`: from when on the centre would have heard an edge; None while it would not.

        Each edge's alarms are changed in a transaction of their own.
        """
        for edge in _edges_due(now):
            run_out(edge, now)
        end_asides(now)
        if (revision := _revision()) != self.revision:
            let_go(now)
            self.revision = revision
        reconcile(now)
        if listening_since is not None:
            silence.judge_edges(now, listening_since)
        if self.slow_at is None or now - self.slow_at >= SLOW_EVERY or now < self.slow_at:
            self.slow_at = now
            for edge in late.edges():
                catch_up(edge, now)
            for each in Reach.objects.select_related("edge"):
                silence.judge_instruments(each, now)
            silence.judge_pushed(now, now - reach.PUSH_LATE)
            progress.judge(now)
            sinks.judge(now)


# ---- delays


def _edges_due(now: datetime) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(DUE)
        polled = {edge for (edge,) in cursor.fetchall()}
    pushed = Alarm.objects.filter(edge__name=PUSH_EDGE, due_at__lte=now - reach.PUSH_LATE)
    return polled | set(pushed.values_list("edge_id", flat=True))


@transaction.atomic
def run_out(edge: int, now: datetime) -> None:
    """Let delays of an edge's alarms run out, as far as its readings have come."""
    changes.turn(edge)
    until = reach.complete(edge, now)
    if until is None:
        return
    book = rulebook.of_edge(edge)
    made = Changes(now, Source.TIMER)
    turned = []
    for alarm in Alarm.objects.filter(edge=edge, due_at__lte=until).select_related("rule", "instrument"):
        delays = delays_of(book, alarm)
        remembered = memory.of(alarm)
        turns: list[Turn] = []
        conditions.expire(remembered, delays, microseconds(until), turns)
        memory.keep(alarm, remembered, delays)
        made.touch(alarm)
        turned.append((alarm, turns))
    apply(turned, made)
    made.save()


@transaction.atomic
def catch_up(edge: int, now: datetime) -> None:
    """Let what came late of an edge catch up with the present, as far as its readings have come."""
    changes.turn(edge)
    until = reach.complete(edge, now)
    if until is None:
        return
    made = Changes(now, Source.TIMER)
    apply(late.go_on(rulebook.of_edge(edge), until, made), made)
    made.save()


def delays_of(book: Book, alarm: Alarm) -> Delays:
    number = book.by_channel.get((alarm.rule_id, alarm.channel_id or 0))
    if number is not None:
        return book.watches[number].delays
    return rulebook.delays_of(alarm.rule)


def apply(turned: Iterable[tuple[Alarm, list[Turn]]], made: Changes) -> None:
    """Let alarms follow their conditions, causes first."""
    turned = sorted(turned, key=lambda each: _depth(each[0]))
    evaluation.apply(turned, made)


def _depth(alarm: Alarm) -> int:
    return {RuleKind.EDGE_SILENT: 0, RuleKind.NOT_CONNECTED: 1}.get(RuleKind(alarm.rule.kind), 2)


# ---- people's clocks, and causes that are over


def end_asides(now: datetime) -> None:
    """Shelving, and being out of service, ends by itself."""
    over = Alarm.objects.filter(state__in=(State.SHELVED, State.OUT), aside_until__lte=now)
    for pk, edge in list(over.values_list("pk", "edge_id")):
        with transaction.atomic():
            changes.turn(edge)
            alarm = Alarm.objects.select_related("rule", "instrument").get(pk=pk)
            if alarm.aside_until is None or alarm.aside_until > now:
                continue
            made = Changes(now, Source.TIMER)
            end = Event.UNSHELVE if alarm.state == State.SHELVED else Event.RETURN
            if made.move(alarm, end, now, comment="its time is over"):
                settle(alarm, made, now)
            made.save()


def reconcile(now: datetime) -> None:
    """Bring alarms in line with what suppresses them, and with rules that watch them no more."""
    for edge in set(_out_of_line().values_list("edge_id", flat=True)):
        with transaction.atomic():
            changes.turn(edge)
            made = Changes(now, Source.TIMER)
            alarms = list(_out_of_line().filter(edge=edge).select_related("rule", "instrument"))
            reasons = Reasons.of(alarms)
            for alarm in alarms:
                _reconcile(alarm, made, now, reasons)
            made.save()


def _revision() -> tuple[object, ...]:
    """Changes when a rule, an override or an instrument does."""
    with connection.cursor() as cursor:
        cursor.execute(REVISION)
        return tuple(cursor.fetchone())


def let_go(now: datetime) -> None:
    """End alarms whose rule does not watch their channel or instrument any more."""
    at_work = Alarm.objects.filter(Q(active=True) | Q(held=True)).exclude(instrument=None)
    for edge in set(at_work.values_list("edge_id", flat=True)):
        with transaction.atomic():
            changes.turn(edge)
            book = rulebook.of_edge(edge)
            made = Changes(now, Source.TIMER)
            for alarm in at_work.filter(edge=edge).select_related("rule", "instrument"):
                if not _is_watched(book, alarm):
                    memory.forget(alarm)
                    made.touch(alarm)
                    settle(alarm, made, now)
            made.save()


def _is_watched(book: Book, alarm: Alarm) -> bool:
    if alarm.channel_id is not None:
        return (alarm.rule_id, alarm.channel_id) in book.by_channel
    instrument = book.instruments.get(alarm.instrument_id or NO_INSTRUMENT)
    return instrument is not None and rulebook.watches_instrument(alarm.rule, instrument)


def _out_of_line() -> QuerySet[Alarm]:
    is_out = Q(instrument__in_service=False) | Q(instrument__retired_at__isnull=False)
    may_be_caused = (
        Q(rule__suppressed_by__isnull=False)
        | ~Q(rule__suppressed_in=[])
        | Q(rule__kind__in=tuple(CAUSES))
        | is_out
    )
    is_let_go = Q(state=State.SUPPRESSED) & (
        Q(cause=None) | Q(active=False) | (Q(cause__held=False) & Q(cause__active=False))
    )
    return Alarm.objects.filter(
        is_let_go
        | (Q(state=State.UNACKNOWLEDGED, active=True) & may_be_caused)
        | Q(active=True, state__in=IN_A_WAY)
        | Q(active=False, state__in=(State.UNACKNOWLEDGED, State.ACKNOWLEDGED))
        | (Q(rule__enabled=False) & (Q(active=True) | Q(held=True)))
        | (Q(memory__has_key="out") & ~is_out)
    ).exclude(edge=None)


def _reconcile(alarm: Alarm, made: Changes, now: datetime, reasons: Reasons) -> None:
    instrument = alarm.instrument
    is_out = instrument is not None and (instrument.retired_at is not None or not instrument.in_service)
    if not alarm.rule.enabled or ("out" in alarm.memory and not is_out):
        memory.forget(alarm)  # the next reading decides
        made.touch(alarm)
    elif is_out and "out" not in alarm.memory:
        alarm.memory = {**alarm.memory, "out": True}
        made.touch(alarm)
    settle(alarm, made, now, reasons)
