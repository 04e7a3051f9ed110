"""Who is told in place of a contact that cannot be."""

from datetime import datetime

from alerts.models import Contact, Notice, NoticeState
from alerts.notices import lines


def pass_on(notice: Notice, now: datetime) -> Notice | None:
    """Tell the next contact what this notice should have told and it does not know; in a transaction."""
    to = next_contact(notice)
    if to is None:
        return None
    waiting = Notice.objects.filter(follows=notice, contact=to, kind=notice.kind, state=NoticeState.WAITING)
    standin = waiting.filter(title="").select_for_update().first() or Notice(
        contact=to, route=notice.route, kind=notice.kind, step=notice.step, priority=notice.priority,
        created_at=now, due_at=now, follows=notice,
    )  # fmt: skip
    is_new = standin._state.adding  # noqa: SLF001 - Django's documented name of it
    if is_new:
        standin.save()
    if lines.copy_untold(notice.pk, standin.pk, to.pk):
        return standin
    if is_new:
        standin.delete()
    return None


def next_contact(notice: Notice) -> Contact | None:
    """The contact's own next one, else that of the route's next step; never one that is switched off."""
    seen = {notice.contact_id}
    contact = notice.contact.next
    while contact is not None and contact.pk not in seen:
        if contact.enabled:
            return contact
        seen.add(contact.pk)
        contact = contact.next
    if notice.route is None:
        return None
    later = notice.route.steps.filter(after__gt=notice.step, contact__enabled=True)
    step = later.exclude(contact=notice.contact_id).select_related("contact").first()
    return step.contact if step else None
