"""Ingest through the pipeline, on a real PostgreSQL."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from hypothesis import HealthCheck, given, settings, strategies as st

from devices.models import Assignment, Channel, Edge, Instrument, Latest
from devices.readings import Flag, Quality
from devices.wire import Batch, Gap as ToldGap, Malformed, Parcel
from labsite import pipeline
from telemetry import store
from telemetry.models import Delivery, Gap, RejectedBatch, Sample, SampleDemo, SampleFar, SpoolMark
from telemetry.roster import CHANNELS_MAX
from tests.telemetry.factories import NOW, at, batch, edge, instrument, moment, new_spool, parcel, url

pytestmark = pytest.mark.django_db

State = tuple[float | None, int, str | None]  # value, quality, text

UNKNOWN = "0b5f6f0e-8a0f-4a52-9a3f-8f2c1c5f9a11"


def stored(of: Instrument, key: str = "a", table: Any = Sample) -> list[tuple[float, float | None]]:
    """(seconds from now, value) of what is in the table."""
    channel = of.channels.get(key=key)
    rows = table.objects.filter(channel_id=channel.pk).order_by("time")
    return [((row.time - NOW).total_seconds(), row.value) for row in rows]


# ---- what is stored


def test_a_parcel_is_stored_and_shown() -> None:
    bench = edge()
    bath = instrument(bench)
    outcome = pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 1.0), (at(-1), None))), NOW)
    assert stored(bath) == [(-2, 1.0), (-1, None)]
    assert (outcome.stored, outcome.rejected, outcome.through, outcome.readings) == ([1], {}, 1, 2)
    latest = Latest.objects.get()
    assert (latest.time, latest.value, latest.stored_at) == (moment(-1), None, NOW)


def test_a_parcel_delivered_twice_is_stored_once_and_answered_twice() -> None:
    bench = edge()
    bath = instrument(bench)
    sent = parcel(batch(bath, "a", (at(-2), 1.0)))
    pipeline.ingest(bench, sent, NOW)
    again = pipeline.ingest(bench, sent, NOW)
    assert (again.stored, again.through, again.readings) == ([1], 1, 0)
    assert stored(bath) == [(-2, 1.0)]


def test_qualities_texts_and_what_is_no_number_are_kept() -> None:
    bench = edge()
    bath = instrument(bench, keys=("a", "b", "c"))
    told = Batch(
        instruments=[str(bath.pk)],
        keysets=[["a", "b", "c"]],
        rows=[0, 0, at(-2), 0, 0, 1_000_000],
        values=[1.5, None, None, 2.5, None, -0.0],
        qualities=[0, 2, 0, 1, 0, 33],
        texts={"2": "läuft\0", "4": ""},
    )
    assert not pipeline.ingest(bench, parcel(told), NOW).rejected
    numbers = dict(bath.channels.values_list("pk", "key"))
    rows = [
        (numbers[row.channel_id], row.time, row.value, row.quality, row.text)
        for row in Sample.objects.order_by("channel_id", "time")
    ]
    assert rows == [
        ("a", moment(-2), 1.5, 0, None),
        ("a", moment(-1), 2.5, 1, None),
        ("b", moment(-2), None, 2, None),
        ("b", moment(-1), None, 0, ""),
        ("c", moment(-2), None, 0, "läuft\N{REPLACEMENT CHARACTER}"),
        ("c", moment(-1), 0.0, 33, None),
    ]
    latest = Latest.objects.order_by("channel_id").values_list("value", "quality", "text")
    assert list(latest) == [(2.5, 1, None), (None, 0, ""), (0.0, 33, None)]


def test_a_shift_moves_the_times_of_a_batch() -> None:
    bench = edge()
    bath = instrument(bench)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-3602), 1.0)), shift=3_600_000_000), NOW)
    assert stored(bath) == [(-2, 1.0)]


def test_a_demo_channel_goes_to_its_own_table() -> None:
    bench = edge()
    bath = instrument(bench, demo=True)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 1.0)), batch(bath, "new", (at(-2), 2.0))), NOW)
    assert stored(bath, "a", SampleDemo) == [(-2, 1.0)]
    assert stored(bath, "new", SampleDemo) == [(-2, 2.0)]
    assert not Sample.objects.exists()


def test_old_readings_get_partitions_on_demand() -> None:
    bench = edge()
    bath = instrument(bench)
    days = [-86_400.0 * number for number in (200, 90, 89, 3)]
    pipeline.ingest(bench, parcel(batch(bath, "a", *[(at(day), day) for day in days]), track="backlog"), NOW)
    assert stored(bath) == [(day, day) for day in days]


@pytest.mark.parametrize("seconds", [121.0, 3600.0, 86_400.0 * 400, -86_400.0 * 800], ids=str)
def test_a_reading_far_off_is_set_aside_and_flagged(seconds: float) -> None:
    bench = edge()
    bath = instrument(bench)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-1), 1.0), (at(seconds), 2.0))), NOW)
    assert stored(bath) == [(-1, 1.0)]
    assert stored(bath, "a", SampleFar) == [(seconds, 2.0)]
    assert SampleFar.objects.get().quality & Flag.FAR
    assert Latest.objects.get().quality & Flag.FAR


# ---- the same key


def test_the_same_reading_in_two_batches_is_one() -> None:
    bench = edge()
    bath = instrument(bench)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 1.0), (at(-1), None))), NOW)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 1.0), (at(-1), None)), first=2), NOW)
    assert stored(bath) == [(-2, 1.0), (-1, None)]


def test_another_value_of_the_same_time_is_kept_a_microsecond_later() -> None:
    """A clock stepped back: the same stamps again, with new values."""
    bench = edge()
    bath = instrument(bench)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 1.0), (at(-1), 2.0))), NOW)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 3.0), (at(-1), 2.0), (at(0), 5.0)), first=2), NOW)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 4.0), (at(-2), None)), first=3), NOW)
    expected = [(-2, 1.0), (-1.999999, 3.0), (-1.999998, 4.0), (-1.999997, None), (-1, 2.0), (0, 5.0)]
    assert sorted(stored(bath)) == expected


def test_too_many_values_of_one_time_are_rejected_and_kept() -> None:
    bench = edge()
    bath = instrument(bench)
    sent = parcel(
        batch(bath, "a", *[(at(-2), float(number)) for number in range(102)]),
        batch(bath, "b", (at(-1), 1.0)),
    )
    outcome = pipeline.ingest(bench, sent, NOW)
    assert (outcome.stored, list(outcome.rejected)) == ([2], [1])
    assert (stored(bath, "a"), stored(bath, "b")) == ([], [(-1, 1.0)])


# ---- the tracks


def test_the_backlog_does_not_change_what_is_latest() -> None:
    bench = edge()
    bath = instrument(bench)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-1), 1.0)), first=9), NOW)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-30), 7.0)), track="backlog"), NOW)
    assert Latest.objects.get().value == 1.0


def test_what_is_latest_goes_by_arrival_not_by_time() -> None:
    bench = edge()
    bath = instrument(bench)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(60), 1.0))), NOW)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(1), 2.0)), first=2), NOW)
    assert Latest.objects.get().value == 2.0


BAD = (None, Quality.BAD, None)


@pytest.mark.parametrize(
    ("before", "lost", "kept"),
    [
        ([(1.5, 0, None)], BAD, (1.5, 2, None)),
        ([(1.5, 0, None), BAD], BAD, (1.5, 2, None)),
        ([(1.5, 0, None)], (None, 2 | Flag.CLOCK_UNSURE, None), (1.5, 34, None)),
        ([(1.5, 0, None)], (None, 2, "open"), (1.5, 2, "open")),
        ([(1.5, 0, None), (None, 2, "open")], BAD, (1.5, 2, None)),
        ([(None, 0, "idle")], BAD, (None, 2, "idle")),
    ],
    ids=["number", "bad twice", "flagged", "with a reason", "reason gone", "text"],
)
@pytest.mark.parametrize("parcels", ["in one parcel", "each in its own"])
def test_the_last_value_stays_with_its_time_and_is_bad(
    before: list[State], lost: State, kept: State, parcels: str
) -> None:
    bench = edge()
    bath = instrument(bench)
    batches = [
        batch_of_one(bath, at(-9 + second), *state) for second, state in enumerate([*before, lost, lost])
    ]
    if parcels == "in one parcel":
        pipeline.ingest(bench, parcel(*batches), moment(1))
    else:
        for first, each in enumerate(batches, 1):
            pipeline.ingest(bench, parcel(each, first=first), moment(1))
    latest = Latest.objects.get()
    assert (latest.value, latest.quality, latest.text) == kept
    assert (latest.time, latest.seen_at, latest.stored_at) == (moment(-9), moment(-9), moment(1))
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-1), 2.5)), first=9), moment(2))
    latest.refresh_from_db()
    assert (latest.time, latest.value, latest.quality, latest.text) == (moment(-1), 2.5, 0, None)


def test_a_bad_number_is_the_last_value() -> None:
    bench = edge()
    bath = instrument(bench)
    for first, state in enumerate([(20.0, 0, None), (-312.0, 2, None)], 1):
        pipeline.ingest(bench, parcel(batch_of_one(bath, at(first), *state), first=first), NOW)
    latest = Latest.objects.get()
    assert (latest.time, latest.value, latest.quality) == (moment(2), -312.0, 2)


def test_a_channel_that_never_had_a_value_has_none() -> None:
    bench = edge()
    bath = instrument(bench)
    for first in (1, 2):
        pipeline.ingest(bench, parcel(batch_of_one(bath, at(first), *BAD), first=first), NOW)
    latest = Latest.objects.get()
    assert (latest.time, latest.value, latest.quality) == (moment(2), None, 2)


def test_a_history_told_again_makes_no_error_in_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL would log each as an error; one machine's terminal would show them."""
    bench = edge()
    bath = instrument(bench)
    own = int(Flag.INSTRUMENT_TIME)
    monkeypatch.setattr(store, "_copy", lambda table, columns: pytest.fail("tried as if it were new"))
    for first, (value, last) in enumerate([(1.0, 3), (1.0, 4), (2.0, 3)], 1):
        rows = [part for second in range(last) for part in (0, 0, at(1) if not second else 1_000_000)]
        history = Batch([str(bath.pk)], [["a"]], rows, [value] * last, [own] * last)
        pipeline.ingest(bench, parcel(history, first=first), NOW)
    assert stored(bath)[::2] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]
    assert [value for _, value in stored(bath)].count(2.0) == 3


