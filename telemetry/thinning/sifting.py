"""Readings on their way through storage policies, in the transaction that stores them.

The live track remembers in the database where each channel stands. What comes otherwise (backlog, pushes,
what is tried again) is looked at within its parcel alone: first and last of it are stored, and the live track
begins anew.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from math import nan
from typing import NamedTuple

import numpy as np

from devices.models import Channel
from telemetry import binary, deliveries, outbox, rollups, store
from telemetry.beside import StoredVector
from telemetry.columns import Columns, joined
from telemetry.models import PolicyState
from telemetry.thinning import policies
from telemetry.thinning.policies import FAR, OWN_TIME, Point, Policy, Readings, Sieve, Stand

# How many were received and not stored; less those that are stored after all.
COUNT = """
INSERT INTO unstored (channel_id, bucket, n)
SELECT * FROM unnest(%s::int4[], %s::timestamptz[], %s::int4[]) AS r(channel_id, bucket, n)
ORDER BY channel_id, bucket
ON CONFLICT (channel_id, bucket) DO UPDATE SET n = unstored.n + EXCLUDED.n
"""
UNCOUNTED = 1 << 14  # of a held quality as it is kept: that reading is not among those counted
NO_POINT = Point(0, nan, 0, None)
NONE = joined([])

STANDS = """
SELECT channel_id, (extract(epoch FROM time) * 1000000)::int8, value, quality, text,
    (extract(epoch FROM held_time) * 1000000)::int8, held_value, held_quality, held_text
FROM policy_state WHERE channel_id = ANY(%s)
"""
SAVE = """
INSERT INTO policy_state
    (channel_id, time, value, quality, text, held_time, held_value, held_quality, held_text)
SELECT channel_id, time, value, quality, text, nullif(held_time, 'epoch'), held_value, held_quality, held_text
FROM unnest(
    %s::int4[], %s::timestamptz[], %s::float8[], %s::int2[], %s::text[],
    %s::timestamptz[], %s::float8[], %s::int2[], %s::text[]
) AS r(channel_id, time, value, quality, text, held_time, held_value, held_quality, held_text)
ON CONFLICT (channel_id) DO UPDATE SET
    time = EXCLUDED.time, value = EXCLUDED.value, quality = EXCLUDED.quality, text = EXCLUDED.text,
    held_time = EXCLUDED.held_time, held_value = EXCLUDED.held_value,
    held_quality = EXCLUDED.held_quality, held_text = EXCLUDED.held_text
