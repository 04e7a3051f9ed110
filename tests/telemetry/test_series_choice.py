"""What a series is made of: arithmetic only."""

from datetime import UTC, datetime, timedelta

import pytest

from telemetry.series.choice import HOUR, MINUTE, STEPS, Choice, Kept, Resolution, choose, step

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RAW, MINUTES, HOURS = Resolution
ALWAYS = Kept(NOON - timedelta(days=5000), NOON - timedelta(days=5000))
SPANS = {
    "1 h": HOUR,
    "6 h": 6 * HOUR,
    "24 h": 24 * HOUR,
    "50 d": timedelta(days=50),
    "a year": timedelta(days=365),
}


@pytest.mark.parametrize(
    ("span", "points", "channels", "rows", "expected"),
    [
        ("1 h", 1200, 1, 60, (RAW, None)),
        ("1 h", 1200, 1, 3600, (RAW, timedelta(seconds=5))),
        ("1 h", 1200, 50, 3600, (RAW, timedelta(seconds=5))),
        ("1 h", 1200, 1, 360_000, (MINUTES, MINUTE)),
        ("24 h", 2000, 1, 86_400, (MINUTES, MINUTE)),
        ("24 h", 2000, 1, 8_640, (MINUTES, MINUTE)),
        ("24 h", 9000, 1, 8_640, (RAW, None)),
        ("24 h", 300, 1, 86_400, (MINUTES, 5 * MINUTE)),
        ("50 d", 2000, 1, 10, (HOURS, HOUR)),
        ("50 d", 10_000, 1, 10, (MINUTES, 10 * MINUTE)),
        ("50 d", 10_000, 50, 10, (HOURS, HOUR)),
        ("a year", 2000, 50, 10, (HOURS, 6 * HOUR)),
        ("a year", 10, 1, 10, (HOURS, timedelta(weeks=13))),
    ],
)
def test_what_it_is_made_of(
    span: str, points: int, channels: int, rows: int, expected: tuple[Resolution, timedelta | None]
) -> None:
    start = NOON - SPANS[span]
    choice = choose(start, NOON, points, channels, ALWAYS, lambda: [rows] * channels)
    assert choice == Choice(*expected)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (Kept(NOON, NOON - timedelta(days=400)), (MINUTES, MINUTE)),
        (Kept(NOON, NOON), (HOURS, HOUR)),
    ],
    ids=["readings are dropped", "minutes too"],
)
def test_what_is_dropped_is_not_asked_for(kept: Kept, expected: tuple[Resolution, timedelta]) -> None:
    choice = choose(NOON - HOUR, NOON, 1200, 1, kept, lambda: [10])
    assert choice == Choice(*expected)


def test_there_are_never_more_buckets_than_points() -> None:
    for points in (10, 77, 1200, 10_000):
        for seconds in (0.001, 1, 59, 3601, 86_400, 5_000_000, 3e7, 3e9):
            start, end = NOON - timedelta(seconds=seconds), NOON + timedelta(seconds=0.7)
            choice = Choice(HOURS, step(end - start, points))
            assert choice.width is not None
            first, last = choice.around(start, end)
            assert first <= start < end <= last
            assert (last - first) / choice.width <= points


def test_buckets_are_multiples_of_what_they_are_made_of() -> None:
    for width in STEPS:
        assert width < MINUTE or width % MINUTE == timedelta(0)
        assert width < HOUR or width % HOUR == timedelta(0)
