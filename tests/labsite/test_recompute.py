"""Computing stored readings again, on a real PostgreSQL."""

import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction

from devices.errors import Refused
from devices.models import Assignment, Channel, Edge, Instrument
from labsite import pipeline
from telemetry import deliveries, outbox
from telemetry.computing import recompute
from telemetry.computing.recompute import Again
from telemetry.models import (
    ComputedChannel,
    DirtyBucket,
    PolicyState,
    RollupMark,
    Sample,
    SampleLong,
    Sink,
    StoragePolicy,
)
from tests.labsite.test_computed import calibrated, derived, rows, stored
from tests.labsite.test_storage_policies import unstored
from tests.telemetry.factories import NOW, edge, instrument, moment, parcel
from tests.waiting import until

pytestmark = pytest.mark.django_db

COUNT = 30


@pytest.fixture
def bench() -> Edge:
    return edge()


@pytest.fixture
def bath(bench: Edge) -> Instrument:
    made = instrument(bench, keys=("a", "c"))
    Assignment.objects.create(instrument=made, edge=edge("old"), since=moment(-9e5), until=moment(-8e5))
    return made


def filled(bench: Edge, bath: Instrument, first: int = 1, count: int = COUNT) -> None:
    """One reading a second from a minute ago on: a counts up, c is 10."""
    told = [(-60.0 + n, {"a": float(n), "c": 10.0}) for n in range(first, first + count)]
    pipeline.ingest(bench, parcel(rows(bath, *told), first=first), NOW)


def again(channel: Channel, start: float | None = None, end: float = 0, **more: Any) -> Again:
    begin = None if start is None else moment(start)
    done = Again()
    for chunk in recompute.chunks(channel, begin, moment(end), NOW, **more):
        done += chunk
    return done


def counts(done: Again) -> tuple[int, int, int, int]:
    return done.changed, done.added, done.same, done.left


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "ROWS", 7)


@pytest.mark.usefixtures("small_chunks")
def test_another_formula_is_written_over_the_old_values(bench: Edge, bath: Instrument) -> None:
    total, twice = derived(bath, "total", "a + c"), derived(bath, "twice", "total * 2")
    filled(bench, bath)
    raw = stored(bath.channels.get(key="a"))
    assert counts(again(total)) == (0, 0, 2 * COUNT, 0)
    ComputedChannel.objects.filter(channel=total).update(formula="a - c if a > 5 else a + c")
    assert counts(again(total, dry_run=True)) == (2 * (COUNT - 5), 0, 10, 0)
    assert counts(again(total)) == (2 * (COUNT - 5), 0, 10, 0)
    assert [value for _, value, _ in stored(total)] == [
        n - 10 if n > 5 else n + 10 for n in range(1, COUNT + 1)
    ]
    assert [value for _, value, _ in stored(twice)] == [2.0 * (value or 0) for _, value, _ in stored(total)]
    assert counts(again(total)) == (0, 0, 2 * COUNT, 0)
    assert stored(bath.channels.get(key="a")) == raw


@pytest.mark.usefixtures("small_chunks")
def test_a_channel_defined_later_gets_its_past(bench: Edge, bath: Instrument) -> None:
    filled(bench, bath)
    true = calibrated(bath, "a", (-45, "polynomial", [0.0, 2.0]))
    assert counts(again(true, -50, -40)) == (0, 11, 0, 0)
    assert [(time, value) for time, value, _ in stored(true)] == [
        (time, 60 + time if time < -45 else 2 * (60 + time)) for time in range(-50, -39)
    ]
    assert counts(again(true)) == (0, COUNT - 11, 11, 0)
    assert len(stored(true)) == COUNT


def test_it_says_the_same_as_ingest(bench: Edge, bath: Instrument) -> None:
    channels = [
        derived(bath, "x", "exp(-a / c) + sin(a)"),
        calibrated(bath, "a", (-50, "table", [[0, 1], [9, 7]])),
    ]
    told = rows(
        bath, (-9, {"a": (1.0, 1), "c": 2.0}), (-8, {"a": (None, 2), "c": 2.0}), (-7, {"a": 3.0, "c": 0.0})
    )
    pipeline.ingest(bench, parcel(told), NOW)
    filled(bench, bath, 2)
    before = [stored(channel) for channel in channels]
    for channel in channels:
        assert again(channel).changed == 0
        Sample.objects.filter(channel_id=channel.pk).delete()
        assert again(channel).added == COUNT + 3
    assert [stored(channel) for channel in channels] == before


def test_where_inputs_are_not_stored_the_old_values_stay(bench: Edge, bath: Instrument) -> None:
    total = derived(bath, "total", "a + c")
    filled(bench, bath)
    Sample.objects.filter(channel_id=bath.channels.get(key="c").pk, time__lt=moment(-50)).delete()
    ComputedChannel.objects.update(formula="a * c")
    assert counts(again(total)) == (COUNT - 9, 0, 0, 9)
    assert [value for _, value, _ in stored(total)][8:10] == [19, 100]


