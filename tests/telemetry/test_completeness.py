"""Completeness against the truth: what an instrument and its edge did, and what of it was delivered."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from devices.models import Cadence, Channel, Edge, Instrument
from devices.readings import Quality
from devices.wire import Batch, Gap
from labsite import pipeline
from telemetry import completeness, rollups
from telemetry.completeness import By, Cell, counts
from telemetry.completeness.due import Noted, Period, Span, periods, ticks, united, without
from telemetry.management.commands.completeness import Command
from telemetry.models import AnySample, DirtyBucket, RollupHour, Unstored
from tests.telemetry.factories import NOW, at, edge, instrument, moment, parcel

SECOND = 1_000_000
HOUR_S = 3600
KEYS = ["a", "b"]

# ---- arithmetic


def test_what_was_due_adds_up_however_the_time_is_cut() -> None:
    """And after a change of the interval it is counted anew."""
    noted = [Noted(0, 0.7, 1, True, True), Noted(1000 * SECOND, 7.0, 1, True, True)]
    whole = Span(3 * SECOND, 4000 * SECOND)
    of = periods(noted, whole)
    assert ticks(of, whole) == pytest.approx(997 / 0.7 + 3000 / 7.0, abs=1.5)
    cuts = sorted(random.Random(1).sample(range(whole.start, whole.end), 50))
    parts = [Span(a, b) for a, b in zip([whole.start, *cuts], [*cuts, whole.end], strict=True)]
    assert sum(ticks(of, part) for part in parts) == ticks(of, whole)


@pytest.mark.parametrize(
    ("noted", "due"),
    [
        ([Noted(0, 1.0, 1, True, True)], 100),
        ([Noted(0, 1.0, 1, False, True)], 0),
        ([Noted(0, 1.0, 1, True, False)], 0),
        ([Noted(0, 1.0, 1, True, True), Noted(40 * SECOND, 1.0, 1, False, True)], 40),
        ([Noted(50 * SECOND, 1.0, 1, True, True)], 50),
        ([Noted(0, 1.0, 1, True, True), Noted(40 * SECOND, 10.0, 2, True, True)], 46),
        ([], 0),
    ],
    ids=["polled", "out of service", "pushed", "taken out", "new", "slower", "never noted"],
)
def test_due(noted: list[Noted], due: int) -> None:
    span = Span(0, 100 * SECOND)
    assert ticks(periods(noted, span), span) == due


def test_spans() -> None:
    spans = [Span(5, 7), Span(0, 3), Span(2, 4)]
    assert united(spans) == [Span(0, 4), Span(5, 7)]
    assert without(united(spans), [Span(1, 2), Span(3, 6)]) == [Span(0, 1), Span(2, 3), Span(6, 7)]
    assert Period(Span(0, 9), 0, 1.0, 1, True).ticks(Span(20, 30)) == 0


# ---- a night


@dataclass
class Night:
    """An instrument polled every `interval` seconds, and what went wrong; delivered batch by batch."""

    bath: Instrument
    interval: float
    hours: int
    lost: int = 0  # readings of each channel that nothing explains
    gaps: list[Gap] = field(default_factory=list)
    explained: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        polls = round(self.hours * HOUR_S / self.interval)
        self.due = polls
        self.fate = ["good"] * polls
        Cadence.objects.filter(instrument=self.bath).update(
            since=NOW - timedelta(days=2), interval=self.interval
        )
        Instrument.objects.filter(pk=self.bath.pk).update(created_at=NOW - timedelta(days=2))

    def time(self, number: int) -> int:
        """Somewhere within its interval, as the edge's phase has it."""
        return at(-self.hours * HOUR_S + (number + 0.31) * self.interval)

    def away(self, first: int, polls: int, reason: str = "not connected") -> None:
        """The first poll that fails makes a bad reading; the next that is answered ends the gap."""
        self.fate[first : first + polls] = ["bad", *["none"] * (polls - 1)]
        self._note(str(self.bath.pk), first, first + polls, reason, polls)

    def overrun(self, first: int, polls: int) -> None:
        """The polls during one that took long; the long one itself is answered at the end."""
        self.fate[first : first + polls] = ["none"] * polls
        self._note(str(self.bath.pk), first, first + polls, "overrun", polls)

    def edge_down(self, first: int, polls: int, reason: str) -> None:
        self.fate[first : first + polls] = ["none"] * polls
        self._note("", first, first + polls, reason, 0, polls)

    def bad(self, first: int) -> None:
        self.fate[first] = "bad"
        self.explained["bad readings"] = self.explained.get("bad readings", 0) + 1

    def lose(self, first: int, polls: int) -> None:
        """What must never be: it was read, and it is not there, and nothing says so."""
        self.fate[first : first + polls] = ["none"] * polls
        self.lost += polls

    def _note(self, of: str, first: int, end: int, reason: str, counted: int, polls: int = 0) -> None:
        start, stop = self.time(first), self.time(end)
        self.gaps.append(Gap(of, "", start, stop, reason, counted))
        self.explained[reason] = self.explained.get(reason, 0) + (counted or polls)

    def batches(self, size: int = 100) -> list[Batch]:
        made = []
        for begin in range(0, len(self.fate), size):
            told = [n for n in range(begin, min(begin + size, len(self.fate))) if self.fate[n] != "none"]
            rows: list[int] = []
            for before, number in zip([None, *told], told, strict=False):
                rows += [0, 0, self.time(number) - (self.time(before) if before is not None else 0)]
            values = [None if self.fate[n] == "bad" else float(n) for n in told for _ in KEYS]
            qualities = [Quality.BAD if self.fate[n] == "bad" else 0 for n in told for _ in KEYS]
            made.append(Batch([str(self.bath.pk)], [KEYS], rows, values, list(map(int, qualities))))
        return [*made, Batch([str(self.bath.pk)], [], [], [], gaps=self.gaps)]

    def deliver(self, order: random.Random) -> None:
        """In any order, some of it twice: what counts is what is there in the end."""
        batches = list(enumerate(self.batches(), start=1))
        order.shuffle(batches)
        for number, batch in [*batches, *batches[:3]]:
            pipeline.ingest(self.bath.edge, parcel(batch, first=number, track="backlog"), NOW)

    def ask(self, hours: int | None = None) -> list[completeness.Course]:
        channels = Channel.objects.filter(instrument=self.bath).select_related("instrument").order_by("pk")
        start = NOW - timedelta(hours=hours or self.hours)
        return completeness.ask(list(channels), start, NOW, NOW + timedelta(minutes=1)).courses


