"""Derived and calibrated channels through the pipeline: computed with their batch, once, judged and shown."""

from typing import Any

import pytest

from devices.models import Channel, Edge, Instrument, Latest
from devices.readings import Flag, Quality
from devices.wire import Batch
from labsite import pipeline
from telemetry.models import Calibration, ComputedChannel, RejectedBatch, Sample, SampleDemo
from tests.telemetry.factories import NOW, at, edge, instrument, moment, parcel

pytestmark = pytest.mark.django_db

Row = tuple[float, dict[str, Any]]  # seconds from now; by key a number, or (number, quality)
BAD = int(Quality.BAD)
UNCERTAIN = int(Quality.UNCERTAIN)


@pytest.fixture
def bench() -> Edge:
    return edge()


@pytest.fixture
def bath(bench: Edge) -> Instrument:
    return instrument(bench, keys=("a", "b-1", "c"))


def derived(of: Instrument, key: str, formula: str, **fields: Any) -> Channel:
    channel = Channel.objects.create(instrument=of, key=key, label=key, **fields)
    ComputedChannel.objects.create(channel=channel, formula=formula)
    return channel


def calibrated(of: Instrument, key: str, *calibrations: tuple[float, str, Any]) -> Channel:
    """By (seconds from now, kind, numbers)."""
    source = of.channels.get(key=key)
    channel = Channel.objects.create(instrument=of, key=f"{key}.calibrated", label=key)
    ComputedChannel.objects.create(channel=channel, source=source)
    for since, kind, numbers in calibrations:
        Calibration.objects.create(channel=source, valid_from=moment(since), kind=kind, numbers=numbers)
    return channel


def rows(of: Instrument, *told: Row, flags: int = 0) -> Batch:
    """A batch of one row for each time."""
    keysets: list[list[str]] = []
    batch = Batch([str(of.pk)], keysets, [], [], [])
    before = 0
    for seconds, by_key in told:
        keys = list(by_key)
        if keys not in keysets:
            keysets.append(keys)
        batch.rows.extend([0, keysets.index(keys), at(seconds) - before])
        before = at(seconds)
        for given in by_key.values():
            value, quality = given if isinstance(given, tuple) else (given, 0)
            batch.values.append(value)
            assert batch.qualities is not None
            batch.qualities.append(quality | flags)
    return batch


def stored(channel: Channel, table: Any = Sample) -> list[tuple[float, float | None, int]]:
    """(seconds from now, value, quality)."""
    found = table.objects.filter(channel_id=channel.pk).order_by("time")
    return [((row.time - NOW).total_seconds(), row.value, row.quality) for row in found]


def test_a_derived_channel_has_a_value_wherever_all_its_inputs_have_one(
    bench: Edge, bath: Instrument
) -> None:
    power = derived(bath, "power", "a * {b-1}")
    told = rows(
        bath,
        (-9, {"a": 2.0, "b-1": 3.0, "c": 1.0}),
        (-8, {"a": 2.0}),
        (-7, {"a": (2.0, UNCERTAIN), "b-1": 3.0}),
        (-6, {"a": (None, BAD), "b-1": 3.0}),
        (-5, {"a": (2.0, BAD), "b-1": 3.0}),
        (-4, {"a": None, "b-1": (3.0, Flag.CLOCK_UNSURE)}),
        (-3, {"b-1": 5.0}),
        (-3, {"a": 4.0}),
        (-2, {"a": 1e300, "b-1": 1e300}),
    )
    assert not pipeline.ingest(bench, parcel(told), NOW).rejected
    assert stored(power) == [
        (-9, 6.0, 0),
        (-7, 6.0, UNCERTAIN),
        (-6, None, BAD),
        (-5, None, BAD),
        (-4, None, BAD | Flag.CLOCK_UNSURE),
        (-3, 20.0, 0),
        (-2, None, BAD),
    ]
    latest = Latest.objects.get(channel=power)
    assert (latest.value, latest.quality, latest.time) == (20.0, BAD, moment(-3))


def test_what_is_derived_from_what_is_derived_comes_after_it(bench: Edge, bath: Instrument) -> None:
    last = derived(bath, "last", "middle + a")
    middle = derived(bath, "middle", "{a.calibrated} * 10")
    first = calibrated(bath, "a", (-100, "polynomial", [1.0, 2.0]))
    pipeline.ingest(bench, parcel(rows(bath, (-2, {"a": 1.0}), (-1, {"a": 2.0}))), NOW)
    assert [value for _, value, _ in stored(first)] == [3.0, 5.0]
    assert [value for _, value, _ in stored(middle)] == [30.0, 50.0]
    assert [value for _, value, _ in stored(last)] == [31.0, 52.0]


