"""Who is told what: the outbox in, notices out, in one transaction. Of two who do it at once, one does.

What comes due later (an escalation, a reminder, the beginning of a route's hours) is a notice already, with
its time; when that comes, `alerts.notices.news` says what of it is still to be told. So each round looks only
at what is new.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Prefetch

from alerts.models import Contact, Notice, NoticeKind, NoticeState, Route, RouteStep
from alerts.notices import chatter, delivery, hours, outbox
from alerts.notices.grouping import Writer
from alerts.notices.outbox import Change, Happened
from devices.models import Instrument

TURN = 0x1AF  # advisory: one dispatches at a time
OLD_HAPPENING = timedelta(minutes=15)  # learnt later than that, it is history
Pair = tuple[int, int]  # of a route and a contact


@transaction.atomic
def dispatch(now: datetime) -> int:
    """Make notices of what has not been told yet; returns how many were made or added to."""
    if not _is_my_turn():
        return 0
    changed, happened, calmed = outbox.changes(), outbox.happenings(), chatter.calmed(now)
    daily = _daily(now)
    if not (changed or happened or calmed or daily):
        return 0
    plan = Plan(_ways())
    plan.tags = _tags(plan.ways, changed, happened)
    plan.changes(changed, now)
    plan.happenings(happened)
    plan.calmed(calmed)
    made = plan.write(now) + _write_daily(daily, plan.ways, now)
    outbox.mark(changed, happened, now)
    if made:
        delivery.notify()
    return made


def _is_my_turn() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, 0)", [TURN])
        (mine,) = cursor.fetchone() or (False,)
    return bool(mine)


# ---- routes


@dataclass(frozen=True)
class Way:
    """A route with its contacts: those told at once, and the steps after."""

    route: Route
    contacts: Mapping[int, Contact]
    first: Sequence[int]
    later: Sequence[RouteStep]

    @classmethod
    def of(cls, route: Route) -> "Way":
        steps = [step for step in route.steps.all() if step.contact.enabled]
        return cls(
            route,
            {step.contact_id: step.contact for step in steps},
            [step.contact_id for step in steps if step.after <= 0],
            [step for step in steps if step.after > 0],
        )

    def wants(self, change: Change, tags: Collection[str]) -> bool:
        """Whether this alarm is the route's. What is wrong with a contact is of all who share a route."""
        if not self.route.alarms or change.priority > self.route.least_priority:
            return False
        if change.contact is not None:
            return not self.route.tags or change.contact in self.contacts
        return self._has_tag(tags)

    def at_once(self, change: Change) -> Sequence[int]:
        """Who is told first: of a contact that cannot be told those after it."""
        if change.contact is None:
            return self.first
        others = [contact for contact in self.first if contact != change.contact]
        return others or [each for each in self.contacts if each != change.contact][:1]

    def wants_happening(self, kind: str, tags: Collection[str]) -> bool:
        return self._has_tag(tags) and any(fnmatchcase(kind, each) for each in self.route.happenings)

    def _has_tag(self, tags: Collection[str]) -> bool:
        return not self.route.tags or not set(self.route.tags).isdisjoint(tags)


def _ways() -> dict[int, Way]:
    """Those of all enabled routes; first those that tell again: who is on two routes hears by that one."""
    steps = RouteStep.objects.select_related("contact").order_by("after", "id")
    routes = Route.objects.filter(enabled=True).prefetch_related(Prefetch("steps", steps))
    ordered = sorted(routes, key=lambda route: (route.repeat is None, route.repeat or 0.0, route.name))
    return {route.pk: Way.of(route) for route in ordered}


def _tags(
    ways: Mapping[int, Way], changed: Iterable[Change], happened: Iterable[Happened]
) -> dict[UUID | int, set[str]]:
    """The tags of instruments, if routes go by them; an edge has those of all its instruments."""
    if not any(way.route.tags for way in ways.values()):
        return {}
    instruments = {change.instrument for change in changed if change.instrument}
    instruments |= {each.instrument for each in happened}
    edges = {change.edge for change in changed if change.instrument is None and change.edge}
    found: dict[UUID | int, set[str]] = defaultdict(set)
    named = Instrument.objects.exclude(tags=[])
    found.update((pk, set(tags)) for pk, tags in named.filter(pk__in=instruments).values_list("pk", "tags"))
    for edge, tags in named.filter(edge__in=edges, retired_at=None).values_list("edge_id", "tags"):
        found[edge] |= set(tags)
    return found


# ---- what is to be told to whom


