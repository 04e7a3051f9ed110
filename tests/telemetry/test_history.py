"""Questions about what was measured."""

import math
from datetime import timedelta

import pytest
from django.utils import timezone

from devices.models import Channel
from labsite import pipeline
from telemetry import history
from tests.telemetry.factories import NOW, batch, edge, instrument, parcel
from tests.telemetry.readings import rolled_up

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("demo", [False, True], ids=["standard", "demo"])
def test_a_page_of_samples_begins_where_it_is_asked_to(demo: bool) -> None:
    bench = edge()
    bath = instrument(bench, demo=demo)
    now = timezone.now()
    start = round(now.timestamp()) * 1_000_000 - 100_000_000
    pipeline.ingest(bench, parcel(batch(bath, "a", *[(start + n, float(n)) for n in range(10)])), now)
    begin = now - timedelta(seconds=200)
    channel = Channel.objects.get(key="a")
    first = history.samples(channel, begin, now, 4)
    assert [row.value for row in first] == [0, 1, 2, 3]
    after = first[-1].time + timedelta(microseconds=1)
    assert [row.value for row in history.samples(channel, after, now, 4)] == [4, 5, 6, 7]
    assert history.samples(channel, begin, first[0].time, 4) == []


def test_a_short_series_is_whole() -> None:
    bench = edge()
    bath = instrument(bench)
    now = timezone.now()
    start = round(now.timestamp()) * 1_000_000 - 600_000_000
    sent: list[tuple[int, float | None]] = [(start + n * 60_000_000, n if n != 3 else None) for n in range(9)]
    pipeline.ingest(bench, parcel(batch(bath, "a", *sent)), now)
    channels = list(bath.channels.order_by("key"))
    series = history.recent(channels, now - timedelta(hours=1), now).points
    assert series[channels[0].pk] == ([time // 1000 for time, _ in sent], [value for _, value in sent])
    assert series[channels[1].pk] == ([], [])


def test_a_long_series_is_thinned_and_keeps_its_peaks_and_faults() -> None:
    bench = edge()
    bath = instrument(bench)
    now = timezone.now()
    start = round(now.timestamp()) * 1_000_000 - 3_500_000_000
    sent: list[tuple[int, float | None]] = [(start + n * 1_000_000, 1.0 + n % 2) for n in range(3400)]
    sent[1234] = (sent[1234][0], 99.0)
    sent[2222] = (sent[2222][0], None)
    pipeline.ingest(bench, parcel(batch(bath, "a", *sent)), now)
    channel = Channel.objects.get(key="a")
    recent = history.recent([channel], now - timedelta(hours=1), now, points=200)
    times, values = recent.points[channel.pk]
    assert recent.apart == timedelta(seconds=36)
    assert 180 < len(times) <= 201
    assert times == sorted(times)
    assert set(values) == {1.0, 2.0, 99.0, None}


def test_a_course_of_days_is_drawn_from_roll_ups() -> None:
    """And keeps its peaks and faults, and what is not rolled up yet."""
    made = rolled_up()
    since = NOW - timedelta(days=2)
    recent = history.recent(made.channels, since, NOW, points=100)
    assert recent.apart == timedelta(hours=1)
    times, values = recent.points[made.number.pk]
    assert times == sorted(times)
    assert len(times) <= 3 * 50
    numbers = [value for value in values if value is not None]
    stored = [
        value
        for time, value, number, quality, _ in made.all
        if number == made.number.pk and quality & 3 < 2 and value is not None and math.isfinite(value)
    ]
    assert (min(numbers), max(numbers)) == (min(stored), max(stored))
    assert len(numbers) < len(values)
