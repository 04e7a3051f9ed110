"""The edge's clock: what it follows, what it holds against, and whom it believes."""

import pytest
from hypothesis import given, strategies as st

from devices.edge.clock import OFF, SECOND, Clock

HOUR = 3600 * SECOND


def exchange(clock: Clock, *, at: int, centre: int, there: int = 1000, back: int = 1000) -> bool:
    """A message sent at `at` (monotonic) when the centre's clock was `centre`, µs there and back."""
    return clock.compare(at, centre + there, centre + there + 50, at + there + 50 + back)


def test_a_slewed_clock_is_followed() -> None:
    clock = Clock(10 * HOUR, 0)
    for second in range(1, 11):
        assert not clock.follow(10 * HOUR + second * (SECOND + 400), second * SECOND)
    assert clock.anchor == 10 * HOUR + 4000


def test_a_stepped_clock_is_not() -> None:
    clock = Clock(10 * HOUR, 0)
    exchange(clock, at=0, centre=10 * HOUR)
    was_sure = clock.sure
    assert clock.follow(11 * HOUR + SECOND, SECOND)
    assert (was_sure, clock.sure) == (True, False)
    assert clock.anchor == 10 * HOUR
    assert not clock.follow(11 * HOUR + 2 * SECOND, 2 * SECOND)
    assert not exchange(clock, at=2 * SECOND, centre=10 * HOUR + 2 * SECOND)
    assert [clock.sure] == [True]
    assert clock.anchor == 10 * HOUR
    assert clock.offset() == pytest.approx(3600, abs=0.1)


def test_an_edge_that_started_with_a_wrong_clock_takes_the_centres() -> None:
    clock = Clock(HOUR, 0)
    before = clock.anchor
    assert exchange(clock, at=5 * SECOND, centre=9 * HOUR)
    assert abs(clock.anchor - (9 * HOUR - 5 * SECOND)) < 1000
    assert clock.shift(before, sure=False) == clock.anchor - before
    assert clock.shift(before, sure=True) == 0


def test_a_few_milliseconds_are_no_reason() -> None:
    clock = Clock(HOUR, 0)
    assert not exchange(clock, at=SECOND, centre=HOUR + SECOND + 300_000)
    assert clock.sure
    assert clock.anchor == HOUR
    assert clock.shift(HOUR - 5000, sure=False) == 0


def test_a_message_that_waited_in_a_queue_proves_nothing() -> None:
    clock = Clock(HOUR, 0)
    assert not exchange(clock, at=0, centre=9 * HOUR, there=30 * SECOND)
    assert not clock.sure


def test_the_shortest_round_trip_counts() -> None:
    clock = Clock(HOUR, 0)
    exchange(clock, at=0, centre=9 * HOUR, there=10, back=10)
    anchor = clock.anchor
    exchange(clock, at=SECOND, centre=9 * HOUR + SECOND, there=900_000, back=10)
    assert clock.anchor == anchor


def test_when_the_centres_clock_is_set_the_edge_follows() -> None:
    clock = Clock(HOUR, 0)
    exchange(clock, at=0, centre=HOUR, there=10, back=10)
    assert exchange(clock, at=SECOND, centre=3 * HOUR + SECOND, there=500, back=500)
    assert abs(clock.anchor - 3 * HOUR) < 1000


@given(st.integers(-HOUR, HOUR), st.integers(0, 400_000), st.integers(0, 400_000))
def test_it_ends_up_within_two_seconds_of_the_centre(wrong: int, there: int, back: int) -> None:
    clock = Clock(10 * HOUR + wrong, 0)
    exchange(clock, at=SECOND, centre=10 * HOUR + SECOND, there=there, back=back)
    assert abs(clock.anchor - 10 * HOUR) <= OFF + max(there, back)
