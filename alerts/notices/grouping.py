"""Notices made of changes, one for each group of them. The first goes at once; what follows soon waits."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from alerts.models import Notice, NoticeKind, NoticeState, Route, RouteStep
from alerts.notices import hours, lines
from alerts.notices.groups import connected
from alerts.notices.outbox import Change, Happened

Key = tuple[str, int, int]  # family, route and contact
FAMILIES: Mapping[str, str] = {NoticeKind.RECOVERY: NoticeKind.ALARM}  # both are told together
GROUPED = (
    NoticeKind.ALARM,
    NoticeKind.RECOVERY,
    NoticeKind.CHATTER,
    NoticeKind.CALM,
    NoticeKind.HAPPENING,
)
LATE = timedelta(minutes=1)  # what is told so long after it began escalates from when it was told
KEYS = """
SELECT DISTINCT l.notice_id, a.rule_id, a.instrument_id, coalesce(a.cause_id, a.id)
FROM alerts_noticeline l JOIN alerts_alarm a ON a.id = l.alarm_id WHERE l.notice_id = ANY(%(ids)s)
UNION
SELECT l.notice_id, NULL, h.instrument_id, NULL
FROM alerts_noticeline l JOIN alerts_happening h ON h.id = l.happening_id WHERE l.notice_id = ANY(%(ids)s)
"""


@dataclass
class Open:
    """A notice of late: one that waits may be joined, one that was sent opens a window."""

    notice: Notice
    joinable: bool
    keys: set[Hashable] = field(default_factory=set)

    @property
    def told_at(self) -> datetime:
        return max(self.notice.created_at, self.notice.sent_at or self.notice.created_at)


@dataclass
class Writer:
    """Writes what is to be told. `made`: how many notices were made or added to."""

    now: datetime
    open: dict[Key, list[Open]]
    made: int = 0
    by_change: dict[tuple[int, int], Notice] = field(default_factory=dict)  # by route and change

    @classmethod
    def of(cls, keys: Collection[Key], now: datetime) -> "Writer":
        """With what these contacts were told of late. What may be joined is locked until the commit."""
        routes, contacts = {route for _, route, _ in keys}, {contact for _, _, contact in keys}
        found = Notice.objects.filter(route__in=routes, contact__in=contacts, kind__in=GROUPED)
        waiting = found.filter(state=NoticeState.WAITING)
        windows = Route.objects.filter(pk__in=routes).values_list("window", flat=True)
        since = now - timedelta(seconds=2 * max(windows, default=0.0) + 60.0)
        joinable = [
            Open(notice, joinable=True)
            for notice in waiting.filter(title="").select_for_update(of=("self",)).order_by("id")
        ]
        late = [
            *waiting.exclude(title=""),
            *found.filter(state=NoticeState.SENT, created_at__gt=since),
        ]
        every = joinable + [Open(notice, joinable=False) for notice in late]
        _read_keys(every)
        made: dict[Key, list[Open]] = defaultdict(list)
        for each in every:
            notice = each.notice
            family = FAMILIES.get(notice.kind, notice.kind)
            made[family, notice.route_id or 0, notice.contact_id].append(each)
        return cls(now, made)

    def tell(self, route: Route, contact: int, family: str, items: Sequence[Any]) -> None:
        """Tell one contact of these by one route; outside its hours when they begin, all in one."""
        known = self.open[family, route.pk, contact]
        if not hours.is_open(route, self.now):
            if family != NoticeKind.HAPPENING:
                self._defer(route, contact, family, items, known)
            return
        mine = [each for each in known if hours.is_open(route, each.notice.created_at)]
        away = next((each for each in mine if each.joinable and each.notice.tries), None)
        for numbers in connected([*(each.keys for each in mine), *(item.keys for item in items)]):
            group = [items[number - len(mine)] for number in numbers if number >= len(mine)]
            near = [mine[number] for number in numbers if number < len(mine)]
            if not group:
                continue
            to = next((each for each in near if each.joinable), away)
            if to is not None:
                self._join(to.notice, group)
            else:
                self._new(route, contact, family, group, self._due(route, near))

    def escalate(self, route: Route, step: RouteStep, begins: Sequence[Change]) -> None:
        """Tell a later step's contact when its time comes, if nobody has acknowledged by then."""
        for numbers in connected([change.keys for change in begins]):
            group = [begins[number] for number in numbers]
            earliest = min(change.at for change in group)
            base = earliest if self.now - earliest < LATE else self.now
            due = hours.opens(route, hours.opens(route, base) + timedelta(seconds=step.after))
            notice = Notice.objects.create(
                contact_id=step.contact_id, route=route, kind=NoticeKind.ESCALATION, step=step.after,
                priority=min(change.priority for change in group), created_at=self.now, due_at=due,
                follows=self.by_change.get((route.pk, group[0].id)),
            )  # fmt: skip
            self._write(notice, group)

    def _defer(
        self, route: Route, contact: int, family: str, items: Sequence[Any], known: Iterable[Open]
    ) -> None:
        waiting = [each.notice for each in known if each.joinable and each.notice.due_at > self.now]
        for notice in waiting:
            if not hours.is_open(route, notice.created_at):
                self._join(notice, items)
                return
        self._new(route, contact, family, items, hours.opens(route, self.now))

    def _due(self, route: Route, near: Iterable[Open]) -> datetime:
        """Now, or the end of the window that the last notice of the group has opened."""
        window = timedelta(seconds=route.window)
        return max((each.told_at + window for each in near), default=self.now) if near else self.now

    def _new(self, route: Route, contact: int, family: str, group: Sequence[Any], due: datetime) -> None:
        kind = family
        if family == NoticeKind.ALARM and not any(change.begins for change in group):
            kind = NoticeKind.RECOVERY
        notice = Notice.objects.create(
            contact_id=contact, route=route, kind=kind, priority=_priority(group),
            created_at=self.now, due_at=max(due, self.now),
        )  # fmt: skip
        self._write(notice, group)

    def _join(self, notice: Notice, group: Sequence[Any]) -> None:
        if notice.kind == NoticeKind.RECOVERY and any(change.begins for change in group):
            notice.kind = NoticeKind.ALARM
        priorities = [each for each in (notice.priority, _priority(group)) if each is not None]
        notice.priority = min(priorities, default=None)
        if notice.tries:
            notice.due_at = min(notice.due_at, self.now)  # something new is worth a try
        notice.save(update_fields=["kind", "priority", "due_at"])
        self._write(notice, group)

    def _write(self, notice: Notice, group: Sequence[Any]) -> None:
        changes = [each for each in group if isinstance(each, Change)]
        happened = [each.id for each in group if isinstance(each, Happened)]
        lines.add(notice, [(change.id, change.alarm) for change in changes], happened)
        for change in changes:
            self.by_change.setdefault((notice.route_id or 0, change.id), notice)
        self.made += 1


def _priority(group: Iterable[Any]) -> int | None:
    return min((each.priority for each in group if isinstance(each, Change)), default=None)


def _read_keys(notices: Sequence[Open]) -> None:
    by_id: dict[UUID, Open] = {each.notice.pk: each for each in notices}
    if not by_id:
        return
    with connection.cursor() as cursor:
        cursor.execute(KEYS, {"ids": list(by_id)})
        for notice, rule, instrument, cause in cursor.fetchall():
            named = (("rule", rule), ("instrument", instrument), ("cause", cause))
            by_id[notice].keys.update(key for key in named if key[1] is not None)
