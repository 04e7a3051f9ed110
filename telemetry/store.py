"""Readings in, once, however often delivered: COPY where all are new, else one statement that tells apart."""

from datetime import date, datetime, timedelta

import numpy as np
from django.db import DataError, IntegrityError, transaction
from numpy.typing import NDArray
from psycopg import errors, sql

from devices.readings import Flag
from telemetry import binary, partitions
from telemetry.columns import Columns, Int64s, days, joined
from telemetry.families import SAMPLES
from telemetry.times import microseconds, moment

AHEAD_US = 120_000_000  # a reading further ahead of the centre's clock is far off
BEHIND = timedelta(days=366)  # and so is one that much older than anything kept
NOTHING = np.empty(0, np.int64)
MOVES_MAX = 100  # readings of one channel with one time but different values

NEW, KNOWN, CONFLICT = range(3)  # how a reading stands to what is stored under its key

COPY = "COPY {} (time, value, channel_id, quality, text) FROM STDIN (FORMAT binary)"
INSERT = (
    "INSERT INTO {table} (time, value, channel_id, quality, text)"
    " SELECT r.time, r.value, r.channel_id, r.quality, {text} FROM {rows} ON CONFLICT DO NOTHING"
)
# Which rows stand for another reading than the one that is stored under their key.
OTHERS = (
    "SELECT r.n - 1 FROM {rows} JOIN {table} AS s ON s.channel_id = r.channel_id AND s.time = r.time"
    " WHERE (s.value, s.text) IS DISTINCT FROM (r.value, {text}) ORDER BY r.n"
)


# What is stored under the rows' keys, and whether it is something else.
FOUND = (
    "SELECT r.n - 1, (s.value, s.text) IS DISTINCT FROM (r.value, {text}), s.value, s.text"
    " FROM {rows} JOIN {table} AS s ON s.channel_id = r.channel_id AND s.time = r.time"
    " WHERE s.time >= %s AND s.time <= %s"  # those partitions only
)


def judged(columns: Columns, now: datetime) -> Columns:
    """The same readings, those of a time that cannot be right flagged as far off."""
    bounds = np.array([near(now, family) for family in range(len(SAMPLES))])[columns.family]
    far = (columns.time > bounds[:, 1]) | (columns.time < bounds[:, 0])
    if not far.any():
        return columns
    quality = columns.quality | np.where(far, np.int16(Flag.FAR), np.int16(0))
    return Columns(columns.time, columns.value, columns.channel, quality, columns.family, columns.text)


def near(now: datetime, family: int = 0) -> tuple[int, int]:
    """From when to when a time can be right, in µs of UTC, of what is kept as readings of a family are."""
    present = microseconds(now)
    kept = timedelta(days=partitions.tables()[SAMPLES[family]].days)
    return present - _us_of(kept + BEHIND), present + AHEAD_US


def store(columns: Columns) -> Columns:
    """Write readings that were judged, inside a transaction. Those that are stored already stay as they are.

    Two readings of one channel with one time and the same value are one; another value is kept 1 µs later.
    Returns the readings as they are stored, in the order of tables.
    Raises DataError for readings that cannot be stored through their own fault.
    """
    columns = columns.sorted()
    far = (columns.quality & Flag.FAR).astype(np.bool_)
    stored = []
    for table, mask in (
        *((table, ~far & (columns.family == family)) for family, table in enumerate(SAMPLES)),
        ("sample_far", far),
    ):
        if mask.any():
            stored += _store_in(table, columns if mask.all() else columns.take(mask))
    return joined(stored)


def standing(columns: Columns) -> tuple[NDArray[np.int8], dict[int, float | str | None]]:
    """How each reading stands to what is stored, or to an earlier one of these: NEW, KNOWN or CONFLICT.

    Also what stands where there is a conflict. A time that was far off may have become one that is right.
    """
    fate = np.full(len(columns), NEW, np.int8)
    stands: dict[int, float | str | None] = {}
    for table in (*SAMPLES, "sample_far") if len(columns) else ():
        for number, other, value, text in _found(table, columns):
            fate[number] = CONFLICT if other else KNOWN
            if other:
                stands[number] = value if text is None else text
    _compare(columns, fate, stands)
    return fate, stands


