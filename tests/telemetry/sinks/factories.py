"""Sinks, and what is stored for them, in tests."""

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from devices.models import Instrument
from devices.services import OPERATOR
from labsite import pipeline
from telemetry.models import Sink
from telemetry.sinks import editing
from tests.telemetry.factories import batch, new_spool, parcel


def sink(url: str, name: str = "copy", **more: Any) -> Sink:
    """A sink that starts at the present, written to at once."""
    described: dict[str, Any] = {"bucket": "lab", "flush_interval": 0.1, **more}
    return editing.save_sink(Sink(name=name, url=url, **described), OPERATOR)


def now_us() -> int:
    """The present, in whole ms, which every server keeps."""
    return round(timezone.now().timestamp() * 1000) * 1000


def stored(of: Instrument, key: str, values: Sequence[float | None], *, since: int | None = None) -> int:
    """Ingest readings of one channel, a ms apart; returns the time of the first."""
    first = now_us() - 60_000_000 if since is None else since
    readings = [(first + 1000 * place, value) for place, value in enumerate(values)]
    one = parcel(batch(of, key, *readings), spool=new_spool())
    outcome = pipeline.ingest(of.edge, one, timezone.now())
    assert not outcome.rejected
    return first
