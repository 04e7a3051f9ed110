"""What people do with alarms. Each function asks first whether this person may, and is refused in words."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from alerts import changes
from alerts.changes import Changes
from alerts.judging import suppression
from alerts.lifecycle import Event, State
from alerts.models import Alarm, Source
from devices.errors import Refused
from devices.services import Operator, Person

SHELVED_MOST = timedelta(days=7)
OUT_MOST = timedelta(days=90)
REASON_LEAST = 3  # characters: a reason is a word

ACKNOWLEDGE = "alerts.acknowledge_alarm"
SHELVE = "alerts.shelve_alarm"
REMOVE = "alerts.remove_alarm"


def may(by: Person, permission: str) -> bool:
    """Whether a person has this right: by a permission, or as staff, who have all of these."""
    if not by.is_active:
        return False
    if getattr(by, "is_staff", False):
        return True
    return isinstance(by, PermissionsMixin) and by.has_perm(permission)


def require(by: Person, permission: str) -> None:
    """Raises PermissionDenied."""
    if not may(by, permission):
        raise PermissionDenied(f"you may not do this: it needs the permission {permission}")


def acknowledge(alarm: Alarm, by: Person, source: Source, comment: str = "") -> Alarm:
    """Say that somebody has seen it. Raises Refused if there is nothing (any more) to acknowledge."""
    require(by, ACKNOWLEDGE)
    return _do(alarm, Event.ACKNOWLEDGE, by, source, comment=comment)


def reset(alarm: Alarm, by: Person, source: Source, comment: str = "") -> Alarm:
    """Let go of a latched alarm that was acknowledged and whose condition is over."""
    require(by, ACKNOWLEDGE)
    return _do(alarm, Event.RESET, by, source, comment=comment)


def comment(alarm: Alarm, by: Person, source: Source, text: str) -> Alarm:
    """Write something into its journal."""
    require(by, ACKNOWLEDGE)
    if not text.strip():
        raise Refused(_("a comment needs a text"))
    return _do(alarm, Event.COMMENT, by, source, comment=text)


def shelve(alarm: Alarm, by: Person, source: Source, until: datetime, reason: str) -> Alarm:
    """Put it aside for a time. Shelving it again extends or shortens that."""
    require(by, SHELVE)
    _check_aside(until, reason, SHELVED_MOST)
    return _do(alarm, Event.SHELVE, by, source, comment=reason, until=until)


def unshelve(alarm: Alarm, by: Person, source: Source) -> Alarm:
    """Take it back before its time is over; if its condition holds, it is raised anew."""
    require(by, SHELVE)
    return _do(alarm, Event.UNSHELVE, by, source)


def remove(alarm: Alarm, by: Person, source: Source, until: datetime, reason: str) -> Alarm:
    """Take it out of service, for maintenance."""
    require(by, REMOVE)
    _check_aside(until, reason, OUT_MOST)
    return _do(alarm, Event.REMOVE, by, source, comment=reason, until=until)


def put_back(alarm: Alarm, by: Person, source: Source) -> Alarm:
    """Put it into service again; if its condition holds, it is raised anew."""
    require(by, REMOVE)
    return _do(alarm, Event.RETURN, by, source)


REFUSALS: dict[Event, str | Promise] = {
    Event.ACKNOWLEDGE: _("there is nothing to acknowledge"),
    Event.RESET: _("only a latched alarm that was acknowledged can be reset"),
    Event.SHELVE: _("it cannot be shelved"),
    Event.UNSHELVE: _("it is not shelved"),
    Event.REMOVE: _("it is out of service already"),
    Event.RETURN: _("it is not out of service"),
}


def _do(alarm: Alarm, event: Event, by: Person, source: Source, **said: Any) -> Alarm:
    with transaction.atomic():
        return _changed(alarm, source, lambda current, made: _move(current, made, event, by, **said))


def _changed(alarm: Alarm, source: Source, act: Callable[[Alarm, Changes], None]) -> Alarm:
    """The alarm as it is after `act`, under the lock of its edge."""
    changes.turn(alarm.edge_id)
    current = Alarm.objects.select_related("rule", "instrument", "channel", "edge").get(pk=alarm.pk)
    made = Changes(timezone.now(), source)
    act(current, made)
    made.save()
    return current


def _move(current: Alarm, made: Changes, event: Event, by: Person, **said: Any) -> None:
    person = None if isinstance(by, Operator) else by
    before = State(current.state)
    if not made.move(current, event, made.now, by=person, **said):
        words = {"alarm": current.text, "state": before.label, "reason": REFUSALS[event]}
        raise Refused(_("“%(alarm)s” is %(state)s: %(reason)s") % words)
    if event in (Event.UNSHELVE, Event.RETURN):
        suppression.settle(current, made, made.now)


def _check_aside(until: datetime, reason: str, most: timedelta) -> None:
    now = timezone.now()
    if len(reason.strip()) < REASON_LEAST:
        raise Refused(_("a reason in words is needed"))
    if until <= now:
        raise Refused(_("the time it is to end at is over already"))
    if until - now > most + timedelta(minutes=1):
        raise Refused(_("at most %d days") % most.days)
