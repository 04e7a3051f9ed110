"""What is said of one alarm or one event: a paragraph for people, and fields for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from django.db.models import Count, Q

from alerts.lifecycle import ASIDE, UNACKNOWLEDGED, State
from alerts.models import Alarm, Happening, NoticeKind, RuleKind
from alerts.notices.phrases import clean, clock, headline, since
from devices import numbers

TEXT_LENGTH = 400
LATE = "learnt late: it was over by the time it was known here"


@dataclass(frozen=True, slots=True)
class AlarmSaid:
    """How an alarm stands, for programs."""

    id: int
    text: str
    state: str
    priority: int
    instrument: str
    channel: str
    unit: str
    value: float | None
    raised_at: datetime | None
    cleared_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str
    guidance: str
    suppressed: int  # its consequences that nobody is told


@dataclass(frozen=True, slots=True)
class HappeningSaid:
    """What happened at an instrument, for programs."""

    instrument: str
    kind: str
    text: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """A paragraph: what is in bold, and the lines under it."""

    head: str
    lines: tuple[str, ...] = ()


# ---- alarms


def alarms(ids: Sequence[int]) -> list[Alarm]:
    """Those in this order, each with the number of its suppressed consequences."""
    found = Alarm.objects.select_related("rule", "instrument", "channel", "cause", "acknowledged_by")
    suppressed = Count("consequences", filter=Q(consequences__state=State.SUPPRESSED))
    by_id = {alarm.pk: alarm for alarm in found.filter(pk__in=ids).annotate(suppressed=suppressed)}
    return [by_id[each] for each in ids if each in by_id]


def of_alarm(alarm: Alarm, kind: str, now: datetime, local: tzinfo, *, late: bool = False) -> Part:
    """How it stands, as a notice of this kind says it. `late`: it was learnt so late that it is history."""
    said = tuple(_lines(alarm, kind, now, local))
    return Part(_head(alarm, kind), (LATE, *said) if late else said)


def _head(alarm: Alarm, kind: str) -> str:
    text = headline(alarm)
    if kind == NoticeKind.CHATTER:
        return f"{text}: chatters"
    if kind == NoticeKind.CALM:
        return f"{text}: has calmed down, {_stands(alarm)}"
    if alarm.state in (State.LATCHED, State.LATCHED_ACKNOWLEDGED):
        return f"{text}: returned to normal, latched"
    if _is_over(alarm):
        return f"✓ {clean(alarm.text)}: returned to normal"
    return text


def _lines(alarm: Alarm, kind: str, now: datetime, local: tzinfo) -> Iterable[str]:
    yield _course(alarm, now, local)
    if kind == NoticeKind.CHATTER:
        yield (
            f"raised more than {alarm.rule.chatter_changes} times in"
            f" {numbers.interval(alarm.rule.chatter_seconds)}: not told again until it calms down"
        )
    if alarm.reason and clean(alarm.reason) not in clean(alarm.text):
        yield clean(alarm.reason)
    if alarm.acknowledged_at:
        who = f" by {clean(str(alarm.acknowledged_by))}" if alarm.acknowledged_by else ""
        yield f"acknowledged{who} {clock(alarm.acknowledged_at, now, local)}"
    if alarm.cause:
        yield f"because of alarm {alarm.cause_id}: {clean(alarm.cause.text)}"
    if suppressed := getattr(alarm, "suppressed", 0):
        yield f"{numbers.number(suppressed)} consequence{'s' if suppressed > 1 else ''} suppressed under it"
    if not _is_over(alarm) and alarm.rule.guidance:
        yield clean(alarm.rule.guidance)
    yield f"alarm {alarm.pk}" + (f" · !ack {alarm.pk}" if alarm.state in UNACKNOWLEDGED else "")


def _course(alarm: Alarm, now: datetime, local: tzinfo) -> str:
    """When it was raised, when it returned, and its value."""
    if alarm.raised_at is None:
        return "not raised"
    begun = clock(alarm.raised_at, now, local)
    if alarm.rule.kind == RuleKind.EVENT:
        return f"happened {begun}"
    value = _value(alarm)
    if alarm.cleared_at is None:
        return f"raised {begun}" + (f", value {value}" if value else "")
    after = since(alarm.raised_at, alarm.cleared_at)
    ended = f"raised {begun}, returned to normal {clock(alarm.cleared_at, now, local)} (after {after})"
    return ended + (f", value {value}" if value else "")


def _value(alarm: Alarm) -> str:
    if alarm.value is None or alarm.channel is None or not RuleKind(alarm.rule.kind).is_of_values:
        return ""
    shown = numbers.shown(alarm.value, None, alarm.channel.kind, alarm.channel.digits)
    return f"{shown} {numbers.unit(alarm.channel.unit)}".strip()


def _is_over(alarm: Alarm) -> bool:
    """Returned to normal, with nothing left to do but, perhaps, to acknowledge it."""
    if alarm.state == State.RETURNED:
        return alarm.rule.kind != RuleKind.EVENT
    return alarm.state == State.NORMAL


def _stands(alarm: Alarm) -> str:
    if alarm.state in ASIDE:
        return f"is {State(alarm.state).label}"
    return "is normal" if _is_over(alarm) else "stands"


def said_of_alarm(alarm: Alarm) -> AlarmSaid:
    """The same in fields."""
    return AlarmSaid(
        id=alarm.pk,
        text=clean(alarm.text),
        state=alarm.state,
        priority=alarm.priority,
        instrument=alarm.instrument.name if alarm.instrument else "",
        channel=alarm.channel.key if alarm.channel else "",
        unit=alarm.channel.unit if alarm.channel else "",
        value=alarm.value,
        raised_at=alarm.raised_at,
        cleared_at=alarm.cleared_at,
        acknowledged_at=alarm.acknowledged_at,
        acknowledged_by=str(alarm.acknowledged_by or ""),
        guidance=alarm.rule.guidance,
        suppressed=getattr(alarm, "suppressed", 0),
    )


# ---- events


def of_happening(happening: Happening, now: datetime, local: tzinfo) -> Part:
    """What happened, and when."""
    what = clean(happening.text)[:TEXT_LENGTH] or happening.kind
    word = happening.kind.removeprefix("run.").replace("_", " ")
    name = happening.instrument.name
    head = f"{name}: run {word}" if happening.kind.startswith("run.") else name
    return Part(f"{head}: {what}", (clock(happening.time, now, local),))


def said_of_happening(happening: Happening) -> HappeningSaid:
    """The same in fields."""
    return HappeningSaid(happening.instrument.name, happening.kind, clean(happening.text), happening.time)
