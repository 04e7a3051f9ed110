"""Where readings are missing that nothing explains: holes between the readings of a channel."""

from collections.abc import Sequence
from math import floor
from typing import Any, NamedTuple

from django.db import connection

from devices.edges import microseconds
from telemetry.completeness.due import Span, without
from telemetry.families import ALL_SAMPLES, ALL_VECTORS
from telemetry.times import moment

WIDE = 1.75  # intervals between two readings, from which on one is missing between them
AROUND = 10  # intervals before and after, so that what is over the edge of the hour is no hole

# Of each place the readings that follow another after too long; its ends stand for readings.
HOLES = f"""
SELECT p.n, h.start, h.time FROM unnest(%s::int4[], %s::timestamptz[], %s::timestamptz[], %s::float8[])
    WITH ORDINALITY AS p(channel, since, until, wide, n),
LATERAL (
    SELECT lag(time) OVER (ORDER BY time) AS start, time FROM (
        SELECT time FROM {ALL_SAMPLES} WHERE channel_id = p.channel AND time >= p.since AND time < p.until
        UNION ALL
        SELECT time FROM {ALL_VECTORS} WHERE channel_id = p.channel AND time >= p.since AND time < p.until
        UNION ALL
        SELECT p.since UNION ALL SELECT p.until
    ) AS read
) AS h WHERE h.time - h.start > p.wide * interval '1 s'
ORDER BY p.n, h.time
"""  # noqa: S608 - of our own words


class Place(NamedTuple):
    """An hour of a channel to be looked at. `interval`: µs."""

    channel: int
    span: Span
    interval: float


class Hole(NamedTuple):
    """From the last reading before to the first after, and how many are missing between them."""

    span: Span
    missed: int


def of(places: Sequence[Place], explained: Sequence[Sequence[Span]], until: int) -> list[list[Hole]]:
    """For each place the holes that lie in it, beside the times for which there is an explanation.

    `until`: what is newer may not be here yet.
    """
    found: list[list[Hole]] = [[] for _ in places]
    for number, span in _wide(places, until) if places else ():
        place = places[number]
        part = span.within(place.span)
        left = without([part] if part.length else [], list(explained[number]))
        missed = sum(_missed(piece, span, place) for piece in left)
        if missed:
            found[number].append(Hole(span, missed))
    return found


def merged(some: Sequence[Hole]) -> list[Hole]:
    """Those of several hours, in order; one that goes over an hour's edge is one."""
    found: list[Hole] = []
    for hole in sorted(some):
        if found and hole.span.start < found[-1].span.end:
            whole = Span(found[-1].span.start, max(found[-1].span.end, hole.span.end))
            found[-1] = Hole(whole, found[-1].missed + hole.missed)
        else:
            found.append(hole)
    return found


def _missed(piece: Span, hole: Span, place: Place) -> int:
    """How many polls were due in a piece of a hole. Where it ends with the hour, no reading stands."""
    is_cut = piece.start == place.span.start > hole.start or piece.end == place.span.end < hole.end
    polls = piece.length / place.interval
    return floor(polls + 0.25) if is_cut else max(round(polls) - 1, 0)


def _wide(places: Sequence[Place], until: int) -> list[tuple[int, Span]]:
    around = [round(AROUND * place.interval) for place in places]
    parameters: list[Any] = [
        [place.channel for place in places],
        [moment(place.span.start - more) for place, more in zip(places, around, strict=True)],
        [moment(min(place.span.end + more, until)) for place, more in zip(places, around, strict=True)],
        [WIDE * place.interval / 1e6 for place in places],
    ]
    with connection.cursor() as cursor:
        cursor.execute(HOLES, parameters)
        return [
            (number - 1, Span(microseconds(start), microseconds(end)))
            for number, start, end in cursor.fetchall()
        ]
