"""Vectors, events and runs through the pipeline, on a real PostgreSQL."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as configured
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings, strategies as st

from devices.edge.recorder import Draft
from devices.models import Assignment, Edge, Instrument, Latest, Run
from devices.readings import Event as ToldEvent, Flag, Quality, Run as ToldRun, Vector
from devices.wire import Batch, EventRow, Parcel, RunRow, VectorRow, as_text
from labsite import pipeline
from telemetry import partitions, tasks
from telemetry.models import Event, RejectedBatch, RollupMark, VectorSample, VectorSampleDemo, VectorSampleFar
from tests.telemetry.factories import NOW, at, batch, edge, instrument, moment, new_spool, parcel

pytestmark = pytest.mark.django_db

Values = list[float | None]
UNKNOWN = "0b5f6f0e-8a0f-4a52-9a3f-8f2c1c5f9a11"


def vector(time: float, values: Values, labels: int = -1, quality: int = 0, key: str = "wells") -> VectorRow:
    return VectorRow(0, key, at(time), values, labels, quality)


def event(time: float, text: str = "Step 3", kind: str = "run_action", **fields: Any) -> EventRow:
    return EventRow(0, at(time), kind, text, fields)


def run(time: float, state: str = "running", progress: float | None = None, **more: Any) -> RunRow:
    return RunRow(0, at(time), more.pop("id", "r1"), "qpcr", state, progress=progress, **more)


def told(of: Instrument | str, *rows: VectorRow | EventRow | RunRow, labels: Any = ()) -> Batch:
    return Batch(
        [of if isinstance(of, str) else str(of.pk)],
        [],
        [],
        [],
        vectors=[row for row in rows if isinstance(row, VectorRow)],
        labels=[list(each) for each in labels],
        events=[row for row in rows if isinstance(row, EventRow)],
        runs=[row for row in rows if isinstance(row, RunRow)],
    )


def vectors(table: Any = VectorSample) -> list[tuple[float, Values, list[str] | None, int]]:
    return [
        ((row.time - NOW).total_seconds(), row.values, row.labels, row.quality)
        for row in table.objects.order_by("channel_id", "time")
    ]


@pytest.fixture
def bench() -> Edge:
    return edge()


@pytest.fixture
def qpcr(bench: Edge) -> Instrument:
    return instrument(bench, "qpcr", keys=())


# ---- vectors


def test_a_vector_is_stored_with_its_labels_and_shown(bench: Edge, qpcr: Instrument) -> None:
    wells = ["A1", 'A"2\\', "µ,{}\0"]
    sent = parcel(told(qpcr, vector(-1, [1.5, None, -0.1], 0), labels=[wells]))
    outcome = pipeline.ingest(bench, sent, NOW)
    assert (outcome.stored, outcome.readings) == ([1], 1)
    assert vectors() == [(-1, [1.5, None, -0.1], ["A1", 'A"2\\', "µ,{}\N{REPLACEMENT CHARACTER}"], 0)]
    channel = qpcr.channels.get()
    assert (channel.key, channel.kind) == ("wells", "vector")
    latest = Latest.objects.get()
    assert (latest.channel, latest.value, latest.text, latest.quality) == (channel, None, "3 values", 0)
    assert latest.time == latest.seen_at == moment(-1)


def test_the_same_vector_is_one_and_another_of_its_time_is_kept_later(bench: Edge, qpcr: Instrument) -> None:
    batches = [
        told(qpcr, vector(-2, [1.0, None]), vector(-2, [1.0, None])),
        told(qpcr, vector(-2, [1.0, 2.0]), vector(-1, [])),
        told(qpcr, vector(-2, [1.0, None], 0), vector(-2, [1.0, 2.0]), labels=[["A1", "A2"]]),
    ]
    for first, each in enumerate(batches, 1):
        pipeline.ingest(bench, parcel(each, first=first), NOW)
    assert vectors() == [
        (-2, [1.0, None], None, 0),
        (-1.999999, [1.0, 2.0], None, 0),
        (-1.999998, [1.0, None], ["A1", "A2"], 0),
        (-1, [], None, 0),
    ]


def test_vectors_of_a_demo_and_of_times_that_cannot_be_right_have_their_own_tables(bench: Edge) -> None:
    demo, real = instrument(bench, "demo", keys=(), demo=True), instrument(bench, "real", keys=())
    pipeline.ingest(bench, parcel(told(demo, vector(-1, [1.0])), told(real, vector(7200, [2.0]))), NOW)
    assert vectors(VectorSampleDemo) == [(-1, [1.0], None, 0)]
    assert vectors(VectorSampleFar) == [(7200, [2.0], None, Flag.FAR)]
    assert vectors() == []


def test_old_vectors_get_partitions_and_those_kept_long_enough_go(bench: Edge, qpcr: Instrument) -> None:
    days = [-86_400.0 * (configured.RETENTION_DAYS + extra) for extra in (3, -3)]
    pipeline.ingest(bench, parcel(told(qpcr, *(vector(day, [day]) for day in days))), NOW)
    assert [found[0] for found in vectors()] == days
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'vector_sample'::regclass")
        assert cursor.fetchone()[0] >= 2
    partitions.drop_expired(NOW)
    assert [found[0] for found in vectors()] == days  # not rolled up yet
    for width in ("minute", "hour"):
        RollupMark.objects.create(width=width, closing=NOW, published=NOW)
    partitions.drop_expired(NOW)
    assert [found[0] for found in vectors()] == days[1:]


LOST = Batch([""], [["wells"]], [0, 0, at(-1)], [None], [int(Quality.BAD)])


def test_a_vector_that_is_lost_stays_shown_with_its_time_as_bad(bench: Edge, qpcr: Instrument) -> None:
    lost = Batch([str(qpcr.pk)], LOST.keysets, LOST.rows, LOST.values, LOST.qualities)
    for number, together in enumerate((True, False)):
        Latest.objects.all().delete()
        batches = [told(qpcr, vector(-2, [1.0])), lost]
        for parcels in [batches] if together else [[each] for each in batches]:
            pipeline.ingest(bench, parcel(*parcels, spool=new_spool()), moment(number))
        latest = Latest.objects.get()
        assert (latest.text, latest.quality, latest.time) == ("1 value", Quality.BAD, moment(-2))


def test_within_a_batch_the_later_of_vector_and_loss_is_shown(bench: Edge, qpcr: Instrument) -> None:
    for lost_at, quality in ((-3, Quality.GOOD), (-1, Quality.BAD)):
        both = Batch(
            [str(qpcr.pk)], [["wells"]], [0, 0, at(lost_at)], [None], [2], vectors=[vector(-2, [1.0])]
        )
        pipeline.ingest(bench, parcel(both, spool=new_spool()), NOW)
        assert Latest.objects.get().quality == quality


def test_the_backlog_stores_vectors_and_shows_none(bench: Edge, qpcr: Instrument) -> None:
    pipeline.ingest(bench, parcel(told(qpcr, vector(-60, [1.0])), track="backlog"), NOW)
    assert len(vectors()) == 1
    assert not Latest.objects.exists()


# ---- events


def test_an_event_told_twice_is_one(bench: Edge, qpcr: Instrument) -> None:
    long = "läuft\0 " + "x" * 3990
    sent = [event(-2, stage=2, nested={"a\0": [None, 1.5, "b\0"]}), event(-1, long), event(-2, "other")]
    pipeline.ingest(bench, parcel(told(qpcr, *sent)), NOW)
    pipeline.ingest(bench, parcel(told(qpcr, *sent, event(-2, kind="alarm")), first=2), NOW)
    found = list(Event.objects.order_by("time", "kind", "text").values_list("time", "kind", "text", "fields"))
    assert found == [
        (moment(-2), "alarm", "Step 3", {}),
        (moment(-2), "run_action", "Step 3", {"stage": 2, "nested": {"a\ufffd": [None, 1.5, "b\ufffd"]}}),
        (moment(-2), "run_action", "other", {}),
        (moment(-1), "run_action", long.replace("\0", "\ufffd"), {}),
    ]


def test_events_keep_their_flags_and_far_times_are_flagged(bench: Edge, qpcr: Instrument) -> None:
    rows = [
        EventRow(0, at(-1), "k", "own", {}, int(Flag.INSTRUMENT_TIME | Flag.FAR)),
        EventRow(0, at(3600), "k", "ahead", {}, 0),
    ]
    pipeline.ingest(bench, parcel(told(qpcr, *rows)), NOW)
    flags = dict(Event.objects.values_list("text", "flags"))
    assert flags == {"own": Flag.INSTRUMENT_TIME, "ahead": Flag.FAR}


def test_a_shift_moves_what_the_edge_stamped_and_not_what_the_instrument_stamped(
    bench: Edge, qpcr: Instrument
) -> None:
    own = int(Flag.INSTRUMENT_TIME)
    sent = Batch(
        [str(qpcr.pk)],
        [["a"], ["b"], []],
        [0, 0, at(-3602), 0, 2, 0, 0, 1, 3600_000_000],
        [1.0, 2.0],
        [0, own],
        vectors=[vector(-3602, [1.0]), vector(-2, [2.0], quality=own)],
        events=[EventRow(0, at(-3602), "k", "edge"), EventRow(0, at(-2), "k", "own", {}, own)],
        runs=[
            run(-3602, id="edge", start=at(-3700)),
            run(-2, id="own", start=at(-100), end=-1, own_time=True),
        ],
    )
    pipeline.ingest(bench, parcel(sent, shift=3_600_000_000), NOW)
    # The vectors met under one key: the second is kept a microsecond later.
    assert [found[:2] for found in vectors()] == [(-2, [1.0]), (-1.999999, [2.0])]
    assert set(Event.objects.values_list("time", flat=True)) == {moment(-2)}
    runs = dict(Run.objects.values_list("key", "start"))
    assert runs == {"edge": moment(-100), "own": moment(-100)}
    assert set(Run.objects.values_list("told_at", flat=True)) == {moment(-2)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT time, value FROM sample ORDER BY value")
        assert cursor.fetchall() == [(moment(-2), 1.0), (moment(-2), 2.0)]


def test_events_are_kept_for_their_days(bench: Edge) -> None:
    demo, real = instrument(bench, "demo", keys=(), demo=True), instrument(bench, "real", keys=())
    ages = {"demo": (1, 3), "real": (3, configured.EVENT_RETENTION_DAYS + 1)}
    for of in (demo, real):
        for days in ages[of.name]:
            Event.objects.create(instrument=of, time=datetime.now(NOW.tzinfo) - timedelta(days=days), text="")
    Event.objects.create(instrument=real, time=moment(-86_400 * 3000), flags=Flag.FAR, text="far")
    tasks.keep_partitions()
    assert list(Event.objects.order_by("id").values_list("instrument__name", "text")) == [
        ("demo", ""),
        ("real", ""),
        ("real", "far"),
    ]


# ---- runs


def stands() -> tuple[Any, ...]:
    (found,) = Run.objects.values_list("state", "progress", "start", "end", "title", "fields", "told_at")
    return found


def test_a_run_stands_as_the_latest_word_says(bench: Edge, qpcr: Instrument) -> None:
    words = [
        run(-9, progress=0.25, start=at(-10), title="Plate 7", fields={"stage": 2}),
        run(-5, "completed", 1.0, start=at(-10), end=at(-5), title="Plate 7"),
    ]
    pipeline.ingest(bench, parcel(told(qpcr, words[0])), NOW)
    assert stands() == ("running", 0.25, moment(-10), None, "Plate 7", {"stage": 2}, moment(-9))
    pipeline.ingest(bench, parcel(told(qpcr, words[1]), first=2), NOW)
    done: tuple[Any, ...] = ("completed", 1.0, moment(-10), moment(-5), "Plate 7", {}, moment(-5))
    assert stands() == done
    pipeline.ingest(bench, parcel(told(qpcr, words[0], run(-5)), spool=new_spool(), track="backlog"), NOW)
    assert stands() == done
    pipeline.ingest(bench, parcel(told(qpcr, run(-4, "running")), first=3), NOW)
    assert stands()[0] == "running"


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_words_of_one_time_the_end_counts(bench: Edge, qpcr: Instrument, order: int) -> None:
    words = [run(-5, "failed"), run(-5, "running", 1.0)][::order]
    for first, word in enumerate(words, 1):
        pipeline.ingest(bench, parcel(told(qpcr, word), first=first), NOW)
    assert stands()[0] == "failed"


def test_a_word_ahead_of_the_clock_does_not_outlast_those_that_follow(bench: Edge, qpcr: Instrument) -> None:
    pipeline.ingest(bench, parcel(told(qpcr, run(86_400))), NOW)
    assert Run.objects.get().flags == Flag.FAR
    pipeline.ingest(bench, parcel(told(qpcr, run(1, "failed")), first=2), moment(1))
    found = Run.objects.get()
    assert (found.state, found.told_at, found.flags) == ("failed", moment(1), 0)


def test_a_word_of_an_edge_of_unsure_clock_is_believed_for_its_own_instrument(bench: Edge) -> None:
    old = edge("old")
    moved = instrument(old, "moved", keys=())
    Assignment.objects.filter(instrument=moved).update(until=moment(-100))
    Assignment.objects.create(instrument=moved, edge=bench, since=moment(-100))
    for number, unsure in enumerate((False, True), 1):
        pipeline.ingest(bench, parcel(told(moved, run(-3600, unsure=unsure)), first=number), NOW)
        assert Run.objects.count() == number - 1
    assert Run.objects.get().flags == Flag.CLOCK_UNSURE


def test_only_a_demos_old_runs_are_forgotten(bench: Edge) -> None:
    for demo in (True, False):
        of = instrument(bench, f"demo {demo}", keys=(), demo=demo)
        for days in (0, configured.DEMO_RETENTION_DAYS + 1):
            told_at = timezone.now() - timedelta(days=days)
            Run.objects.create(instrument=of, key=str(days), kind="qpcr", state="running", told_at=told_at)
    tasks.keep_partitions()
    left = Run.objects.values_list("instrument__demo", "key")
    assert sorted(left) == [(False, "0"), (False, "3"), (True, "0")]


def test_what_a_run_says_is_put_into_bounds(bench: Edge, qpcr: Instrument) -> None:
    odd = run(-1, "thawing", 7.5, start=-5, end=1 << 62, title="t\0" * 200, fields={"a": "\0"})
    pipeline.ingest(bench, parcel(told(qpcr, odd)), NOW)
    found = Run.objects.get()
    assert (found.state, found.progress, found.start, found.end) == ("unknown", 1.0, None, None)
    assert (found.title, found.fields) == ("t\ufffd" * 150, {"a": "\ufffd"})


def test_what_an_edges_recorder_notes_is_stored(bench: Edge, qpcr: Instrument) -> None:
    draft = Draft("boot", 0, sure=False)
    name, own = str(qpcr.pk), at(-5)
    for time in (at(-2), at(-1)):
        draft.vector(name, f"at {time}", Vector((1.0, None), ("A1", "A2")), Quality.GOOD, time)
    draft.event(name, ToldEvent("run_action", "Step 3", {"stage": 2}, own), own, Flag.INSTRUMENT_TIME)
    draft.run(name, ToldRun("r1", "qpcr", "running", "Plate 7", 0.5, own, None, {"cycle": 3}, own), own)
    draft.run(name, ToldRun("r2", "qpcr", "pending"), at(-1))
    assert pipeline.ingest(bench, parcel(as_text(draft.packed().packed)), NOW).readings == 2
    assert vectors() == [(time, [1.0, None], ["A1", "A2"], 0) for time in (-2, -1)]
    assert list(Event.objects.values_list("kind", "text", "fields", "time", "flags")) == [
        ("run_action", "Step 3", {"stage": 2}, moment(-5), Flag.INSTRUMENT_TIME)
    ]
    assert list(Run.objects.order_by("key").values_list("key", "title", "start", "fields", "flags")) == [
        ("r1", "Plate 7", moment(-5), {"cycle": 3}, Flag.INSTRUMENT_TIME | Flag.CLOCK_UNSURE),
        ("r2", "", None, {}, Flag.CLOCK_UNSURE),
    ]


# ---- what is refused and what is rejected

DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]

UNFIT = {
    "labels of other length": vector(-1, [1.0, 2.0], 0),
    "too many values": vector(-1, [0.0] * 100_001),
    "no usable key": vector(-1, [1.0], key="a\nb"),
    "before all times": VectorRow(0, "wells", -1, [1.0], -1),
    "after all times": EventRow(0, 1 << 62, "k", "t"),
    "fields too long": event(-1, a="x" * 64_001),
    "fields too deep": event(-1, a=DEEP),
    "no id": run(-1, id=""),
    "id too long": run(-1, id="x" * 201),
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
def test_what_is_unfit_is_refused_singly(bench: Edge, qpcr: Instrument, unfit: Any) -> None:
    fit = (vector(-1, [5.0]), event(-1, "fit"), run(-1, id="fit"))
    outcome = pipeline.ingest(bench, parcel(told(qpcr, *fit, unfit, labels=[["A1"]])), NOW)
    assert outcome.stored == [1]
    assert vectors() == [(-1, [5.0], None, 0)]
    assert (Event.objects.get().text, Run.objects.get().key) == ("fit", "fit")
    kept = RejectedBatch.objects.get()
    assert kept.stored
    assert kept.reason.startswith("1 ")
    assert "refused" in kept.reason


def test_what_is_of_another_edges_instrument_is_refused_by_time(bench: Edge) -> None:
    new = edge("new")
    moved = instrument(bench, "moved", keys=())
    Assignment.objects.filter(instrument=moved).update(until=moment(-100))
    Assignment.objects.create(instrument=moved, edge=new, since=moment(-100))
    rows = [
        row
        for time in (-200, -50)
        for row in (vector(time, [time]), event(time, str(time)), run(time, id=str(time)))
    ]
    pipeline.ingest(bench, parcel(told(moved, *rows)), NOW)
    assert [found[0] for found in vectors()] == [-200]
    assert (Event.objects.get().text, Run.objects.get().key) == ("-200", "-200")
    pipeline.ingest(new, parcel(told(moved, *rows)), NOW)
    assert [found[0] for found in vectors()] == [-200, -50]
    assert (Event.objects.count(), Run.objects.count()) == (2, 2)
    pipeline.ingest(bench, parcel(told(UNKNOWN, *rows), first=2), NOW)
    reason = RejectedBatch.objects.get(edge=bench, sequence=2).reason
    assert all(
        f"2 {what} refused, of instrument {UNKNOWN}" in reason for what in ("vectors", "events", "runs")
    )


def test_reingest_stores_what_was_refused(bench: Edge) -> None:
    pipeline.ingest(bench, parcel(told(UNKNOWN, vector(-1, [1.0]), event(-1), run(-1))), NOW)
    Instrument.objects.create(pk=UNKNOWN, name="late", driver="thermostat", edge=bench, address="tcp://h:1")
    assert pipeline.reingest(RejectedBatch.objects.get(), NOW) == ""
    assert (len(vectors()), Event.objects.count(), Run.objects.count()) == (1, 1, 1)
    assert not RejectedBatch.objects.exists()


CONTRADICTIONS = {
    "no such instrument": VectorRow(1, "wells", at(-1), [1.0], -1),
    "no such labels": vector(-1, [1.0], 3),
    "labels below none": vector(-1, [1.0], -2),
    "huge quality": vector(-1, [1.0], quality=1 << 15),
    "event of nothing": EventRow(-1, at(-1), "k", "t"),
    "huge flags": EventRow(0, at(-1), "k", "t", {}, 1 << 40),
    "run of nothing": RunRow(7, at(-1), "r", "k", "running"),
}


@pytest.mark.parametrize("row", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_batch_that_contradicts_itself_is_rejected_whole(bench: Edge, qpcr: Instrument, row: Any) -> None:
    sent = parcel(told(qpcr, event(-1), row), batch(qpcr, "a", (at(-1), 1.0)))
    outcome = pipeline.ingest(bench, sent, NOW)
    assert (outcome.stored, list(outcome.rejected)) == ([2], [1])
    assert not Event.objects.exists()


# ---- at most once


NUMBERS = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=3)
TEXTS = st.text("ab\0'{}\\\"", max_size=4)
VECTORS = st.builds(vector, st.integers(-50, 0), NUMBERS)
EVENTS = st.builds(event, st.integers(-50, 0), TEXTS, st.sampled_from(["x", "y"]))
RUNS = st.builds(
    run,
    st.integers(-50, 300),
    st.sampled_from(["running", "paused", "completed", "lost"]),
    st.none() | st.floats(0, 1),
    id=st.sampled_from("pq"),
    title=st.sampled_from(["", "t"]),
    start=st.none() | st.integers(at(-90), at(-80)),
    fields=st.dictionaries(st.sampled_from("ab"), st.integers() | st.text(max_size=2), max_size=2),
)
WORDS = st.lists(st.one_of(VECTORS, EVENTS, RUNS), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=WORDS, random_=st.randoms(use_true_random=False))
def test_whatever_the_order_and_the_repetition_it_comes_to_the_same(
    rows: list[VectorRow | EventRow | RunRow], random_: random.Random
) -> None:
    """Each word alone and in company, in two orders, on either track, from spools old and new."""
    rows = [row for number, row in enumerate(rows) if not _met(row, rows[:number])]
    ends = []
    for _ in range(2):
        with transaction.atomic():
            bench = edge()
            of = instrument(bench, "qpcr", keys=("wells",))
            for sent in _parcels(of, rows, random_):
                assert not pipeline.ingest(bench, sent, NOW).rejected
            ends.append(_state())
            assert not RejectedBatch.objects.exists()
            transaction.set_rollback(True)
    assert ends[0] == ends[1]
    assert len(ends[0][0]) == sum(isinstance(row, VectorRow) for row in rows)
    texts = {(row.time, row.kind, row.text.replace("\0", "?")) for row in rows if isinstance(row, EventRow)}
    assert len(ends[0][1]) == len(texts)
    assert len(ends[0][2]) == len({row.id for row in rows if isinstance(row, RunRow)})


def _met(row: Any, before: list[Any]) -> bool:
    """Whether a vector's time is taken: which of two would be moved depends on the order."""
    return isinstance(row, VectorRow) and any(
        isinstance(other, VectorRow) and other.time == row.time for other in before
    )


def _parcels(of: Instrument, rows: list[Any], random_: random.Random) -> Iterator[Parcel]:
    """Every word at least once, some again, bundled at random; some parcels delivered again."""
    words = rows + random_.sample(rows, random_.randint(0, len(rows)))
    random_.shuffle(words)
    first, spool = 1, new_spool()
    while words:
        taken, words = words[:4], words[4:]
        sent = parcel(
            told(of, *taken[:2]), told(of, *taken[2:]), first=first, spool=spool,
            track=random_.choice(["live", "backlog"]),
        )  # fmt: skip
        yield sent
        if random_.random() < 0.3:
            yield sent
        first, spool = (1, new_spool()) if random_.random() < 0.2 else (first + 2, spool)


def _state() -> tuple[list[Any], list[Any], list[Any]]:
    runs = Run.objects.order_by("key").values_list(
        "key", "kind", "title", "state", "progress", "start", "end", "fields", "told_at", "flags"
    )
    events = Event.objects.order_by("time", "kind", "text").values_list("time", "kind", "text", "fields")
    return vectors(), list(events), list(runs)
