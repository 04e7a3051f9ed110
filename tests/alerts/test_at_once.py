"""Several at once: central workers, tracks, clocks and people, on the same alarms."""

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from alerts import services
from alerts.judging.timers import Timers
from alerts.lifecycle import Event, State
from alerts.models import Alarm, AlarmEvent, Source
from devices.errors import Refused
from labsite import pipeline
from tests.alerts import factories
from tests.alerts.factories import rule
from tests.telemetry.factories import NOW, at, batch, edge, instrument, moment, new_spool, parcel

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do all of these in threads of their own, begun together."""
    barrier = threading.Barrier(len(acts))

    def begun(act: Callable[[], Any]) -> Any:
        try:
            barrier.wait(10)
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [done.result(30) for done in [pool.submit(begun, act) for act in acts]]


def journal() -> list[tuple[str, str, str, float, bool]]:
    rows = AlarmEvent.objects.order_by("at", "id")
    return [
        (row.event, row.before, row.after, round((row.at - NOW).total_seconds(), 3), row.past) for row in rows
    ]


def excursions(seed: int) -> Iterable[list[tuple[int, float]]]:
    """Parcels of a second each, in which a value goes above its limit and back."""
    chance = random.Random(seed)
    for second in range(-40, 0, 2):
        yield [(at(second), chance.choice((20.0, 31.0))), (at(second + 1), chance.choice((20.0, 31.0)))]


@pytest.mark.parametrize("seed", range(3))
def test_two_workers_that_judge_the_same_parcels_at_once_end_as_one_would(seed: int) -> None:
    outcomes = []
    for workers in (1, 2):
        bench = edge(f"bench-{workers}")
        bath = instrument(bench, f"bath {workers}", keys=("a",))
        by = rule(name=f"hot {workers}", instrument=bath, key="a", high=30.0, on_delay=1.0)
        spool = new_spool()
        for number, readings in enumerate(excursions(seed), start=1):
            sent = parcel(batch(bath, "a", *readings), first=number, spool=spool)
            at_once(*[partial(pipeline.ingest, bench, sent, NOW)] * workers)
        rows = AlarmEvent.objects.filter(alarm__rule=by).order_by("id")
        alarm = Alarm.objects.filter(rule=by).first()
        outcomes.append(
            (
                [(row.event, row.before, row.after, row.at, row.past) for row in rows],
                alarm and (alarm.state, alarm.active, alarm.held, alarm.pending_at, alarm.raised_at),
            )
        )
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0]


def test_the_two_tracks_of_an_edge_do_not_disturb_one_another() -> None:
    bench = edge()
    bath = instrument(bench, keys=("a",))
    rule(key="a", high=30.0)
    spool = new_spool()
    live = [
        parcel(batch(bath, "a", (at(n), 31.0 if n % 2 else 20.0)), first=100 + n, spool=spool)
        for n in range(1, 9)
    ]
    late = [
        parcel(
            batch(bath, "a", (at(-100 + 2 * n), 31.0), (at(-99 + 2 * n), 20.0)),
            first=n, spool=spool, track="backlog",
        )
        for n in range(1, 9)
    ]  # fmt: skip
    at_once(
        lambda: [pipeline.ingest(bench, each, NOW) for each in live],
        lambda: [pipeline.ingest(bench, each, NOW) for each in late],
    )
    rows = journal()
    assert [(row[0], row[3]) for row in rows if not row[4]] == [
        (Event.RAISE if n % 2 else Event.CLEAR, n) for n in range(1, 9)
    ]
    assert sum(row[4] for row in rows) == 16


def test_of_many_people_who_acknowledge_at_once_one_does() -> None:
    bench = edge()
    alarm = factories.alarm(instrument(bench, keys=("a",)).channels.get(key="a"))
    people = [User.objects.create_user(f"person {n}", is_staff=True) for n in range(4)]

    def acknowledge(person: User) -> bool:
        try:
            services.acknowledge(alarm, person, Source.API)
        except Refused:
            return False
        return True

    assert sorted(at_once(*[lambda who=who: acknowledge(who) for who in people])) == [
        False,
        False,
        False,
        True,
    ]
    assert AlarmEvent.objects.filter(event=Event.ACKNOWLEDGE).count() == 1


def test_clocks_and_readings_at_once_raise_an_alarm_once() -> None:
    for attempt in range(4):
        bench = edge(f"bench-{attempt}")
        bath = instrument(bench, f"bath {attempt}", keys=("a", "b"))
        by = rule(name=f"hot {attempt}", instrument=bath, key="a", high=30.0, on_delay=5.0)
        spool = new_spool()
        pipeline.ingest(bench, parcel(batch(bath, "a", (at(-9), 31.0)), first=1, spool=spool), NOW)
        pipeline.ingest(bench, parcel(batch(bath, "b", (at(-2), 1.0)), first=2, spool=spool), NOW)
        more = parcel(batch(bath, "a", (at(-1), 31.0)), first=3, spool=spool)
        at_once(
            partial(pipeline.ingest, bench, more, NOW),
            partial(Timers().round, NOW, None),
            partial(Timers().round, NOW, None),
        )
        (row,) = AlarmEvent.objects.filter(alarm__rule=by)
        assert (row.event, row.at) == (Event.RAISE, moment(-4))
        assert Alarm.objects.get(rule=by).state == State.UNACKNOWLEDGED