"""

# Of channels with one reading: those that say what the last stored one said are held back and counted.
HOLD = """
WITH held AS (
    UPDATE policy_state AS s
    SET held_time = r.time, held_value = r.value, held_quality = r.quality, held_text = NULL
    FROM unnest(%s::timestamptz[], %s::float8[], %s::int4[], %s::int2[], %s::float8[], %s::float8[])
        WITH ORDINALITY AS r(time, value, channel_id, quality, band, heartbeat, n)
    WHERE s.channel_id = r.channel_id AND s.quality = r.quality AND s.text IS NULL
        AND (abs(r.value - s.value) <= r.band OR (r.value IS NULL AND s.value IS NULL))
        AND r.time > coalesce(s.held_time, s.time)
        AND r.time < s.time + r.heartbeat * interval '1 microsecond'
    RETURNING s.channel_id, r.time, r.n
), counted AS (
    INSERT INTO unstored (channel_id, bucket, n)
    SELECT channel_id, date_trunc('hour', time, 'UTC'), 1 FROM held ORDER BY channel_id
    ON CONFLICT (channel_id, bucket) DO UPDATE SET n = unstored.n + 1
)
SELECT n - 1 FROM held
"""
FEW = 32  # channels that are not worth a statement of their own


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
    if len(parts) == 1 and parts[0].live and parts[0].follows:
        parts = [parts[0]._replace(columns=_without_the_same(parts[0].columns, ruling))]
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
        joined([columns.take(~ruled), _before(sieves)]),
        [each for place, each in enumerate(vectors) if each.channel not in of_vectors or place in chosen],
    )


def _without_the_same(columns: Columns, ruling: Mapping[int, Policy]) -> Columns:
    """Most of what comes live is one reading a channel, and says the same: that is held back here, without a
    look at each."""
    numbers, first, count = np.unique(columns.channel, return_index=True, return_counts=True)
    single = np.zeros(len(columns), np.bool_)
    single[first[(count == 1) & np.isin(numbers, list(ruling))]] = True
    single &= (columns.quality & (FAR | OWN_TIME)) == 0
    if columns.text is not None:
        single &= ~columns.has_text
    if single.sum() < FEW:
        return columns
    found = columns.take(single)
    bands, heartbeats = zip(*(ruling[number][:2] for number in found.channel.tolist()), strict=True)
    limits = [binary.Floats(np.array(each, np.float64)) for each in (bands, heartbeats)]
    with binary.cursor() as cursor:
        cursor.execute(HOLD, [*binary.arrays(replace(found, text=None)), *limits])
        held = [number for (number,) in cursor.fetchall()]
    stays = np.ones(len(columns), np.bool_)
    stays[np.flatnonzero(single)[held]] = False
    return columns.take(stays)


ByChannel = Iterable[tuple[int, Readings]]


def _walk(sieves: Mapping[int, Sieve], found: ByChannel, part: Part) -> None:
    for channel, readings in found:
        sieve = sieves[channel]
        if not (part.live and part.follows and readings.times[0] > sieve.stand.newest):
            sieve.begin_anew()
        sieve.walk(readings)
        if not part.live:
            sieve.begin_anew()


def _points(columns: Columns, channels: Collection[int], place: int) -> ByChannel:
    """The readings of these channels; `place`: of the first one of all."""
    order = np.lexsort((columns.time, columns.channel))
    order = order[np.isin(columns.channel[order], list(channels))]
    found = columns.take(order)
    texts = [None] * len(found) if found.text is None else found.text.tolist()
    lists = found.time.tolist(), found.value.tolist(), found.quality.tolist()
    return _by_channel(found.channel.tolist(), Readings(*lists, texts, (order + place).tolist()))


def _vector_points(vectors: Sequence[StoredVector], channels: Collection[int], place: int) -> ByChannel:
    found = sorted(
        (vector.channel, vector.time, number, vector)
        for number, vector in enumerate(vectors, place)
        if vector.channel in channels
    )
    readings = Readings(
        [time for _, time, _, _ in found],
        [nan] * len(found),
        [vector.quality for *_, vector in found],
        [_digest(vector) for *_, vector in found],
        [number for _, _, number, _ in found],
    )
    return _by_channel([channel for channel, *_ in found], readings)


def _by_channel(channels: Sequence[int], readings: Readings) -> ByChannel:
    start = 0
    for channel, group in groupby(channels):
        end = start + sum(1 for _ in group)
        yield channel, readings.part(slice(start, end))
        start = end


def _digest(vector: StoredVector) -> str:
    """What tells it from others."""
    return sha256(f"{vector.values} {vector.labels}".encode()).hexdigest()


def _before(sieves: Mapping[int, Sieve]) -> Columns:
    """What the parcels before held back, and is to be stored now."""
    found = [
        (point, channel, sieve.policy.family)
        for channel, sieve in sieves.items()
        for point in sieve.stored
        if point.place < 0
    ]
    if not found:
        return NONE
    points, channels, families = zip(*found, strict=True)
    return rows(points, channels, families)


def rows(points: Sequence[Point], channels: Sequence[int], families: Sequence[int]) -> Columns:
    """Readings as columns."""
    texts = np.array([point.text for point in points], object)
    return Columns(
        np.array([point.time for point in points], np.int64),
        np.array([point.value for point in points], np.float64),
        np.array(channels, np.int32),
        np.array([point.quality for point in points], np.int16),
        np.array(families, np.int8),
        texts if any(text is not None for text in texts) else None,
    )


# ---- the state


def stands(channels: Collection[int]) -> dict[int, Stand]:
    """Where the live track stands, of those of these channels of which it is remembered."""
    if not channels:
        return {}
    with binary.cursor() as cursor:
        cursor.execute(STANDS, [binary.Ints(np.array(list(channels), np.int32))], binary=True)
        return {channel: _stand(*state) for channel, *state in cursor.fetchall()}


def _sieves(ruling: Mapping[int, Policy]) -> dict[int, Sieve]:
    known = stands(ruling)
    return {channel: Sieve(ruling[channel], known.get(channel, Stand())) for channel in sorted(ruling)}


def _stand(
    time: int,
    value: float | None,
    quality: int,
    text: str | None,
    held_time: int | None,
    held_value: float | None,
    held_quality: int,
    held_text: str | None,
) -> Stand:
    last = Point(time, nan if value is None else value, quality, text)
    if held_time is None:
        return Stand(last)
    held = nan if held_value is None else held_value
    is_counted = not held_quality & UNCOUNTED
    return Stand(last, Point(held_time, held, held_quality & ~UNCOUNTED, held_text), is_counted)


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
        stored = store.store(store.judged(_before({number: sieve}), now))
        rollups.mark(stored, turn.closing)
        if turn.feeds:
            outbox.put(stored, [], [], [], now)
        _count({number: sieve})
    forget(known)


def _save(sieves: Mapping[int, Sieve]) -> None:
    """A vector that was held back is too large to be kept."""
    forget([channel for channel, sieve in sieves.items() if sieve.stand.last is None])
    kept = {channel: sieve for channel, sieve in sieves.items() if sieve.stand.last is not None}
    if not kept:
        return
    last = [sieve.stand.last for sieve in kept.values()]
    held = [None if sieve.policy.vector else _marked(sieve.stand) for sieve in kept.values()]
    with binary.cursor() as cursor:
        cursor.execute(SAVE, [binary.Ints(np.array(list(kept), np.int32)), *_arrays(last), *_arrays(held)])


def _marked(stand: Stand) -> Point | None:
    if stand.held is None or stand.counted:
        return stand.held
    return stand.held._replace(quality=stand.held.quality | UNCOUNTED)


def _arrays(points: Sequence[Point | None]) -> list[object]:
    """Times, values, qualities and texts; the epoch where there is none. No texts at all: unnest fills up."""
    found = [point or NO_POINT for point in points]
    texts = [point.text for point in found]
    return [
        binary.Times(np.array([point.time for point in found], np.int64)),
        binary.Floats(np.array([point.value for point in found], np.float64)),
        binary.Shorts(np.array([point.quality for point in found], np.int16)),
        texts if any(text is not None for text in texts) else [],
    ]


def _count(sieves: Mapping[int, Sieve]) -> None:
    found = [
        (channel, hour, count)
        for channel, sieve in sieves.items()
        for hour, count in sieve.counts.items()
        if count
    ]
    if found:
        channel, hour, count = np.array(found, np.int64).T
        with binary.cursor() as cursor:
            cursor.execute(COUNT, [binary.Ints(channel), binary.Times(hour), binary.Ints(count)])