def _found(table: str, columns: Columns) -> list[tuple[int, bool, float | None, str | None]]:
    with binary.cursor() as cursor:
        bounds = [moment(int(columns.time.min())), moment(int(columns.time.max()))]
        cursor.execute(_statement(FOUND, table, columns), [*binary.arrays(columns), *bounds])
        return cursor.fetchall()


def _compare(columns: Columns, fate: NDArray[np.int8], stands: dict[int, float | str | None]) -> None:
    """Let the first of several new readings with one key stand for the others."""
    first: dict[tuple[int, int], tuple[float | None, str | None]] = {}
    for index in np.flatnonzero(fate == NEW).tolist():
        number = float(columns.value[index])
        text = None if columns.text is None else columns.text[index]
        reading = (None if np.isnan(number) else number, text)
        before = first.setdefault((int(columns.channel[index]), int(columns.time[index])), reading)
        if before is not reading:
            fate[index] = KNOWN if before == reading else CONFLICT
            if before != reading:
                stands[index] = before[0] if before[1] is None else before[1]


def _store_in(table: str, columns: Columns) -> list[Columns]:
    """What instruments stamped themselves is often told again: it need not be tried by COPY first."""
    told_again = (columns.quality & Flag.INSTRUMENT_TIME).astype(np.bool_)
    if not told_again.any():
        return _copy_or_merge(table, columns)
    stored = [] if told_again.all() else _copy_or_merge(table, columns.take(~told_again))
    return stored + _merge(table, _not_elsewhere(table, columns.take(told_again)))


def _not_elsewhere(table: str, columns: Columns) -> Columns:
    """Those that are not stored, as they are, in another family, which was their channel's class before."""
    known = np.zeros(len(columns), np.bool_)
    for other in set(SAMPLES) - {table}:
        known[[number for number, differs, _, _ in _found(other, columns) if not differs]] = True
    return columns.take(~known) if known.any() else columns


def _copy_or_merge(table: str, columns: Columns) -> list[Columns]:
    ensure_partitions(table, columns.time)
    try:
        with transaction.atomic():
            _copy(table, columns)
    except IntegrityError as error:
        if not isinstance(error.__cause__, errors.UniqueViolation):
            raise
        return _merge(table, columns)
    return [columns]


def _copy(table: str, columns: Columns) -> None:
    with (
        binary.cursor() as cursor,
        cursor.copy(sql.SQL(COPY).format(sql.Identifier(table))) as copy,
    ):
        for block in binary.copy_rows(columns):
            copy.write(block)


def _merge(table: str, columns: Columns) -> list[Columns]:
    """Write what is not stored yet; what finds another value under its key moves on until it is free."""
    stored = []
    for _ in range(MOVES_MAX):
        ensure_partitions(table, columns.time)
        others = _others(table, columns) if _inserted(table, columns) < len(columns) else NOTHING
        stored.append(columns.take(np.setdiff1d(np.arange(len(columns)), others)))
        if not len(others):
            return stored
        columns = columns.take(others).moved(1)
    raise DataError(f"more than {MOVES_MAX} readings of channel {columns.channel[0]} have one time")


def _inserted(table: str, columns: Columns) -> int:
    with binary.cursor() as cursor:
        cursor.execute(_statement(INSERT, table, columns), binary.arrays(columns))
        return cursor.rowcount


def _others(table: str, columns: Columns) -> Int64s:
    with binary.cursor() as cursor:
        cursor.execute(_statement(OTHERS, table, columns), binary.arrays(columns))
        return np.array([number for (number,) in cursor.fetchall()], dtype=np.int64)


def _statement(form: str, table: str, columns: Columns) -> sql.Composed:
    rows = binary.ROWS if columns.text is None else binary.ROWS_WITH_TEXT
    text = "NULL::text" if columns.text is None else "r.text"
    return sql.SQL(form).format(table=sql.Identifier(table), rows=sql.SQL(rows), text=sql.SQL(text))


def ensure_partitions(table: str, time: Int64s) -> None:
    """Make the partitions that rows of these times need, if this is a table of partitions."""
    if table in partitions.tables():
        epoch = date(1970, 1, 1)
        partitions.ensure(partitions.holding(table, epoch + timedelta(days=day)) for day in days(time))


def _us_of(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
