"""When routes tell: days, hours over midnight, time zones, and the daily word."""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given, strategies as st

from alerts.models import Route
from alerts.notices import hours

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
WORK = {"start": time(8), "end": time(18), "days": [0, 1, 2, 3, 4]}
NIGHT = {"start": time(22), "end": time(6), "days": [4]}  # of Friday
BERLIN = "Europe/Berlin"


def at(day: int, clock: str) -> datetime:
    """That day of the week that begins on MONDAY, in UTC."""
    return datetime.combine((MONDAY + timedelta(days=day)).date(), time.fromisoformat(clock), UTC)


@pytest.mark.parametrize(
    ("route", "when", "is_open"),
    [
        ({}, at(6, "03:00"), True),
        (WORK, at(0, "07:59:59"), False),
        (WORK, at(0, "08:00"), True),
        (WORK, at(4, "17:59:59"), True),
        (WORK, at(4, "18:00"), False),
        (WORK, at(5, "12:00"), False),
        (NIGHT, at(4, "23:00"), True),
        (NIGHT, at(5, "05:59"), True),
        (NIGHT, at(5, "06:00"), False),
        (NIGHT, at(4, "05:00"), False),
        ({"days": [6], "start": time(22), "end": time(6)}, at(7, "01:00"), True),
        ({**WORK, "zone": BERLIN}, at(0, "07:30"), True),
        ({**WORK, "zone": BERLIN}, at(0, "17:30"), False),
        ({**WORK, "zone": "Nowhere/Atlantis"}, at(0, "08:00"), True),
        ({**WORK, "zone": BERLIN}, datetime(2026, 7, 6, 6, 0, tzinfo=UTC), True),  # summer time
        ({"start": time(9), "end": time(9)}, at(0, "03:00"), True),
    ],
)
def test_open(route: dict[str, object], when: datetime, is_open: bool) -> None:
    assert hours.is_open(Route(**route), when) is is_open


@pytest.mark.parametrize(
    ("route", "when", "opens"),
    [
        (WORK, at(0, "12:00"), at(0, "12:00")),
        (WORK, at(0, "03:00"), at(0, "08:00")),
        (WORK, at(4, "18:00"), at(7, "08:00")),
        (NIGHT, at(5, "07:00"), at(11, "22:00")),
        ({"days": [2]}, at(3, "00:00"), at(9, "00:00")),
        ({**WORK, "zone": BERLIN}, at(0, "00:00"), at(0, "07:00")),
        ({**WORK, "days": [9]}, at(0, "12:00"), at(0, "12:00")),  # never is no answer: rather at once
    ],
)
def test_opens(route: dict[str, object], when: datetime, opens: datetime) -> None:
    assert hours.opens(Route(**route), when) == opens


clocks = st.times().map(lambda clock: clock.replace(microsecond=0))
schedules = st.builds(
    Route,
    start=clocks,
    end=clocks,
    days=st.lists(st.integers(0, 6), min_size=1, unique=True),
    zone=st.sampled_from(["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
moments = st.integers(0, 2 * 365 * 86_400).map(lambda seconds: MONDAY - timedelta(seconds=seconds))


@given(schedules, moments)
def test_hours_open_as_soon_as_they_can(route: Route, now: datetime) -> None:
    opens = hours.opens(route, now)
    assert opens >= now
    assert opens - now <= timedelta(days=8, hours=2)
    assert hours.is_open(route, opens)
    # No sooner: but that clocks put forward skip the hour in which they would begin.
    step = max((opens - now) / 200, timedelta(minutes=1))
    before = opens - timedelta(hours=1, seconds=1) if opens > now else now - step
    while before >= now:
        assert not hours.is_open(route, before)
        before -= step


@given(schedules, clocks, moments)
def test_the_newest_daily_word_is_the_last_one_due(route: Route, clock: time, now: datetime) -> None:
    route.daily = clock
    word = hours.last_word(route, now)
    assert word is not None
    assert now - timedelta(days=8) < word <= now
    local = word.astimezone(hours.zone(route.zone))
    assert local.weekday() in route.days
    # A clock put forward does not show some of the times of that day.
    shift = local.replace(tzinfo=None) - datetime.combine(local.date(), clock)
    assert shift in (timedelta(0), timedelta(minutes=30), timedelta(hours=1))
    following = hours.last_word(route, now + timedelta(days=1))
    assert following is not None
    assert following >= word


def test_there_is_no_daily_word_unless_it_is_asked_for() -> None:
    assert hours.last_word(Route(), MONDAY) is None


def test_a_date_is_the_zones() -> None:
    late, early = at(0, "23:30"), at(1, "00:30")
    assert not hours.is_same_day(Route(), late, early)
    assert hours.is_same_day(Route(zone="America/New_York"), late, early)