def batch_of_one(of: Instrument, time: int, value: float | None, quality: int, text: str | None) -> Batch:
    return Batch(
        instruments=[str(of.pk)],
        keysets=[["a"]],
        rows=[0, 0, time],
        values=[value],
        qualities=[quality],
        texts={} if text is None else {"0": text},
    )


def test_a_poll_without_news_moves_seen_at_only() -> None:
    bench = edge()
    bath = instrument(bench)
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-9), 1.0))), NOW)
    seen = Batch(instruments=[str(bath.pk)], keysets=[], rows=[], values=[], seen=[0, at(-1)])
    pipeline.ingest(bench, parcel(seen, first=2), moment(1))
    latest = Latest.objects.get()
    assert (latest.time, latest.seen_at, latest.stored_at) == (moment(-9), moment(-1), moment(1))


# ---- what is refused and what is rejected


def test_only_readings_of_an_unknown_instrument_are_refused() -> None:
    bench = edge()
    bath = instrument(bench)
    told = Batch(
        instruments=[str(bath.pk), UNKNOWN, "no UUID"],
        keysets=[["a"]],
        rows=[0, 0, at(-2), 1, 0, 0, 2, 0, 0],
        values=[1.0, 2.0, 3.0],
    )
    outcome = pipeline.ingest(bench, parcel(told), NOW)
    assert (outcome.stored, outcome.rejected, outcome.readings) == ([1], {}, 1)
    assert stored(bath) == [(-2, 1.0)]
    kept = RejectedBatch.objects.get()
    assert kept.stored
    assert "2 readings refused" in kept.reason
    assert UNKNOWN in kept.reason


