"""Calibrations: what holds when, and what is uncertain."""

from typing import Any

import numpy as np
import pytest

from telemetry.computing.calibration import Calibrations, NumbersError, curve


def true(kind: str, numbers: Any, *raw: float) -> tuple[list[float], list[bool]]:
    value, uncertain = curve(kind, numbers).of(np.array(raw))
    return value.tolist(), uncertain.tolist()


def test_a_polynomial_has_its_constant_first() -> None:
    assert true("polynomial", [1, 2, 3], 0.0, 1.0, -2.0) == ([1.0, 6.0, 9.0], [False] * 3)


def test_a_table_is_lines_between_its_points_and_uncertain_outside() -> None:
    table = [[10, 100], [0, 0], [20, 300]]
    assert true("table", table, 0.0, 5.0, 10.0, 15.0, 20.0) == ([0, 50, 100, 200, 300], [False] * 5)
    assert true("table", table, -1.0, 21.0) == ([-10.0, 320.0], [True, True])


def test_each_time_has_its_calibration_and_before_the_first_the_raw_value_is_uncertain() -> None:
    both = Calibrations(np.array([10, 20]), [curve("polynomial", [0, 2]), curve("polynomial", [0, 3])])
    value, uncertain = both.of(np.ones(5), np.array([9, 10, 19, 20, 99]))
    assert value.tolist() == [1, 2, 2, 3, 3]
    assert uncertain.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("kind", "numbers", "words"),
    [
        ("polynomial", [], "1 to 10 coefficients"),
        ("polynomial", [0.0] * 11, "1 to 10 coefficients"),
        ("polynomial", [1, None], "number 2 is none"),
        ("polynomial", [True], "number 1 is none"),
        ("polynomial", [float("inf")], "number 1 is none, or is too large"),
        ("polynomial", [10**400], "too large"),
        ("polynomial", "1, 2", "a list is needed"),
        ("table", [[0, 1]], "2 to 1000 pairs"),
        ("table", [[0, 1], [1, 2, 3]], "number 2 is no pair"),
        ("table", [[0, 1], [1, "2"]], "number 2 is none"),
        ("table", [[3, 1], [1, 1], [3, 2]], "the raw value 3 stands twice"),
    ],
)
def test_numbers_that_are_no_calibration(kind: str, numbers: Any, words: str) -> None:
    with pytest.raises(NumbersError) as caught:
        curve(kind, numbers)
    assert words in str(caught.value)
