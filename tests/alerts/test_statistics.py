"""The figures of ISA-18.2, against the same figures counted one by one in Python."""

import random
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

from alerts import lifecycle, statistics
from alerts.lifecycle import STANDING, Event, State
from alerts.models import Alarm, AlarmEvent, Priority, Source
from tests.alerts import factories
from tests.factories import person
from tests.telemetry.factories import NOW, edge, instrument, moment

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
# Some more often than others, so that no alarm is aside for long.
BACK = (Event.UNSHELVE, Event.UNSUPPRESS, Event.RETURN, Event.RESET)
EVENTS = (*[Event.RAISE] * 8, *[Event.CLEAR] * 6, *[Event.ACKNOWLEDGE] * 3, *BACK * 5, *Event)
MINUTE = timedelta(minutes=1)


class Row(NamedTuple):
    """One line of a journal, as the reference counts it."""

    alarm: int
    event: str
    before: str
    after: str
    at: datetime
    stored_at: datetime
    past: bool
    priority: int
    by: str


def journal() -> list[Row]:
    rows = AlarmEvent.objects.order_by("id").select_related("by")
    return [
        Row(row.alarm_id, row.event, row.before, row.after, row.at, row.stored_at, row.past, row.priority,
            row.by.username if row.by else "")
        for row in rows
    ]  # fmt: skip


def alarms(count: int) -> list[Alarm]:
    of = instrument(edge(), "bath", [f"c{number}" for number in range(count)])
    rule = factories.rule()
    made = [
        Alarm(rule=rule, edge=of.edge, instrument=of, channel=channel, since=NOW, text=f"alarm {channel.key}",
              priority=1 + number % 4)
        for number, channel in enumerate(of.channels.order_by("id"))
    ]  # fmt: skip
    return Alarm.objects.bulk_create(made)


def entry(
    alarm: Alarm, event: Event, at: float, noted: float | None = None, **fields: Any
) -> list[AlarmEvent]:
    """It happens to the alarm by the life cycle's table, as a journal has it; nothing if it cannot."""
    before = State(alarm.state)
    after = before if fields.get("past") else lifecycle.after(before, event)
    if after is None:
        return []
    alarm.state = after
    return [
        AlarmEvent(
            alarm=alarm, event=event, before=before, after=after, priority=alarm.priority,
            at=moment(at), stored_at=moment(at if noted is None else noted), source=Source.TIMER, **fields,
        )
    ]  # fmt: skip


def write(alarms: Iterable[Alarm], rows: Iterable[AlarmEvent]) -> None:
    AlarmEvent.objects.bulk_create(rows)
    Alarm.objects.bulk_update(alarms, ["state"])


def note(alarm: Alarm, event: Event, at: float) -> None:
    write([alarm], entry(alarm, event, at))


def random_journal(seed: int) -> None:
    """Two hours of some alarms, in bursts; a part of it is history."""
    chance = random.Random(seed)
    people: list[User | None] = [person("ada"), person("ben", staff=False), None]
    of, at = alarms(14), -7200.0
    rows: list[AlarmEvent] = []
    while at < 0:
        at += chance.choice((0.2, 0.5, 1.0, 2.0, 8.0, 30.0))
        alarm = of[min(chance.randrange(14), chance.randrange(14))]
        event, late = chance.choice(EVENTS), chance.random() * 30
        said: dict[str, Any] = {}
        if event is Event.ACKNOWLEDGE:
            said["by"] = chance.choice(people)
        if event is Event.RAISE and chance.random() < 0.1:
            said["past"], late = True, 5000 + late
        rows += entry(alarm, event, at - late, noted=at, **said)
        for number in range(8 if chance.random() < 0.03 else 0):
            at += 7.0
            rows += entry(alarm, (Event.RAISE, Event.CLEAR)[number % 2], at)
    write(of, rows)


# ---- the reference


def told(rows: Iterable[Row], start: datetime, end: datetime) -> list[Row]:
    return [
        row
        for row in rows
        if row.event == "raise"
        and row.after == "unacknowledged"
        and not row.past
        and start <= row.stored_at < end
    ]


def spans(rows: Iterable[Row], start: datetime) -> Counter[int]:
    return Counter(int((row.stored_at - start) / (10 * MINUTE)) for row in rows)


def is_chattering(rows: list[Row], alarm: int) -> bool:
    times = sorted(row.at for row in rows if row.alarm == alarm)
    return any(third - first <= MINUTE for first, third in zip(times, times[2:], strict=False))


def is_fleeting(row: Row, rows: list[Row], end: datetime) -> bool:
    """`rows`: all of the journal in its order, from this one's own."""
    for other in rows:
        if other.alarm == row.alarm and other.before != other.after and not other.past and other != row:
            if other.event in ("unshelve", "unsuppress", "return", "acknowledge", "reset"):
                continue
            is_return = other.event in ("clear", "latch") and other.stored_at < end
            return is_return and other.at - row.at <= MINUTE
    return False


def waits(rows: list[Row], start: datetime, end: datetime) -> list[tuple[str, float]]:
    found = []
    for number, row in enumerate(rows):
        if row.event == "acknowledge" and start <= row.stored_at < end:
            raised = [
                other.stored_at
                for other in rows[:number]
                if other.alarm == row.alarm and other.event == "raise" and not other.past
            ]
            found.append((row.by, (row.stored_at - max(raised)).total_seconds()))
    return found


