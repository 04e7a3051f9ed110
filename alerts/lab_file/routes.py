"""Routes and their steps in a lab file."""

from collections.abc import Iterable, Mapping
from datetime import time
from typing import Any

from django.db.models import QuerySet

from alerts.lab_file.rows import PRIORITIES, Draft, Rows, word_faults
from alerts.lab_file.rules import word
from alerts.models import Contact, Route, RouteStep
from alerts.rules import editing
from devices.lab_file import Change, Entry, Kind, LabFileError
from devices.lab_file.tables import suggestion
from devices.lab_file.writing import Inline
from devices.services import Person

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TIMES = ("start", "end", "daily")
STEP = Kind("step", {"contact": str, "after": float}, required=("contact",))
KEYS: dict[str, Any] = {
    "name": str,
    "enabled": bool,
    "alarms": bool,
    "least_priority": str,
    "recoveries": bool,
    "happenings": list[str],
    "tags": list[str],
    "days": list[str],
    "start": (str, time),
    "end": (str, time),
    "zone": str,
    "window": float,
    "repeat": float,
    "daily": (str, time),
    "steps": list[dict[str, Any]],
}
PLAIN = ("enabled", "alarms", "recoveries", "happenings", "tags", "zone", "window", "repeat")


def _faults(entry: Entry) -> Iterable[str]:
    yield from word_faults(entry, "least_priority", PRIORITIES)
    yield from word_faults(entry, "days", DAYS)
    for key in TIMES:
        try:
            _time(entry.table.get(key))
        except ValueError:
            yield entry.error(f'{key} must be a time of day such as "08:00"', key)


class Routes(Rows[Route, RouteStep]):
    kind = Kind("route", KEYS, items={"steps": STEP}, faults=_faults)

    def rows(self) -> QuerySet[Route]:
        return Route.objects.prefetch_related("steps__contact")

    def drafts(self, rows: Iterable[Route]) -> Iterable[Draft[Route, RouteStep]]:
        return [Draft(route, list(route.steps.all())) for route in rows]

    def new(self, entry: Entry) -> Draft[Route, RouteStep]:
        return Draft(Route(name=entry.name), [])

    def take(
        self,
        entry: Entry,
        draft: Draft[Route, RouteStep],
        known: Mapping[str, Draft[Route, RouteStep]],  # noqa: ARG002
    ) -> None:
        route, table = draft.row, entry.table
        for key in PLAIN:
            if key in table:
                setattr(route, key, float(table[key]) if KEYS[key] is float else table[key])
        if "least_priority" in table:
            route.least_priority = PRIORITIES[table["least_priority"]]
        if "days" in table:
            route.days = sorted({DAYS.index(day) for day in table["days"]})
        for key in TIMES:
            if key in table:
                setattr(route, key, _time(table[key]))
        route.repeat = route.repeat or None  # 0 takes it back
        if "steps" in table:
            draft.parts_given = True
            draft.parts = [_step(entry, number, step) for number, step in enumerate(table["steps"], start=1)]

    def shown(self, draft: Draft[Route, RouteStep]) -> dict[str, Any]:
        route = draft.row
        shown = {key: getattr(route, key) for key in PLAIN} | {
            "least_priority": word(route.least_priority),
            "days": [DAYS[day] for day in route.days],
            "steps": _shown_steps(draft.parts),
            **{key: _clock(getattr(route, key)) for key in TIMES},
        }
        return {key: shown[key] for key in KEYS if shown.get(key) is not None}

    def save(self, draft: Draft[Route, RouteStep], by: Person) -> None:
        is_new = draft.row.pk is None
        editing.save_route(draft.row, by, draft.parts if draft.parts_given or is_new else None)

    def drop(self, draft: Draft[Route, RouteStep], by: Person) -> Change | None:
        editing.delete_route(draft.row, by)
        return Change("−", "route", draft.row.name)


def _time(given: str | time | None) -> time | None:
    """None for "", too. Raises ValueError."""
    if isinstance(given, str):
        return time.fromisoformat(given).replace(tzinfo=None) if given else None
    return given


def _clock(at: time | None) -> str | None:
    return None if at is None else at.isoformat("auto").removesuffix(":00")


def _step(entry: Entry, number: int, table: Mapping[str, Any]) -> RouteStep:
    contact = Contact.objects.filter(name=table["contact"]).first()
    if contact is None:
        message = f"there is no contact {table['contact']!r}"
        known = suggestion(table["contact"], Contact.objects.values_list("name", flat=True))
        raise LabFileError(entry.error(message + known, f"steps[{number}].contact"))
    return RouteStep(contact=contact, after=float(table.get("after", 0.0)))


def _shown_steps(steps: Iterable[RouteStep]) -> Inline:
    """In the order in which they are told."""
    found = [{"contact": step.contact.name, "after": step.after} for step in steps]
    return Inline(sorted(found, key=lambda step: (step["after"], step["contact"])))