def test_a_moved_instrument_is_its_old_edges_until_the_move_only() -> None:
    old, new = edge("old"), edge("new")
    bath = instrument(old)
    Assignment.objects.filter(instrument=bath).update(until=moment(-100))
    Assignment.objects.create(instrument=bath, edge=new, since=moment(-100))
    readings = batch(bath, "a", (at(-200), 1.0), (at(-50), 2.0))
    assert pipeline.ingest(old, parcel(readings), NOW).readings == 1
    assert stored(bath) == [(-200, 1.0)]
    assert pipeline.ingest(new, parcel(readings), NOW).readings == 1
    assert stored(bath) == [(-200, 1.0), (-50, 2.0)]


def test_an_edge_whose_clock_is_unsure_is_believed_for_its_own_instruments() -> None:
    old, new = edge("old"), edge("new")
    bath = instrument(old)
    Assignment.objects.filter(instrument=bath).update(until=moment(-100))
    Assignment.objects.create(instrument=bath, edge=new, since=moment(-100))
    told = batch(bath, "a", (at(-3600), 1.0))
    unsure = Batch(told.instruments, told.keysets, told.rows, told.values, [int(Flag.CLOCK_UNSURE)])
    assert pipeline.ingest(new, parcel(unsure), NOW).readings == 1
    assert pipeline.ingest(old, parcel(batch(bath, "a", (at(-1), 1.0))), NOW).readings == 0


