"""Storage policies through the pipeline: what is stored, what is counted, and what charts then show."""

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from django.conf import settings as configured
from django.db import OperationalError, transaction
from hypothesis import HealthCheck, given, settings, strategies as st

from devices.models import Channel, Edge, Instrument, Latest
from devices.readings import Flag, Quality
from devices.wire import Batch, VectorRow
from labsite import pipeline
from telemetry import latest, rollups
from telemetry.models import PolicyState, RejectedBatch, Sample, StoragePolicy, Unstored, VectorSample
from telemetry.thinning import policies, sifting
from tests.telemetry.factories import NOW, at, batch, edge, instrument, moment, new_spool, parcel

pytestmark = pytest.mark.django_db

CHANGE, DEAD_BAND = StoragePolicy.Mode.CHANGE, StoragePolicy.Mode.DEAD_BAND
Reading = tuple[float | None, int, str | None]  # value, quality, text


@pytest.fixture
def bench() -> Edge:
    return edge()


@pytest.fixture
def bath(bench: Edge) -> Instrument:
    return instrument(bench)


def policy(
    of: Instrument, mode: str = DEAD_BAND, band: float = 0.5, heartbeat: float = 100.0, key: str = "a"
) -> Channel:
    channel: Channel = of.channels.get(key=key)
    StoragePolicy.objects.create(channel=channel, mode=mode, dead_band=band, heartbeat=heartbeat)
    return channel


def of_one(of: Instrument, key: str, readings: Mapping[float, Reading], flags: int = 0) -> Batch:
    """A batch of readings of one channel, by their seconds from now."""
    made = Batch([str(of.pk)], [[key]], [], [], [], {})
    before = 0
    for number, (seconds, (value, quality, text)) in enumerate(readings.items()):
        made.rows.extend([0, 0, at(seconds) - before])
        before = at(seconds)
        made.values.append(value)
        assert made.qualities is not None
        made.qualities.append(quality | flags)
        if text is not None:
            made.texts[str(number)] = text
    return made


def told(
    bench: Edge, of: Instrument, values: Sequence[float | None], first: int = 1, track: str = "live"
) -> None:
    """One reading a second and a batch, from a minute ago on."""
    batches = [batch(of, "a", (at(-60 + first + n), value)) for n, value in enumerate(values)]
    pipeline.ingest(bench, parcel(*batches, first=first, track=track), NOW)


def stored(channel: Channel) -> list[tuple[float, float | None]]:
    rows = Sample.objects.filter(channel_id=channel.pk).order_by("time")
    return [((row.time - NOW).total_seconds(), row.value) for row in rows]


def unstored(channel: Channel) -> int:
    return sum(Unstored.objects.filter(channel=channel).values_list("n", flat=True))


def times(channel: Channel) -> list[float]:
    return [time for time, _ in stored(channel)]


# ---- what is stored


def test_within_the_dead_band_nothing_is_stored_and_before_a_jump_the_last_value_is(
    bench: Edge, bath: Instrument
) -> None:
    channel = policy(bath)
    for first, value in enumerate([20.0, 20.5, 19.5, 20.4, 21.0, 21.2, 20.4], 1):
        told(bench, bath, [value], first)
    assert stored(channel) == [(-59, 20.0), (-56, 20.4), (-55, 21.0), (-54, 21.2), (-53, 20.4)]
    assert unstored(channel) == 2
    assert Latest.objects.get(channel=channel).value == 20.4


def test_on_change_only_what_differs_is_stored(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath, CHANGE)
    told(bench, bath, [1.0, 1.0, 1.0, 2.0, 2.0, 1.0])
    assert stored(channel) == [(-59, 1.0), (-57, 1.0), (-56, 2.0), (-55, 2.0), (-54, 1.0)]
    assert unstored(channel) == 1


def test_many_channels_at_once_are_as_one(bench: Edge) -> None:
    keys = [f"k{number}" for number in range(2 * sifting.FEW)]
    bath = instrument(bench, keys=keys)
    channels = [policy(bath, band=0.5, heartbeat=3.0, key=key) for key in keys]
    for first, value in enumerate([1.0, 1.5, 1.2, 1.2, 3.0, 3.0], 1):
        row = Batch([str(bath.pk)], [keys], [0, 0, at(-60 + first)], [value] * len(keys))
        pipeline.ingest(bench, parcel(row, first=first), NOW)
    for channel in channels:
        assert stored(channel) == [(-59, 1.0), (-56, 1.2), (-55, 3.0)]
        assert unstored(channel) == 3


