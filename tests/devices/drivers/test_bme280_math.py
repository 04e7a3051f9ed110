"""The compensation against the protocol notes' vectors (§3 to §5), and against any bits there can be."""

import math

import pytest
from hypothesis import given, strategies as st

from devices.drivers import bme280_math
from devices.drivers.bme280_math import (
    KEYS,
    NOTHING,
    Calibration,
    Climate,
    Raw,
    altitude,
    at_sea_level,
    climate,
    dew_point,
    values,
    whole_climate,
    whole_fine,
    whole_humidity,
    whole_pressure,
    whole_temperature,
)

A = Calibration.parse(
    bytes.fromhex("70 6b 43 67 18 fc 7d 8e 43 d6 d0 0b 27 0b 8c 00 f9 ff 8c 3c f8 c6 70 17"),
    bytes.fromhex("4b"),
    bytes.fromhex("6a 01 00 14 2e 03 1e"),
)
B = Calibration.parse(
    bytes.fromhex("69 6d 36 64 32 00 e9 98 02 d6 d0 0b 23 16 88 ff f9 ff 8c 3c f8 c6 70 17"),
    bytes.fromhex("4b"),
    bytes.fromhex("7b 01 00 11 71 fe 1e"),
)

# Calibration, registers 0xF7 to 0xFE; °C, Pa and % by whole and by real numbers.
VECTORS = [
    (A, "65 5a c0 7e ed 00 76 49", 25.08, 25.082478, 100653.254, 100653.267, 49.0859, 49.083662),
    (A, "65 5a c0 7e ed 00 65 90", 25.08, 25.082478, 100653.254, 100653.267, 25.1465, 25.149513),
    (A, "65 5a c0 7e ed 00 84 d0", 25.08, 25.082478, 100653.254, 100653.267, 69.7363, 69.739871),
    (A, "65 5a c0 7e ed 00 4e 20", 25.08, 25.082478, 100653.254, 100653.267, 0, 0),
    (A, "65 5a c0 7e ed 00 9c 40", 25.08, 25.082478, 100653.254, 100653.267, 100, 100),
    (A, "65 5a c0 61 a8 00 75 30", -12.64, -12.643607, 94916.301, 94916.326, 46.5430, 46.543043),
    (B, "4f ca 00 81 32 70 76 49", 24.79, 24.789488, 100661.145, 100661.518, 75.3594, 75.357105),
    (B, "49 3e 00 6d dd 00 6d 60", 0.57, 0.567603, 100762.332, 100762.341, 57.7607, 57.757301),
]

every_vector = pytest.mark.parametrize(("c", "block", "wt", "t", "wp", "p", "wh", "h"), VECTORS)


def test_calibration_is_taken_apart() -> None:
    assert (
        Calibration(
            *(27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000),
            *(75, 362, 0, 334, 50, 30),
        )
        == A
    )
    assert (B.t1, B.t2, B.t3, B.p1, B.p2, B.p4, B.p5) == (28009, 25654, 50, 39145, -10750, 5667, -120)
    assert (B.h2, B.h4, B.h5) == (379, 273, -25)


@pytest.mark.parametrize(
    ("shared", "h4", "h5"),
    [("14 2e 03", 334, 50), ("11 71 fe", 273, -25), ("ed 04 c0", -300, -1024), ("80 00 80", -2048, -2048)],
)
def test_two_words_share_a_byte_and_have_signs_of_their_own(shared: str, h4: int, h5: int) -> None:
    parsed = Calibration.parse(bytes(24), bytes(1), bytes(3) + bytes.fromhex(shared) + bytes(1))
    assert (parsed.h4, parsed.h5) == (h4, h5)


def test_signs_of_single_bytes() -> None:
    parsed = Calibration.parse(bytes(24), b"\xff", bytes.fromhex("00 00 ff 00 00 00 ff"))
    assert (parsed.h1, parsed.h3, parsed.h6) == (255, 255, -1)


def test_raw_counts_are_taken_apart() -> None:
    assert Raw.parse(bytes.fromhex("65 5a c0 7e ed 00 76 49")) == (519888, 415148, 30281)
    assert Raw.parse(bytes.fromhex("4f ca 00 81 32 70 76 49")) == (529191, 326816, 30281)
    assert Raw.parse(bytes.fromhex("80 00 00 80 00 00 80 00")) == NOTHING


@every_vector
def test_by_real_numbers(
    c: Calibration, block: str, wt: float, t: float, wp: float, p: float, wh: float, h: float
) -> None:
    found = climate(c, Raw.parse(bytes.fromhex(block)))
    assert found.pressure is not None
    assert found.temperature == pytest.approx(t, abs=1e-6)
    assert found.pressure * 100 == pytest.approx(p, abs=1e-3)
    assert found.humidity == pytest.approx(h, abs=1e-6)


@every_vector
def test_by_whole_numbers_to_the_bit(
    c: Calibration, block: str, wt: float, t: float, wp: float, p: float, wh: float, h: float
) -> None:
    raw = Raw.parse(bytes.fromhex(block))
    fine = whole_fine(c, raw.temperature)
    pressure = whole_pressure(c, fine, raw.pressure)
    assert pressure is not None
    assert whole_temperature(fine) == round(wt * 100)
    # The notes round to three and four places; 1/256 Pa and 1/1024 % are further apart than that.
    assert pressure == round(wp * 256)
    assert round(pressure / 256, 3) == pytest.approx(wp, abs=6e-4)
    assert whole_humidity(c, fine, raw.humidity) == round(wh * 1024)


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"), [(7, 2, 3), (-7, 2, -3), (7, -2, -3), (-7, -2, 3), (-8, 2, -4)]
)
def test_the_division_of_pressure_cuts_off(numerator: int, denominator: int, quotient: int) -> None:
    """Where Python's own rounds down, as right shifts do."""
    assert bme280_math._cut_off(numerator, denominator) == quotient


