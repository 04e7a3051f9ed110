"""One alarm, a line of its journal and what it causes, in the words of the pages."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from django.urls import reverse
from django.utils.translation import gettext as _

from alerts import lifecycle, services
from alerts.lifecycle import STANDING, UNACKNOWLEDGED, Event, State
from alerts.models import Alarm, AlarmEvent, Priority
from devices import numbers
from devices.models import Latest
from devices.services import Person
from labsite.pages.cards import Row, milliseconds
from labsite.pages.standing import Normal, Now, stale_after

SHAPES = {Priority.CRITICAL: "■", Priority.HIGH: "▲", Priority.MEDIUM: "◆", Priority.LOW: "●"}
# Minutes, and how a button says them; the services know the longest.
SHELVE_SPANS = ((30, "30 min"), (60, "1 h"), (8 * 60, "8 h"), (24 * 60, "24 h"))
REMOVE_SPANS = ((8 * 60, "8 h"), (24 * 60, "1 d"), (7 * 24 * 60, "7 d"), (30 * 24 * 60, "30 d"))


def shape(priority: int) -> str:
    """The mark of a priority; "" when there is none."""
    return SHAPES[Priority(priority)] if priority in Priority.values else ""


@dataclass(frozen=True)
class Rights:
    """What this person may do with alarms."""

    acknowledge: bool = False
    shelve: bool = False
    remove: bool = False

    @classmethod
    def of(cls, person: Person) -> "Rights":
        return cls(
            *(services.may(person, each) for each in (services.ACKNOWLEDGE, services.SHELVE, services.REMOVE))
        )


@dataclass(frozen=True)
class Line:
    """One change in the journal, in the words of the page."""

    event: AlarmEvent
    now: datetime
    unit: str = ""
    digits: int | None = None

    @property
    def word(self) -> str:
        return self.event.get_event_display()

    @property
    def who(self) -> str:
        """Who did it and through which door; "" for what readings and clocks did."""
        if self.event.by is None:
            return ""
        words = {"name": self.event.by.get_username(), "door": self.event.get_source_display()}
        return _("%(name)s, %(door)s") % words

    @property
    def value(self) -> str:
        """What was measured, where that decided."""
        told = (Event.RAISE, Event.CLEAR, Event.LATCH)
        if self.event.value is None or self.event.event not in told:
            return ""
        return f"{numbers.number(self.event.value, self.digits)} {self.unit}".strip()

    @property
    def until(self) -> str:
        return moment(self.event.until, self.now) if self.event.until else ""

    @property
    def age(self) -> str:
        return numbers.age(self.event.at, self.now)

    @property
    def age_ms(self) -> int:
        return milliseconds(self.event.at)

    @property
    def noted(self) -> str:
        """When it became known, if that was too late to tell anybody."""
        return numbers.age(self.event.stored_at, self.now) if self.event.past else ""


@dataclass(frozen=True)
class Group:
    """Suppressed alarms of one cause: the first of them, and how many there are."""

    cause: Alarm | None
    count: int
    first: list["Shown"] = field(default_factory=list)

    @property
    def more(self) -> int:
        return self.count - len(self.first)


@dataclass(frozen=True)
class Shown:
    """One alarm in the words of the page."""

    alarm: Alarm
    now: datetime
    rights: Rights
    consequences: Group | None = None
    lines: list[Line] = field(default_factory=list)
    shelve_spans = SHELVE_SPANS
    remove_spans = REMOVE_SPANS

    @property
    def state(self) -> State:
        return State(self.alarm.state)

    @property
    def shape(self) -> str:
        return shape(self.alarm.priority)

    @property
    def subject(self) -> str:
        """The instrument's name, as far as the text begins with it."""
        instrument = self.alarm.instrument
        is_first = instrument is not None and self.alarm.text.startswith(instrument.name)
        return instrument.name if instrument is not None and is_first else ""

    @property
    def rest(self) -> str:
        return self.alarm.text[len(self.subject) :]

    @property
    def is_standing(self) -> bool:
        return self.state in STANDING

    @property
    def is_unacknowledged(self) -> bool:
        return self.state in UNACKNOWLEDGED

    @property
    def url(self) -> str:
        return reverse("alarm", args=[self.alarm.pk])

    @cached_property
    def row(self) -> Row | None:
        """What its channel says now."""
        return _row(self.alarm, milliseconds(self.now))

    @property
    def reason(self) -> str:
        """Why, in the instrument's or the edge's words, unless the value's row says so."""
        return "" if self.row and self.row.reason == self.alarm.reason else self.alarm.reason

    @property
    def raised(self) -> str:
        return numbers.age(self.alarm.raised_at, self.now) if self.alarm.raised_at else ""

    @property
    def raised_ms(self) -> int | None:
        return milliseconds(self.alarm.raised_at) if self.alarm.raised_at else None

    @property
    def returned(self) -> str:
        """When the condition was over, of one that stands all the same."""
        is_over = self.state in (State.RETURNED, State.LATCHED, State.LATCHED_ACKNOWLEDGED)
        return numbers.age(self.alarm.cleared_at, self.now) if is_over and self.alarm.cleared_at else ""

    @property
    def returned_ms(self) -> int | None:
        return milliseconds(self.alarm.cleared_at) if self.returned and self.alarm.cleared_at else None

    @property
    def who(self) -> str:
        """Who acknowledged it, and with which words as far as they are among the last lines."""
        if self.is_unacknowledged:
            return _("nobody yet")
        if self.alarm.acknowledged_at is None:
            return ""
        name = self.alarm.acknowledged_by.get_username() if self.alarm.acknowledged_by else _("somebody")
        said = next((line.event.comment for line in self.lines if line.event.event == Event.ACKNOWLEDGE), "")
        return _("%(name)s, “%(said)s”") % {"name": name, "said": said} if said else name

    @property
    def aside(self) -> str:
        """Who put it aside and until when."""
        name = self.alarm.aside_by.get_username() if self.alarm.aside_by else _("somebody")
        if self.alarm.aside_until is None:
            return name
        words = {"name": name, "time": moment(self.alarm.aside_until, self.now)}
        return _("%(name)s, until %(time)s") % words

    @property
    def why_suppressed(self) -> str:
        """Where no other alarm is the cause."""
        if self.state is not State.SUPPRESSED or self.alarm.cause_id:
            return ""
        instrument = self.alarm.instrument
        if instrument is not None and (instrument.retired_at or not instrument.in_service):
            return _("while its instrument is out of service")
        return _("while a run is under way") if self.alarm.rule.suppressed_in else ""

    @property
    def may_acknowledge(self) -> bool:
        return self.rights.acknowledge and self._can(Event.ACKNOWLEDGE)

    @property
    def may_reset(self) -> bool:
        return self.rights.acknowledge and self._can(Event.RESET)

    @property
    def may_shelve(self) -> bool:
        return self.rights.shelve and self._can(Event.SHELVE)

    @property
    def may_unshelve(self) -> bool:
        return self.rights.shelve and self._can(Event.UNSHELVE)

    @property
    def may_remove(self) -> bool:
        return self.rights.remove and self._can(Event.REMOVE)

    @property
    def may_put_back(self) -> bool:
        return self.rights.remove and self._can(Event.RETURN)

    def _can(self, event: Event) -> bool:
        return lifecycle.after(self.state, event) is not None


def moment(at: datetime, now: datetime) -> str:
    """When something ends, with the zone; the date where that is not today."""
    return at.strftime("%H:%M UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M UTC")


def _row(alarm: Alarm, at: int) -> Row | None:
    channel, instrument = alarm.channel, alarm.instrument
    if channel is None or instrument is None:
        return None
    latest: Latest | None = getattr(channel, "latest", None)
    heard: datetime | None = getattr(alarm, "heard", None)
    return Row(
        channel.pk,
        channel.label,
        numbers.unit(channel.unit),
        channel.kind,
        channel.digits,
        Normal(channel.low, channel.high),
        _now(latest) if latest else None,
        at,
        1000 * stale_after(instrument.interval),
        milliseconds(heard) if heard else None,
    )


def _now(latest: Latest) -> Now:
    return Now(
        latest.channel_id,
        milliseconds(latest.time),
        latest.value,
        latest.quality,
        latest.text,
        milliseconds(latest.seen_at),
    )