def test_after_a_heartbeat_a_reading_is_stored_though_nothing_changed(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath, heartbeat=3.0)
    for first in range(1, 9):
        told(bench, bath, [1.0], first)
    assert times(channel) == [-59, -56, -53]
    assert unstored(channel) == 5


READINGS: dict[float, Reading] = {
    -9: (1.0, 0, None),
    -8: (1.0, Quality.UNCERTAIN, None),
    -7: (1.0, Quality.UNCERTAIN, None),
    -6: (None, Quality.BAD, None),
    -5: (None, Quality.BAD, None),
    -4: (None, Quality.BAD, "open"),
    -3: (None, Quality.BAD, "open"),
    -2: (1.0, 0, None),
}


def test_each_change_of_quality_or_text_is_stored(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath, heartbeat=3600.0)
    pipeline.ingest(bench, parcel(of_one(bath, "a", READINGS)), NOW)
    assert times(channel) == list(READINGS)


def test_texts_compare_as_texts(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath, CHANGE)
    words = {
        float(n): (None, 0, word) for n, word in enumerate(["idle", "idle", "idle", "Idle", "idle "], -9)
    }
    pipeline.ingest(bench, parcel(of_one(bath, "a", words)), NOW)
    assert times(channel) == [-9, -7, -6, -5]


def test_vectors_are_stored_on_change(bench: Edge) -> None:
    qpcr = instrument(bench, "qpcr", keys=())
    channel = Channel.objects.create(instrument=qpcr, key="wells", label="wells", kind="vector")
    StoragePolicy.objects.create(channel=channel, mode=CHANGE, heartbeat=3600.0)
    said: list[list[float | None]] = [
        [1.0, 2.0],
        [1.0, 2.0],
        [1.0, 2.0],
        [1.0, None],
        [1.0, None],
        [1.0, 2.0],
    ]
    for first, values in enumerate(said, 1):
        row = VectorRow(0, "wells", at(-60 + first), values, -1, 0)
        pipeline.ingest(bench, parcel(Batch([str(qpcr.pk)], [], [], [], vectors=[row]), first=first), NOW)
    found = VectorSample.objects.order_by("time").values_list("time", flat=True)
    assert [(time - NOW).total_seconds() for time in found] == [-59, -56, -54]
    assert unstored(channel) == 3


def test_what_is_far_off_is_no_part_of_it(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath)
    for first, seconds in enumerate([-3.0, 9000.0, -2.0], 1):
        pipeline.ingest(bench, parcel(batch(bath, "a", (at(seconds), 1.0)), first=first), NOW)
    assert times(channel) == [-3]
    assert PolicyState.objects.get().held_time == moment(-2)


