"""Floats byte for byte as the firmware prints them (§5)."""

import math
import re
import struct

import pytest
from hypothesis import given, strategies as st

from devices.simulators.rust_text import e32, e64, single

RUST = re.compile(r"-?[0-9](\.[0-9]*[1-9])?e(-?[1-9][0-9]*|0)")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (25.0, "2.5e1"),
        (0.0, "0e0"),
        (-0.0, "-0e0"),
        (0.12, "1.2e-1"),
        (10_000.0, "1e4"),
        (910.12, "9.1012e2"),
        (7467.966307221274, "7.467966307221274e3"),
        (0.26500000000000024, "2.6500000000000024e-1"),
        (1.0, "1e0"),
        (-2.0, "-2e0"),
        (1e-5, "1e-5"),
        (1.5e-7, "1.5e-7"),
        (1e16, "1e16"),
        (1e22, "1e22"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
)
def test_a_float_is_in_scientific_form(number: float, text: str) -> None:
    assert e64(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(16.667, "1.6667e1"), (0.3, "3e-1"), (-2.0, "-2e0"), (0.02, "2e-2"), (0.0, "0e0"), (-0.0, "-0e0")],
)
def test_a_single_has_the_digits_a_single_needs(number: float, text: str) -> None:
    assert e32(single(number)) == text


def test_what_is_too_large_for_a_single_is_infinite() -> None:
    assert e32(single(1e60)) == "inf"
    assert e32(single(-1e60)) == "-inf"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_reads_back_and_is_as_short_as_pythons(number: float) -> None:
    text = e64(number)
    assert RUST.fullmatch(text)
    assert struct.pack("d", float(text)) == struct.pack("d", number)
    assert _digits(text) == _digits(repr(number))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_single_reads_back(number: float) -> None:
    text = e32(number)
    assert RUST.fullmatch(text)
    assert struct.pack("f", float(text)) == struct.pack("f", number)


def _digits(text: str) -> str:
    return text.lstrip("-").split("e")[0].replace(".", "").strip("0")