@pytest.fixture
def bench(db: None) -> Edge:
    made = edge()
    Edge.objects.filter(pk=made.pk).update(heard_at=NOW + timedelta(minutes=1), status={"spool_age": 0.2})
    return made


def night(on: Edge, interval: float = 5.0, hours: int = 3) -> Night:
    return Night(instrument(on, keys=KEYS), interval, hours)


def tell(cell: Cell) -> str:
    return f"due {cell.due} received {cell.received} {cell.missing} unexplained {cell.unexplained}"


@pytest.mark.parametrize("seed", range(5))
def test_a_night_is_told_as_it_was(bench: Edge, seed: int) -> None:
    """All that was missing is explained by what happened, and what was lost is found out, to the reading."""
    of = random.Random(seed)
    told = night(bench, interval=of.choice([0.7, 5.0, 13.0]))
    happenings: Sequence[Callable[[int, int], Any]] = (
        told.away,
        lambda first, polls: told.away(first, polls, "in use"),
        told.overrun,
        lambda first, polls: told.edge_down(first, polls, "not running"),
        lambda first, polls: told.edge_down(first, polls, "overflow"),
        lambda first, polls: told.bad(first),
        told.lose,
        lambda first, polls: None,
    )
    place = 3
    for number in count():
        if place + 60 > told.due:
            break
        happenings[number % len(happenings)](place, of.randint(1, 40))
        place += 45 + of.randint(0, max(told.due // 12, 1))
    told.deliver(of)
    good = sum(fate == "good" for fate in told.fate)
    for course in told.ask():
        total = course.total
        assert course.by is By.POLLS
        assert total.due == pytest.approx(told.due, abs=1), tell(total)
        assert total.received == good, tell(total)
        assert total.due == total.received + sum(total.missing.values()) + total.unexplained
        for reason, polls in told.explained.items():
            doubt = sum(gap.reason == reason and not gap.count for gap in told.gaps)
            assert total.missing.get(reason, 0) == pytest.approx(polls, abs=doubt), (reason, tell(total))
        assert total.lost == told.lost, tell(total)
        assert sum(hole.missed for hole in course.holes) == told.lost


def test_nothing_missing_is_complete_to_the_poll(bench: Edge) -> None:
    told = night(bench, interval=1.0, hours=2)
    told.deliver(random.Random(1))
    for course in told.ask():
        assert [(cell.due, cell.received, cell.lost) for cell in course.cells] == [(3600, 3600, 0)] * 2
        assert course.total.share == 1.0
        assert course.by_day().cells[0].due == 7200


def test_one_lost_batch_is_found_and_placed(bench: Edge) -> None:
    told = night(bench)
    told.lose(500, 7)
    told.deliver(random.Random(2))
    for course in told.ask():
        (hole,) = course.holes
        assert (hole.missed, hole.span) == (7, Span(told.time(499), told.time(507)))
        assert [cell.lost for cell in course.cells] == [7, 0, 0]


def test_a_hole_over_an_hours_edge_is_one(bench: Edge) -> None:
    told = night(bench)
    told.lose(715, 20)
    told.deliver(random.Random(14))
    for course in told.ask():
        (hole,) = course.holes
        assert (hole.missed, hole.span) == (20, Span(told.time(714), told.time(735)))
        assert [cell.lost for cell in course.cells] == [5, 15, 0]


def test_the_interval_was_changed_and_the_instrument_out_of_service(bench: Edge) -> None:
    """Due is what was due then: not a third of it is missing because it is polled thrice as often now."""
    told = night(bench, interval=15.0, hours=3)
    told.fate[240:480] = ["none"] * 240
    told.deliver(random.Random(3))

    def noted(hours: float, interval: float, *, in_service: bool) -> None:
        since = NOW - timedelta(hours=hours)
        Cadence.objects.create(
            instrument=told.bath,
            edge=bench,
            since=since,
            interval=interval,
            in_service=in_service,
            polled=True,
        )

    noted(2, 15.0, in_service=False)
    noted(1, 15.0, in_service=True)
    noted(0, 5.0, in_service=True)
    for course in told.ask():
        assert [cell.due for cell in course.cells] == [240, 0, 240]
        assert [cell.share for cell in course.cells] == [1.0, None, 1.0]
        assert course.total.lost == 0


def test_a_new_instrument_is_due_from_its_first_sign_on(bench: Edge) -> None:
    told = night(bench, hours=3)
    told.fate[: 2 * 720] = ["none"] * 1440
    told.deliver(random.Random(4))
    Cadence.objects.filter(instrument=told.bath).update(since=NOW - timedelta(hours=2.5))
    for course in told.ask():
        assert course.total.due == pytest.approx(720, abs=1)
        assert course.total.lost == 0


@pytest.mark.parametrize("there", ["new", "out of service before"])
def test_bad_readings_of_one_that_came_within_an_hour_are_bad_and_none_is_lost(
    bench: Edge, there: str
) -> None:
    told = night(bench, hours=1)
    told.fate = ["none"] * 360 + ["bad"] * 360
    told.deliver(random.Random(15))
    Cadence.objects.filter(instrument=told.bath).update(since=NOW - timedelta(hours=0.5))
    if there != "new":
        Cadence.objects.create(
            instrument=told.bath, edge=bench, since=moment(-7200), interval=5.0, in_service=False, polled=True
        )
    for course in told.ask():
        assert course.total.missing["bad readings"] == pytest.approx(360, abs=1)
        assert (course.total.received, course.total.lost, course.holes) == (0, 0, [])


def test_what_is_not_here_yet_is_not_lost(bench: Edge) -> None:
    told = night(bench, hours=3)
    told.fate[2 * 720 :] = ["none"] * 720
    told.deliver(random.Random(5))
    Edge.objects.filter(pk=bench.pk).update(heard_at=NOW - timedelta(hours=1))
    for course in told.ask():
        assert course.total.missing["edge silent"] == pytest.approx(720, abs=1)
        assert course.total.lost == 0
    Edge.objects.filter(pk=bench.pk).update(heard_at=NOW + timedelta(minutes=1), status={"spool_age": 3660.0})
    for course in told.ask():
        assert course.total.missing["on its way"] == pytest.approx(720, abs=1)


def test_an_outage_that_goes_on_is_explained_up_to_now(bench: Edge) -> None:
    told = night(bench)
    told.away(2100, 57)
    told.fate[2157:] = ["none"] * 3
    told.deliver(random.Random(6))
    for course in told.ask():
        assert course.total.missing["not connected"] == pytest.approx(60, abs=1)
        assert course.total.lost == 0


def test_readings_that_a_policy_did_not_store_were_received(bench: Edge) -> None:
    told = night(bench, hours=2)
    told.fate[100:150] = ["none"] * 50
    told.deliver(random.Random(7))
    channel = Channel.objects.get(instrument=told.bath, key="a")
    Unstored.objects.create(channel=channel, bucket=moment(-2 * HOUR_S), n=50)
    a, b = told.ask()
    assert (a.total.received, a.total.share) == (1440, 1.0)
    assert (b.total.received, b.total.lost) == (1390, 50)


def test_a_channel_that_tells_only_what_changes_is_judged_by_time(bench: Edge) -> None:
    told = night(bench, hours=2)
    Instrument.objects.filter(pk=told.bath.pk).update(driver="quantstudio")
    told.away(600, 72)
    told.fate[700:1300] = ["none"] * 600  # nothing to tell
    told.deliver(random.Random(8))
    Cadence.objects.filter(instrument=told.bath, since__gt=NOW).delete()
    for course in told.ask():
        assert course.by is By.TIME
        assert (course.total.due, course.total.missing) == (7200, {"not connected": 360})
        assert course.total.received == 6840


def test_a_channel_that_never_said_anything_and_one_that_is_pushed_owe_nothing(bench: Edge) -> None:
    told = night(bench, hours=2)
    Channel.objects.create(instrument=told.bath, key="target", label="target")
    told.deliver(random.Random(9))
    assert [course.by for course in told.ask()] == [By.POLLS, By.POLLS, None]
    Cadence.objects.filter(instrument=told.bath).update(polled=False)
    assert [(course.by, course.total.share) for course in told.ask()] == [(None, None)] * 3


# ---- the report


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("completeness", *arguments)
    return capsys.readouterr().out


def test_the_report_names_the_worst_first_and_what_was_lost(
    bench: Edge, capsys: pytest.CaptureFixture[str]
) -> None:
    told = night(bench)
    told.away(100, 30)
    told.lose(500, 7)
    told.deliver(random.Random(10))
    other = instrument(bench, "well", keys=["a"])
    Cadence.objects.filter(instrument=other).update(since=NOW - timedelta(days=2), interval=600.0)
    Instrument.objects.filter(pk=other.pk).update(driver="push")
    Cadence.objects.filter(instrument=other).update(polled=False)
    out = printed(capsys, "--from", (NOW - timedelta(hours=3)).isoformat(), "--to", NOW.isoformat())
    assert "Completeness from 2026-11-20 09:00 to 2026-11-20 12:00 UTC, 3 h 00 min" in out
    (row,) = (line for line in out.splitlines() if line.startswith("bath"))
    assert row.split() == (
        ["bath", "98.28", "%", "2160", "37", "14", "not", "connected", "30,", "not", "explained", "7"]
    )
    assert "Nothing was due of well." in out
    assert "14 readings are missing and nothing explains it:" in out
    assert "bath, a: 7 between 11-20 09:41:37 and 11-20 09:42:17" in out


def test_a_report_without_loss_says_so(bench: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    night(bench, hours=1).deliver(random.Random(11))
    times = ["--from", (NOW - timedelta(hours=1)).isoformat(), "--to", NOW.isoformat()]
    out = printed(capsys, *times, "--instrument", "bath", "--edge", "bench")
    assert "No reading was lost" in out


def test_times_from_now_are_written_as_people_do(bench: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    Command().run_from_argv(["manage.py", "completeness", "--from", "-2h", "--to", "-1h"])
    assert "Nothing was due" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "soon"], "--from: 'soon' is no time"),
        (["--from", "now", "--to=-1h"], "--from is not before --to"),
        (["--instrument", "nobody"], "there is no instrument nobody"),
    ],
)
def test_what_the_report_cannot_be_asked(bench: Edge, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("completeness", *arguments)


# ---- from roll-ups


def counted_one_by_one(start: datetime) -> dict[tuple[int, datetime], tuple[int, int]]:
    """By channel and hour, from the readings themselves."""
    good: Counter[tuple[int, datetime]] = Counter()
    bad: Counter[tuple[int, datetime]] = Counter()
    for sample in AnySample.objects.filter(time__gte=start, time__lt=NOW):
        hour = sample.time.replace(minute=0, second=0, microsecond=0)
        (bad if sample.quality & 3 == Quality.BAD else good)[sample.channel_id, hour] += 1
    return {key: (good[key], bad[key]) for key in good.keys() | bad.keys()}


def as_counted(start: datetime) -> dict[tuple[int, datetime], tuple[int, int]]:
    found = counts.of(list(Channel.objects.values_list("pk", flat=True)), start, NOW)
    return {key: (each.received, each.bad) for key, each in found.items()}


@pytest.mark.django_db(transaction=True)
def test_counts_are_the_same_whatever_is_rolled_up_already(bench: Edge) -> None:
    """Batches come in any order, some late, while roll-ups are made: at each point the count is exact."""
    of = random.Random(12)
    told = night(bench)
    told.away(100, 30)
    for first in range(200, 2000, 97):
        told.bad(first)
    batches = list(enumerate(told.batches(size=60), start=1))
    of.shuffle(batches)
    start = NOW - timedelta(hours=3)
    seen = set()
    for number, (sequence, batch) in enumerate(batches):
        pipeline.ingest(told.bath.edge, parcel(batch, first=sequence, track="backlog"), NOW)
        if number % 6 == 0:
            assert as_counted(start) == counted_one_by_one(start)
            seen.add(DirtyBucket.objects.exists())
        if number % 9 == 0:
            rollups.roll_up(NOW - timedelta(minutes=of.randint(0, 100)))
    rollups.roll_up(NOW + timedelta(minutes=2))
    assert as_counted(start) == counted_one_by_one(start)
    assert seen == {True, False}, "with marks of late readings, and without"
    assert RollupHour.objects.count() == 6


@pytest.mark.django_db(transaction=True)
def test_where_readings_were_dropped_roll_ups_tell(bench: Edge) -> None:
    told = night(bench, hours=2)
    told.lose(300, 100)
    told.deliver(random.Random(13))
    rollups.roll_up(NOW + timedelta(minutes=2))
    before = [course.total for course in told.ask()]
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE sample")
    after = [course.total for course in told.ask()]
    assert [(cell.received, cell.unexplained) for cell in after] == [(1340, 100)] * 2
    assert [(cell.received, cell.unexplained) for cell in before] == [(1340, 100)] * 2
