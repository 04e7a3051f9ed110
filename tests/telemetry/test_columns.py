"""Batches as columns, and columns as PostgreSQL takes them."""

import numpy as np
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings, strategies as st

from devices.wire import Batch, Malformed
from telemetry import binary, store
from telemetry.columns import Columns, joined
from telemetry.intake import intake
from telemetry.roster import Roster
from tests.telemetry.factories import NOW_US, edge, instrument

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 3_600_000_000),
        st.one_of(st.none(), st.floats(allow_nan=False)),
        st.integers(0, 63),
        st.one_of(st.none(), WORDS),
    ),
    unique_by=lambda row: row[0],
    max_size=30,
)


def columns(rows: list[tuple[int, float | None, int, str | None]]) -> Columns:
    """Readings of channel 7."""
    text = np.array([row[3] for row in rows] + [None], dtype=object)[:-1]
    return Columns(
        np.array([NOW_US + row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float64),
        np.full(len(rows), 7, np.int32),
        np.array([row[2] for row in rows], np.int16),
        np.zeros(len(rows), np.bool_),
        text if any(row[3] is not None for row in rows) else None,
    )


@pytest.mark.django_db
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, twice=st.booleans())
def test_what_is_copied_or_merged_in_is_what_comes_out(
    rows: list[tuple[int, float | None, int, str | None]], twice: bool
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE sample")
        store.store(columns(rows[: len(rows) // 2] if twice else []))
        store.store(columns(rows))
        cursor.execute(
            "SELECT (extract(epoch FROM time) * 1000000)::int8 - %s, value, quality, text"
            " FROM sample ORDER BY 1",
            [NOW_US],
        )
        assert cursor.fetchall() == sorted(rows)


def test_arrays_with_and_without_nulls_have_their_length_in_their_head() -> None:
    whole, holed = binary.Floats(np.array([1.0, 2.0])), binary.Floats(np.array([1.0, np.nan]))
    assert len(whole.binary()) == 20 + 2 * 12
    assert len(holed.binary()) == 20 + 12 + 4


def test_the_newest_of_a_channel_is_the_last_to_arrive() -> None:
    late = columns([(5, 1.0, 0, None), (3, 2.0, 0, None)])
    other = Columns(late.time, late.value, late.channel - 1, late.quality, late.family)
    newest = joined([late, other]).newest()
    assert list(zip(newest.channel, newest.value, strict=True)) == [(6, 2.0), (7, 2.0)]


NUMBERS = st.one_of(st.integers(-3, 5), st.integers(-(1 << 63), (1 << 63) - 1))
BATCHES = st.builds(
    Batch,
    instruments=st.lists(st.sampled_from(["bath", "x", ""]), max_size=3),
    keysets=st.lists(st.lists(WORDS, max_size=3), max_size=3),
    rows=st.lists(NUMBERS, max_size=9),
    values=st.lists(st.one_of(st.none(), st.floats()), max_size=9),
    qualities=st.one_of(st.none(), st.lists(NUMBERS, max_size=9)),
    texts=st.dictionaries(st.one_of(WORDS, st.sampled_from(["0", "1", "٣", "00"])), WORDS, max_size=2),
    seen=st.lists(NUMBERS, max_size=4),
)


@pytest.mark.django_db
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=BATCHES, shift=st.integers(-(1 << 53), 1 << 53))
def test_a_batch_is_taken_or_malformed_and_nothing_else(told: Batch, shift: int) -> None:
    bench = edge(f"e{edge_number()}")
    bath = instrument(bench, f"bath on {bench.name}")
    named = [str(bath.pk) if name == "bath" else name for name in told.instruments]
    whole = Batch(named, told.keysets, told.rows, told.values, told.qualities, told.texts, told.seen)
    try:
        taken = intake(whole, shift, Roster(bench.pk, (0, 0)))
    except Malformed:
        return
    assert len(taken.columns) <= len(told.values)
    assert (taken.columns.time >= 0).all()
    assert (taken.columns.channel > 0).all()


def edge_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM devices_edge")
        return int(cursor.fetchone()[0])
