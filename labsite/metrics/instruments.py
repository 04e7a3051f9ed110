"""What instruments say now: each channel's reading with its unit, quality and age."""

import math
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from django.db.models import QuerySet
from prometheus_client.core import Metric

from devices import numbers
from devices.models import Instrument, Latest
from devices.readings import QUALITY_MASK, Quality
from labsite.metrics.families import gauge
from labsite.pages.cards import milliseconds
from labsite.pages.standing import Normal, Now, Standing, State, state

INSTRUMENT = ("instrument", "edge", "driver")
CHANNEL = (*INSTRUMENT, "channel", "unit")
TEXT_MAX = 120  # of a text as a label
FIELDS = (
    "channel_id", "time", "value", "quality", "text", "seen_at",
    "channel__instrument_id", "channel__key", "channel__unit", "channel__kind",
    "channel__low", "channel__high",
)  # fmt: skip


class Row(NamedTuple):
    """A channel's latest reading and what it is of."""

    labels: tuple[str, ...]
    instrument: Instrument
    kind: str
    normal: Normal
    now: Now

    @property
    def number(self) -> float | None:
        """What can be shown as the present: a bad reading's last value is not."""
        value = self.now.value
        return value if not self.now.bad and value is not None and math.isfinite(value) else None


class Instruments:
    """A collector of those instruments that a question names."""

    def __init__(self, instruments: QuerySet[Instrument], at: datetime) -> None:
        self._instruments = {each.pk: each for each in instruments.select_related("edge")}
        self._at = at.timestamp()

    def collect(self) -> Iterator[Metric]:
        rows = list(self._rows())
        yield from self._channels(rows)
        yield from self._states(rows)

    def _rows(self) -> Iterator[Row]:
        found = Latest.objects.filter(channel__instrument__in=self._instruments).order_by("channel_id")
        for channel, time, value, quality, text, seen, owner, key, unit, kind, *normal in found.values_list(
            *FIELDS
        ):
            instrument = self._instruments[owner]
            yield Row(
                (*labels_of(instrument), key, numbers.unit(unit)),
                instrument,
                kind,
                Normal(*normal),
                Now(channel, milliseconds(time), value, quality, text, milliseconds(seen)),
            )

    def _channels(self, rows: list[Row]) -> Iterator[Metric]:
        yield gauge(
            "labsite_reading",
            "The latest reading of a channel, while it is good or uncertain",
            ((row.labels, row.number) for row in rows),
            CHANNEL,
        )
        yield gauge(
            "labsite_reading_age_seconds",
            "How old what a channel shows is",
            ((row.labels, self._at - row.now.read / 1000) for row in rows),
            CHANNEL,
        )
        yield gauge(
            "labsite_reading_quality",
            "0 good, 1 uncertain, 2 bad",
            ((row.labels, row.now.quality & QUALITY_MASK) for row in rows),
            CHANNEL,
        )
        yield gauge(
            "labsite_reading_text",
            "1 beside the words that a channel says now",
            (((*row.labels, (row.now.text or "")[:TEXT_MAX]), 1) for row in rows if self._says(row)),
            (*CHANNEL, "text"),
        )

    def _says(self, row: Row) -> bool:
        return row.kind == "text" and row.now.quality & QUALITY_MASK != Quality.BAD and bool(row.now.text)

    def _states(self, rows: list[Row]) -> Iterator[Metric]:
        states = list(self._judged(rows))
        yield gauge(
            "labsite_instrument_connected",
            "1 while an instrument in service answers",
            ((labels_of(each), found.key not in ("gone", "silent", "new", "out")) for each, found in states),
            INSTRUMENT,
        )
        yield gauge(
            "labsite_instrument_in_service",
            "1 while an instrument is to be polled",
            ((labels_of(each), each.in_service) for each, _found in states),
            INSTRUMENT,
        )
        yield gauge(
            "labsite_instrument_interval_seconds",
            "Between polls",
            ((labels_of(each), each.interval) for each, _found in states),
            INSTRUMENT,
        )

    def _judged(self, rows: list[Row]) -> Iterator[tuple[Instrument, State]]:
        """How each instrument stands, as the pages say it."""
        of: dict[object, list[Row]] = {pk: [] for pk in self._instruments}
        for row in rows:
            of[row.instrument.pk].append(row)
        for pk, instrument in self._instruments.items():
            standing = Standing.of((row.normal, row.kind, row.now) for row in of[pk])
            age = round((self._at - instrument.created_at.timestamp()) * 1000)
            yield (
                instrument,
                state(
                    standing,
                    in_service=instrument.in_service,
                    interval=instrument.interval,
                    age=age,
                    now=round(self._at * 1000),
                ),
            )


def labels_of(instrument: Instrument) -> tuple[str, str, str]:
    return instrument.name, instrument.edge.name, instrument.driver
