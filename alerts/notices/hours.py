"""When a route tells: on its days, in its hours, by the clocks of its time zone. Arithmetic only."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from alerts.models import Route

DAY = timedelta(days=1)
WEEK = 7


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The time zone of this name; UTC for one that there is not."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # the last one: it is not in the database
        return UTC


def is_open(route: Route, at: datetime) -> bool:
    """Whether a route tells at this moment. Hours over midnight belong to the day they begin on."""
    local = at.astimezone(zone(route.zone))
    day, clock = local.weekday(), local.time()
    start, end = _hours(route)
    if start == end:
        return _is_day(route, day)
    if start < end:
        return _is_day(route, day) and start <= clock < end
    return (_is_day(route, day) and clock >= start) or (_is_day(route, day - 1) and clock < end)


def opens(route: Route, at: datetime) -> datetime:
    """This moment if the route tells by then, else the next one at which its hours begin."""
    if is_open(route, at):
        return at
    first, (start, _end) = at.astimezone(zone(route.zone)).date(), _hours(route)
    for days in range(WEEK + 2):
        begin = _moment(route, first + days * DAY, start)
        if begin > at and is_open(route, begin):
            return begin
    return at  # no day at all is a mistake that must not silence anybody


def last_word(route: Route, now: datetime) -> datetime | None:
    """When the newest daily word was due, on one of the route's days; None if it has none."""
    if route.daily is None:
        return None
    today = now.astimezone(zone(route.zone)).date()
    for days in range(WEEK + 1):
        day = today - days * DAY
        moment = _moment(route, day, route.daily)
        if moment <= now and _is_day(route, day.weekday()):
            return moment
    return None


def is_same_day(route: Route, one: datetime, other: datetime) -> bool:
    """Whether both are on one date of the route's time zone."""
    local = zone(route.zone)
    return one.astimezone(local).date() == other.astimezone(local).date()


def _hours(route: Route) -> tuple[time, time]:
    """From when to when; the same twice: the whole day."""
    if route.start is None or route.end is None or route.start == route.end:
        return time.min, time.min
    return route.start, route.end


def _moment(route: Route, day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, zone(route.zone)).astimezone(UTC)


def _is_day(route: Route, day: int) -> bool:
    return not route.days or day % WEEK in route.days
