"""Computing again what was stored of computed channels, from the readings they are computed from, as stored.

A chunk is a transaction, under the turns of all that may store readings of the instrument: no ingest is at
work for it meanwhile. What is computed from the channel is computed again with it. What is the same stays;
where the inputs are not stored together (by a storage policy, or no longer) the old value stays.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isnan, nan

import numpy as np
from django.db import connection, transaction
from psycopg import sql

from devices.errors import Refused
from devices.models import Assignment, Channel
from telemetry import binary, deliveries, outbox, partitions, rollups, store
from telemetry.columns import Bools, Columns, Int64s, joined
from telemetry.computing import computed
from telemetry.computing.computed import Computation, Step
from telemetry.families import NUMBERS, SAMPLES
from telemetry.thinning import policies, sifting
from telemetry.thinning.policies import HOUR, Point, Policy, Readings, Sieve, Stand
from telemetry.times import microseconds, moment

ROWS = 10_000  # of one input in a chunk

# The time up to which none of these channels has more than so many readings; NULL: they all end before.
WINDOW = """
SELECT min(last) FROM unnest(%(channels)s::int4[]) AS number, LATERAL (
    SELECT max(time) AS last, count(*) AS n FROM (
        SELECT time FROM samples WHERE channel_id = number AND time >= %(start)s AND time <= %(end)s
        ORDER BY time LIMIT %(most)s
    ) AS next
) AS of_one WHERE n = %(most)s
"""
# Of a channel whose class changed, the same reading may be in two families.
STORED = """
SELECT DISTINCT ON (channel_id, time)
    channel_id, (extract(epoch FROM time) * 1000000)::int8, value, quality, text
FROM samples WHERE channel_id = ANY(%s) AND time >= %s AND time <= %s ORDER BY channel_id, time
"""
BEFORE = """
SELECT (extract(epoch FROM time) * 1000000)::int8, value, quality, text
FROM samples WHERE channel_id = %s AND time < %s ORDER BY time DESC LIMIT 1
"""
UPDATE = """
UPDATE {table} AS s SET value = r.value, quality = r.quality, text = NULL FROM {rows}
WHERE s.channel_id = r.channel_id AND s.time = r.time
    AND s.channel_id = ANY(%s) AND s.time >= %s AND s.time <= %s
"""
LESS = "UPDATE unstored SET n = greatest(n - %s, 0) WHERE channel_id = %s AND bucket = %s"


@dataclass(frozen=True, slots=True)
class Again:
    """What came of it: how many stored values are others now, were not there before, are the same, and could
    not be computed again. `through`: up to when it was done."""

    changed: int = 0
    added: int = 0
    same: int = 0
    left: int = 0
    through: datetime | None = None

    def __add__(self, other: "Again") -> "Again":
        return Again(
            self.changed + other.changed,
            self.added + other.added,
            self.same + other.same,
            self.left + other.left,
            other.through or self.through,
        )


@dataclass(slots=True)
class _Found:
    """What of a chunk is to be written."""

    changed: list[Columns] = field(default_factory=list)
    added: list[Columns] = field(default_factory=list)
    same: int = 0
    left: int = 0


def chunks(
    channel: Channel, start: datetime | None, end: datetime, now: datetime, *, dry_run: bool = False
) -> Iterator[Again]:
    """Compute a channel again from `start` (None: as far as its readings are kept) to `end`, chunk by chunk.

    Outside a transaction. A dry run takes each chunk back. Raises Refused for one that is not computed.
    """
    kept = partitions.tables()[SAMPLES[NUMBERS[channel.retention]]].days
    oldest = now - timedelta(days=kept)
    start = oldest if start is None else max(start, oldest)
    while start <= end:
        with transaction.atomic():
            through, done = _chunk(channel, start, end, now)
            transaction.set_rollback(dry_run)
        yield done
        start = through + timedelta(microseconds=1)


def _chunk(channel: Channel, start: datetime, end: datetime, now: datetime) -> tuple[datetime, Again]:
    instrument = channel.instrument_id
    edges = Assignment.objects.filter(instrument=instrument).values_list("edge", flat=True)
    turn = deliveries.turn_of_instrument(instrument, channel.instrument.edge_id, set(edges))
    steps = _affected(channel)
    outputs = [step.channel for step in steps]
    inputs = {number for step in steps for number in step.inputs} - set(outputs)
    through = _window([*inputs, *outputs], start, end)
    again = store.judged(Computation([steps]).of(_stored(inputs, start, through)), now)
    found = _compared(again.sorted(), outputs, start, through)
    changed, added = joined(found.changed), joined(found.added)
    _update(changed)
    written = joined([changed, store.store(added)]).sorted()
    rollups.mark(written, turn.closing)
    if turn.feeds:
        outbox.put(written, [], [], [], now)
    return through, Again(len(changed), len(added), found.same, found.left, through)


def _affected(channel: Channel) -> list[Step]:
    """The channel's step, and those of what is computed from it, in order."""
    plan = computed.of_instruments([channel.instrument_id]).get(channel.instrument_id, [])
    found: list[Step] = []
    for step in plan:
        if step.channel == channel.pk or any(each.channel in step.inputs for each in found):
            found.append(step)
    if not found:
        raise Refused(f"{channel} is not computed: it has no formula and no calibration that holds")
    return found