def test_each_reading_takes_the_calibration_of_its_time(bench: Edge, bath: Instrument) -> None:
    true = calibrated(
        bath, "a", (-50, "polynomial", [0.5]), (-20, "table", [[10.0, 11.0], [0.0, 0.0], [20.0, 21.0]])
    )
    told = [(-60.0, 5.0), (-50, 5.0), (-20.000001, 5.0), (-20, 5.0), (-3, 30.0), (-2, -1.0), (-1, 20.0)]
    sent = rows(bath, *((time, {"a": value}) for time, value in told), (0, {"a": (None, BAD)}))
    pipeline.ingest(bench, parcel(sent), NOW)
    assert stored(true) == [
        (-60, 5.0, UNCERTAIN),
        (-50, 0.5, 0),
        (-20.000001, 0.5, 0),
        (-20, 5.5, 0),
        (-3, 31.0, UNCERTAIN),
        (-2, -1.1, UNCERTAIN),
        (-1, 21.0, 0),
        (0, None, BAD),
    ]
    assert [value for _, value, _ in stored(bath.channels.get(key="a"))] == [
        *(value for _, value in told),
        None,
    ]


def test_many_instruments_of_one_formula_are_told_apart(bench: Edge) -> None:
    baths = [instrument(bench, f"bath {number}") for number in range(3)]
    sums = [derived(bath, "sum", "a + b") for bath in baths]
    batches = [
        rows(bath, (-2, {"a": 10.0 * n, "b": 1.0}), (-1, {"a": 20.0 * n, "b": 2.0}))
        for n, bath in enumerate(baths)
    ]
    pipeline.ingest(bench, parcel(*batches), NOW)
    assert [[value for _, value, _ in stored(channel)] for channel in sums] == [[1, 2], [11, 22], [21, 42]]


def test_a_stamp_that_came_twice_is_paired_in_its_order(bench: Edge, bath: Instrument) -> None:
    total = derived(bath, "total", "a + c")
    sent = rows(bath, (-2, {"a": 1.0, "c": 10.0}), (-2, {"a": 2.0, "c": 20.0}), (-2, {"a": 3.0}))
    pipeline.ingest(bench, parcel(sent), NOW)
    assert stored(total) == [(-2, 11.0, 0), (-1.999999, 22.0, 0)]


def test_a_demo_instruments_computed_readings_are_kept_with_its_others(bench: Edge) -> None:
    demo = instrument(bench, "demo", demo=True)
    total = derived(demo, "total", "a + b", retention="demo")
    pipeline.ingest(bench, parcel(rows(demo, (-1, {"a": 1.0, "b": 2.0}))), NOW)
    assert stored(total, SampleDemo) == [(-1, 3.0, 0)]


def test_a_change_of_the_formula_is_heard_and_alters_nothing_that_is_stored(
    bench: Edge, bath: Instrument
) -> None:
    total = derived(bath, "total", "a + c")
    told = rows(bath, (-2, {"a": 1.0, "c": 10.0}), flags=int(Flag.INSTRUMENT_TIME))
    pipeline.ingest(bench, parcel(told), NOW)
    ComputedChannel.objects.update(formula="a - c")
    more = rows(
        bath, (-2, {"a": 1.0, "c": 10.0}), (-1, {"a": 1.0, "c": 10.0}), flags=int(Flag.INSTRUMENT_TIME)
    )
    pipeline.ingest(bench, parcel(more, first=2), NOW)
    own = int(Flag.INSTRUMENT_TIME)
    assert stored(total) == [(-2, 11.0, own), (-1, -9.0, own)]


def test_nobody_brings_readings_of_a_computed_channel(bench: Edge, bath: Instrument) -> None:
    total = derived(bath, "total", "a + c")
    outcome = pipeline.ingest(bench, parcel(rows(bath, (-2, {"a": 1.0, "c": 2.0, "total": 99.0}))), NOW)
    assert outcome.stored == [1]
    assert stored(total) == [(-2, 3.0, 0)]
    rejected = RejectedBatch.objects.get()
    assert "1 readings refused" in rejected.reason
    ComputedChannel.objects.filter(channel=total).update(formula="a * c")
    assert "refused" in pipeline.reingest(rejected, NOW)
    assert stored(total) == [(-2, 3.0, 0)]


@pytest.mark.parametrize("formula", ["a + gone", "a +", "y * 2"], ids=["no channel", "no formula", "a ring"])
def test_what_cannot_be_computed_holds_up_nothing(bench: Edge, bath: Instrument, formula: str) -> None:
    wrong = derived(bath, "x", formula)
    derived(bath, "y", "x + a")
    right = derived(bath, "z", "a + c")
    pipeline.ingest(bench, parcel(rows(bath, (-2, {"a": 1.0, "c": 2.0}))), NOW)
    assert (stored(right), stored(wrong)) == ([(-2, 3.0, 0)], [])


def test_batches_and_orders_of_delivery_make_no_difference(bench: Edge, bath: Instrument) -> None:
    total = derived(bath, "total", "a + c")
    batches = [rows(bath, (-9 + n, {"a": float(n), "c": 1.0})) for n in range(5)]
    for first in (3, 1, 4, 2, 5, 1):
        pipeline.ingest(bench, parcel(batches[first - 1], first=first, track="backlog"), NOW)
    assert stored(total) == [(-9 + n, n + 1.0, 0) for n in range(5)]
