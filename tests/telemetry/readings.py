"""Random readings of some channels, rolled up in part, and what a series of them must say."""

import math
import random
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from devices.models import Channel
from devices.readings import Quality
from telemetry import partitions
from telemetry.models import DirtyBucket, RollupMark
from telemetry.series.choice import HOUR, MINUTE
from tests.telemetry.factories import NOW, edge, instrument

DAY = timedelta(days=1)
PUBLISHED = {"minute": NOW - timedelta(minutes=7), "hour": NOW - timedelta(hours=3)}

# What a roll-up of these readings is; said here once more, by the words of the design.
ROLL_UP = """
INSERT INTO rollup_{width} (channel_id, bucket, n, bad, min, max, sum, last, text)
SELECT channel_id, date_trunc('{width}', time, 'UTC'), count(fit), count(*) FILTER (WHERE quality & 3 = 2),
    min(number), max(number), sum(number),
    (array_agg(number ORDER BY time DESC) FILTER (WHERE number IS NOT NULL))[1],
    (array_agg(word ORDER BY time DESC) FILTER (WHERE word IS NOT NULL))[1]
FROM (
    SELECT *, coalesce(number::text, word) AS fit FROM (
        SELECT *, CASE WHEN quality & 3 < 2 AND abs(value) < 'infinity' THEN value END AS number,
            CASE WHEN quality & 3 < 2 AND channel_id = %(words)s THEN text END AS word FROM samples
    ) AS s
) AS s WHERE time < %(published)s GROUP BY 1, 2
"""


class Readings:
    """Readings of three channels (numbers, a switch, words), and what a series of them must say."""

    def __init__(self) -> None:
        bath = instrument(edge(), keys=("number", "switch", "words"))
        for key, kind in (("switch", "bool"), ("words", "text")):
            bath.channels.filter(key=key).update(kind=kind)
        self.channels = list(bath.channels.select_related("instrument").order_by("pk"))
        self.number, self.switch, self.words = self.channels
        self.random = random.Random(7)
        self.all: list[tuple[datetime, float | None, int, int, str | None]] = []

    def add(self, count: int, first: datetime, last: datetime) -> list[tuple[int, datetime]]:
        """Random readings of all channels, stored as ingest does; for each its channel and time."""
        rows = {
            (channel.pk, first + (last - first) * self.random.random()): self._reading(channel)
            for channel in self.channels
            for _ in range(count)
        }
        stored = [
            (time, value, number, quality, text) for (number, time), (value, quality, text) in rows.items()
        ]
        partitions.ensure(partitions.holding("sample", time.date()) for _number, time in rows)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO sample (time, value, channel_id, quality, text) VALUES (%s, %s, %s, %s, %s)",
                stored,
            )
        self.all += stored
        return list(rows)

    def _reading(self, channel: Channel) -> tuple[float | None, int, str | None]:
        chance = self.random.random()
        if chance < 0.1:
            return None, Quality.BAD, "open circuit"
        if channel == self.words:
            return None, Quality.GOOD, self.random.choice(("idle", "heating"))
        if channel == self.switch:
            return float(chance > 0.5), Quality.GOOD, None
        if chance < 0.13:
            return self.random.choice((math.inf, -math.inf, math.nan, 3.0)), Quality.UNCERTAIN, None
        return self.random.gauss(20, 5), Quality.GOOD, None

    def roll_up(self) -> None:
        """Fill the roll-ups from what is stored now, as far as they are published."""
        days = {time.date() for time, *_ in self.all}
        for width, published in PUBLISHED.items():
            partitions.ensure(partitions.holding(f"rollup_{width}", day) for day in days)
            with connection.cursor() as cursor:
                cursor.execute(ROLL_UP.format(width=width), {"words": self.words.pk, "published": published})
            RollupMark.objects.create(width=width, closing=published + MINUTE, published=published)

    def late(self, count: int, first: datetime, last: datetime) -> None:
        """Readings that come after their roll-ups were made, with their marks."""
        for number, time in self.add(count, first, last):
            if time < PUBLISHED["minute"]:
                DirtyBucket.objects.create(channel_id=number, bucket=time.replace(second=0, microsecond=0))

    def said(
        self, channel: Channel, start: datetime, end: datetime, width: timedelta
    ) -> list[tuple[Any, ...]]:
        """What buckets of this channel must say: time, n, bad, least, greatest, mean, last, text."""
        by_bucket: dict[datetime, list[tuple[Any, ...]]] = defaultdict(list)
        for reading in sorted(self.all):
            if reading[2] == channel.pk and start <= reading[0] < end:
                by_bucket[start + (reading[0] - start) // width * width].append(reading)
        told = [self._bucket(channel, at, found) for at, found in sorted(by_bucket.items())]
        return [bucket for bucket in told if bucket[1] + bucket[2]]

    def _bucket(self, channel: Channel, at: datetime, found: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        fit = [reading for reading in found if reading[3] & 3 != Quality.BAD]
        words = [text for *_, text in fit if text is not None] if channel == self.words else []
        numbers = [value for _, value, *_ in fit if value is not None and math.isfinite(value)]
        told = (min(numbers), max(numbers), sum(numbers) / len(numbers)) if numbers else (None, None, None)
        last = numbers[-1] if numbers and channel == self.switch else None
        n = len(words or numbers)
        return (at.timestamp() * 1000, n, len(found) - len(fit), *told, last, words[-1] if words else None)


def rolled_up() -> Readings:
    """Those of two days, of which some came late and some are not rolled up yet."""
    made = Readings()
    made.add(600, NOW - 2 * DAY, NOW - 2 * HOUR)
    made.add(200, NOW - 2 * HOUR, NOW)
    made.roll_up()
    made.late(60, NOW - 2 * DAY, NOW - HOUR)
    made.add(60, PUBLISHED["minute"], NOW)
    return made
