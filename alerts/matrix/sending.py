"""Notices on their way into rooms: what goes where, what stands there, and how that is kept up to date."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet, Sum
from django.utils.html import escape

from alerts.lifecycle import ASIDE, State
from alerts.matrix import content
from alerts.matrix.content import Content
from alerts.matrix.rooms import TRANSPORT
from alerts.models import Alarm, AlarmEvent, Contact, MatrixMessage, MatrixRoom, Notice, NoticeKind, Priority
from alerts.notices import delivery, words
from alerts.notices.news import FIELDS, Line, News
from alerts.notices.words import Message

CALLS = (NoticeKind.ALARM, NoticeKind.REPEAT, NoticeKind.ESCALATION)  # everybody in the room, if it is urgent
URGENT = (Priority.CRITICAL, Priority.HIGH)
NAMED = 8  # alarms, as in the message itself
CHANGED = """
SELECT m.id, sum(a.version)::int8 FROM alerts_matrixmessage m
JOIN alerts_noticeline l ON l.notice_id = m.notice_id JOIN alerts_alarm a ON a.id = l.alarm_id
WHERE m.open GROUP BY m.id HAVING sum(a.version) <> m.versions ORDER BY m.id
"""


@dataclass(frozen=True)
class Letter:
    """A notice as it goes into a room."""

    notice: Notice
    message: Message
    room_id: str
    content: Content
    root: MatrixMessage | None


@dataclass(frozen=True)
class Edit:
    """What a message says from now on; without content nothing that can be seen has changed."""

    message: MatrixMessage
    shown: str
    versions: int
    is_over: bool
    content: Content | None


def due(now: datetime) -> list[Notice]:
    return delivery.due((TRANSPORT,), now)


def release(now: datetime) -> None:
    """The homeserver is there again."""
    for contact in Contact.objects.filter(transport=TRANSPORT).values_list("pk", flat=True):
        delivery.release(contact, now)


def begin(notice: Notice, now: datetime) -> Letter | None:
    """What goes out now, written down; None if there is nothing to send any more."""
    message = delivery.begin(notice, now)
    if message is None:
        return None
    address = notice.contact.address
    room = MatrixRoom.objects.filter(address=address).first()
    room_id = room.room_id if room and room.enabled else ""
    root = root_of(notice, room_id)
    said = content.text(message.text, message.html)
    if notice.kind in CALLS and message.priority in URGENT:
        said = content.for_all(said)
    if root:
        said = content.in_thread(said, root.event_id)
    return Letter(notice, message, room_id, said, root)


def sent(letter: Letter, event_id: str, seconds: float, now: datetime) -> None:
    """It stands in the room. A crash in between sends it again, which is the same event and noted already."""
    _note_message(letter, event_id, now)
    delivery.sent(letter.notice, letter.message, event_id, seconds, now)


@transaction.atomic
def _note_message(letter: Letter, event_id: str, now: datetime) -> None:
    alarms = _alarms(letter.notice)
    if letter.root is None:
        before = _roots(letter.room_id, alarms).exclude(notice=letter.notice)
        before.update(open=False)  # their thread goes on here
    MatrixMessage.objects.get_or_create(
        event_id=event_id,
        defaults={
            "room_id": letter.room_id,
            "notice": letter.notice,
            "root": letter.root,
            "shown": letter.message.text,
            "versions": alarms.aggregate(total=Sum("version"))["total"] or 0,
            "open": letter.root is None and alarms.exists(),
            "sent_at": now,
        },
    )


def failed(letter: Letter, error: Exception, seconds: float, now: datetime) -> None:
    """It was not taken."""
    delivery.failed(
        letter.notice,
        str(error),
        now,
        seconds=seconds,
        retry_after=getattr(error, "retry_after", None),
        final=not getattr(error, "is_passing", False),
        unsure=getattr(error, "is_unsure", False),
        away=getattr(error, "is_away", False),
    )


def root_of(notice: Notice, room_id: str) -> MatrixMessage | None:
    """The message in whose thread a notice belongs: the one that told of all its alarms first."""
    lines = dict(notice.lines.filter(alarm__isnull=False).values_list("alarm_id", "event_id"))
    if not lines:
        return None
    of_any = _roots(room_id, Alarm.objects.filter(pk__in=list(lines)[:1]))
    root = of_any.select_related("notice").order_by("-id").first()
    if root is None:
        return None
    told = dict(root.notice.lines.filter(alarm__in=lines).values_list("alarm_id", "event_id"))
    if told.keys() != lines.keys():
        return None
    return None if _begins_anew(told, lines) else root


def _begins_anew(told: Mapping[Any, Any], lines: Mapping[Any, Any]) -> bool:
    """Whether one of the alarms was normal in between: then this is another trouble, and its own thread."""
    ends = AlarmEvent.objects.filter(alarm__in=lines, after=State.NORMAL, past=False)
    return any(
        (told[alarm] or 0) < end < (lines[alarm] or end + 1)
        for alarm, end in ends.filter(pk__gt=min(event or 0 for event in told.values())).values_list(
            "alarm_id", "pk"
        )
    )


def _roots(room_id: str, alarms: QuerySet[Alarm]) -> QuerySet[MatrixMessage]:
    notices = Notice.objects.filter(lines__alarm__in=alarms.values("pk"))
    return MatrixMessage.objects.filter(room_id=room_id, root=None, notice__in=notices)


def _alarms(notice: Notice) -> QuerySet[Alarm]:
    return Alarm.objects.filter(pk__in=notice.lines.filter(alarm__isnull=False).values("alarm"))


# ---- how its alarms stand by now


def edits(now: datetime) -> list[Edit]:
    """Messages whose alarms have changed since they were last looked at."""
    with connection.cursor() as cursor:
        cursor.execute(CHANGED)
        versions = dict(cursor.fetchall())
    messages = MatrixMessage.objects.filter(pk__in=versions).select_related(
        "notice__contact", "notice__route"
    )
    return [_edit(message, versions[message.pk], now) for message in messages.order_by("id")]


def _edit(message: MatrixMessage, versions: int, now: datetime) -> Edit:
    alarms = list(_alarms(message.notice).select_related("aside_by"))
    said = words.message_of(message.notice, now, _as_sent(message.notice))
    aside = [_aside(alarm, now) for alarm in alarms if alarm.state in ASIDE][:NAMED]
    shown = "\n".join([said.text, *aside])
    html = said.html + "".join(f"<p>{escape(line)}</p>" for line in aside)
    is_over = all(alarm.state == State.NORMAL for alarm in alarms)
    new = None
    if shown != message.shown:
        new = content.edit(content.text(shown, html), message.event_id)
    return Edit(message, shown, versions, is_over, new)


def _as_sent(notice: Notice) -> News:
    """All alarms that a notice tells of, whatever became of them since."""
    lines = notice.lines.filter(alarm__isnull=False).order_by("event_id")
    newest = {line.alarm: line for line in map(Line._make, lines.values_list(*FIELDS))}
    told = sorted(newest.values(), key=lambda line: (not line.stands, line.priority, line.alarm))
    happenings = notice.lines.filter(happening__isnull=False).order_by("happening_id")
    return News(
        alarms=[line.alarm for line in told],
        happenings=list(happenings.values_list("happening_id", flat=True)),
        standing=sum(line.stands for line in told),
        priority=min((line.priority for line in told), default=None),
    )


def _aside(alarm: Alarm, now: datetime) -> str:
    """`alarm 17 is shelved by anna until 14:00 UTC: being repaired`."""
    parts = [f"alarm {alarm.pk} is {State(alarm.state).label}"]
    if alarm.aside_by:
        parts.append(f"by {alarm.aside_by}")
    if alarm.aside_until:
        parts.append(f"until {words.clock(alarm.aside_until, now, UTC)}")
    reason = f": {words.clean(alarm.aside_reason)}" if alarm.aside_reason else ""
    return " ".join(parts) + reason


def edited(edit: Edit) -> None:
    """That is how it stands in the room."""
    MatrixMessage.objects.filter(pk=edit.message.pk).update(
        shown=edit.shown, versions=edit.versions, open=not edit.is_over
    )
