"""Rules, alarms and contacts for tests."""

from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.db import connection
from django.utils import timezone

from alerts.changes import Changes
from alerts.lifecycle import Event
from alerts.models import Alarm, Contact, Happening, Priority, Route, RouteStep, Rule, RuleKind, Source
from devices.models import Channel, Instrument
from telemetry import partitions
from tests.telemetry.factories import NOW, moment

BUILT_IN: Sequence[dict[str, Any]] = [
    fields
    for name in ("0002_built_in_rules", "0005_rule_of_sinks")
    for fields in import_module(f"alerts.migrations.{name}").RULES
]


def built_in_rules() -> None:
    """Those that come with an empty database; tests with real transactions begin without them."""
    for fields in BUILT_IN:
        Rule.objects.get_or_create(name=fields["name"], defaults={**fields, "built_in": True})


def rule(kind: str = RuleKind.HIGH, name: str = "", **fields: Any) -> Rule:
    """A rule above 30, unless another is described."""
    if kind == RuleKind.HIGH:
        fields.setdefault("high", 30.0)
    return Rule.objects.create(name=name or f"{kind} {Rule.objects.count()}", kind=kind, **fields)


def alarm(of: Channel | Instrument, by: Rule | None = None, at: float = -60.0, **fields: Any) -> Alarm:
    """An alarm that was raised so many seconds from NOW, and is journalled and not told yet."""
    channel = of if isinstance(of, Channel) else None
    instrument = of.instrument if isinstance(of, Channel) else of
    by = by or rule(**({"key": channel.key} if channel else {"kind": RuleKind.NOT_CONNECTED}))
    priority = fields.pop("priority", by.priority)
    text = fields.pop("text", f"{of} above 30")
    made = Alarm(
        rule=by, edge_id=instrument.edge_id, instrument=instrument, channel=channel, since=moment(at),
        priority=priority, text=text, value=fields.pop("value", 31.5), active=True, held=True,
        judged_at=moment(at), **fields,
    )  # fmt: skip
    changes = Changes(moment(at), Source.INGEST)
    assert changes.move(made, Event.RAISE, moment(at))
    changes.save()
    return made


def cleared(of: Alarm, at: float = -30.0) -> Alarm:
    """The same alarm after its condition is over."""
    current = Alarm.objects.select_related("rule").get(pk=of.pk)
    current.active = current.held = False
    changes = Changes(moment(at), Source.INGEST)
    assert changes.move(current, Event.LATCH if current.rule.latch else Event.CLEAR, moment(at))
    changes.save()
    return current


def moved(of: Alarm, event: str, at: float = 0.0) -> Alarm:
    """The same alarm after another event: a raise makes its condition hold, suppression ends with it over."""
    current = Alarm.objects.select_related("rule").get(pk=of.pk)
    current.active = current.held = event == Event.RAISE
    changes = Changes(moment(at), Source.INGEST)
    assert changes.move(current, Event(event), moment(at))
    changes.save()
    return current


def past(of: Channel, by: Rule, at: float, until: float, told: float = 0.0) -> Alarm:
    """An excursion that was learnt late, as judging the backlog leaves it: a latching rule has latched."""
    made = Alarm(
        rule=by, edge_id=of.instrument.edge_id, instrument=of.instrument, channel=of, since=moment(at),
        priority=by.priority, text=f"{of} above 30",
    )  # fmt: skip
    changes = Changes(moment(told), Source.INGEST)
    changes.touch(made)
    if by.latch:
        assert changes.move(made, Event.RAISE, moment(at), past=True)
        assert changes.move(made, Event.LATCH, moment(until), past=True)
    else:
        changes.note_past(made, Event.RAISE, moment(at))
        changes.note_past(made, Event.CLEAR, moment(until))
    changes.save()
    return made


def happening(of: Instrument, kind: str = "run.completed", at: float = 0.0, late: float = 1.0) -> Happening:
    """Something that people may have asked to hear of, learnt so many seconds late."""
    return Happening.objects.create(
        instrument=of, time=moment(at), kind=kind, text="plate 7", stored_at=moment(at + late)
    )


def contact(name: str = "room", transport: str = "webhook", **fields: Any) -> Contact:
    return Contact.objects.create(name=name, transport=transport, **fields)


def route(*contacts: Contact, name: str = "all", every: float = 600.0, **fields: Any) -> Route:
    """A route to these contacts, one step after the other."""
    fields.setdefault("least_priority", Priority.LOW)
    made = Route.objects.create(name=name, **fields)
    for number, each in enumerate(contacts):
        RouteStep.objects.create(route=made, contact=each, after=number * every)
    return made


def measured(channel: Channel) -> Channel:
    """Two hours of readings, ten seconds apart: 20, twice above 30 for a while, and above it at the end."""
    end = timezone.now() - timedelta(seconds=5)
    start = end - timedelta(hours=2)
    partitions.ensure([partitions.Partition("sample", day) for day in {start.date(), end.date()}])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sample (time, channel_id, value, quality)"
            " SELECT %s + n * interval '10 s', %s,"
            " CASE WHEN n BETWEEN 100 AND 129 OR n BETWEEN 300 AND 329 OR n > 717 THEN 35 ELSE 20 END, 0"
            " FROM generate_series(0, 720) AS n",
            [start, channel.pk],
        )
    return channel


HOUR = timedelta(hours=1)
__all__ = [
    "HOUR",
    "NOW",
    "alarm",
    "built_in_rules",
    "cleared",
    "contact",
    "happening",
    "moved",
    "past",
    "route",
    "rule",
]