def test_sinks_and_roll_ups_hear_of_what_is_stored(
    bench: Edge, bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy(bath)
    heard: list[int] = []
    monkeypatch.setattr(rollups, "mark", lambda columns, closing: heard.append(len(columns)))
    told(bench, bath, [1.0, 1.1, 1.2, 5.0])
    assert heard == [3, 0]


def test_counts_are_kept_as_long_as_hours_are(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath)
    for days in (0, configured.HOUR_RETENTION_DAYS - 1, configured.HOUR_RETENTION_DAYS + 1):
        Unstored.objects.create(channel=channel, bucket=NOW - timedelta(days=days), n=1)
    policies.forget_old(NOW)
    assert unstored(channel) == 2


# ---- where it stands


def test_it_goes_on_where_it_stood_in_another_process(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath)
    for first, value in enumerate([1.0, 1.1, 1.2, 9.0], 1):
        told(bench, bath, [value], first)
        pipeline._forget(bench.pk)
    assert times(channel) == [-59, -57, -56]


def test_what_is_rolled_back_leaves_no_trace(
    bench: Edge, bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = policy(bath)
    told(bench, bath, [1.0, 1.1])

    def broken(*_: Any) -> None:
        raise OperationalError("the server is gone")

    with monkeypatch.context() as patched:
        patched.setattr(latest, "show", broken)
        with pytest.raises(OperationalError):
            told(bench, bath, [7.0, 7.1], 3)
    assert (times(channel), unstored(channel)) == ([-59], 1)
    told(bench, bath, [1.2, 7.0], 3)
    assert (times(channel), unstored(channel)) == ([-59, -57, -56], 1)


def test_a_batch_that_cannot_be_stored_costs_its_companions_nothing(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath)
    wrong = of_one(bath, "b", {})
    same_time = batch(bath, "b", *[(at(-2), float(n)) for n in range(102)])
    batches = [batch(bath, "a", (at(-9), 1.0)), same_time, batch(bath, "a", (at(-8), 1.1)), wrong]
    outcome = pipeline.ingest(bench, parcel(*batches), NOW)
    assert list(outcome.rejected) == [2]
    assert (times(channel), unstored(channel)) == ([-9], 1)


def test_after_an_outage_first_and_last_of_each_side_are_stored(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath)
    told(bench, bath, [1.0, 1.1, 1.2], 1)
    told(bench, bath, [1.3, 1.2, 1.4], 7)
    assert times(channel) == [-59, -57, -53]
    told(bench, bath, [1.3, 9.0, 9.1], 4, track="backlog")
    assert times(channel) == [-59, -57, -56, -55, -54, -53, -51]
    told(bench, bath, [1.4], 10)
    assert times(channel)[-1] == -50
    assert unstored(channel) == 2


def test_where_something_is_missing_no_channel_goes_on(bench: Edge, bath: Instrument) -> None:
    """Also those that the next batch says nothing of: the missing one may."""
    channel = policy(bath, key="b")
    for first, value in ((1, 0.0), (2, 0.1)):
        pipeline.ingest(bench, parcel(batch(bath, "b", (at(-60 + first), value)), first=first), NOW)
    pipeline._forget(bench.pk)
    told(bench, bath, [1.0], 4)
    assert times(channel) == [-59, -58]
    pipeline.ingest(bench, parcel(batch(bath, "b", (at(-55), 0.2)), first=5), NOW)
    pipeline.ingest(bench, parcel(batch(bath, "b", (at(-57), 9.0)), first=3, track="backlog"), NOW)
    assert times(channel) == [-59, -58, -57, -55]


def test_a_history_told_again_is_counted_once(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath, CHANGE)
    history: dict[float, Reading] = {float(n): (1.0, 0, None) for n in range(-9, 0)}
    for first in (1, 2, 3):
        sent = of_one(bath, "a", history, int(Flag.INSTRUMENT_TIME))
        pipeline.ingest(bench, parcel(sent, first=first), NOW)
        assert len(times(channel)) + unstored(channel) == len(history)


def test_a_rejected_batch_tried_again_is_looked_at_by_itself(bench: Edge, bath: Instrument) -> None:
    channel = policy(bath)
    told(bench, bath, [1.0, 1.1], 2)
    unknown = instrument(edge("other"), "elsewhere")
    sent = Batch([str(unknown.pk)], [["a"]], [0, 0, at(-5)], [1.0])
    pipeline.ingest(bench, parcel(sent), NOW)
    assert "refused" in pipeline.reingest(RejectedBatch.objects.get(), NOW)
    assert times(channel) == [-58]


# ---- what charts show

SECONDS = 12


class Told(NamedTuple):
    """One reading of the random lab."""

    time: int
    value: float | None
    quality: int
    text: str | None


VALUES = st.one_of(
    st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0, 1.1, 5.0]).map(lambda value: (value, 0, None)),
    st.sampled_from([(None, 2, None), (0.5, 1, None), (None, 0, "a"), (None, 0, "b")]),
)
SERIES = st.lists(st.one_of(st.none(), VALUES), min_size=4, max_size=24)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    series=SERIES,
    other=SERIES,
    band=st.sampled_from([0.0, 0.5]),
    heartbeat=st.sampled_from([4.0, 1000.0]),
    chance=st.randoms(use_true_random=False),
)
def test_a_chart_of_what_is_stored_is_true_to_every_reading(
    monkeypatch: pytest.MonkeyPatch,
    series: list[Reading | None],
    other: list[Reading | None],
    band: float,
    heartbeat: float,
    chance: random.Random,
) -> None:
    """Batches of two channels in any order, in any bundles, on either track, some of them again."""
    monkeypatch.setattr(sifting, "FEW", chance.choice((1, 100)))
    with transaction.atomic():
        bench = edge()
        bath = instrument(bench)
        mode = DEAD_BAND if band else CHANGE
        channels = {key: policy(bath, mode, band, heartbeat, key) for key in ("a", "b")}
        by_key = {"a": series, "b": other}
        batches = [_second(bath, number, by_key) for number in range(max(len(series), len(other)))]
        for sent in _bundles(batches, chance, new_spool()):
            pipeline.ingest(bench, sent, NOW)
        for key, channel in channels.items():
            readings = [Told(number, *each) for number, each in enumerate(by_key[key]) if each is not None]
            _compare(channel, readings, band, heartbeat)
        transaction.set_rollback(True)


