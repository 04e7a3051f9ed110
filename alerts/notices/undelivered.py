"""The alarm that a contact cannot be told: raised and cleared by what becomes of its notices."""

from datetime import datetime

from django.db import transaction

from alerts.changes import Changes, turn
from alerts.lifecycle import Event
from alerts.models import Alarm, Contact, Rule, RuleKind, Source
from alerts.models.alarms import AlarmQuerySet


def stands(contact: int) -> bool:
    """Whether it is known of this contact that notices do not arrive."""
    return _active(contact).exists()


def begin(contact: Contact, reason: str, now: datetime) -> None:
    """Raise the alarm of every rule of this kind that does not stand already; inside a transaction."""
    rules = list(Rule.objects.filter(kind=RuleKind.UNDELIVERED, enabled=True))
    if not rules or _active(contact.pk).count() == len(rules):
        return
    turn(None)
    alarms = {alarm.rule_id: alarm for alarm in Alarm.objects.filter(contact=contact, rule__in=rules)}
    changes = Changes(now, Source.TIMER)
    for rule in rules:
        alarm = alarms.get(rule.pk) or Alarm(rule=rule, contact=contact, since=now)
        if alarm.active:
            continue
        alarm.rule, alarm.priority, alarm.reason = rule, rule.priority, reason[:400]
        alarm.text = f"Notices to “{contact}” are not delivered"
        alarm.active = alarm.held = True
        changes.touch(alarm)
        changes.move(alarm, Event.RAISE, now)
    changes.save()


@transaction.atomic
def clear(contact: int, now: datetime) -> None:
    """A notice has arrived (or none is to arrive any more): what stands returns to normal."""
    if not stands(contact):
        return
    turn(None)
    changes = Changes(now, Source.TIMER)
    for alarm in _active(contact).select_related("rule"):
        alarm.active = alarm.held = False
        changes.touch(alarm)
        changes.move(alarm, Event.LATCH if alarm.rule.latch else Event.CLEAR, now)
    changes.save()


def _active(contact: int) -> AlarmQuerySet:
    return Alarm.objects.filter(contact=contact, rule__kind=RuleKind.UNDELIVERED, active=True)
