"""What the pages show of alarms, in few questions however many stand."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.core.paginator import Page, Paginator
from django.db.models import Case, Count, F, Max, OuterRef, Q, QuerySet, Subquery, Value, When, Window
from django.db.models.functions import RowNumber
from django.urls import reverse

from alerts.lifecycle import STANDING, UNACKNOWLEDGED, State
from alerts.models import Alarm, AlarmEvent, Override
from devices import numbers
from devices.models import Instrument, Latest
from devices.services import Person
from labsite.pages.alarm_shown import Group, Line, Rights, Shown
from labsite.pages.limits import limits
from labsite.pages.tally import Tally

FEW = 5  # on the overview
LISTED = 20  # consequences of one cause; the rest is on its page
LAST = 5  # lines of the journal in the list
ROWS = 100  # of a page of the list
LINES = 200  # of a page of a journal

LAST_LINES = """
SELECT line.* FROM unnest(%s::int8[]) AS chosen(id) CROSS JOIN LATERAL (
  SELECT * FROM alerts_alarmevent WHERE alarm_id = chosen.id ORDER BY at DESC, id DESC LIMIT %s
) AS line
"""


@dataclass(frozen=True)
class Listing:
    """The page of standing alarms, or the part of it that another page shows."""

    tally: Tally
    back: str  # the page it is on
    source: str  # where it comes from anew
    standing: list[Shown]
    total: int = 0
    page: int = 1
    shelved: list[Shown] = field(default_factory=list)
    out: list[Shown] = field(default_factory=list)
    suppressed: list[Group] = field(default_factory=list)
    last: Shown | None = None
    compact: bool = False

    @property
    def more(self) -> int:
        """How many stand beside those that are shown."""
        return self.total - len(self.standing)

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // ROWS))

    @property
    def before(self) -> int:
        return self.page - 1

    @property
    def after(self) -> int:
        return self.page + 1 if self.page < self.pages else 0

    @property
    def aside(self) -> int:
        return len(self.shelved) + len(self.out) + sum(group.count for group in self.suppressed)


@dataclass(frozen=True)
class Single:
    """The page of one alarm."""

    tally: Tally
    shown: Shown
    back: str
    source: str
    journal: Page[AlarmEvent]
    lines: list[Line]
    consequences: Page[Alarm]
    suppressed: list[Shown]  # of these
    limits: list[tuple[str, str]]


def _alarms() -> QuerySet[Alarm]:
    """With all that a row shows, and when its instrument was heard last, in one question."""
    seen = Latest.objects.filter(channel__instrument=OuterRef("instrument")).order_by()
    newest = seen.values("channel__instrument").annotate(newest=Max("seen_at")).values("newest")
    return Alarm.objects.select_related(
        "rule", "instrument", "channel__latest", "cause", "acknowledged_by", "aside_by"
    ).annotate(heard=Subquery(newest))


def _standing() -> QuerySet[Alarm]:
    """Those nobody has acknowledged first; then by priority, and the oldest first."""
    is_seen = Case(When(state__in=UNACKNOWLEDGED, then=Value(0)), default=Value(1))
    return _alarms().filter(state__in=STANDING).order_by(is_seen, "priority", "raised_at", "id")


def listing(person: Person, now: datetime, page: int = 1) -> Listing:
    """Everything that stands or is put aside."""
    tally = Tally.now()
    page = min(max(1, page), max(1, -(-tally.standing // ROWS)))
    standing = list(_standing()[(page - 1) * ROWS : page * ROWS])
    aside = list(_alarms().filter(state__in=(State.SHELVED, State.OUT)).order_by("aside_until", "id")[:ROWS])
    groups = _groups(now)
    lines = _lines([*standing, *aside], now)
    rights = Rights.of(person)
    shown = [
        Shown(each, now, rights, groups.get(each.pk), lines.get(each.pk, [])) for each in (*standing, *aside)
    ]
    path = reverse("alarms") + (f"?page={page}" if page > 1 else "")
    return Listing(
        tally,
        back=path,
        source=reverse("alarms-list") + path.removeprefix(reverse("alarms")),
        standing=[each for each in shown if each.is_standing],
        total=tally.standing,
        page=page,
        shelved=[each for each in shown if each.state is State.SHELVED],
        out=[each for each in shown if each.state is State.OUT],
        suppressed=list(groups.values()),
        last=None if standing else _last(now),
    )


def first_few(person: Person, now: datetime) -> Listing:
    """What stands, for the overview."""
    tally = Tally.now()
    return Listing(
        tally,
        back=reverse("overview"),
        source=reverse("alarms-few"),
        standing=_briefly(_standing()[:FEW], person, now),
        total=tally.standing,
        compact=True,
    )


def of_instrument(instrument: Instrument, person: Person, now: datetime) -> Listing:
    """What stands of an instrument and of its edge."""
    tally = Tally.now()
    found = _standing().filter(Q(instrument=instrument) | Q(instrument=None, edge=instrument.edge_id))
    shown = _briefly(found[:ROWS], person, now)
    return Listing(
        tally,
        back=reverse("instrument", args=[instrument.pk]),
        source=reverse("instrument-alarms", args=[instrument.pk]),
        standing=shown,
        total=len(shown),
        compact=True,
    )


def _briefly(found: Iterable[Alarm], person: Person, now: datetime) -> list[Shown]:
    """Without journals, but for what was said by those who acknowledged."""
    chosen = list(found)
    lines = _lines((each for each in chosen if each.acknowledged_at), now)
    rights = Rights.of(person) if chosen else Rights()
    return [Shown(each, now, rights, lines=lines.get(each.pk, [])) for each in chosen]


def one(alarm: int, person: Person, now: datetime, page: str = "", more: str = "") -> Single:
    """One alarm with its journal. Raises Alarm.DoesNotExist."""
    tally = Tally.now()
    found = _alarms().select_related("rule__suppressed_by", "edge", "contact").get(pk=alarm)
    journal = Paginator(found.journal.select_related("by").order_by("-at", "-id"), LINES).get_page(page)
    suppressed = found.consequences.filter(state=State.SUPPRESSED).order_by("priority", "text", "id")
    consequences = Paginator(suppressed.select_related("instrument", "rule"), LINES).get_page(more)
    lines = [_line(event, found, now) for event in journal]
    asked = f"?page={journal.number}&more={consequences.number}"
    return Single(
        tally,
        Shown(found, now, Rights.of(person), lines=lines),
        back=reverse("alarm", args=[alarm]) + asked,
        source=reverse("alarm-facts", args=[alarm]) + asked,
        journal=journal,
        lines=lines,
        consequences=consequences,
        suppressed=[Shown(each, now, Rights()) for each in consequences],
        limits=limits(found, Override.objects.filter(rule=found.rule_id, channel=found.channel_id).first()),
    )


def _groups(now: datetime) -> dict[int | None, Group]:
    """All suppressed alarms by their cause, the first of each, in one question."""
    found = (
        Alarm.objects.filter(state=State.SUPPRESSED)
        .annotate(
            place=Window(RowNumber(), partition_by=F("cause"), order_by=("priority", "text", "id")),
            count=Window(Count("*"), partition_by=F("cause")),
        )
        .filter(place__lte=LISTED)
        .select_related("cause", "instrument", "rule")
        .order_by(F("cause").asc(nulls_last=True), "place")
    )
    groups: dict[int | None, Group] = {}
    for alarm in found:
        count: int = getattr(alarm, "count", 0)
        group = groups.setdefault(alarm.cause_id, Group(alarm.cause, count))
        group.first.append(Shown(alarm, now, Rights()))
    return groups


def _lines(alarms: Iterable[Alarm], now: datetime) -> dict[int, list[Line]]:
    """The last lines of their journals."""
    known = {alarm.pk: alarm for alarm in alarms}
    lines: dict[int, list[Line]] = {}
    if known:
        events = AlarmEvent.objects.raw(LAST_LINES, [list(known), LAST]).prefetch_related("by")
        for event in events:
            lines.setdefault(event.alarm_id, []).append(_line(event, known[event.alarm_id], now))
    return lines


def _line(event: AlarmEvent, alarm: Alarm, now: datetime) -> Line:
    channel = alarm.channel
    return Line(event, now, numbers.unit(channel.unit), channel.digits) if channel else Line(event, now)


def _last(now: datetime) -> Shown | None:
    """The one that was raised last, whatever became of it."""
    found = Alarm.objects.exclude(raised_at=None).select_related("instrument").order_by("-raised_at").first()
    return Shown(found, now, Rights()) if found else None
