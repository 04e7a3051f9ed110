"""What is told again until somebody acknowledges it. A reminder is a notice that is due later, and goes only
if it is still needed then; so nothing has to be looked for meanwhile, and a restart forgets none."""

from datetime import datetime, timedelta

from django.db.models import Q

from alerts.models import Notice, NoticeKind, NoticeState
from alerts.notices import hours, lines

REPEATED = (
    NoticeKind.ALARM,
    NoticeKind.REPEAT,
    NoticeKind.ESCALATION,
    NoticeKind.CHATTER,
    NoticeKind.CALM,
)
SCHEDULED = (NoticeKind.REPEAT, NoticeKind.ESCALATION)


def schedule(notice: Notice, now: datetime) -> None:
    """After a notice was sent: the next reminder, if its route wants any; in its transaction."""
    route = notice.route
    if route is None or route.repeat is None or notice.kind not in REPEATED:
        return
    due = hours.opens(route, now + timedelta(seconds=route.repeat))
    reminder = Notice.objects.create(
        contact=notice.contact, route=route, kind=NoticeKind.REPEAT, step=notice.step,
        priority=notice.priority, created_at=now, due_at=due, follows=notice,
    )  # fmt: skip
    if not lines.copy_unacknowledged(notice.pk, reminder.pk):
        reminder.delete()


def gather(notice: Notice, now: datetime) -> None:
    """Put into a reminder, or an escalation, what others like it would say soon: one message, not ten."""
    if notice.title or notice.route is None:
        return
    soon = now
    if notice.kind == NoticeKind.REPEAT and notice.route.repeat:
        soon += timedelta(seconds=notice.route.repeat / 2)
    others = Notice.objects.filter(
        ~Q(pk=notice.pk), contact=notice.contact, route=notice.route, kind=notice.kind, step=notice.step,
        state=NoticeState.WAITING, title="", due_at__lte=soon,
    )  # fmt: skip
    ids = [other.pk for other in others.select_for_update(skip_locked=True).order_by("id")]
    if ids:
        lines.copy_all(ids, notice.pk)
        Notice.objects.filter(pk__in=ids).update(state=NoticeState.DROPPED)
