"""All that a person reads of an alarm or a notice. Plain text; HTML is the same, escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from html import escape

from django.conf import settings
from django.db.models import Q

from alerts.lifecycle import STANDING
from alerts.models import Alarm, Happening, Notice, NoticeKind, Route
from alerts.notices import hours, news, parts
from alerts.notices.news import News
from alerts.notices.parts import (
    AlarmSaid,
    HappeningSaid,
    Part,
    of_alarm,
    of_happening,
    said_of_alarm,
    said_of_happening,
)
from alerts.notices.phrases import clean, clock, headline, since
from devices import numbers
from devices.models import Instrument

__all__ = [
    "AlarmSaid",
    "HappeningSaid",
    "Message",
    "clean",
    "clock",
    "headline",
    "message_of",
    "since",
]

FEW = 8  # so many are named, the rest is counted
TITLE_LENGTH = 300


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


def message_of(notice: Notice, now: datetime, told: News | None = None) -> Message:
    """What a notice says as things stand now. `told`: what of it is news, if that is known."""
    told = news.of(notice, now) if told is None else told
    local = hours.zone(notice.route.zone) if notice.route else UTC
    alarms = parts.alarms(told.alarms[:FEW])
    happenings = list(
        Happening.objects.select_related("instrument").filter(pk__in=told.happenings[:FEW]).order_by("id")
    )
    body: list[Part] = []
    if notice.kind == NoticeKind.TEST:
        title = f"Test of “{notice.contact}”: notices of Labsite arrive here"
    elif notice.kind == NoticeKind.DAILY:
        title, body = _daily(notice.route, now, local)
    else:
        said = [of_alarm(each, notice.kind, now, local, late=each.pk in told.past) for each in alarms]
        said += [of_happening(each, now, local) for each in happenings]
        title, body = _told(notice, said, told, now)
    return _message(notice, title, [*_introduction(notice), *body], told, alarms, happenings)


def page_of(path: str) -> str:
    """The address of a page, if it is known where people find Labsite."""
    return f"{settings.PUBLIC_URL}/{path}" if settings.PUBLIC_URL else ""


def _told(notice: Notice, said: Sequence[Part], told: News, now: datetime) -> tuple[str, list[Part]]:
    """The title names the first; the body all of the few, and how many more there are."""
    head = said[0].head if said else "nothing stands any more"
    if notice.kind == NoticeKind.REPEAT:
        head = f"Reminder: {head}"
    elif notice.kind == NoticeKind.ESCALATION and told.since:
        head = f"Not acknowledged for {since(told.since, now)}: {head}"
    if told.count <= 1 and len(head) <= TITLE_LENGTH:
        return head, [Part("", each.lines) for each in said]
    more = f" + {numbers.number(told.count - 1)} more" if told.count > 1 else ""
    return head[:TITLE_LENGTH] + more, [*said, *_more(told.count - len(said), told)]


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


def _daily(route: Route | None, now: datetime, local: tzinfo) -> tuple[str, list[Part]]:
    """That all is well, or what stands, of what the route is about."""
    standing = Alarm.objects.filter(state__in=STANDING)
    if route is not None:
        standing = standing.filter(priority__lte=route.least_priority)
        if route.tags:
            tagged = Instrument.objects.filter(tags__overlap=route.tags, retired_at=None)
            of_edge = Q(instrument=None, edge__in=tagged.values("edge"))
            standing = standing.filter(Q(instrument__in=tagged) | of_edge)
    ids = list(standing.order_by("priority", "raised_at", "id").values_list("pk", flat=True))
    at = clock(now, now, local)
    if not ids:
        return f"All is well: no alarm stands ({at})", []
    few = [of_alarm(each, NoticeKind.DAILY, now, local) for each in parts.alarms(ids[:FEW])]
    title = f"{numbers.number(len(ids))} {'alarm stands' if len(ids) == 1 else 'alarms stand'} ({at})"
    return title, [*few, *_more(len(ids) - len(few))]


def _message(
    notice: Notice,
    title: str,
    body: Sequence[Part],
    told: News,
    alarms: Sequence[Alarm],
    happenings: Sequence[Happening],
) -> Message:
    url = page_of(f"alarms/{alarms[0].pk}/" if len(told.alarms) == len(alarms) == 1 else "alarms/")
    short = str(notice.pk)[:8]
    lines = tuple(line for part in body for line in (part.head, *part.lines) if line)
    return Message(
        id=str(notice.pk),
        kind=notice.kind,
        title=title,
        lines=lines,
        text="\n".join((title, *lines, " · ".join(filter(None, (url, f"notice {short}"))))),
        html=_html(title, body, url, short),
        priority=told.priority if told.priority is not None else notice.priority,
        alarms=tuple(map(said_of_alarm, alarms)),
        happenings=tuple(map(said_of_happening, happenings)),
        count=told.count,
        standing=told.standing,
        url=url,
        follows=str(notice.follows_id or ""),
    )


def _html(title: str, body: Sequence[Part], url: str, short: str) -> str:
    said = [f"<p><strong>{escape(title)}</strong></p>"]
    for part in body:
        head = [f"<strong>{escape(part.head)}</strong>"] if part.head else []
        said.append(f"<p>{'<br>'.join([*head, *map(escape, part.lines)])}</p>")
    link = f'<a href="{escape(url)}">{escape(url)}</a> · ' if url else ""
    said.append(f"<p>{link}<small>notice {short}</small></p>")
    return "".join(said)
