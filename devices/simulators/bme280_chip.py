"""The BME280 by its registers: what it answers on a bus, and when. No transport in here.

Section numbers are those of the protocol notes.
"""

import struct
from collections.abc import Callable
from random import Random

from devices.drivers.bme280_math import NOTHING, Calibration, Climate, Raw, climate

# Registers 0x88 to 0x9F, 0xA1, 0xE1 to 0xE7 of two chips (§5).
CALIBRATIONS = tuple(
    bytes.fromhex(text)
    for text in (
        "706b436718fc7d8e43d6d00b270b8c00f9ff8c3cf8c67017 4b 6a010014 2e031e",
        "696d366432 00e99802d6d00b231688fff9ff8c3cf8c67017 4b 7b01001171fe1e",
    )
)
ID, RESET, CTRL_HUM, STATUS, CTRL_MEAS, CONFIG, RESULTS = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
BME280, BMP280 = 0x60, 0x58
RESET_WORD = 0xB6
MEASURING, COPYING = 8, 1
TIMES = (0, 1, 2, 4, 8, 16, 16, 16)  # oversampling and filter, by bits
FILTERS = (1, 2, 4, 8, 16, 16, 16, 16)
STANDBY = (0.0005, 0.0625, 0.125, 0.25, 0.5, 1.0, 0.01, 0.02)  # seconds, by bits
COPYING_TIME = 0.002
NOISE = 2  # counts, up and down (inferred)
FILTER_SETTLES = 64  # measurements; what came before those is forgotten


