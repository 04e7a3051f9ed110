"""Readings on their way through storage policies, in the transaction that stores them.

The live track remembers in the database where each channel stands. What comes otherwise (backlog, pushes,
what is tried again) is looked at within its parcel alone: first and last of it are stored, and the live track
begins anew.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from math import isnan, nan
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from django.db import connection

from devices.models import Channel
from telemetry import deliveries, outbox, policies, rollups, store
from telemetry.beside import StoredVector
from telemetry.columns import Columns, joined
from telemetry.models import PolicyState
from telemetry.policies import Point, Policy, Sieve, Stand
from telemetry.times import microseconds, moment

# How many were received and not stored; less those that are stored after all.
COUNT = """
INSERT INTO unstored (channel_id, bucket, n)
SELECT * FROM unnest(%s::int4[], %s::timestamptz[], %s::int4[])
ON CONFLICT (channel_id, bucket) DO UPDATE SET n = unstored.n + EXCLUDED.n
"""
UNCOUNTED = 1 << 14  # of a held quality as it is kept: that reading is not among those counted
STATE = ("time", "value", "quality", "text", "held_time", "held_value", "held_quality", "held_text")


class Part(NamedTuple):
    """What batches brought that came one after the other without a hole.

    `live`: by the live track, and nothing newer of their edge is at the centre. `follows`: the batch before
    them is there too, so that nothing of that time is still to come; else no channel of the edge goes on from
    where it stood.
    """

    columns: Columns
    vectors: Sequence[StoredVector] = ()
    live: bool = False
    follows: bool = False

    @property
    def is_apart(self) -> bool:
        """Something is missing just before it."""
        return self.live and not self.follows


def sift(parts: Sequence[Part], ruling: Mapping[int, Policy]) -> tuple[Columns, list[StoredVector]]:
    """What of it is to be stored, with what was held back before and is to be now; moves the states."""
    columns = joined([part.columns for part in parts])
    vectors = [vector for part in parts for vector in part.vectors]
    if not ruling:
        return columns, vectors
    ruled = np.isin(columns.channel, [number for number, policy in ruling.items() if not policy.vector])
    told = {*np.unique(columns.channel[ruled]).tolist(), *(vector.channel for vector in vectors)}
    if any(part.is_apart for part in parts):
        told.update(ruling)
    loaded = _sieves({number: ruling[number] for number in told & ruling.keys()})
    sieves = {number: sieve for number, sieve in loaded.items() if not sieve.policy.vector}
    of_vectors = {number: sieve for number, sieve in loaded.items() if sieve.policy.vector}
    place = vector_place = 0
    for part in parts:
        for sieve in loaded.values() if part.is_apart else ():
            sieve.begin_anew()
        _walk(sieves, _points(part.columns, sieves, place), part)
        _walk(of_vectors, _vector_points(part.vectors, of_vectors, vector_place), part)
        place, vector_place = place + len(part.columns), vector_place + len(part.vectors)
    _save(loaded)
    _count(loaded)
    ruled[[point.place for sieve in sieves.values() for point in sieve.stored if point.place >= 0]] = False
    chosen = {point.place for sieve in of_vectors.values() for point in sieve.stored}
    return (
        joined([columns.take(~ruled), *(_before(sieve, number) for number, sieve in sieves.items())]),
        [each for place, each in enumerate(vectors) if each.channel not in of_vectors or place in chosen],
    )


ByChannel = Iterable[tuple[int, list[Point]]]


def _walk(sieves: Mapping[int, Sieve], found: ByChannel, part: Part) -> None:
    for channel, points in found:
        sieve = sieves[channel]
        if not (part.live and part.follows and points[0].time > sieve.stand.newest):
            sieve.begin_anew()
        sieve.walk(points)
        if not part.live:
            sieve.begin_anew()


def _points(columns: Columns, channels: Collection[int], place: int) -> ByChannel:
    """The readings of these channels in the order of their times; `place`: of the first one of all."""
    order = np.lexsort((columns.time, columns.channel))
    order = order[np.isin(columns.channel[order], list(channels))]
    found = columns.take(order)
    texts = [None] * len(found) if found.text is None else found.text.tolist()
    lists = (each.tolist() for each in (found.time, found.value, found.quality))
    points = map(Point, *lists, texts, (order + place).tolist())
    for channel, group in groupby(zip(found.channel.tolist(), points, strict=True), itemgetter(0)):
        yield channel, [point for _, point in group]


def _vector_points(vectors: Sequence[StoredVector], channels: Collection[int], place: int) -> ByChannel:
    found = sorted(
        (vector.channel, Point(vector.time, nan, vector.quality, _digest(vector), number))
        for number, vector in enumerate(vectors, place)
        if vector.channel in channels
    )
    for channel, group in groupby(found, itemgetter(0)):
        yield channel, [point for _, point in group]


def _digest(vector: StoredVector) -> str:
    """What tells it from others."""
    return sha256(f"{vector.values} {vector.labels}".encode()).hexdigest()


def _before(sieve: Sieve, channel: int) -> Columns:
    """What the parcels before held back, and is to be stored now."""
    return rows([point for point in sieve.stored if point.place < 0], channel, sieve.policy.family)


def rows(points: Sequence[Point], channel: int, family: int) -> Columns:
    """Readings of a channel as columns."""
    texts = np.array([point.text for point in points], object)
    return Columns(
        np.array([point.time for point in points], np.int64),
        np.array([point.value for point in points], np.float64),
        np.full(len(points), channel, np.int32),
        np.array([point.quality for point in points], np.int16),
        np.full(len(points), family, np.int8),
        texts if any(text is not None for text in texts) else None,
    )


# ---- the state


def stands(channels: Collection[int]) -> dict[int, Stand]:
    """Where the live track stands, of those of these channels of which it is remembered."""
    found = PolicyState.objects.filter(channel__in=channels).values_list("channel", *STATE)
    return {channel: _stand(*state) for channel, *state in (found if channels else ())}


def _sieves(ruling: Mapping[int, Policy]) -> dict[int, Sieve]:
    known = stands(ruling)
    return {channel: Sieve(ruling[channel], known.get(channel, Stand())) for channel in sorted(ruling)}


def _stand(*state: Any) -> Stand:
    time, value, quality, text = state[4:]
    held = _point(time, value, quality & ~UNCOUNTED, text) if time else None
    return Stand(_point(*state[:4]), held, counted=not quality & UNCOUNTED)


def _point(time: datetime, value: float | None, quality: int, text: str | None) -> Point:
    return Point(microseconds(time), nan if value is None else value, quality, text)


def forget(channels: Collection[int]) -> None:
    """The live track begins anew with these."""
    if channels:
        PolicyState.objects.filter(channel__in=channels).delete()


def release(channel: Channel, now: datetime) -> None:
    """Store what was held back of a channel last; the live track begins anew with it."""
    if not PolicyState.objects.filter(channel=channel).exists():
        return
    instrument = channel.instrument
    turn = deliveries.turn_of_instrument(instrument.pk, instrument.edge_id, [])
    found = policies.of_channels([channel.pk])
    known = stands([channel.pk])
    for number, stand in known.items():
        sieve = Sieve(found[number], stand)
        sieve.begin_anew()
        stored = store.store(store.judged(_before(sieve, number), now))
        rollups.mark(stored, turn.closing)
        if turn.feeds:
            outbox.put(stored, [], [], [], now)
        _count({number: sieve})
    forget(known)


def _save(sieves: Mapping[int, Sieve]) -> None:
    forget([channel for channel, sieve in sieves.items() if sieve.stand.last is None])
    PolicyState.objects.bulk_create(
        [_state(channel, sieve) for channel, sieve in sieves.items() if sieve.stand.last],
        update_conflicts=True,
        unique_fields=["channel"],
        update_fields=STATE,
    )


def _state(channel: int, sieve: Sieve) -> PolicyState:
    """A vector that was held back is too large to be kept here."""
    last = sieve.stand.last
    held = None if sieve.policy.vector else sieve.stand.held
    fields = dict(zip(STATE[:4], _fields(last), strict=True)) if last else {}
    if held:
        marked = held if sieve.stand.counted else held._replace(quality=held.quality | UNCOUNTED)
        fields |= dict(zip(STATE[4:], _fields(marked), strict=True))
    return PolicyState(channel_id=channel, **fields)


def _fields(point: Point) -> tuple[Any, ...]:
    return moment(point.time), None if isnan(point.value) else point.value, point.quality, point.text


def _count(sieves: Mapping[int, Sieve]) -> None:
    counts = [
        (channel, moment(hour), count)
        for channel, sieve in sieves.items()
        for hour, count in sorted(sieve.counts.items())
        if count
    ]
    if counts:
        with connection.cursor() as cursor:
            cursor.execute(COUNT, [list(column) for column in zip(*counts, strict=True)])
