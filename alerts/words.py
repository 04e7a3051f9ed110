"""All that a person reads of an alarm or a notice. Plain text; HTML is the same, escaped."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from html import escape

from django.conf import settings
from django.db.models import Count, Q

from alerts import hours, news
from alerts.lifecycle import ASIDE, STANDING, UNACKNOWLEDGED, State
from alerts.models import Alarm, Happening, Notice, NoticeKind, Priority, Route, RuleKind
from alerts.news import News
from devices import numbers
from devices.models import Instrument

FEW = 8  # so many are named, the rest is counted
TITLE_LENGTH = 300
LATE = "learnt late: it was over by the time it was known here"
SHAPES = {Priority.CRITICAL: "■", Priority.HIGH: "▲", Priority.MEDIUM: "◆", Priority.LOW: "●"}
NO_TEXT = re.compile(
    r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]+"
)  # nor what turns its direction


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
class Message:
    """A notice in words. `id` is the notice's, under which it goes out however often it is sent.

    `text` is all of it: title, lines, link and the first signs of the id. `alarms` and `happenings` are the
    first few of `count`.
    """

    id: str
    kind: str
    title: str
    lines: tuple[str, ...]
    text: str
    html: str
    priority: int | None = None
    alarms: tuple[AlarmSaid, ...] = ()
    happenings: tuple[HappeningSaid, ...] = ()
    count: int = 0
    standing: int = 0
    url: str = ""
    follows: str = ""  # the id of what it repeats, escalates or stands in for


@dataclass(frozen=True, slots=True)
class Part:
    """A paragraph: what is in bold, and the lines under it."""

    head: str
    lines: tuple[str, ...] = ()


def message_of(notice: Notice, now: datetime, told: News | None = None) -> Message:
    """What a notice says as things stand now. `told`: what of it is news (alerts.news), if that is known."""
    told = news.of(notice, now) if told is None else told
    local = hours.zone(notice.route.zone) if notice.route else UTC
    alarms = _alarms(told.alarms[:FEW])
    happenings = list(
        Happening.objects.select_related("instrument").filter(pk__in=told.happenings[:FEW]).order_by("id")
    )
    parts = _introduction(notice)
    if notice.kind == NoticeKind.TEST:
        title = f"Test of “{notice.contact}”: notices of Labsite arrive here"
    elif notice.kind == NoticeKind.DAILY:
        title, standing, more = _daily(notice.route, now, local)
        parts += [*standing, *_more(more)]
    else:
        said = [_alarm_part(each, notice.kind, now, local, late=each.pk in told.past) for each in alarms]
        said += [_happening_part(each, now, local) for each in happenings]
        count = len(told.alarms) + len(told.happenings)
        title = _title(notice, said, count, alarms, now)
        parts += said if count > 1 else [Part("", said[0].lines)] if said else []
        parts += _more(count - len(said), told)
    return _message(notice, title, parts, told, alarms, happenings)


def headline(alarm: Alarm) -> str:
    """An alarm in one line: `▲ 2 high · UPS rack A input voltage below 180 V`."""
    return f"{mark(alarm.priority)} · {clean(alarm.text)}"


def mark(priority: int) -> str:
    """A priority by shape, number and word: never by colour alone."""
    return f"{SHAPES[Priority(priority)]} {int(priority)} {Priority(priority).label}"


def clean(text: str) -> str:
    """Words of an instrument or a person on one line, without signs that would not be text."""
    return " ".join(NO_TEXT.sub(" ", text).split())


def clock(at: datetime, now: datetime, local: tzinfo) -> str:
    """A time by the clocks of a zone, with its name; with the date unless that is today's."""
    there = at.astimezone(local)
    is_today = there.date() == now.astimezone(local).date()
    day = "" if is_today else f"{there:%Y-%m-%d} "
    return f"{day}{there:%H:%M %Z}"


def since(at: datetime, now: datetime) -> str:
    """How long, as people say it: seconds up to a minute, then minutes."""
    seconds = (now - at).total_seconds()
    return numbers.duration(seconds) if seconds < 60 else numbers.interval(round(seconds / 60) * 60)


def page_of(path: str) -> str:
    """The address of a page, if it is known where people find Labsite."""
    return f"{settings.PUBLIC_URL}/{path}" if settings.PUBLIC_URL else ""


# ---- alarms


def _alarms(ids: Sequence[int]) -> list[Alarm]:
    """Those in this order, each with the number of its suppressed consequences."""
    found = Alarm.objects.select_related("rule", "instrument", "channel", "cause", "acknowledged_by")
    suppressed = Count("consequences", filter=Q(consequences__state=State.SUPPRESSED))
    by_id = {alarm.pk: alarm for alarm in found.filter(pk__in=ids).annotate(suppressed=suppressed)}
    return [by_id[each] for each in ids if each in by_id]


