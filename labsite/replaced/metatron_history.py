"""The history of three figures: the newest stored points, each with what the others were at that time."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from devices.models import Channel, Instrument
from labsite.replaced.metatron_shapes import Point, scaled
from telemetry.interfaces import FIGURES, OWN_FIGURES, Figure, MetatronOptions
from telemetry.parameters import EPOCH

Row = tuple[datetime, Any]

_NEWEST = """
SELECT time, {column} FROM samples WHERE channel_id = %s AND {column} IS NOT NULL AND quality & 3 < 2
ORDER BY time DESC LIMIT %s
"""
# The last one of each span of time.
_THINNED = """
SELECT DISTINCT ON (date_bin(make_interval(secs => %s), time, 'epoch')) time, {column} FROM samples
WHERE channel_id = %s AND {column} IS NOT NULL AND quality & 3 < 2 AND time >= %s
ORDER BY date_bin(make_interval(secs => %s), time, 'epoch') DESC, time DESC LIMIT %s
"""


def points(instrument: Instrument, chosen: MetatronOptions, limit: int) -> list[Point]:
    """The newest `limit` points, oldest first; none of a time at which a figure had never been read."""
    figures: list[Figure] = [getattr(chosen, name) or Figure(name) for name in FIGURES]
    numbers = dict(Channel.objects.filter(instrument=instrument).values_list("key", "pk"))
    columns = [_rows(numbers.get(figure.channel), "value", limit, chosen.every) for figure in figures]
    words = (
        _rows(numbers.get("algorithm"), "text", limit, chosen.every)
        if instrument.driver == OWN_FIGURES
        else []
    )
    usual = chosen.algorithm or instrument.driver
    found = [
        Point(time, *_scaled(values, figures), algorithm=algorithm or usual)
        for time, (*values, algorithm) in _together([*columns, words], chosen.every)
        if None not in values
    ]
    return found[-limit:]


def _scaled(values: Sequence[float], figures: Sequence[Figure]) -> tuple[float, float, float]:
    psi, rho, omega = (
        scaled(value, figure.low, figure.high) for value, figure in zip(values, figures, strict=True)
    )
    return psi, rho, omega


def _rows(channel: int | None, column: str, limit: int, every: float) -> list[Row]:
    """The newest values of a channel, oldest first; of so many spans of `every` the last ones."""
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST.format(column=column), [channel, limit if not every else 1])
        newest: list[Row] = cursor.fetchall()
        if every and newest:
            since = newest[0][0] - limit * timedelta(seconds=every)
            cursor.execute(_THINNED.format(column=column), [every, channel, since, every, limit])
            newest = cursor.fetchall()
    return newest[::-1]


def _together(columns: Sequence[list[Row]], every: float) -> Iterator[tuple[datetime, list[Any]]]:
    """Each time at which a figure was read (of each span the last one), with what all were then."""
    changes: dict[datetime, list[tuple[int, Any]]] = {}
    for number, rows in enumerate(columns):
        for time, value in rows:
            changes.setdefault(time, []).append((number, value))
    figures = {time for rows in columns[: len(FIGURES)] for time, _ in rows}
    if every:
        span = timedelta(seconds=every)
        figures = set({(time - EPOCH) // span: time for time in sorted(figures)}.values())
    now: list[Any] = [None] * len(columns)
    for time in sorted(changes):
        for number, value in changes[time]:
            now[number] = value
        if time in figures:
            yield time, list(now)