def test_a_change_of_the_edges_revision_is_heard() -> None:
    bench = edge()
    bath = instrument(bench)
    sent = Batch([UNKNOWN], [["a"]], [0, 0, at(-1)], [1.0])
    pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 1.0)), sent), NOW)
    Instrument.objects.create(pk=UNKNOWN, name="late", driver="thermostat", edge=bench, address="tcp://h:1")
    assert pipeline.ingest(bench, parcel(sent, first=3), NOW).readings == 1


def test_channels_are_made_for_keys_that_are_new_up_to_a_bound() -> None:
    bench = edge()
    bath = instrument(bench)
    keys = [f"k{number:04}" for number in range(CHANNELS_MAX + 20)]
    told = Batch(
        [str(bath.pk)], [keys, ["", "x" * 101, "a\nb"]], [0, 0, at(-1), 0, 1, 0], [1.0] * (len(keys) + 3)
    )
    outcome = pipeline.ingest(bench, parcel(told), NOW)
    assert bath.channels.count() == CHANNELS_MAX
    assert outcome.readings == CHANNELS_MAX - 2
    assert RejectedBatch.objects.get().stored


BAD_BATCHES = {
    "not base64": "%%%",
    "not deflated": "bm90IGRlZmxhdGVk",
    "too few values": Batch([UNKNOWN], [["a"]], [0, 0, 1], []),
    "rows not in threes": Batch([UNKNOWN], [["a"]], [0, 0], [1.0]),
    "no such instrument": Batch([], [["a"]], [0, 0, 1], [1.0]),
    "no such keyset": Batch([UNKNOWN], [], [0, 0, 1], [1.0]),
    "negative index": Batch([UNKNOWN], [["a"]], [-1, 0, 1], [1.0]),
    "huge time": Batch([UNKNOWN], [["a"]], [0, 0, 1 << 63], [1.0]),
    "too few qualities": Batch([UNKNOWN], [["a", "b"]], [0, 0, 1], [1.0, 2.0], [0]),
    "huge quality": Batch([UNKNOWN], [["a"]], [0, 0, 1], [1.0], [1 << 15]),
    "text of nothing": Batch([UNKNOWN], [["a"]], [0, 0, 1], [1.0], texts={"1": "x"}),
    "text of no number": Batch([UNKNOWN], [["a"]], [0, 0, 1], [1.0], texts={"-1": "x"}),
    "half a seen": Batch([UNKNOWN], [], [], [], seen=[0]),
    "seen of nothing": Batch([UNKNOWN], [], [], [], seen=[1, 1]),
}


