"""Test this contact: one notice, at once, and what became of it in words."""

import time
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from alerts.models import Contact, Notice, NoticeKind, NoticeState
from alerts.notices import delivery, sending
from alerts.notices.transports import MATRIX, TABLE
from alerts.services import require
from devices.services import Person

PATIENCE = 10.0  # seconds for the bot
LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Tested:
    """Whether a contact could be told, and the words for who asked."""

    ok: bool
    words: str


def test_contact(contact: Contact, by: Person) -> Tested:
    """Send a contact a test; takes 10 s at most. Raises PermissionDenied."""
    require(by, "alerts.change_contact")
    now = timezone.now()
    if contact.transport == MATRIX:
        return _by_bot(contact)
    if contact.transport not in TABLE:
        return Tested(ok=False, words=f"there is no transport {contact.transport!r}")
    # Not due for who sends notices, but in case that this process dies half-way.
    notice = Notice.objects.create(
        contact=contact, kind=NoticeKind.TEST, created_at=now, due_at=now + timedelta(minutes=1)
    )
    error = sending.attempt(notice, now, last=True)
    return _tested(error, f"{contact.address or contact.name} has taken it")


def _by_bot(contact: Contact) -> Tested:
    """The Matrix bot sends it, if it is there; what it has not sent in time it sends no more."""
    now = timezone.now()
    notice = Notice.objects.create(contact=contact, kind=NoticeKind.TEST, created_at=now, due_at=now)
    delivery.notify()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(LOOK)
        if Notice.objects.filter(pk=notice.pk, state=NoticeState.SENT).exists():
            return Tested(ok=True, words=f"{contact.address} has taken it")
        if error := notice.attempts.exclude(error="").values_list("error", flat=True).first():
            break
    else:
        error = f"nothing came of it within {PATIENCE:g} s: is the Matrix bot running?"
    waiting = Notice.objects.filter(pk=notice.pk, state=NoticeState.WAITING)
    waiting.update(state=NoticeState.FAILED)
    return Tested(ok=False, words=error)


def _tested(error: str, words: str) -> Tested:
    return Tested(ok=not error, words=error or words)
