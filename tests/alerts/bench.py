"""An edge that brings readings, parcel after parcel."""

from datetime import timedelta

from devices.models import Edge, Instrument
from devices.wire import Batch
from labsite import pipeline
from tests.telemetry.factories import NOW, at, batch, edge, instrument, new_spool, parcel


class Bench:
    """An edge with one instrument, whose parcels follow one another."""

    def __init__(self) -> None:
        self.edge: Edge = edge()
        self.bath: Instrument = instrument(self.edge)
        self.spool = new_spool()
        self.next = 1

    def bring(self, *batches: Batch, track: str = "live", late: float = 0.0) -> None:
        sent = parcel(*batches, first=self.next, track=track, spool=self.spool)
        self.next += len(batches)
        pipeline.ingest(self.edge, sent, NOW + timedelta(seconds=late))

    def read(self, *readings: tuple[float, float | None], key: str = "a", track: str = "live") -> None:
        """Readings of one channel, at seconds from NOW."""
        self.bring(batch(self.bath, key, *((at(seconds), value) for seconds, value in readings)), track=track)