@pytest.mark.parametrize("bad", BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_a_bad_batch_is_kept_as_it_came_and_its_companions_are_stored(bad: Batch | str) -> None:
    bench = edge()
    bath = instrument(bench)
    sent = parcel(batch(bath, "a", (at(-2), 1.0)), bad, batch(bath, "a", (at(-1), 2.0)))
    outcome = pipeline.ingest(bench, sent, NOW)
    assert (outcome.stored, list(outcome.rejected), outcome.through) == ([1, 3], [2], 3)
    assert stored(bath) == [(-2, 1.0), (-1, 2.0)]
    kept = RejectedBatch.objects.get()
    assert not kept.stored
    assert kept.reason == outcome.rejected[2]


@pytest.mark.parametrize(
    "change",
    [
        {"sequences": [1, 2]},
        {"shifts": []},
        {"sequences": [0]},
        {"sequences": [1 << 63]},
        {"shifts": [1 << 60]},
        {"spool": "x"},
    ],
    ids=str,
)
def test_a_parcel_that_contradicts_itself_is_no_parcel(change: dict[str, Any]) -> None:
    bench = edge()
    good = parcel(batch(instrument(bench), "a"))
    fields = {name: getattr(good, name) for name in Parcel.__struct_fields__}
    with pytest.raises(Malformed):
        pipeline.ingest(bench, Parcel(**(fields | change)), NOW)


def test_reingest_stores_what_can_be_stored_by_now() -> None:
    bench = edge()
    pipeline.ingest(bench, parcel(Batch([UNKNOWN], [["a"]], [0, 0, at(-1)], [1.0]), "%%%"), NOW)
    Instrument.objects.create(pk=UNKNOWN, name="late", driver="thermostat", edge=bench, address="tcp://h:1")
    told = StringIO()
    call_command("reingest", stdout=told)
    assert stored(Instrument.objects.get(pk=UNKNOWN)) == [(-1, 1.0)]
    assert [kept.sequence for kept in RejectedBatch.objects.all()] == [2]
    assert told.getvalue().splitlines()[0].endswith(" 1: stored")


# ---- gaps


def test_a_gap_told_of_again_has_grown() -> None:
    bench = edge()
    bath = instrument(bench)

    def told(*gaps: tuple[str, str, float, float, int]) -> Batch:
        found = [
            ToldGap(uid, key, at(start), at(end), "not connected", n) for uid, key, start, end, n in gaps
        ]
        return Batch([], [], [], [], gaps=found)

    uid = str(bath.pk)
    pipeline.ingest(bench, parcel(told((uid, "a", -9, -8, 1), ("", "", -9, -8, 0))), NOW)
    again = told((uid, "a", -9, -2, 7), (uid, "a", -9, -5, 4), ("", "", -9, -7, 0), (UNKNOWN, "", -9, -7, 0))
    pipeline.ingest(bench, parcel(again, first=2), NOW)
    gaps = Gap.objects.order_by("key").values_list("instrument", "key", "start", "end", "count")
    assert list(gaps) == [(None, "", moment(-9), moment(-7), 0), (bath.pk, "a", moment(-9), moment(-2), 7)]
    assert "1 gaps refused" in RejectedBatch.objects.get().reason


# ---- the mark


def test_the_mark_stands_before_the_first_hole_and_rows_below_it_go() -> None:
    bench = edge()
    bath = instrument(bench)
    throughs = []
    for first, kept_from in ((1, 0), (4, 0), (3, 0), (2, 0), (8, 0), (9, 7), (10, 8)):
        sent = parcel(batch(bath, "a", (at(-first), 1.0)), first=first, kept_from=kept_from)
        throughs.append(pipeline.ingest(bench, sent, NOW).through)
    assert throughs == [1, 1, 1, 4, 4, 6, 10]
    assert not Delivery.objects.exists()
    assert SpoolMark.objects.get().through == 10


def test_each_spool_counts_for_itself() -> None:
    bench, other = edge(), edge("other")
    bath, oven = instrument(bench), instrument(other, "oven")
    spool = new_spool()
    assert pipeline.ingest(bench, parcel(batch(bath, "a", (at(-1), 1.0)), spool=spool), NOW).readings == 1
    assert pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 1.0))), NOW).readings == 1
    assert pipeline.ingest(other, parcel(batch(oven, "a", (at(-1), 1.0)), spool=spool), NOW).readings == 1


# ---- cost, failure, company


def test_a_live_batch_costs_no_statement_per_instrument(tmp_path: Path) -> None:
    bench = edge()
    baths = [instrument(bench, f"bath {number}") for number in range(30)]

    def sent(second: int) -> Parcel:
        rows = [number for index in range(30) for number in (index, 0, 0 if index else at(second))]
        told = Batch([str(bath.pk) for bath in baths], [["a", "b"]], rows, [1.0, 2.0] * 30)
        return parcel(told, first=second)

    pipeline.ingest(bench, sent(1), NOW)
    assert connection.connection is not None
    server = connection.connection.pgconn
    with (tmp_path / "trace").open("w+b") as trace:
        server.trace(trace.fileno())
        pipeline.ingest(bench, sent(2), NOW)
        server.untrace()
        trace.seek(0)
        kinds = [line.split(b"\t")[3] for line in trace.read().splitlines() if line.count(b"\t") >= 3]
    assert Latest.objects.count() == 60
    statements = [kind for kind in kinds if kind in (b"Query", b"Parse")]
    assert 5 < len(statements) <= 20  # 4 of them to judge the alarms


