"""Readings that come late, beside those that came in time: the journal says what all of them together say."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from alerts.judging import late as late_readings
from alerts.judging.conditions import Delays, Memory, Truth, walk
from alerts.judging.timers import Timers
from alerts.lifecycle import Event, State
from alerts.models import Alarm, AlarmEvent, Rule
from labsite import pipeline
from tests.alerts.bench import Bench
from tests.alerts.factories import rule
from tests.telemetry.factories import NOW, at, batch, parcel

pytestmark = pytest.mark.django_db

Rows = list[tuple[str, float, bool]]


@pytest.fixture
def bench() -> Bench:
    rule(key="a", high=30.0)
    return Bench()


def journal() -> Rows:
    """(event, seconds from NOW, learnt late), in event time."""
    rows = AlarmEvent.objects.order_by("at", "id")
    return [(row.event, (row.at - NOW).total_seconds(), row.past) for row in rows]


def live(bench: Bench, *readings: tuple[float, float | None]) -> None:
    """They come in time; then the clocks have their turn."""
    at_once = batch(bench.bath, "a", *((at(seconds), value) for seconds, value in readings))
    bench.bring(at_once, late=readings[-1][0])
    Timers().round(NOW + timedelta(seconds=readings[-1][0]), None)


def late(bench: Bench, *readings: tuple[float, float | None]) -> None:
    bench.read(*readings, track="backlog")
    Timers().round(NOW, None)


def untold() -> int:
    return AlarmEvent.objects.filter(told_at=None, past=True).count()


def test_an_excursion_that_ended_when_readings_came_in_time_again_has_an_end(bench: Bench) -> None:
    live(bench, (-90, 20.0))
    live(bench, (-10, 20.0))
    late(bench, (-60, 31.0), (-40, 31.0), (-12, 31.0))
    assert journal() == [(Event.RAISE, -60, True), (Event.CLEAR, -10, True)]
    assert (Alarm.objects.get().state, Alarm.objects.get().past, untold()) == (State.NORMAL, {}, 0)


def test_its_end_may_be_among_readings_that_come_later(bench: Bench) -> None:
    bench.read((-60, 31.0), (-40, 31.0), track="backlog")
    live(bench, (-10, 31.0))
    live(bench, (-9, 29.0), (-8, 20.0))
    assert journal() == [
        (Event.RAISE, -60, True),
        (Event.RAISE, -10, False),
        (Event.CLEAR, -9, False),
    ]
    assert Alarm.objects.get().past == {}


def test_what_stands_still_had_begun_before_it_was_known(bench: Bench) -> None:
    live(bench, (-90, 20.0))
    live(bench, (-10, 31.0))
    late(bench, (-60, 20.0), (-40, 31.0), (-12, 31.0))
    assert journal() == [(Event.RAISE, -40, True), (Event.RAISE, -10, False)]
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED


def test_what_stood_before_and_after_may_have_been_over_between(bench: Bench) -> None:
    live(bench, (-90, 31.0))
    live(bench, (-10, 31.0))
    late(bench, (-60, 31.0), (-50, 20.0), (-40, 31.0), (-30, 20.0), (-20, 20.0))
    assert journal() == [
        (Event.RAISE, -90, False),
        (Event.CLEAR, -50, True),
        (Event.RAISE, -40, True),
        (Event.CLEAR, -30, True),
        (Event.RAISE, -10, True),
    ]
    assert (Alarm.objects.get().state, Alarm.objects.get().past) == (State.UNACKNOWLEDGED, {})


def test_what_stood_before_and_came_again_was_over_between_though_it_is_over_by_now(bench: Bench) -> None:
    live(bench, (-90, 31.0))
    live(bench, (-10, 31.0), (-9, 20.0))
    late(bench, (-60, 20.0))
    assert journal() == [
        (Event.RAISE, -90, False),
        (Event.CLEAR, -60, True),
        (Event.RAISE, -10, True),
        (Event.CLEAR, -9, False),
    ]


@pytest.mark.parametrize("state", [State.RETURNED, State.NORMAL])
def test_what_was_over_by_then_had_ended_before(bench: Bench, state: State) -> None:
    live(bench, (-90, 31.0))
    live(bench, (-10, 20.0))
    Alarm.objects.update(state=state)  # acknowledged, or not
    late(bench, (-60, 20.0), (-50, 20.0))
    assert journal() == [
        (Event.RAISE, -90, False),
        (Event.CLEAR, -60, True),
        (Event.CLEAR, -10, False),
    ]


def test_one_outage_soon_after_another(bench: Bench) -> None:
    live(bench, (-200, 20.0))
    late(bench, (-190, 31.0), (-180, 31.0))
    live(bench, (-170, 20.0))
    live(bench, (-100, 20.0))
    late(bench, (-150, 31.0), (-140, 20.0))
    assert journal() == [
        (Event.RAISE, -190, True),
        (Event.CLEAR, -170, True),
        (Event.RAISE, -150, True),
        (Event.CLEAR, -140, True),
    ]


def test_what_came_in_time_amid_what_comes_late_counts_as_well(bench: Bench) -> None:
    live(bench, (-170, 20.0))
    live(bench, (-100, 20.0))
    late(bench, (-180, 31.0), (-160, 31.0), (-150, 31.0), (-90, 20.0))
    assert journal() == [
        (Event.RAISE, -180, True),
        (Event.CLEAR, -170, True),
        (Event.RAISE, -160, True),
        (Event.CLEAR, -100, True),
    ]


def test_late_readings_between_two_of_one_excursion_that_was_seen_change_nothing(bench: Bench) -> None:
    live(bench, (-90, 31.0))
    live(bench, (-10, 31.0), (-9, 20.0))
    late(bench, (-60, 31.0), (-30, None), (-20, 31.0))
    assert journal() == [(Event.RAISE, -90, False), (Event.CLEAR, -9, False)]
    assert Alarm.objects.get().past == {}


def test_a_delay_that_begins_late_runs_out_though_the_present_has_not_waited_so_long(bench: Bench) -> None:
    Rule.objects.update(on_delay=5.0)
    live(bench, (-90, 20.0))
    live(bench, (-10, 31.0), (-9, 31.0), (-8, 20.0))
    late(bench, (-30, 20.0), (-14, 31.0), (-11, 31.0))
    assert journal() == [(Event.RAISE, -9, True), (Event.CLEAR, -8, True)]


def test_a_parcel_may_bring_what_is_old_and_what_is_new_of_one_alarm(bench: Bench) -> None:
    live(bench, (-90, 31.0))
    bench.bring(
        batch(bench.bath, "a", (at(-70), 20.0), (at(-65), 31.0), (at(-20), 31.0), (at(-10), 20.0)), late=0.0
    )
    assert journal() == [
        (Event.RAISE, -90, False),
        (Event.CLEAR, -70, True),
        (Event.RAISE, -65, True),
        (Event.CLEAR, -10, False),
    ]


def test_the_clocks_ask_nothing_where_nothing_is_late(
    bench: Bench, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    live(bench, (-10, 31.0))
    with django_assert_num_queries(1):
        late_readings.edges()


# ---- the present follows, where all that came says something else of it


def test_what_is_within_its_dead_band_now_and_was_above_it_before_stands(bench: Bench) -> None:
    Rule.objects.update(deadband=2.0)
    live(bench, (-90, 20.0))
    live(bench, (-10, 29.0))
    late(bench, (-60, 31.0), (-40, 29.0))
    assert journal() == [(Event.RAISE, -60, True), (Event.RAISE, -10, False)]
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED
    live(bench, (-5, 28.0))
    assert journal()[-1] == (Event.CLEAR, -5, False)


def test_what_is_within_its_dead_band_now_and_was_below_it_before_is_over(bench: Bench) -> None:
    Rule.objects.update(deadband=2.0)
    live(bench, (-90, 31.0))
    live(bench, (-10, 29.0))
    late(bench, (-60, 20.0), (-40, 29.0))
    assert journal() == [
        (Event.RAISE, -90, False),
        (Event.CLEAR, -60, True),
        (Event.CLEAR, -10, False),
    ]
    assert Alarm.objects.get().state == State.RETURNED


def test_a_delay_that_began_late_has_run_out_by_now(bench: Bench) -> None:
    Rule.objects.update(on_delay=20.0)
    live(bench, (-90, 20.0))
    live(bench, (-10, 31.0), (-9, 31.0))
    late(bench, (-40, 31.0), (-20, 31.0))
    assert journal() == [(Event.RAISE, -20, True), (Event.RAISE, -9, False)]
    assert Alarm.objects.get().state == State.UNACKNOWLEDGED
    assert untold() == 0


def test_a_delay_that_began_late_runs_out_in_time(bench: Bench) -> None:
    Rule.objects.update(on_delay=20.0)
    live(bench, (-90, 20.0))
    live(bench, (-10, 31.0), (-9, 31.0))
    late(bench, (-25, 31.0), (-20, 31.0))
    assert journal() == []
    live(bench, (-4, 31.0))
    assert journal() == [(Event.RAISE, -5, False)]


# ---- outages as they come


@dataclass
class Uplink:
    """Brings a reading a second as an edge does: live while it can, after an outage the newest at once."""

    bench: Bench
    values: Sequence[float]
    chance: random.Random
    until: int
    done: int = 0  # so many have been taken
    kept: list[int] = field(default_factory=list)  # those that are still to come late

    def second(self, number: int) -> float:
        return float(number - len(self.values))

    def send(self, numbers: Sequence[int], track: str) -> None:
        """Consecutive readings, each a batch."""
        said = [batch(self.bench.bath, "a", (at(self.second(n)), self.values[n])) for n in numbers]
        sent = parcel(*said, first=numbers[0] + 1, track=track, spool=self.bench.spool)
        pipeline.ingest(self.bench.edge, sent, NOW + timedelta(seconds=self.second(self.done)))

    def live(self, count: int) -> None:
        taken = range(self.done, min(self.done + count, self.until))
        self.done += len(taken)
        if taken:
            self.send(taken, "live")

    def outage(self, seconds: int) -> None:
        """The last of it are live when it ends."""
        end = min(self.done + seconds, self.until)
        live = min(self.chance.randint(1, 8), end - self.done)
        self.kept += range(self.done, end - live)
        self.done = end - live
        self.live(live)

    def late(self, count: int) -> None:
        """Some of what is kept, as far as it is without a gap."""
        taken = [n for place, n in enumerate(self.kept[:count]) if n == self.kept[0] + place]
        self.kept = self.kept[len(taken) :]
        if taken:
            self.send(taken, "backlog")

    def clocks(self) -> None:
        Timers().round(NOW + timedelta(seconds=self.second(self.done)), None)

    def anything(self) -> None:
        """What happens next."""
        what = self.chance.choices(("live", "late", "clocks", "outage"), (6, 4, 3, 1))[0]
        if what == "clocks":
            self.clocks()
        else:
            getattr(self, what)({"live": 3, "late": 12, "outage": 20}[what])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("delays", [(0, 0), (3, 2)], ids=["at once", "delayed"])
def test_whatever_comes_late_the_journal_says_what_all_readings_say(
    bench: Bench, delays: tuple[int, int], seed: int
) -> None:
    Rule.objects.update(deadband=2.0, on_delay=delays[0], off_delay=delays[1])
    chance = random.Random(seed)
    values = [each for _ in range(24) for each in [chance.choice((20.0, 29.0, 31.0))] * chance.randint(1, 9)]
    uplink = Uplink(bench, values, chance, until=len(values) - 1)
    while uplink.done < uplink.until or uplink.kept:
        uplink.anything()
    uplink.until += 1
    uplink.live(1)  # which says that all are there
    uplink.clocks()
    truths = {20.0: Truth.FALSE, 29.0: Truth.BAND, 31.0: Truth.TRUE}
    expected = walk(
        Memory(), Delays(*delays), [(number, truths[value]) for number, value in enumerate(values)]
    )
    assert changes_of(journal()) == [(uplink.second(turn.at), turn.active) for turn in expected]
    alarm = Alarm.objects.get()
    assert (alarm.active, alarm.past, untold()) == (expected[-1].active, {}, 0)


def changes_of(rows: Rows) -> list[tuple[float, bool]]:
    """When an alarm began to stand and ceased to; of an excursion only the middle may have come in time."""
    found = [(time, event == Event.RAISE) for event, time, _ in rows]
    return [each for each, before in zip(found, [(0.0, False), *found], strict=False) if each[1] != before[1]]
