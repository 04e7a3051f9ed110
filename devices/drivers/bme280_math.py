"""BME280: what raw counts mean, by its datasheet (BST-BME280-DS001 §4.2.3 and §8), and what follows from it.

Both of the datasheet's forms: real numbers, and whole numbers with 64-bit pressure, exact to the bit.
Whatever bits a chip or a broken wire gives, nothing here raises.
"""

import math
import struct
from collections.abc import Iterable
from typing import NamedTuple

KEYS = ("temperature", "humidity", "pressure", "dew_point", "temperature_f", "altitude", "sea_level_pressure")
SEA_LEVEL = 1013.25  # hPa, of the standard atmosphere
HIGHEST_HUMIDITY = 100 << 22

# Barometric formula of the standard atmosphere's lowest layer.
SCALE_HEIGHT = 44_330.0  # m
EXPONENT = 0.1903

# Magnus formula over water, Alduchov and Eskridge 1996.
MAGNUS_A, MAGNUS_B = 17.625, 243.04


class Calibration(NamedTuple):
    """What was measured of one chip at the factory."""

    t1: int
    t2: int
    t3: int
    p1: int
    p2: int
    p3: int
    p4: int
    p5: int
    p6: int
    p7: int
    p8: int
    p9: int
    h1: int
    h2: int
    h3: int
    h4: int
    h5: int
    h6: int

    @classmethod
    def parse(cls, low: bytes, h1: bytes, high: bytes) -> "Calibration":
        """From registers 0x88 to 0x9F, 0xA1, and 0xE1 to 0xE7."""
        # H4 and H5 share 0xE5, and their high bytes carry the signs: unlike all others, high byte first.
        h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", high)
        h4, h5 = e4 * 16 + (e5 & 15), e6 * 16 + (e5 >> 4)
        return cls._make((*struct.unpack("<HhhH8h", low), h1[0], h2, h3, h4, h5, h6))


class Raw(NamedTuple):
    """What the converter counted; 20, 20 and 16 bits."""

    temperature: int
    pressure: int
    humidity: int

    @classmethod
    def parse(cls, block: bytes) -> "Raw":
        """From registers 0xF7 to 0xFE."""
        pressure = int.from_bytes(block[:3], "big") >> 4
        temperature = int.from_bytes(block[3:6], "big") >> 4
        return cls(temperature, pressure, int.from_bytes(block[6:8], "big"))


NOTHING = Raw(0x80000, 0x80000, 0x8000)  # after a reset, before the first conversion; of a channel skipped


class Climate(NamedTuple):
    """°C, hPa and % of relative humidity. No pressure: the calibration makes it a division by zero."""

    temperature: float
    pressure: float | None
    humidity: float


# ---- real numbers


def climate(c: Calibration, raw: Raw) -> Climate:
    fine = _fine(c, raw.temperature)
    pressure = _pascal(c, fine, raw.pressure)
    return Climate(fine / 5120, None if pressure is None else pressure / 100, _percent(c, fine, raw.humidity))


def _fine(c: Calibration, counts: int) -> float:
    """The temperature in 1/5120 °C: what the other two are compensated by."""
    x = counts / 16_384 - c.t1 / 1024
    y = counts / 131_072 - c.t1 / 8192
    return x * c.t2 + y * y * c.t3


def _pascal(c: Calibration, fine: float, counts: int) -> float | None:
    u = fine / 2 - 64_000
    w = (u * u * c.p6 / 32_768 + 2 * u * c.p5) / 4 + 65_536 * c.p4
    d = (1 + (c.p3 * u * u / 524_288 + c.p2 * u) / 524_288 / 32_768) * c.p1
    if d == 0:
        return None
    q = (1_048_576 - counts - w / 4096) * 6250 / d
    return q + (c.p9 * q * q / 2_147_483_648 + c.p8 * q / 32_768 + c.p7) / 16


def _percent(c: Calibration, fine: float, counts: int) -> float:
    z = fine - 76_800
    # H3 counts once, as in the datasheet; programs that multiply by it twice are wrong where it is not 0.
    slope = c.h2 / 65_536 * (1 + c.h6 * z / 67_108_864 * (1 + c.h3 * z / 67_108_864))
    g = (counts - (64 * c.h4 + c.h5 * z / 16_384)) * slope
    return min(max(g * (1 - c.h1 * g / 524_288), 0.0), 100.0)


