"""Limits, dead-bands, delays and the third truth value."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from alerts.judging import conditions
from alerts.judging.conditions import SECOND, Delays, Limits, Memory, Truth, Turn

T, F, B, U = Truth.TRUE, Truth.FALSE, Truth.BAND, Truth.UNKNOWN
NAN = float("nan")


def limits(
    high: float = np.inf, low: float = -np.inf, band: float = 0.0, equal: float = NAN, differ: float = NAN
) -> Limits:
    return Limits(*(np.array([each]) for each in (high, low, band, equal, differ)))


@pytest.mark.parametrize(
    ("limit", "value", "truth"),
    [
        (limits(high=40.0), 40.0, F),
        (limits(high=40.0), 40.1, T),
        (limits(high=40.0, band=2.0), 39.0, B),
        (limits(high=40.0, band=2.0), 38.0, F),
        (limits(low=180.0), 180.0, F),
        (limits(low=180.0), 179.9, T),
        (limits(low=180.0, band=5.0), 184.9, B),
        (limits(low=1.0, high=2.0, band=0.1), 1.5, F),
        (limits(low=1.0, high=2.0, band=0.1), 1.05, B),
        (limits(equal=1.0), 1.0, T),
        (limits(equal=1.0), 0.0, F),
        (limits(differ=3.0), 3.0, F),
        (limits(differ=3.0), 4.0, T),
        (limits(high=40.0), NAN, U),
        (limits(high=40.0), float("inf"), T),
    ],
)
def test_what_a_value_says_of_a_limit(limit: Limits, value: float, truth: Truth) -> None:
    assert conditions.truths(limit, np.array([value]), np.array([True])).tolist() == [truth]


def test_a_reading_that_is_not_good_says_nothing() -> None:
    said = conditions.truths(limits(high=1.0), np.array([5.0]), np.array([False]))
    assert said.tolist() == [U]


@pytest.mark.parametrize(
    ("quality", "value", "text", "truth"),
    [
        (0, 1.0, False, F),
        (0, NAN, True, F),
        (0, NAN, False, F),
        (1, 1.0, False, T),
        (1, NAN, True, T),
        (1, NAN, False, F),
        (2, NAN, False, T),
        (2 + 16, NAN, True, T),
        (16, 1.0, False, F),
    ],
)
def test_what_a_reading_says_of_its_channel(quality: int, value: float, text: bool, truth: Truth) -> None:
    said = conditions.stale(np.array([quality], np.int16), np.array([value]), np.array([text]))
    assert said.tolist() == [truth]


def test_a_rate_needs_readings_over_half_its_window() -> None:
    time = np.arange(6) * SECOND
    rate = conditions.rates(time, np.array([0.0, 1, 2, 3, 4, 2]), 4 * SECOND)
    assert np.isnan(rate[:2]).all()
    assert rate[2:].tolist() == pytest.approx([60.0, 60.0, 60.0, 15.0])


@pytest.mark.parametrize(
    ("delays", "points", "turns"),
    [
        ((0, 0), [(1, T), (2, F)], [(1, True), (2, False)]),
        ((3, 0), [(1, T), (2, T), (3, F)], []),
        ((3, 0), [(1, T), (3, T), (9, T)], [(4, True)]),
        ((3, 0), [(1, T), (5, F)], [(4, True), (5, False)]),
        ((0, 4), [(1, T), (2, F), (4, T), (5, F), (9, F)], [(1, True), (9, False)]),
        ((3, 0), [(1, T), (2, U), (9, U)], []),
        ((3, 0), [(1, T), (2, U), (9, T)], [(9, True)]),
        ((0, 3), [(1, T), (2, F), (3, U), (9, U)], [(1, True)]),
        ((0, 0), [(1, U), (2, B), (3, T), (4, B), (5, U)], [(3, True)]),
        ((20, 0), [(1, T), (30, T)], [(30, True)]),
        ((20, 0), [(1, T), (30, F)], []),
    ],
    ids=[
        "no delay", "too short", "long enough", "it stood until the next reading", "off-delay begun anew",
        "unknown does not count", "unknown, then still so", "unknown is no recovery", "dead-band",
        "nobody saw what was between", "nobody saw it, and it is over",
    ],
)  # fmt: skip
def test_delays_over_readings(
    delays: tuple[int, int], points: list[tuple[int, Truth]], turns: list[tuple[int, bool]]
) -> None:
    memory = Memory()
    found = conditions.walk(memory, Delays(*delays, hold=15), points)
    assert found == [Turn(*each) for each in turns]


def test_a_clock_lets_a_delay_run_out_between_readings() -> None:
    memory, turns = Memory(), []
    delays = Delays(on=5)
    conditions.walk(memory, delays, [(10, T)])
    conditions.expire(memory, delays, 14, turns := list[Turn]())
    assert (turns, memory.due(delays)) == ([], 15)
    conditions.expire(memory, delays, 15, turns)
    assert (turns, memory.active) == ([Turn(15, active=True)], True)


def _added(steps: list[tuple[int, Truth]]) -> list[tuple[int, Truth]]:
    time, found = 0, []
    for step, truth in steps:
        time += step
        found.append((time, truth))
    return found


points = st.lists(st.tuples(st.integers(1, 20), st.sampled_from([T, F, B, U])), min_size=1, max_size=40).map(
    _added
)


@settings(max_examples=300)
@given(points, st.integers(0, 12), st.integers(0, 12), st.integers(5, 60), st.data())
def test_however_readings_are_cut_into_parcels_the_outcome_is_the_same(
    said: list[tuple[int, Truth]], on: int, off: int, hold: int, data: st.DataObject
) -> None:
    delays = Delays(on, off, hold)
    whole = Memory()
    expected = conditions.walk(whole, delays, said)
    pieces, found = Memory(), []
    rest = said
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        found += conditions.walk(pieces, delays, rest[:cut])
        rest = rest[cut:]
    assert (found, pieces) == (expected, whole)


@settings(max_examples=300)
@given(points, st.integers(0, 12), st.integers(0, 12), st.integers(5, 60))
def test_readings_that_change_nothing_need_not_be_walked(
    said: list[tuple[int, Truth]], on: int, off: int, hold: int
) -> None:
    time = np.array([time for time, _ in said], np.int64)
    truth = np.array([truth for _, truth in said], np.int8)
    kept = conditions.telling(time, truth, hold)
    delays = Delays(on, off, hold)
    all_of_it, some = Memory(), Memory()
    expected = conditions.walk(all_of_it, delays, said)
    found = conditions.walk(some, delays, [said[index] for index in kept])
    assert (found, some) == (expected, all_of_it)


@given(points, st.integers(0, 12), st.integers(0, 12))
def test_turns_alternate_and_are_in_order(said: list[tuple[int, Truth]], on: int, off: int) -> None:
    turns = conditions.walk(Memory(), Delays(on, off, 30), said)
    assert [turn.active for turn in turns] == [index % 2 == 0 for index in range(len(turns))]
    assert [turn.at for turn in turns] == sorted(turn.at for turn in turns)
