"""What of a notice is still news by the time it is sent: its lines beside how their alarms stand by then."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from alerts.lifecycle import ASIDE, UNACKNOWLEDGED, Event, State
from alerts.models import Notice, NoticeKind, NoticeLine, RuleKind
from alerts.notices import hours

OLD = timedelta(minutes=10)  # a trouble that began before, and is over, is told to nobody
BEGINS = (Event.RAISE, Event.LATCH)  # LATCH: of the past only, which is told by its end


class Line(NamedTuple):
    """One change that a notice tells, with how its alarm stands now."""

    alarm: int
    event_id: int
    event: str
    at: datetime
    past: bool
    state: str
    priority: int
    raised_at: datetime | None
    cleared_at: datetime | None
    chatter_at: datetime | None
    kind: str  # of the rule

    @property
    def begins(self) -> bool:
        return self.event == Event.RAISE or (self.past and self.event == Event.LATCH)

    @property
    def stands(self) -> bool:
        """Whether a person is still to look. What a rule of events raises is over at once, and stands."""
        if self.state == State.RETURNED:
            return self.kind == RuleKind.EVENT
        return self.state != State.NORMAL and self.state not in ASIDE

    @property
    def waits(self) -> bool:
        """Whether it stands and nobody has acknowledged it."""
        return self.stands and self.state in UNACKNOWLEDGED

    @property
    def is_same_trouble(self) -> bool:
        """Whether what the line tells of is what its alarm stands for now, and no later trouble."""
        return self.at == (self.cleared_at if self.event == Event.LATCH else self.raised_at)


FIELDS = (
    "alarm_id", "event_id", "event__event", "event__at", "event__past", "alarm__state", "alarm__priority",
    "alarm__raised_at", "alarm__cleared_at", "alarm__chatter_at", "alarm__rule__kind",
)  # fmt: skip


@dataclass(frozen=True)
class News:
    """What is to be told: alarms, those that stand first, by priority; and happenings. Ids."""

    alarms: list[int] = field(default_factory=list)
    happenings: list[int] = field(default_factory=list)
    past: frozenset[int] = frozenset()  # of the alarms: learnt so late that they were over
    standing: int = 0  # how many of the alarms
    priority: int | None = None  # the highest
    since: datetime | None = None  # when the first of them was raised

    @property
    def count(self) -> int:
        return len(self.alarms) + len(self.happenings)

    def __bool__(self) -> bool:
        return bool(self.alarms or self.happenings)


def of(notice: Notice, now: datetime) -> News:
    """What of a notice is not over, acknowledged, put aside or old by now, as its kind asks."""
    lines = notice.lines.filter(alarm__isnull=False).order_by("alarm_id", "event_id")
    found = [
        told
        for _alarm, group in groupby(map(Line._make, lines.values_list(*FIELDS)), lambda line: line.alarm)
        if (told := _told(notice, list(group), now))
    ]
    found.sort(key=lambda line: (not line.stands, line.priority, line.raised_at or line.at, line.alarm))
    happenings = NoticeLine.objects.filter(notice=notice, happening__isnull=False).order_by("happening_id")
    return News(
        alarms=[line.alarm for line in found],
        happenings=list(happenings.values_list("happening_id", flat=True)),
        past=frozenset(line.alarm for line in found if line.past),
        standing=sum(line.stands for line in found),
        priority=min((line.priority for line in found), default=None),
        since=found[0].raised_at if found else None,
    )


def _told(notice: Notice, lines: list[Line], now: datetime) -> Line | None:
    """The line for which an alarm is told, the newest; None if it is no news any more."""
    newest = lines[-1]
    if newest.state in ASIDE:
        return None
    if notice.kind in (NoticeKind.REPEAT, NoticeKind.ESCALATION):
        return newest if _is_still_waiting(lines) else None
    if notice.kind == NoticeKind.CHATTER:
        return newest if newest.chatter_at else None
    if notice.kind == NoticeKind.CALM:
        return newest
    return newest if _is_news(notice, lines, now) else None


def _is_still_waiting(lines: Iterable[Line]) -> bool:
    """Of a reminder or an escalation: of the very trouble it is about; while it chatters, of any."""
    for line in lines:
        if line.chatter_at and line.state in UNACKNOWLEDGED:
            return True
        if line.waits and line.is_same_trouble:
            return True
    return False


def _is_news(notice: Notice, lines: list[Line], now: datetime) -> bool:
    newest = lines[-1]
    if not lines[0].begins:
        return True  # its beginning was told before: how it ended is owed
    if notice.route is not None and not hours.is_open(notice.route, notice.created_at):
        return newest.waits  # it has waited for the route's hours
    if newest.stands:
        return True
    return max(line.at for line in lines if line.begins) > now - OLD
