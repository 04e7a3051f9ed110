"""The air of a laboratory: day and night, heating, weather, and people who open a window."""

import math
from random import Random

from devices.drivers.bme280_math import Climate

DAY = 86_400.0
STEP = 5.0  # seconds; the air of a room changes no faster
LONGEST = 7200.0  # seconds that are gone through step by step; before that nothing is remembered

FIRST_WINDOW = (120.0, 240.0)  # seconds from the start
BETWEEN_WINDOWS = (1200.0, 3600.0)
WINDOW_OPEN = (150.0, 480.0)
THROUGH_WINDOW = 420.0  # seconds: time constant of the air's exchange while it is open
THROUGH_WALLS = 900.0  # of the room's way back to what the heating holds

WEATHER = ((5.2 * DAY, 7.0), (31 * 3600.0, 2.5), (7.3 * 3600.0, 0.8), (48 * 60.0, 0.12))  # period, hPa
HEATING = 23 * 60.0  # seconds: its thermostat's period


class Room:
    """`at(seconds)` since the start; time goes one way only. The same seed, the same room."""

    def __init__(self, seed: object) -> None:
        self._random = Random(f"room {seed}")  # noqa: S311 - a simulation
        self._held = self._random.uniform(21.0, 23.0)  # °C that the heating holds
        self._dew = self._random.uniform(7.0, 10.0)  # dew point of the air within, °C
        self._outside = self._random.uniform(4.0, 13.0)
        self._phases = [self._random.uniform(0, 2 * math.pi) for _ in range(len(WEATHER) + 1)]
        self._now = 0.0
        self._temperature = self._target(0.0)
        self._vapour = saturated(self._dew)
        self._opens = self._random.uniform(*FIRST_WINDOW)
        self._closes = self._opens + self._random.uniform(*WINDOW_OPEN)

    def at(self, seconds: float) -> Climate:
        """°C, hPa, %."""
        self._now = max(self._now, seconds - LONGEST)
        while self._now + STEP <= seconds:
            self._now += STEP
            self._step()
        ahead = min(max(seconds - self._now, 0.0), STEP) / STEP
        temperature = self._temperature + self._change()[0] * ahead
        vapour = self._vapour + self._change()[1] * ahead
        humidity = min(max(100 * vapour / saturated(temperature), 0.0), 100.0)
        return Climate(temperature, self._pressure(seconds), humidity)

    def _step(self) -> None:
        heat, vapour = self._change()
        self._temperature += heat
        self._vapour += vapour
        if self._now > self._closes:
            self._opens = self._now + self._random.uniform(*BETWEEN_WINDOWS)
            self._closes = self._opens + self._random.uniform(*WINDOW_OPEN)

    def _change(self) -> tuple[float, float]:
        """Of temperature (°C) and vapour pressure (hPa) in one step."""
        heat = (self._target(self._now) - self._temperature) * STEP / THROUGH_WALLS
        vapour = (saturated(self._dew) - self._vapour) * STEP / (4 * THROUGH_WALLS)
        if self._opens <= self._now <= self._closes:
            outside = self._outside + 4 * _daily(self._now)
            heat += (outside - self._temperature) * STEP / THROUGH_WINDOW / 3  # walls and furniture stay warm
            vapour += (0.8 * saturated(outside) - self._vapour) * STEP / THROUGH_WINDOW
        return heat, vapour

    def _target(self, now: float) -> float:
        heating = 0.25 * math.sin(2 * math.pi * now / HEATING + self._phases[-1])
        return self._held + 0.7 * _daily(now) + heating

    def _pressure(self, now: float) -> float:
        weather = zip(WEATHER, self._phases, strict=False)
        slow = sum(
            height * math.sin(2 * math.pi * now / period + phase) for (period, height), phase in weather
        )
        gust = 0.0
        if self._opens <= now <= self._closes:
            gust = 0.02 * math.sin(now * 1.3) * math.sin(now * 0.37)
        return 1008.0 + slow + gust


def _daily(now: float) -> float:
    """-1 at four in the night, 1 at four in the afternoon; it starts at ten in the morning."""
    return math.sin(2 * math.pi * now / DAY)


def saturated(temperature: float) -> float:
    """Vapour pressure over water, in hPa (Magnus, Alduchov and Eskridge 1996)."""
    return 6.1094 * math.exp(17.625 * temperature / (243.04 + temperature))