def test_what_a_failed_transaction_made_is_forgotten(transactional_db: None) -> None:
    bench = edge()
    bath = instrument(bench)
    sent = parcel(batch(bath, "new", (at(-1), 1.0)))
    with psycopg.connect(url()) as other:
        other.execute("LOCK TABLE spool_mark IN EXCLUSIVE MODE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        with pytest.raises(OperationalError):
            pipeline.ingest(bench, sent, NOW)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
    assert not bath.channels.filter(key="new").exists()
    assert pipeline.ingest(bench, sent, NOW).readings == 1
    assert stored(bath, "new") == [(-1, 1.0)]


def test_the_pages_hear_of_a_live_parcel_after_its_commit(transactional_db: None) -> None:
    bench = edge()
    bath = instrument(bench)
    with psycopg.connect(url(), autocommit=True) as listener:
        listener.execute("LISTEN labsite_live")
        pipeline.ingest(bench, parcel(batch(bath, "a", (at(-1), 1.0)), track="backlog"), NOW)
        pipeline.ingest(bench, parcel(batch(bath, "a", (at(0), 1.0)), first=2), NOW)
        heard = [notice.payload for notice in listener.notifies(timeout=5, stop_after=1)]
        heard += [notice.payload for notice in listener.notifies(timeout=0)]
    assert heard == [str(bench.pk)]


def test_two_workers_at_once_store_each_reading_once(transactional_db: None) -> None:
    bench, other = edge(), edge("other")
    bath, oven = instrument(bench), instrument(other, "oven")
    parcels: list[tuple[Edge, Parcel]] = []
    for first in range(1, 60):
        for on, of in ((bench, bath), (other, oven)):
            batches = [
                batch(of, f"key {number % 7}", (at(-number), float(number)))
                for number in range(first, first + 4)
            ]
            parcels.append((on, parcel(*batches, first=first, track=("live", "backlog")[first % 2])))
    random.Random(1).shuffle(parcels)

    def work(share: list[tuple[Edge, Parcel]]) -> int:
        try:
            return sum(pipeline.ingest(on, sent, NOW).readings for on, sent in share)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(work, [parcels[number::4] for number in range(4)]))
    assert sum(counts) == 2 * 62
    assert Sample.objects.count() == 2 * 62
    assert sorted(SpoolMark.objects.values_list("through", flat=True)) == [62, 62]


# ---- exactly once

READINGS = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.integers(-200_000, 60)),
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(readings=READINGS, random_=st.randoms(use_true_random=False))
def test_whatever_the_order_and_the_bundling_each_reading_is_stored_once(
    readings: dict[tuple[str, int], float | None], random_: random.Random
) -> None:
    """Batches delivered in any order, again, bundled differently, on either track."""
    with transaction.atomic():
        bench = edge()
        bath = instrument(bench, keys=())
        batches = [batch(bath, key, (at(time), value)) for (key, time), value in readings.items()]
        for number in random_.sample(range(len(batches)), random_.randint(0, len(batches) - 1)):
            batches[number] = _merged(batches[number], batches[random_.randrange(len(batches))])
        for sent in _bundles(batches, random_):
            pipeline.ingest(bench, sent, NOW)
        found = {
            (channel.key, round(time)): value
            for channel in Channel.objects.filter(instrument=bath)
            for time, value in stored(bath, channel.key)
        }
        rows = Sample.objects.filter(channel_id__in=bath.channels.values("pk")).count()
        assert (found, rows) == (readings, len(readings))
        assert not RejectedBatch.objects.filter(edge=bench).exists()
        assert SpoolMark.objects.get(edge=bench).through == len(batches)
        transaction.set_rollback(True)


def _merged(one: Batch, other: Batch) -> Batch:
    """Both batches' readings in one."""
    rows = list(one.rows)
    end = sum(one.rows[2::3])
    for number, (_, keyset, step) in enumerate(zip(*[iter(other.rows)] * 3, strict=True)):
        rows += [0, keyset + len(one.keysets), step if number else step - end]
    return Batch(one.instruments, one.keysets + other.keysets, rows, one.values + other.values)


def _bundles(batches: list[Batch], random_: random.Random) -> Iterator[Parcel]:
    """Each batch at least once; some of them in several parcels."""
    starts = list(range(len(batches))) + [random_.randrange(len(batches)) for _ in range(3)]
    random_.shuffle(starts)
    for start in starts:
        end = start + random_.randint(1, 4)
        yield parcel(*batches[start:end], first=start + 1, track=random_.choice(["live", "backlog"]))
