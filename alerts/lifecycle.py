"""The life cycle of an alarm: from which state which event leads where. Arithmetic only.

Source: ANSI/ISA-18.2-2016, figure 4 (alarm state transition diagram), and IEC 62682:2022, 6.2.3. Both leave
open where an alarm goes that is taken out of one special state (shelved, suppressed, out of service) while
another reason for one holds: here it returns to normal, and whoever took it out looks again at once.
"""

from enum import StrEnum

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class State(TextChoices):
    """Where an alarm stands (ISA-18.2's letters beside it)."""

    NORMAL = "normal", _("normal")  # A
    UNACKNOWLEDGED = "unacknowledged", _("unacknowledged")  # B
    ACKNOWLEDGED = "acknowledged", _("acknowledged")  # C
    RETURNED = "returned_unacknowledged", _("returned, unacknowledged")  # D
    LATCHED = "latched_unacknowledged", _("latched, unacknowledged")  # E
    LATCHED_ACKNOWLEDGED = "latched_acknowledged", _("latched, acknowledged")  # F
    SHELVED = "shelved", _("shelved")  # G
    SUPPRESSED = "suppressed", _("suppressed by design")  # H
    OUT = "out_of_service", _("out of service")  # I


class Event(TextChoices):
    """What happens to an alarm: the first three by readings and clocks, the rest by people and by design."""

    RAISE = "raise", _("raised")
    CLEAR = "clear", _("returned to normal")
    LATCH = "latch", _("returned to normal, latched")  # the CLEAR of a rule that latches
    ACKNOWLEDGE = "acknowledge", _("acknowledged")
    RESET = "reset", _("reset")
    SHELVE = "shelve", _("shelved")
    UNSHELVE = "unshelve", _("unshelved")
    SUPPRESS = "suppress", _("suppressed")
    UNSUPPRESS = "unsuppress", _("no longer suppressed")
    REMOVE = "remove", _("taken out of service")
    RETURN = "return", _("put into service")
    COMMENT = "comment", _("comment")


class Step(StrEnum):
    """What the table says beside a state."""

    SAME = "same"  # it is noted, and the alarm stays where it is
    NO = "no"  # it cannot be: refused to people, of no meaning otherwise


SAME, NO = Step.SAME, Step.NO
_N, _U, _A, _R = State.NORMAL, State.UNACKNOWLEDGED, State.ACKNOWLEDGED, State.RETURNED
_L, _LA, _SH, _SU, _O = (
    State.LATCHED,
    State.LATCHED_ACKNOWLEDGED,
    State.SHELVED,
    State.SUPPRESSED,
    State.OUT,
)

COLUMNS = (
    Event.RAISE, Event.CLEAR, Event.LATCH, Event.ACKNOWLEDGE, Event.RESET, Event.SHELVE,
    Event.UNSHELVE, Event.SUPPRESS, Event.UNSUPPRESS, Event.REMOVE, Event.RETURN, Event.COMMENT,
)  # fmt: skip
# A latched alarm cannot be shelved: it stands until somebody resets it. One that was acknowledged, or has
# returned, is not suppressed any more: it has been told.
ROWS: dict[State, tuple[State | Step, ...]] = {
    #      raise clear latch  ack  reset shelve unshelve suppress unsuppress remove return comment
    _N: (_U, NO, NO, NO, NO, _SH, NO, _SU, NO, _O, NO, SAME),
    _U: (NO, _R, _L, _A, NO, _SH, NO, _SU, NO, _O, NO, SAME),
    _A: (NO, _N, _LA, NO, NO, _SH, NO, NO, NO, _O, NO, SAME),
    _R: (_U, NO, NO, _N, NO, _SH, NO, NO, NO, _O, NO, SAME),
    _L: (_U, NO, NO, _LA, NO, NO, NO, NO, NO, _O, NO, SAME),
    _LA: (_U, NO, NO, NO, _N, NO, NO, NO, NO, _O, NO, SAME),
    _SH: (SAME, SAME, SAME, NO, NO, SAME, _N, NO, NO, _O, NO, SAME),
    _SU: (SAME, SAME, SAME, NO, NO, _SH, NO, NO, _N, _O, NO, SAME),
    _O: (SAME, SAME, SAME, NO, NO, NO, NO, NO, NO, NO, _N, SAME),
}
TABLE: dict[tuple[State, Event], State | Step] = {
    (state, event): to for state, row in ROWS.items() for event, to in zip(COLUMNS, row, strict=True)
}

STANDING = (_U, _A, _R, _L, _LA)  # on the list of standing alarms
UNACKNOWLEDGED = (_U, _R, _L)
ASIDE = (_SH, _SU, _O)  # special states, in which nobody is told anything


def after(state: State, event: Event) -> State | None:
    """The state an event leads to, which may be the same; None if it cannot happen in this one."""
    to = TABLE[state, event]
    if to is Step.SAME:
        return state
    return None if to is Step.NO else State(to)