def test_values_are_changed_in_whatever_class_they_are(bench: Edge, bath: Instrument) -> None:
    total = derived(bath, "total", "a + c")
    filled(bench, bath, 1, 5)
    Channel.objects.filter(pk=total.pk).update(retention="long")
    filled(bench, bath, 6, 5)
    ComputedChannel.objects.update(formula="a * c")
    assert counts(again(total)) == (10, 0, 0, 0)
    assert [value for _, value, _ in stored(total)] == [10, 20, 30, 40, 50]
    assert [value for _, value, _ in stored(total, SampleLong)] == [60, 70, 80, 90, 100]


def test_its_minutes_are_marked_and_sinks_are_corrected(bench: Edge, bath: Instrument) -> None:
    total = derived(bath, "total", "a + c")
    filled(bench, bath)
    RollupMark.objects.update_or_create(
        width="minute", defaults={"closing": moment(-30), "published": moment(-90)}
    )
    Sink.objects.create(name="influx", url="http://127.0.0.1:1", bucket="b")
    DirtyBucket.objects.all().delete()
    ComputedChannel.objects.update(formula="a * c if a > 10 else a + c")
    again(total)
    assert list(DirtyBucket.objects.values_list("channel_id", "bucket")) == [(total.pk, moment(-60))]
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM outbox ORDER BY id")
        ((payload,),) = cursor.fetchall()
    columns, *_ = outbox.taken(bytes(payload))
    assert columns.value.tolist() == [10.0 * n for n in range(11, COUNT + 1)]


def test_what_a_policy_left_out_is_added_only_where_a_chart_needs_it(bench: Edge, bath: Instrument) -> None:
    total = derived(bath, "total", "c + 0 * a")
    StoragePolicy.objects.create(channel=total, mode="dead_band", dead_band=3.0, heartbeat=3600.0)
    filled(bench, bath)
    assert (len(stored(total)), unstored(total)) == (1, COUNT - 1)
    assert counts(again(total)) == (0, 1, 1, 0)
    assert [time for time, _, _ in stored(total)] == [-59, -30]
    assert not PolicyState.objects.exists()
    assert counts(again(total)) == (0, 0, 2, 0)
    ComputedChannel.objects.update(formula="c if a < 20 else 2 * c")
    assert counts(again(total)) == (1, 2, 1, 0)
    assert [(time, value) for time, value, _ in stored(total)] == [(-59, 10), (-41, 10), (-40, 20), (-30, 20)]
    assert unstored(total) == COUNT - 4


def test_what_is_not_computed_is_refused(bench: Edge, bath: Instrument) -> None:
    with pytest.raises(Refused, match="bath a is not computed"):
        again(bath.channels.get(key="a"))


@pytest.mark.parametrize("pushed", [False, True], ids=["an edge's", "pushed"])
@pytest.mark.django_db(transaction=True)
def test_it_waits_for_ingest_of_the_same_instrument(bench: Edge, bath: Instrument, pushed: bool) -> None:
    total = derived(bath, "total", "a + c")
    filled(bench, bath)
    ComputedChannel.objects.update(formula="a * c")
    done: list[Again] = []

    def compute() -> None:
        done.append(again(total))
        connections.close_all()

    thread = threading.Thread(target=compute)
    with transaction.atomic():
        deliveries.turn_of_sources(bench.pk, [bath.pk]) if pushed else deliveries.turn(bench.pk)
        thread.start()
        until(_waits)
        assert not done
    thread.join(30)
    assert counts(done[0]) == (COUNT, 0, 0, 0)


def _waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


# ---- the command


def said(*words: str) -> str:
    out = StringIO()
    call_command("recompute", *words, stdout=out)
    return out.getvalue()


def test_the_command_tells_what_it_did(
    bench: Edge, bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW)
    total = derived(bath, "total", "a + c")
    filled(bench, bath)
    ComputedChannel.objects.update(formula="a * c")
    same = "0 are the same; 0 stay, for what they are computed from is not stored"
    assert (
        said("bath/total", "--dry-run")
        == f"bath total: 30 values would be changed, 0 would be added; {same}\n"
    )
    assert said(str(total.pk)) == f"bath total: 30 values changed, 0 added; {same}\n"
    assert " 0 values changed" in said(
        "bath/total", "--from=-50s", "--to", (NOW - timedelta(seconds=40)).isoformat()
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["bath/nothing"], "there is no channel 'bath/nothing'"),
        (["bath/a"], "bath a is not computed"),
        (["bath/total", "--from", "yesterday"], "'yesterday' is no time"),
    ],
    ids=["no channel", "not computed", "no time"],
)
def test_the_command_says_what_is_wrong(bath: Instrument, words: list[str], error: str) -> None:
    derived(bath, "total", "a + c")
    with pytest.raises(CommandError, match=error):
        said(*words)
