"""Ingest, end to end through the pipeline on a real PostgreSQL."""

import pytest

from devices.models import Channel, Edge, Latest
from labsite import pipeline
from telemetry.models import Gap, RejectedBatch, Sample, SampleDemo, SampleFar
from tests.telemetry.factories import NOW, at, batch, edge, instrument, moment, parcel

pytestmark = pytest.mark.django_db


def stored(key: str = "a") -> list[tuple[float, float | None]]:
    """(seconds from now, value) of what is in the table."""
    channel = Channel.objects.get(key=key)
    rows = Sample.objects.filter(channel_id=channel.pk).order_by("time")
    return [((row.time - NOW).total_seconds(), row.value) for row in rows]


def test_a_parcel_is_stored_and_shown() -> None:
    bench = edge()
    bath = instrument(bench)
    outcome = pipeline.ingest(bench, parcel(batch(bath, "a", (at(-2), 1.0), (at(-1), None))), NOW)
    assert stored() == [(-2, 1.0), (-1, None)]
    assert (outcome.stored, outcome.rejected, outcome.through, outcome.readings) == ([1], {}, 1, 2)
    latest = Latest.objects.get()
    assert (latest.time, latest.value, latest.stored_at) == (moment(-1), None, NOW)
