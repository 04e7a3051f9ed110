"""Values in somebody's JSON: taken leniently, and never an exception of another kind."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices.drivers import json_values
from devices.drivers.json_values import decoded
from devices.errors import ReplyError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": NaN, "b": 1e999, "c": -Infinity}', {"a": None, "b": None, "c": None}),
        (b"[1, 2.5, true]", [1, 2.5, True]),
        (b'"\xc3\xa4"', "ä"),
    ],
)
def test_json_is_read_as_leniently_as_it_is_harmless(body: bytes, value: object) -> None:
    assert decoded(body) == value


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5_000, b"Job not found"])
def test_what_is_not_json_is_a_reply_error(body: bytes) -> None:
    with pytest.raises(ReplyError, match="not JSON"):
        decoded(body)


@given(ANYTHING)
def test_no_value_is_too_strange(value: Any) -> None:
    for take in (json_values.number, json_values.whole, json_values.truth, json_values.text):
        take(value)
    for take_time in (json_values.moment, json_values.unix):
        assert (take_time(value) or 0) >= 0


@given(st.from_regex(json_values.RFC3339, fullmatch=True))
def test_what_looks_like_a_time_is_one_or_none(text: str) -> None:
    at = json_values.moment(text)
    assert at is None or 0 <= at < 260_000_000_000_000_000


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001
def test_a_time_is_exact_to_the_microsecond(naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    exact = (at - json_values.EPOCH).days * 86_400_000_000 + (at - json_values.EPOCH).seconds * 1_000_000
    assert json_values.moment(at.isoformat()) == exact + at.microsecond


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2025-11-13T10:25:00.000812345Z", 812),
        ("2025-11-13T10:25:00.000812999Z", 812),
        ("2025-11-13T10:25:00Z", 0),
        ("2025-11-13T10:25:00.5Z", 500_000),
        ("2025-11-13T10:25:00.123Z", 123_000),
        ("2025-11-13t10:25:00.123456z", 123_456),
        ("2025-11-13 10:25:00", 0),
        ("2025-11-13T11:25:00+01:00", 0),
        ("2025-11-13T04:55:00-0530", 0),
        ("2025-11-13T10:24:60Z", 0),
    ],
)
def test_times_of_every_spelling(text: str, microseconds: int) -> None:
    assert json_values.moment(text) == 1_763_029_500_000_000 + microseconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "now",
        "2025-13-01T00:00:00Z",
        "2025-02-30T00:00:00Z",
        "2025-11-13",
        None,
        5,
        True,
        [],
        "²025-11-13T10:25:00Z",
    ],
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert json_values.moment(value) is None


@pytest.mark.parametrize(
    ("take", "value", "taken"),
    [
        (json_values.number, 3, 3.0),
        (json_values.number, True, None),
        (json_values.number, 10**400, None),
        (json_values.number, float("nan"), None),
        (json_values.whole, 13.0, 13),
        (json_values.whole, 13.5, None),
        (json_values.whole, 2**60, None),
        (json_values.truth, 1, None),
        (json_values.text, "a\0b", "ab"),
        (json_values.text, "a\ud800", "a?"),
        (json_values.unix, 1.5, 1_500_000),
        (json_values.unix, -1, None),
        (json_values.unix, 1e300, None),
    ],
)
def test_values_are_taken_as_what_they_are(take: Any, value: object, taken: object) -> None:
    assert take(value) == taken