def standing(rows: list[Row], end: datetime) -> tuple[int, int]:
    state: dict[int, str] = {}
    raised: dict[int, datetime] = {}
    for row in rows:
        if row.stored_at < end:
            state[row.alarm] = row.after
            if row.event == "raise" and not row.past:
                raised[row.alarm] = max(row.at, raised.get(row.alarm, row.at))
    up = [alarm for alarm, where in state.items() if where in STANDING]
    return len(up), sum(raised[alarm] < end - DAY for alarm in up)


def percentile(values: list[float], part: float) -> float:
    """Between neighbours, as percentile_cont does it."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    low = ordered[int(place)]
    return low + (ordered[min(int(place) + 1, len(ordered) - 1)] - low) * (place - int(place))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("start", "end"), [(-7200.0, 60.0), (-5000.0, -1234.5), (-3600.0, -3599.0)])
def test_the_figures_are_those_that_counting_gives(seed: int, start: float, end: float) -> None:
    random_journal(seed)
    since, until = moment(start), moment(end)
    found, rows = statistics.of(since, until, operators=2), journal()
    mine = told(rows, since, until)
    assert found.alarms == len(mine)
    assert found.per_hour == pytest.approx(len(mine) / ((end - start) / 3600))
    assert found.per_hour_and_operator == pytest.approx(found.per_hour / 2)

    counts = spans(mine, since)
    assert found.peak == max(counts.values(), default=0)
    assert found.flood == sum(count > 10 for count in counts.values()) / -(-(until - since) // (10 * MINUTE))
    if found.peak_at is not None:
        assert counts[round((found.peak_at - since) / (10 * MINUTE))] == found.peak

    each = Counter(row.alarm for row in mine)
    most = sorted(each.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    assert [(one.alarm, one.alarms) for one in found.top] == most
    assert found.top_share == pytest.approx(sum(n for _, n in most) / len(mine) if mine else 0)

    chattering = {alarm for alarm in each if is_chattering(mine, alarm)}
    assert {one.alarm for one in found.chattering} == chattering or len(chattering) > 10
    assert found.chattering_alarms == sum(each[alarm] for alarm in chattering)
    fleeting = [
        row
        for row in mine
        if row.alarm not in chattering and is_fleeting(row, rows[rows.index(row) :], until)
    ]
    assert found.fleeting_alarms == len(fleeting)

    priorities = Counter(row.priority for row in mine)
    assert [(mix.priority, mix.alarms) for mix in found.priorities] == [(n, priorities[n]) for n in Priority]

    answers = waits(rows, since, until)
    assert found.acknowledged.acknowledged == len(answers)
    assert {one.name: one.acknowledged for one in found.people} == Counter(name for name, _ in answers)
    if answers:
        seconds = [wait for _, wait in answers]
        assert found.acknowledged.p50 == pytest.approx(median(seconds))
        assert found.acknowledged.p95 == pytest.approx(percentile(seconds, 0.95))
    assert (found.standing, found.stale) == standing(rows, until)


def test_the_journals_are_worth_counting() -> None:
    """Else the test above would compare nothing with nothing."""
    random_journal(1)
    found = statistics.of(moment(-7200), moment(60))
    assert found.alarms > 20
    assert found.flood > 0
    assert found.chattering
    assert found.fleeting_alarms
    assert found.acknowledged.acknowledged > 3
    assert len(found.people) > 1


def test_of_nothing_there_is_nothing() -> None:
    found = statistics.of(NOW - DAY, NOW)
    assert (found.alarms, found.per_hour, found.peak, found.peak_at, found.flood) == (0, 0.0, 0, None, 0.0)
    assert (found.standing, found.stale, found.top, found.chattering, found.fleeting) == (0, 0, [], [], [])
    assert (found.acknowledged.acknowledged, found.acknowledged.p50, found.people) == (0, None, [])
    assert [mix.alarms for mix in found.priorities] == [0, 0, 0, 0]


def test_what_stands_for_more_than_a_day_is_stale() -> None:
    old, new, back, gone = alarms(4)
    for alarm in (old, back, gone):
        note(alarm, Event.RAISE, -90_000)
    note(new, Event.RAISE, -3600)
    note(old, Event.ACKNOWLEDGE, -80_000)
    note(back, Event.CLEAR, -80_000)  # nobody has acknowledged it: it stands
    note(gone, Event.ACKNOWLEDGE, -80_000)
    note(gone, Event.CLEAR, -60)
    found = statistics.of(NOW - DAY, NOW)
    assert (found.standing, found.stale) == (3, 2)
    before = statistics.of(NOW - DAY, moment(-120))
    assert (before.standing, before.stale) == (4, 3)


def test_a_flood_and_its_peak() -> None:
    many = alarms(12)
    for alarm in many:
        note(alarm, Event.RAISE, -1300)
    note(many[0], Event.CLEAR, -100)
    note(many[0], Event.RAISE, -50)
    found = statistics.of(moment(-3600), NOW)
    assert (found.alarms, found.peak, found.peak_at) == (13, 12, moment(-1800))
    assert found.flood == pytest.approx(1 / 6)
    assert found.top[0].alarms == 2
    assert found.top[0].text == "alarm c0"


def test_it_takes_few_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    random_journal(2)
    with django_assert_num_queries(4):
        statistics.of(moment(-7200), NOW)