def test_steps_on_the_way() -> None:
    assert whole_fine(A, 519888) == 128422
    assert climate(A, Raw(519888, 415148, 30281)).temperature * 5120 == pytest.approx(128422.2870, abs=1e-4)


def test_the_third_humidity_word_counts_once() -> None:
    """Counted twice, as some programs do, it were 65.9 % in the notes' case; here the difference is less."""
    c = B._replace(h3=200)
    raw = Raw(529191, 326816, 30281)
    z = climate(c, raw).temperature * 5120 - 76_800
    once = (raw.humidity - (64 * c.h4 + c.h5 * z / 16_384)) * (c.h2 / 65_536)
    once *= 1 + c.h6 * z / 67_108_864 * (1 + c.h3 * z / 67_108_864)
    assert climate(c, raw).humidity == pytest.approx(once * (1 - c.h1 * once / 524_288), abs=1e-9)


def test_a_calibration_that_divides_by_zero_gives_no_pressure() -> None:
    c = A._replace(p1=0)
    for found in (climate(c, Raw(519888, 415148, 30281)), whole_climate(c, Raw(519888, 415148, 30281))):
        assert found.pressure is None
        assert found.temperature == pytest.approx(25.08, abs=0.01)
        assert values(found)["altitude"] is None
        assert values(found)["sea_level_pressure"] is None


# ---- what follows


@pytest.mark.parametrize(
    ("temperature", "humidity", "expected"),
    [(25.0, 50.0, 13.86), (20.0, 100.0, 20.0), (0.0, 80.0, -3.0), (30.0, 10.0, -4.97)],
)
def test_dew_point(temperature: float, humidity: float, expected: float) -> None:
    assert dew_point(temperature, humidity) == pytest.approx(expected, abs=0.1)


def test_air_without_water_has_no_dew_point() -> None:
    assert dew_point(20.0, 0.0) is None
    assert dew_point(-300.0, 50.0) is None


def test_altitude_and_sea_level() -> None:
    assert altitude(1013.25, 1013.25) == 0
    assert altitude(898.75, 1013.25) == pytest.approx(1000, abs=1)  # of the standard atmosphere
    assert at_sea_level(898.75, 1000.0) == pytest.approx(1013.25, abs=0.1)
    assert at_sea_level(1000.0, 0.0) == 1000.0
    assert altitude(0.0, 1013.25) is None
    assert altitude(-5.0, 1013.25) is None


def test_all_figures_of_one_measurement() -> None:
    figures = values(Climate(25.0, 1000.0, 50.0), height=100.0)
    assert tuple(figures) == KEYS
    assert figures["temperature_f"] == 77.0
    assert figures["sea_level_pressure"] == pytest.approx(1011.93, abs=0.02)


# ---- any bits

words = st.builds(Calibration.parse, *(st.binary(min_size=length, max_size=length) for length in (24, 1, 7)))
calibrations = st.one_of(st.sampled_from([A, B]), words)
edges = [0, 1, 0x7FFFF, 0x80000, 0xFFFFF]
twenty_bits = st.one_of(st.sampled_from(edges), st.integers(0, 0xFFFFF))
raws = st.builds(
    Raw, twenty_bits, twenty_bits, st.one_of(st.sampled_from([0, 0x8000, 0xFFFF]), st.integers(0, 0xFFFF))
)


@given(calibrations, raws, st.floats(800, 1100), st.floats(-500, 9000))
def test_no_bits_make_it_raise(c: Calibration, raw: Raw, sea_level: float, height: float) -> None:
    for compensate in (climate, whole_climate):
        figures = values(compensate(c, raw), sea_level, height)
        assert tuple(figures) == KEYS
        assert all(each is None or (type(each) is float and math.isfinite(each)) for each in figures.values())
        assert figures["humidity"] is not None
        assert 0 <= figures["humidity"] <= 100


@given(
    st.sampled_from([A, B]),
    st.integers(380_000, 620_000),
    st.integers(250_000, 550_000),
    st.integers(0, 0xFFFF),
)
def test_both_forms_agree_where_the_chip_works(c: Calibration, t: int, p: int, h: int) -> None:
    real, whole = climate(c, Raw(t, p, h)), whole_climate(c, Raw(t, p, h))
    assert real.pressure is not None
    assert whole.pressure is not None
    assert whole.temperature == pytest.approx(real.temperature, abs=0.0101)
    assert whole.humidity == pytest.approx(real.humidity, abs=0.0101)
    if -40 <= real.temperature <= 85 and 300 <= real.pressure <= 1100:
        assert whole.pressure == pytest.approx(real.pressure, abs=0.005)


@given(st.binary(min_size=8, max_size=8))
def test_any_eight_bytes_are_counts(block: bytes) -> None:
    raw = Raw.parse(block)
    assert 0 <= raw.temperature <= 0xFFFFF
    assert 0 <= raw.pressure <= 0xFFFFF
    assert 0 <= raw.humidity <= 0xFFFF
