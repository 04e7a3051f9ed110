"""Formulas: what they mean, and what they refuse."""

import math
import string

import numpy as np
import pytest
from hypothesis import given, strategies as st

from telemetry.computing.formulas import DEPTH_MAX, KEYS_MAX, LENGTH_MAX, FormulaError, parse

VALUES = {
    "a": 2.0,
    "b": 3.0,
    "ch0.temperature": 20.0,
    "b-1": 5.0,
    "µ": 7.0,
    "m/s {": 1.0,
    "_0": 11.0,
    "in": 13.0,
}


def value(text: str, **more: float) -> float:
    """What a formula gives of one reading of each channel."""
    formula = parse(text)
    known = VALUES | more
    return float(formula.of([np.array([known[key]]) for key in formula.keys])[0])


MEANINGS = {
    "a + b * 2 - -b / 2": 9.5,
    "(a + b) ** 2": 25.0,
    "a ** -1": 0.5,
    "-a ** 2": -4.0,
    "ch0.temperature / 2": 10.0,
    "{ch0.temperature}+{ b-1 }": 25.0,
    "µ * {µ}": 49.0,
    "_0 + {b-1}": 16.0,
    "{in} + a": 15.0,
    "a > 1": 1.0,
    "1 < a < 2": 0.0,
    "a == 2 and not b > 5 or a": 1.0,
    "(a > 1) + (b > 1)": 2.0,
    "b if a > 5 else a * 10": 20.0,
    "min(a, b, 1) + max(a, b)": 4.0,
    "clip(ch0.temperature, a, b)": 3.0,
    "sqrt(a + a) + abs(-b)": 5.0,
    "log(exp(a)) + log10(a * 50)": 4.0,
    "atan2(0, a) + sin(0) + a": 2.0,
    " a \n + b": 5.0,
}


@pytest.mark.parametrize(("text", "expected"), MEANINGS.items(), ids=MEANINGS)
def test_what_a_formula_means(text: str, expected: float) -> None:
    assert value(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("temperature", "humidity", "dew", "absolute"),
    # Dew points as in the table of DIN 4108-3; absolute humidity from the saturation density of vapour there.
    [(20.0, 50.0, 9.3, 8.6), (25.0, 60.0, 16.7, 13.8), (0.0, 100.0, 0.0, 4.85), (30.0, 30.0, 10.5, 9.1)],
)
def test_dew_point_and_absolute_humidity(
    temperature: float, humidity: float, dew: float, absolute: float
) -> None:
    assert value("dew_point(a, b)", a=temperature, b=humidity) == pytest.approx(dew, abs=0.06)
    assert value("absolute_humidity(a, b)", a=temperature, b=humidity) == pytest.approx(absolute, abs=0.06)


@pytest.mark.parametrize(
    "text", ["1 / (a - 2)", "log(-a)", "sqrt(a - b)", "exp(a * 1e6)", "a ** 0.5 + log(0 * a)"]
)
def test_what_is_not_finite_is_no_number(text: str) -> None:
    assert math.isnan(value(text))


def test_many_rows_are_one_array() -> None:
    formula = parse("a if a > 0 else 1")
    assert formula.of([np.array([-1.0, 2.0, np.nan])]).tolist() == [1.0, 2.0, 1.0]


REFUSALS = {
    "": "the formula is empty",
    "2 * 3": "names no channel",
    "a +": "cannot be read, at character 1",
    "a + foo(b)": "there is no such function; did you mean floor?, at character 5: foo(b)",
    "µ + zzz(b)": "there are sqrt, exp",
    "sqrt(a, b)": "sqrt takes 1, and is given 2",
    "min(a)": "min takes at least 2",
    "sqrt(x=a)": "takes numbers and channels only",
    "min(*a)": "takes numbers and channels only",
    "a ** b": "an exponent is a number up to 10, at character 6: b",
    "a ** 11": "an exponent",
    "a ** (2 ** 3)": "an exponent",
    "a % 2": "has no place in a formula",
    "a // 2": "has no place",
    "a is b": "has no place",
    "[a]": "has no place",
    "a[0]": "has no place",
    "lambda: a": "has no place",
    "(a := 1)": "has no place",
    "f'{a}'": "has no place",
    "a.real()": "there is no such function",
    "{a}.b": "has no place",
    "'a' + b": "a number is needed",
    "a + True": "a number is needed",
    "1j * a": "a number is needed",
    "a + 1e999": "too large",
    "{a": "a key between { and } is needed, at character 1: {a",
    "a + {}": "a key between { and } is needed, at character 5",
    "a; b": "cannot be read",
    "a)": "cannot be read, at character 2",
    "__import__('os').system('true')": "there is no such function",
    "a" * (LENGTH_MAX + 1): "it may have 1000",
    "(" * 250 + "a": "cannot be read",
    "-" * (DEPTH_MAX + 1) + "a": "nested more than",
    "+".join(f"k{n}" for n in range(KEYS_MAX + 1)): "it may name 50",
}


@pytest.mark.parametrize(("text", "words"), REFUSALS.items(), ids=[text[:20] for text in REFUSALS])
def test_what_is_refused_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert words in str(caught.value)


@given(st.text(string.ascii_letters + string.digits + " +-*/()[]{}.,_<>=!\"'\\:;\nµ°\0", max_size=60))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    try:
        formula = parse(text)
    except FormulaError:
        return
    found = formula.of([np.array([1.0, -2.0]) for _ in formula.keys])
    assert found.shape == (2,)