def _second(bath: Instrument, number: int, by_key: dict[str, list[Reading | None]]) -> Batch:
    made = Batch([str(bath.pk)], [], [], [], [], {})
    for key, series in by_key.items():
        if number < len(series) and (reading := series[number]) is not None:
            assert made.qualities is not None
            made.rows.extend([0, len(made.keysets), 0 if made.rows else at(-600 + number)])
            made.keysets.append([key])
            if reading[2] is not None:
                made.texts[str(len(made.values))] = reading[2]
            made.values.append(reading[0])
            made.qualities.append(reading[1])
    return made


def _bundles(batches: list[Batch], chance: random.Random, spool: str) -> list[Any]:
    """Mostly as an edge sends: live in order, some later as backlog, what is not acknowledged again."""
    starts, found = list(range(len(batches))), []
    if chance.random() < 0.3:
        chance.shuffle(starts)
    late = [start for start in starts if chance.random() < 0.3]
    for start in [each for each in starts if each not in late] + late:
        end = start + chance.randint(1, 3)
        track = "backlog" if start in late else chance.choice(["live", "live", "live", "backlog"])
        found.append(parcel(*batches[start:end], first=start + 1, track=track, spool=spool))
    for _ in range(3):
        found.insert(chance.randrange(len(found) + 1), chance.choice(found))
    return found


def _compare(channel: Channel, readings: list[Told], band: float, heartbeat: float) -> None:
    rows = Sample.objects.filter(channel_id=channel.pk).order_by("time")
    shown = [
        Told(
            round((row.time - NOW + timedelta(seconds=600)).total_seconds()), row.value, row.quality, row.text
        )
        for row in rows
    ]
    assert len(set(shown)) == len(shown), "nothing is stored twice"
    assert set(shown) <= set(readings), "nothing is made up"
    assert len(shown) + unstored(channel) == len(readings), "each is stored or counted"
    places = [each.time for each in shown]
    for reading in readings:
        place = bisect_right(places, reading.time) - 1
        assert place >= 0, "the first is stored"
        before = shown[place]
        assert _apart(before, reading) <= band, "as steps"
        if before.time != reading.time:
            assert reading.time - before.time < heartbeat
            if place + 1 < len(shown):
                assert _apart(_line(before, shown[place + 1], reading.time), reading) <= 2 * band, "as a line"
    assert all(a.time < b.time for a, b in pairwise(shown))


def _apart(shown: Told, reading: Told) -> float:
    if (shown.quality, shown.text) != (reading.quality, reading.text):
        return float("inf")
    if shown.value is None or reading.value is None:
        return 0.0 if shown.value is reading.value else float("inf")
    return round(abs(shown.value - reading.value), 9)


def _line(before: Told, after: Told, time: int) -> Told:
    if before.value is None or after.value is None:
        return before if before[1:] == after[1:] else Told(time, None, -1, None)
    part = (time - before.time) / (after.time - before.time)
    same = before.quality == after.quality
    return Told(
        time, before.value + part * (after.value - before.value), before.quality if same else -1, None
    )