class Chip:
    """One chip in some air. `air(seconds)` is the climate at a time of `clock`."""

    def __init__(
        self, calibration: bytes, air: Callable[[float], Climate], clock: Callable[[], float], random: Random
    ) -> None:
        self._image = calibration
        self.calibration = Calibration.parse(calibration[:24], calibration[24:25], calibration[25:])
        self._air, self._clock, self._random = air, clock, random
        self.is_stuck = False  # measurements never end
        self.is_frozen = False  # and bring the same again
        self.id = BME280
        self.power_on()

    def power_on(self) -> None:
        """All settings are lost."""
        self._registers = bytearray(256)
        self._put_calibration()
        self._pointer = 0
        self._osrs_h = 0  # the latched one
        self._ends_at: float | None = None  # of the measurement under way
        self._starts_at: float | None = None  # of the next, in normal mode
        self._next_ctrl_meas: int | None = None  # written while it measured
        self._smooth: tuple[float, float] | None = None
        self._ready_at = self._clock() + COPYING_TIME
        self._show(NOTHING)

    @property
    def has_measured(self) -> bool:
        return bytes(self._registers[RESULTS : RESULTS + 8]) != bytes.fromhex("8000008000008000")

    # ---- the bus

    def read(self, first: int, count: int) -> bytes:
        """Registers from `first` on, as they are at one moment."""
        self._advance()
        self._registers[ID] = self.id
        self._pointer = (first + count) & 0xFF
        return bytes(self._registers[(first + each) & 0xFF] for each in range(count))

    def read_on(self, count: int) -> bytes:
        """Registers from where the last transfer left off."""
        return self.read(self._pointer, count)

    def write(self, chunk: bytes) -> None:
        """A register, its value, the next register … (§1). One without a value is where reading goes on."""
        self._advance()
        for register, value in zip(chunk[::2], chunk[1::2], strict=False):
            self._put(register, value)
        if len(chunk) % 2:
            self._pointer = chunk[-1]

    def _put(self, register: int, value: int) -> None:
        is_measuring = self._ends_at is not None
        if register == RESET and value == RESET_WORD:
            self.power_on()
        elif register == CTRL_HUM and not is_measuring:
            self._registers[CTRL_HUM] = value & 7
        elif register == CONFIG and self._registers[CTRL_MEAS] & 3 != 3:
            self._registers[CONFIG] = value & 0xFD
            self._smooth = None
        elif register == CTRL_MEAS and is_measuring:
            self._next_ctrl_meas = value
        elif register == CTRL_MEAS:
            self._control(value, self._clock())

    def _put_calibration(self) -> None:
        image = self._image
        self._registers[0x88:0xA0], self._registers[0xA1] = image[:24], image[24]
        self._registers[0xE1:0xE8] = image[25:]

    # ---- measuring (§2)

    def _control(self, value: int, now: float) -> None:
        self._registers[CTRL_MEAS] = value
        self._osrs_h = self._registers[CTRL_HUM]
        self._starts_at = None
        if value & 3:
            self._ends_at = now + self._duration()

    def _duration(self) -> float:
        """Typical, in seconds."""
        meas = self._registers[CTRL_MEAS]
        t, p, h = TIMES[meas >> 5], TIMES[meas >> 2 & 7], TIMES[self._osrs_h]
        return (1 + 2 * t + (2 * p + 0.5 if p else 0) + (2 * h + 0.5 if h else 0)) / 1000

    def _advance(self) -> None:
        """Do what was to be done since the last look."""
        now = self._clock()
        while not self.is_stuck:
            if self._ends_at is not None and self._ends_at <= now:
                self._finish(self._ends_at)
            elif self._starts_at is not None and self._starts_at <= now:
                self._ends_at, self._starts_at = self._skipped_to(now) + self._duration(), None
            else:
                break
        is_measuring = self.is_stuck or self._ends_at is not None
        status = MEASURING * is_measuring | COPYING * (now < self._ready_at)
        self._registers[STATUS] = status

    def _skipped_to(self, now: float) -> float:
        """When the next cycle starts, but for those too long ago to matter."""
        start = self._starts_at or now
        cycle = self._duration() + self._standby()
        return start + max(0, int((now - start) / cycle) - FILTER_SETTLES) * cycle

    def _standby(self) -> float:
        return STANDBY[self._registers[CONFIG] >> 5]

    def _finish(self, at: float) -> None:
        self._ends_at = None
        if not self.is_frozen or not self.has_measured:
            self._show(self._counted(at))
        meas = self._registers[CTRL_MEAS]
        if self._next_ctrl_meas is not None:
            meas, self._next_ctrl_meas = self._next_ctrl_meas, None
            self._control(meas, at)
        elif meas & 3 == 3:
            self._starts_at = at + self._standby()
        else:
            self._registers[CTRL_MEAS] = meas & 0xFC

    def _counted(self, at: float) -> Raw:
        meas = self._registers[CTRL_MEAS]
        exact = counts(self.calibration, self._air(at))
        t, p = self._smoothed(self._noisy(exact.temperature, 0xFFFFF), self._noisy(exact.pressure, 0xFFFFF))
        return Raw(
            t if meas >> 5 else NOTHING.temperature,
            p if meas >> 2 & 7 else NOTHING.pressure,
            self._noisy(exact.humidity, 0xFFFF) if self._osrs_h & 7 else NOTHING.humidity,
        )

    def _noisy(self, value: int, highest: int) -> int:
        return min(max(value + self._random.randint(-NOISE, NOISE), 0), highest)

    def _smoothed(self, temperature: int, pressure: int) -> tuple[int, int]:
        share = FILTERS[self._registers[CONFIG] >> 2 & 7]
        t, p = self._smooth or (temperature, pressure)
        t, p = t + (temperature - t) / share, p + (pressure - p) / share
        self._smooth = t, p
        return round(t), round(p)

    def _show(self, raw: Raw) -> None:
        self._registers[RESULTS : RESULTS + 8] = (
            (raw.pressure << 4).to_bytes(3, "big")
            + (raw.temperature << 4).to_bytes(3, "big")
            + struct.pack(">H", raw.humidity)
        )


def counts(calibration: Calibration, air: Climate) -> Raw:
    """What the converter counts in such air: the compensation the other way round, by halving."""
    t = _first(20, lambda n: climate(calibration, Raw(n, 0, 0)).temperature >= air.temperature)
    p = _first(20, lambda n: (climate(calibration, Raw(t, n, 0)).pressure or 0) <= (air.pressure or 0))
    h = _first(16, lambda n: climate(calibration, Raw(t, p, n)).humidity >= air.humidity)
    return Raw(t, p, h)


def _first(bits: int, is_enough: Callable[[int], bool]) -> int:
    """The least number that is enough; the greatest there is, if none is."""
    number = 0
    for bit in reversed(range(bits)):
        if not is_enough(number + (1 << bit) - 1):
            number += 1 << bit
    return number
