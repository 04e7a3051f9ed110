"""Edges, instruments and parcels for tests of ingest."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db import connection

from devices.models import Channel, Edge, Instrument
from devices.wire import Batch, Parcel, as_text, pack

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NOW_US = 1_795_176_000_000_000


def at(seconds: float) -> int:
    """So many seconds from now, as messages carry it."""
    return NOW_US + round(seconds * 1_000_000)


def moment(seconds: float) -> datetime:
    """So many seconds from now, as the database carries it."""
    return NOW + timedelta(seconds=seconds)


def edge(name: str = "bench") -> Edge:
    return Edge.objects.create(name=name)


def instrument(
    on: Edge, name: str = "bath", keys: Sequence[str] = ("a", "b"), *, demo: bool = False
) -> Instrument:
    made = Instrument.objects.create(
        name=name, driver="thermostat", edge=on, address="tcp://127.0.0.1:1", demo=demo
    )
    for key in keys:
        Channel.objects.create(instrument=made, key=key, label=key, retention="demo" if demo else "standard")
    return made


def batch(of: Instrument, key: str, *readings: tuple[int, float | None]) -> Batch:
    """Readings of one channel: (time in µs, value)."""
    rows: list[int] = []
    before = 0
    for time, _ in readings:
        rows += [0, 0, time - before]
        before = time
    return Batch(
        instruments=[str(of.pk)], keysets=[[key]], rows=rows, values=[value for _, value in readings]
    )


def parcel(
    *batches: Batch | str,
    first: int = 1,
    track: str = "live",
    spool: str = "6f1d9d2c-52f1-4d0f-9a52-61b7c6a8a001",
    shift: int = 0,
    kept_from: int = 0,
) -> Parcel:
    """Consecutive batches of one spool; a text is taken as it is."""
    return Parcel(
        spool=spool,
        track=track,
        sequences=list(range(first, first + len(batches))),
        shifts=[shift] * len(batches),
        batches=[each if isinstance(each, str) else as_text(pack(each)) for each in batches],
        sent_mono=0,
        kept_from=kept_from,
    )


def new_spool() -> str:
    return str(uuid.uuid4())


def url() -> str:
    """The test database, for a connection of psycopg's own."""
    words = connection.settings_dict
    return (
        f"host={words['HOST']} port={words['PORT']} dbname={words['NAME']}"
        f" user={words['USER']} password='{words['PASSWORD']}'"
    )