# ---- whole numbers; right shifts round down, the division cuts off


def whole_climate(c: Calibration, raw: Raw) -> Climate:
    """By whole numbers only, as a microcontroller has it."""
    fine = whole_fine(c, raw.temperature)
    pressure = whole_pressure(c, fine, raw.pressure)
    return Climate(
        whole_temperature(fine) / 100,
        None if pressure is None else pressure / 25_600,
        whole_humidity(c, fine, raw.humidity) / 1024,
    )


def whole_fine(c: Calibration, counts: int) -> int:
    near = (counts >> 4) - c.t1
    return ((((counts >> 3) - 2 * c.t1) * c.t2) >> 11) + ((((near * near) >> 12) * c.t3) >> 14)


def whole_temperature(fine: int) -> int:
    """In 0.01 °C."""
    return (5 * fine + 128) >> 8


def whole_pressure(c: Calibration, fine: int, counts: int) -> int | None:
    """In 1/256 Pa."""
    u = fine - 128_000
    w = u * u * c.p6 + ((u * c.p5) << 17) + (c.p4 << 35)
    d = (((1 << 47) + ((u * u * c.p3) >> 8) + ((u * c.p2) << 12)) * c.p1) >> 33
    if d == 0:
        return None
    q = _cut_off((((1_048_576 - counts) << 31) - w) * 3125, d)
    square = (c.p9 * (q >> 13) * (q >> 13)) >> 25
    return ((q + square + ((c.p8 * q) >> 19)) >> 8) + (c.p7 << 4)


def whole_humidity(c: Calibration, fine: int, counts: int) -> int:
    """In 1/1024 %."""
    z = fine - 76_800
    slope = ((((((z * c.h6) >> 10) * (((z * c.h3) >> 11) + 32_768)) >> 10) + 2_097_152) * c.h2 + 8192) >> 14
    g = (((counts << 14) - (c.h4 << 20) - c.h5 * z + 16_384) >> 15) * slope
    g -= ((((g >> 15) * (g >> 15)) >> 7) * c.h1) >> 4
    return min(max(g, 0), HIGHEST_HUMIDITY) >> 12


def _cut_off(numerator: int, denominator: int) -> int:
    quotient = abs(numerator) // abs(denominator)
    return quotient if (numerator < 0) == (denominator < 0) else -quotient


# ---- what follows


def values(measured: Climate, sea_level: float = SEA_LEVEL, height: float = 0.0) -> dict[str, float | None]:
    """By `KEYS`; None for what cannot be said. `sea_level` in hPa, `height` in m above the sea."""
    temperature, pressure, humidity = measured
    figures = (
        temperature,
        humidity,
        pressure,
        dew_point(temperature, humidity),
        temperature * 9 / 5 + 32,
        None if pressure is None else altitude(pressure, sea_level),
        None if pressure is None else at_sea_level(pressure, height),
    )
    return dict(zip(KEYS, _finite(figures), strict=True))


def dew_point(temperature: float, humidity: float) -> float | None:
    """In °C. None for air without any water, and where no air is so cold."""
    if humidity <= 0 or temperature <= -MAGNUS_B:
        return None
    gamma = math.log(humidity / 100) + MAGNUS_A * temperature / (MAGNUS_B + temperature)
    return MAGNUS_B * gamma / (MAGNUS_A - gamma) if gamma < MAGNUS_A else None


def altitude(pressure: float, sea_level: float) -> float | None:
    """In m, in the standard atmosphere."""
    return SCALE_HEIGHT * (1 - (pressure / sea_level) ** EXPONENT) if pressure > 0 else None


def at_sea_level(pressure: float, height: float) -> float:
    """In hPa, in the standard atmosphere."""
    return float(pressure / (1 - height / SCALE_HEIGHT) ** (1 / EXPONENT))


def _finite(figures: Iterable[float | None]) -> list[float | None]:
    return [figure if figure is not None and math.isfinite(figure) else None for figure in figures]