@dataclass
class Plan:
    """What each contact is to be told by each route, in order; and what each route may have to escalate."""

    ways: Mapping[int, Way]
    tags: Mapping[Any, Collection[str]] = field(default_factory=dict)
    told: dict[tuple[str, int, int], list[Any]] = field(default_factory=lambda: defaultdict(list))
    begun: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))  # by route

    def changes(self, changed: Sequence[Change], now: datetime) -> None:
        """Of alarms: what begins to those that a route names, what ends to those who heard of it."""
        begins = [change for change in changed if change.begins]
        starts = chatter.begun(begins, now)
        chattering = {change.alarm for change in changed if change.chatters}
        heard = outbox.told(list(_first_ends(changed)))
        for change in changed:
            if change.begins:
                if change.id in starts:
                    chattering.add(change.alarm)
                    self._begin(NoticeKind.CHATTER, change)
                elif change.alarm not in chattering:
                    heard[change.alarm] = self._begin(NoticeKind.ALARM, change)
                else:
                    heard.pop(change.alarm, None)
            elif change.ends and change.alarm not in chattering:
                self._end(change, heard.pop(change.alarm, set()))

    def _begin(self, kind: str, change: Change) -> set[Pair]:
        tags = self.tags.get(change.instrument or change.edge, ())
        pairs: set[Pair] = set()
        contacts: set[int] = set()
        for number, way in self.ways.items():
            if not way.wants(change, tags):
                continue
            self.begun[number].append(change)
            for contact in way.at_once(change):
                if contact not in contacts:
                    contacts.add(contact)
                    pairs.add((number, contact))
                    self.told[kind, number, contact].append(change)
        return pairs

    def _end(self, change: Change, pairs: Iterable[Pair]) -> None:
        for route, contact in pairs:
            way = self.ways.get(route)
            if way and way.route.recoveries and contact != change.contact:
                self.told[NoticeKind.ALARM, route, contact].append(change)

    def happenings(self, happened: Iterable[Happened]) -> None:
        """What is normal, to those who asked for its kind."""
        for each in happened:
            if each.stored_at - each.time > OLD_HAPPENING:
                continue
            contacts: set[int] = set()
            for number, way in self.ways.items():
                if way.wants_happening(each.kind, self.tags.get(each.instrument, ())):
                    for contact in set(way.first) - contacts:
                        contacts.add(contact)
                        self.told[NoticeKind.HAPPENING, number, contact].append(each)

    def calmed(self, found: Mapping[int, Iterable[Pair]]) -> None:
        """Who heard that an alarm chatters hears that it does not any more."""
        if not found:
            return
        for change in outbox.named(found):
            for route, contact in found[change.id]:
                if route in self.ways:
                    self.told[NoticeKind.CALM, route, contact].append(change)
            for route in {route for route, _contact in found[change.id]} & self.ways.keys():
                self.begun[route].append(change)

    def write(self, now: datetime) -> int:
        """Make notices of it, or add to those that wait."""
        writer = Writer.of(self.told, now)
        for (kind, route, contact), items in self.told.items():
            writer.tell(self.ways[route].route, contact, kind, items)
        for route, begins in self.begun.items():
            for step in self.ways[route].later:
                mine = [change for change in begins if change.contact != step.contact_id]
                writer.escalate(self.ways[route].route, step, mine)
        return writer.made


def _first_ends(changed: Iterable[Change]) -> Iterator[Change]:
    """Of each alarm the first end, unless what it ends is among these changes."""
    seen = set()
    for change in changed:
        if change.begins or change.ends:
            if change.ends and change.alarm not in seen:
                yield change
            seen.add(change.alarm)


# ---- the daily word


def _daily(now: datetime) -> list[Route]:
    """Routes whose daily word is due: once on each date of their zone, however late."""
    due = []
    for route in Route.objects.filter(enabled=True, daily__isnull=False):
        word = hours.last_word(route, now)
        told = route.daily_told_at or route.created_at
        if word and told < word and not (route.daily_told_at and hours.is_same_day(route, told, word)):
            due.append(route)
    return due


def _write_daily(routes: Sequence[Route], ways: Mapping[int, Way], now: datetime) -> int:
    waiting = set(
        Notice.objects.filter(kind=NoticeKind.DAILY, state=NoticeState.WAITING, route__in=routes).values_list(
            "route_id", "contact_id"
        )
    )
    notices = [
        Notice(route=route, contact_id=contact, kind=NoticeKind.DAILY, created_at=now, due_at=now)
        for route in routes
        for contact in (ways[route.pk].first if route.pk in ways else ())
        if (route.pk, contact) not in waiting
    ]
    Notice.objects.bulk_create(notices)
    Route.objects.filter(pk__in=[route.pk for route in routes]).update(daily_told_at=now)
    return len(notices)
