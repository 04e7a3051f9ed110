"""Sinks that take nothing: their servers have failed too often, or what they still need is gone."""

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from alerts import changes
from alerts.judging import rulebook, single
from alerts.judging.conditions import Truth
from alerts.models import Alarm, Rule, RuleKind
from devices.edges import microseconds
from telemetry.models import Sink

REASON_MOST = 400


def judge(now: datetime) -> None:
    """Raise and clear what stands of each sink, by what its feeder last noted."""
    rules = list(Rule.objects.filter(kind=RuleKind.SINK_NOT_FED))
    at_work = Alarm.objects.filter(rule__in=rules).filter(Q(held=True) | Q(active=True))
    remembered = {(alarm.rule_id, alarm.sink_id): alarm for alarm in at_work}
    for sink in Sink.objects.all() if rules else ():
        for rule in rules:
            alarm = remembered.get((rule.pk, sink.pk))
            is_held = alarm is not None and alarm.held
            is_due = alarm is not None and alarm.due_at is not None and alarm.due_at <= now
            if is_due or is_held != _holds(rule, sink):
                _judge(sink, rule, now)


def _holds(rule: Rule, sink: Sink) -> bool:
    """Whether it has failed as often in a row as its settings bear, or stopped for good."""
    is_starved = sink.must_rebuild or sink.failures >= sink.alert_threshold
    return rule.enabled and sink.enabled and is_starved


@transaction.atomic
def _judge(sink: Sink, rule: Rule, now: datetime) -> None:
    changes.turn(None)
    alarm = single.of(rule, sink=sink.pk) or Alarm(
        rule=rule, sink=sink, since=now, priority=rule.priority, text=f"Sink “{sink}” is not fed"
    )
    truth = Truth.TRUE if _holds(rule, sink) else Truth.FALSE
    if truth == Truth.TRUE:
        alarm.reason = sink.error[:REASON_MOST]
    single.take(alarm, rulebook.delays_of(rule), [(microseconds(now), truth)], now)