def _alarm_part(alarm: Alarm, kind: str, now: datetime, local: tzinfo, *, late: bool = False) -> Part:
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


def _said(alarm: Alarm) -> AlarmSaid:
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


def _happening_part(happening: Happening, now: datetime, local: tzinfo) -> Part:
    what = clean(happening.text) or happening.kind
    word = happening.kind.removeprefix("run.").replace("_", " ")
    head = f"{happening.instrument}: run {word}" if happening.kind.startswith("run.") else ""
    return Part(
        f"{head}: {what}" if head else f"{happening.instrument}: {what}",
        (clock(happening.time, now, local),),
    )


# ---- notices


def _title(notice: Notice, said: Sequence[Part], count: int, alarms: Sequence[Alarm], now: datetime) -> str:
    head = said[0].head if said else "nothing stands any more"
    if notice.kind == NoticeKind.REPEAT:
        head = f"Reminder: {head}"
    elif notice.kind == NoticeKind.ESCALATION and alarms and alarms[0].raised_at:
        head = f"Not acknowledged for {since(alarms[0].raised_at, now)}: {head}"
    return head + (f" + {numbers.number(count - 1)} more" if count > 1 else "")


def _introduction(notice: Notice) -> list[Part]:
    """Why this contact is told, if that is not plain."""
    before = notice.follows
    if before is not None and before.kind == notice.kind and before.contact_id != notice.contact_id:
        return [Part("", (f"In place of “{before.contact}”, which cannot be reached.",))]
    return []


def _more(count: int, told: News | None = None) -> list[Part]:
    if count <= 0:
        return []
    line = f"+ {numbers.number(count)} more"
    if told is not None and told.alarms:
        over = len(told.alarms) - told.standing
        line += f"; of all, {numbers.number(told.standing)} stand"
        line += f" and {numbers.number(over)} have returned to normal" if over else ""
    return [Part("", (line,))]


def _daily(route: Route | None, now: datetime, local: tzinfo) -> tuple[str, list[Part], int]:
    """That all is well, or what stands, of what the route is about."""
    standing = Alarm.objects.filter(state__in=STANDING)
    if route is not None:
        standing = standing.filter(priority__lte=route.least_priority)
        if route.tags:
            tagged = Instrument.objects.filter(tags__overlap=route.tags, retired_at=None)
            of_edge = Q(instrument=None, edge__in=tagged.values("edge"))
            standing = standing.filter(Q(instrument__in=tagged) | of_edge)
    ids = list(standing.order_by("priority", "raised_at", "id").values_list("pk", flat=True))
    if not ids:
        return f"All is well: no alarm stands ({clock(now, now, local)})", [], 0
    noun = "alarm stands" if len(ids) == 1 else "alarms stand"
    parts = [_alarm_part(each, NoticeKind.DAILY, now, local) for each in _alarms(ids[:FEW])]
    return f"{numbers.number(len(ids))} {noun} ({clock(now, now, local)})", parts, len(ids) - len(parts)


def _message(
    notice: Notice,
    title: str,
    parts: Sequence[Part],
    told: News,
    alarms: Sequence[Alarm],
    happenings: Sequence[Happening],
) -> Message:
    title = title[:TITLE_LENGTH]
    only = alarms[0].pk if len(told.alarms) == 1 and alarms else None
    url = page_of(f"alarms/{only}/" if only else "alarms/")
    foot = " · ".join(filter(None, (url, f"notice {str(notice.pk)[:8]}")))
    lines = tuple(line for part in parts for line in (part.head, *part.lines) if line)
    return Message(
        id=str(notice.pk),
        kind=notice.kind,
        title=title,
        lines=lines,
        text="\n".join((title, *lines, foot)),
        html=_html(title, parts, url, str(notice.pk)[:8]),
        priority=told.priority if told.priority is not None else notice.priority,
        alarms=tuple(map(_said, alarms)),
        happenings=tuple(
            HappeningSaid(each.instrument.name, each.kind, clean(each.text), each.time) for each in happenings
        ),
        count=len(told.alarms) + len(told.happenings),
        standing=told.standing,
        url=url,
        follows=str(notice.follows_id or ""),
    )


def _html(title: str, parts: Sequence[Part], url: str, short: str) -> str:
    said = [f"<p><strong>{escape(title)}</strong></p>"]
    for part in parts:
        head = [f"<strong>{escape(part.head)}</strong>"] if part.head else []
        said.append(f"<p>{'<br>'.join([*head, *map(escape, part.lines)])}</p>")
    link = f'<a href="{escape(url)}">{escape(url)}</a> · ' if url else ""
    said.append(f"<p>{link}<small>notice {short}</small></p>")
    return "".join(said)
