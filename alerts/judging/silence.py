"""What is silent: edges, instruments that an edge tells nothing of, channels with a limit of their own."""

from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q

from alerts import changes
from alerts.judging import connections, naming, rulebook, single, watched
from alerts.judging.conditions import Truth
from alerts.judging.rulebook import Book, Watch
from alerts.models import Alarm, Reach, Rule, RuleKind
from devices import numbers
from devices.edges import microseconds
from devices.models import PUSH_EDGE, Edge, Instrument, Latest

SILENT_S = 30.0  # of an edge, where the rule does not say
NEW_EDGE = timedelta(minutes=5)  # in which nobody expects to hear of it
STALE_INTERVALS, STALE_LEAST_S = 5.0, 15.0  # of an instrument that says nothing, not even that it fails

# Instruments that an edge polls, and of which it told nothing at all for longer than they may be silent.
SILENT = """
SELECT i.id, greatest(max(l.seen_at), i.ordered_at) FROM devices_instrument i
JOIN alerts_reach r ON r.edge_id = i.edge_id
JOIN devices_channel c ON c.instrument_id = i.id JOIN devices_latest l ON l.channel_id = c.id
WHERE i.edge_id = %s AND i.in_service AND i.retired_at IS NULL
GROUP BY i.id, i.interval, i.ordered_at, r.complete_at
HAVING greatest(max(l.seen_at), i.ordered_at) + make_interval(secs => greatest(%s * i.interval, %s))
    < r.complete_at
"""


def judge_edges(now: datetime, listening_since: datetime) -> None:
    """Edges that say nothing, though the centre has been listening for long enough."""
    rules = list(Rule.objects.filter(enabled=True, kind=RuleKind.EDGE_SILENT))
    held = set(
        Alarm.objects.filter(rule__in=rules)
        .filter(Q(held=True) | Q(active=True))
        .values_list("rule_id", "edge_id")
    )
    for edge in Edge.objects.exclude(name=PUSH_EDGE):
        for rule in rules:
            if rule.edge_id in (None, edge.pk):
                is_held = (rule.pk, edge.pk) in held
                truth = _says(edge, rule, now, listening_since)
                if truth != Truth.BAND and is_held != (truth == Truth.TRUE):
                    _judge_edge(edge, rule, now, truth)


def _says(edge: Edge, rule: Rule, now: datetime, listening_since: datetime) -> Truth:
    """Whether an edge is silent; BAND: nobody has listened for long enough to tell."""
    limit = timedelta(seconds=rule.seconds or SILENT_S)
    heard = edge.heard_at or edge.created_at + NEW_EDGE
    if edge.retired_at is not None or now - heard <= limit:
        return Truth.FALSE
    return Truth.TRUE if now - listening_since > limit else Truth.BAND


@transaction.atomic
def _judge_edge(edge: Edge, rule: Rule, now: datetime, truth: Truth) -> None:
    changes.turn(edge.pk)
    alarm = single.of(rule, edge=edge.pk, instrument=None) or Alarm(
        rule=rule, edge=edge, since=now, priority=rule.priority, text=naming.of_edge(edge.name)
    )
    if truth == Truth.TRUE and edge.heard_at:
        alarm.reason = f"last heard at {edge.heard_at:%Y-%m-%d %H:%M:%S} UTC"
    single.take(alarm, rulebook.delays_of(rule), [(microseconds(now), truth)], now)


def judge_instruments(reach: Reach, now: datetime) -> None:
    """Instruments, and channels with a limit of their own, of which an edge that speaks tells nothing."""
    with connection.cursor() as cursor:
        cursor.execute(SILENT, [reach.edge_id, STALE_INTERVALS, STALE_LEAST_S])
        silent = dict(cursor.fetchall())
    book = rulebook.of_edge(reach.edge_id)
    for rule, instruments in book.instrument_rules(RuleKind.NOT_CONNECTED):
        for instrument in instruments & silent.keys():
            _lose(book.instruments[instrument], rule, silent[instrument], reach.complete_at, now)
    _judge_channels(book, reach.complete_at, now)


def _lose(instrument: Instrument, rule: Rule, heard: datetime, at: datetime, now: datetime) -> None:
    alarm = single.of(rule, instrument=instrument.pk)
    if alarm is not None and alarm.held:
        return
    with transaction.atomic():
        changes.turn(instrument.edge_id)
        alarm = single.of(rule, instrument=instrument.pk) or connections.new_alarm(
            rule, instrument, microseconds(at)
        )
        alarm.reason = f"last heard {numbers.age(heard, now)}"
        single.take(alarm, rulebook.delays_of(rule), [(microseconds(at), Truth.TRUE)], now)


def judge_pushed(now: datetime, until: datetime) -> None:
    """Of what is pushed nobody knows how often it should be: only rules that say so are judged."""
    for edge in Edge.objects.filter(name=PUSH_EDGE):
        _judge_channels(rulebook.of_edge(edge.pk), until, now)


def _judge_channels(book: Book, until: datetime, now: datetime) -> None:
    """Channels whose rule says after how long without a reading they are stale."""
    limited = {
        watch.place.id: watch
        for watch in book.watches
        if watch.rule.kind == RuleKind.STALE and watch.seconds is not None
    }
    if not limited:
        return
    seen = Latest.objects.filter(channel__in=limited).values_list("channel_id", "seen_at")
    for channel, at in seen:
        watch = limited[channel]
        if until - at > timedelta(seconds=watch.seconds or 0.0):
            _miss(book, watch, at, until, now)


def _miss(book: Book, watch: Watch, seen: datetime, at: datetime, now: datetime) -> None:
    alarm = single.of(watch.rule, channel=watch.place.id)
    if alarm is not None and alarm.held:
        return
    with transaction.atomic():
        changes.turn(book.edge_id)
        alarm = single.of(watch.rule, channel=watch.place.id)
        alarm = alarm or watched.new_alarm(book, watch, microseconds(at))
        alarm.reason = f"last read {numbers.age(seen, now)}"
        single.take(alarm, watch.delays, [(microseconds(at), Truth.TRUE)], now)
