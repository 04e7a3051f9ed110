"""Notices out: what is due, each attempt, and what follows from it. At least once, always under the same id.

Who sends asks for `due`, and for each notice: `begin`, which writes down what goes out now; hands it over;
then `sent` or `failed`. A crash in between leaves a notice that has begun: it goes out again under its id
with the same lines, and what comes later is a notice of its own. `CHANNEL` is notified when something may be
due.
"""

import logging
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F, Q

from alerts.models import Attempt, Contact, Notice, NoticeKind, NoticeState
from alerts.notices import news, reminders, standins, undelivered, words
from alerts.notices.news import News
from alerts.notices.words import Message

CHANNEL = "labsite_notices"
BACK_OFF = (5.0, 15.0, 60.0, 300.0)  # seconds; the last one again and again
HOLD_MOST = 60.0  # for so long a contact that is away is left alone; then something new may try
IN_A_ROW = 3  # failed attempts, after which somebody else is told
END = timedelta(hours=24)  # after the first attempt
HAPPENING_END = timedelta(hours=1)
ERROR_LENGTH = 500

logger = logging.getLogger(__name__)


def due(transports: Collection[str], now: datetime, contact: int | None = None) -> list[Notice]:
    """What is to be sent by these transports now, oldest first; to one contact only, if it is given."""
    waiting = Notice.objects.filter(state=NoticeState.WAITING, due_at__lte=now)
    here = waiting.filter(contact__enabled=True, contact__transport__in=transports)
    free = here.filter(Q(contact__hold_until=None) | Q(contact__hold_until__lte=now))
    mine = free if contact is None else free.filter(contact=contact)
    return list(mine.select_related("contact", "route").order_by("created_at", "priority", "id"))


@transaction.atomic
def begin(notice: Notice, now: datetime) -> Message | None:
    """What a notice says now, written down before it goes out; None if there is nothing to send any more."""
    waiting = Notice.objects.filter(pk=notice.pk, state=NoticeState.WAITING)
    current = waiting.select_for_update(of=("self",)).select_related("contact", "route", "follows__contact")
    found = current.first()
    if found is None:
        return None
    if found.kind in reminders.SCHEDULED:
        reminders.gather(found, now)
    told = news.of(found, now)
    if not _is_worth_sending(found, told, now):
        waiting.update(state=NoticeState.DROPPED)
        logger.info("notice %s to %s is dropped: old news", found.pk, found.contact)
        return None
    message = words.message_of(found, now, told)
    waiting.update(title=message.title, text=message.text, priority=message.priority)
    return message


def sent(notice: Notice, message: Message, reference: str, seconds: float, now: datetime) -> None:
    """It was taken, after so many seconds, and is called `reference` there."""
    with transaction.atomic():
        changed = Notice.objects.filter(pk=notice.pk, state=NoticeState.WAITING).update(
            state=NoticeState.SENT, sent_at=now, tries=F("tries") + 1, reference=reference[:300],
            title=message.title, text=message.text,
        )  # fmt: skip
        Attempt.objects.create(notice=notice, at=now, seconds=seconds)
        if changed:
            reminders.schedule(notice, now)
    release(notice.contact_id, now)
    undelivered.clear(notice.contact_id, now)


@transaction.atomic
def failed(
    notice: Notice,
    error: str,
    now: datetime,
    *,
    seconds: float = 0.0,
    retry_after: float | None = None,
    final: bool = False,
    unsure: bool = True,
    away: bool = False,
) -> None:
    """It was not taken; the flags are those of TransportError. `notice` is as `due` gave it.

    `unsure=False`, when it certainly was not received, lets later changes join it: after an outage one
    message says how things are by then.
    """
    current = (
        Notice.objects.select_for_update(of=("self",))
        .select_related("contact", "route")
        .filter(pk=notice.pk, state=NoticeState.WAITING)
        .first()
    )
    if current is None:
        return
    first = current.attempts.order_by("at").values_list("at", flat=True).first() or now
    Attempt.objects.create(notice=current, at=now, seconds=seconds, error=error[:ERROR_LENGTH])
    current.tries += 1
    is_end = final or now - first >= (HAPPENING_END if current.kind == NoticeKind.HAPPENING else END)
    wait = max(BACK_OFF[min(current.tries, len(BACK_OFF)) - 1], retry_after or 0.0)
    current.due_at = now + timedelta(seconds=wait)
    current.state = NoticeState.FAILED if is_end else NoticeState.WAITING
    if not (unsure or notice.title):
        current.title = current.text = ""
    current.save(update_fields=["tries", "due_at", "state", "title", "text"])
    logger.warning(
        "notice %s to %s failed, attempt %d: %s", current.pk, current.contact, current.tries, error
    )
    _hold(current.contact, now, wait, retry_after=retry_after, away=away)
    _consider_others(current, error, now, is_end=is_end)


@transaction.atomic
def release(contact: int, now: datetime) -> None:
    """It is there again: what waits for it after failed attempts is due now."""
    Contact.objects.filter(pk=contact, hold_until__isnull=False).update(hold_until=None)
    waiting = Notice.objects.filter(contact=contact, state=NoticeState.WAITING, tries__gt=0, due_at__gt=now)
    ids = [notice.pk for notice in waiting.select_for_update().order_by("id")]
    if ids:
        Notice.objects.filter(pk__in=ids).update(due_at=now)
        notify()


def notify() -> None:
    """Wake who sends notices, when this transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def _is_worth_sending(notice: Notice, told: News, now: datetime) -> bool:
    if notice.kind in (NoticeKind.DAILY, NoticeKind.TEST):
        return True
    if notice.kind == NoticeKind.HAPPENING and now - notice.created_at > HAPPENING_END:
        return False
    if notice.kind == NoticeKind.RECOVERY and now - notice.due_at > END:
        return False
    if notice.kind in reminders.SCHEDULED and (notice.route is None or not notice.route.enabled):
        return False
    return bool(told)


def _hold(contact: Contact, now: datetime, wait: float, *, retry_after: float | None, away: bool) -> None:
    """Leave a contact alone that is away, or that has asked for patience."""
    if retry_after:
        until = now + timedelta(seconds=retry_after)
    elif away:
        until = now + timedelta(seconds=min(wait, HOLD_MOST))
    else:
        return
    Contact.objects.filter(pk=contact.pk).update(hold_until=until)


def _consider_others(notice: Notice, error: str, now: datetime, *, is_end: bool) -> None:
    """Whoever cannot be told is an alarm, and somebody else is told."""
    if notice.kind == NoticeKind.TEST:
        return
    is_lost = is_end or notice.tries >= IN_A_ROW
    if is_lost:
        undelivered.begin(notice.contact, error, now)
    if (is_lost or undelivered.stands(notice.contact_id)) and standins.pass_on(notice, now):
        notify()