def _window(channels: Collection[int], start: datetime, end: datetime) -> datetime:
    """Up to when one chunk goes."""
    with connection.cursor() as cursor:
        cursor.execute(WINDOW, {"channels": list(channels), "start": start, "end": end, "most": ROWS})
        (last,) = cursor.fetchone()
    return last or end


def _stored(channels: Collection[int], start: datetime, end: datetime) -> Columns:
    with connection.cursor() as cursor:
        cursor.execute(STORED, [sorted(channels), start, end])
        rows = cursor.fetchall()
    channel, time, value, quality, _ = zip(*rows, strict=True) if rows else ((),) * 5
    return Columns(
        np.array(time, np.int64),
        np.array(value, np.float64),  # None: NaN
        np.array(channel, np.int32),
        np.array(quality, np.int16),
        np.zeros(len(rows), np.int8),
    )


# ---- what is otherwise


Standing = dict[int, tuple[float | None, int, str | None]]  # by time


def _compared(again: Columns, outputs: Sequence[int], start: datetime, end: datetime) -> _Found:
    standing = _standing(outputs, start, end)
    ruled = policies.of_channels(outputs)
    found = _Found()
    for number in outputs:
        columns = again.take(again.channel == number)
        stands = np.array([time in standing[number] for time in columns.time.tolist()], np.bool_)
        is_same = _same(columns, standing[number])
        is_new = ~stands
        if number in ruled:
            is_new &= _sifted(columns, stands, number, ruled[number], start)
            _discount(number, columns.time[is_new])
        found.changed.append(columns.take(stands & ~is_same))
        found.added.append(columns.take(is_new))
        found.same += int(is_same.sum())
        found.left += len(standing[number]) - int(stands.sum())
    return found


def _standing(channels: Sequence[int], start: datetime, end: datetime) -> dict[int, Standing]:
    standing: dict[int, Standing] = {number: {} for number in channels}
    with connection.cursor() as cursor:
        cursor.execute(STORED, [list(channels), start, end])
        for channel, time, value, quality, text in cursor.fetchall():
            standing[channel][time] = value, quality, text
    return standing


def _same(columns: Columns, standing: Standing) -> Bools:
    rows = zip(columns.time.tolist(), columns.value.tolist(), columns.quality.tolist(), strict=True)
    return np.array(
        [
            standing.get(time) == (None if isnan(value) else value, quality, None)
            for time, value, quality in rows
        ],
        np.bool_,
    )


def _sifted(columns: Columns, stands: Bools, channel: int, policy: Policy, start: datetime) -> Bools:
    """Which readings of a channel with a storage policy are to be there: what is stored, and what else a true
    chart of the new values needs."""
    sieve = Sieve(policy, Stand(_last(channel, start)))
    forced = stands | np.isin(columns.time, _forgotten(channel, start))
    lists = (each.tolist() for each in (columns.time, columns.value, columns.quality))
    for place, (time, value, quality) in enumerate(zip(*lists, strict=True)):
        sieve.walk(Readings([time], [value], [quality], [None], [place]))
        if forced[place] and not (sieve.stored and sieve.stored[-1].place == place):
            sieve.stand = Stand(Point(time, value, quality, None, place))
    wanted = forced.copy()
    wanted[[point.place for point in sieve.stored if point.place >= 0]] = True
    return wanted


def _last(channel: int, start: datetime) -> Point | None:
    """The last stored reading before a time."""
    with connection.cursor() as cursor:
        cursor.execute(BEFORE, [channel, start])
        row = cursor.fetchone()
    return Point(row[0], nan if row[1] is None else row[1], row[2], row[3]) if row else None


def _forgotten(channel: int, start: datetime) -> list[int]:
    """Where the live track stood by the old values is forgotten; the time of the reading it held back."""
    stand = sifting.stands([channel]).get(channel)
    if stand is None or stand.newest < microseconds(start):
        return []
    sifting.forget([channel])
    return [stand.held.time] if stand.held else []


def _discount(channel: int, time: Int64s) -> None:
    """These were counted as received and not stored, if they ever were."""
    hours, counts = np.unique(time // HOUR * HOUR, return_counts=True)
    with connection.cursor() as cursor:
        for hour, count in zip(hours.tolist(), counts.tolist(), strict=True):
            cursor.execute(LESS, [count, channel, moment(hour)])


# ---- writing


def _update(columns: Columns) -> None:
    """Write the values over those of the same channels and times, in whatever family they are."""
    if not len(columns):
        return
    bounds = [moment(int(columns.time.min())), moment(int(columns.time.max()))]
    channels = binary.Ints(np.unique(columns.channel))
    with binary.cursor() as cursor:
        for table in SAMPLES:
            statement = sql.SQL(UPDATE).format(table=sql.Identifier(table), rows=sql.SQL(binary.ROWS))
            cursor.execute(statement, [*binary.arrays(columns), channels, *bounds])
