"""Made-up values, for trying rules, alarms and pages without an instrument."""

import time
from collections.abc import Mapping
from typing import Any, Literal

from devices.drivers import labsite_simulated_waveforms as waveforms
from devices.drivers.base import Channel, Driver, Option
from devices.drivers.declared import KindRow, rows
from devices.errors import ConfigurationError
from devices.links.base import Link
from devices.readings import INT_MAX, Reading, Value, Vector

VALUES_MAX = 1_000
NUMBER_MAX = 1e12


class Waveform(KindRow, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel: mean + amplitude × shape, and what disturbs it. Times in seconds."""

    waveform: Literal["sine", "square", "triangle", "ramp", "noise", "walk", "constant", "cycle"] = "sine"
    mean: float = 0.0
    amplitude: float = 1.0
    period: float = 60.0
    phase: float = 0.0  # share of a period
    duty: float = 0.5  # of square: share of a period that it is high
    noise: float = 0.0  # standard deviation
    values: list[float | bool | str] = []  # of cycle: one after the other, in all a period
    size: int = 8  # of a vector
    spike: float = 0.0  # added while a spike lasts
    spike_every: float = 0.0
    spike_for: float = 1.0
    dropout_every: float = 0.0
    dropout_for: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.period >= 0.001:
            raise ValueError("period is at least 0.001 s")
        if not 0 <= self.duty <= 1:
            raise ValueError("duty is a share, from 0 to 1")
        if min(self.noise, self.spike_every, self.dropout_every, self.spike_for, self.dropout_for) < 0:
            raise ValueError("noise and times are not below 0")
        if max(map(abs, (self.mean, self.amplitude, self.noise, self.spike, self.phase))) > NUMBER_MAX:
            raise ValueError(f"numbers are at most {NUMBER_MAX:g}")
        if not 1 <= self.size <= 10_000 or len(self.values) > VALUES_MAX:
            raise ValueError(f"size is from 1 to 10000, and there are at most {VALUES_MAX} values")
        self._check_values()

    def _check_values(self) -> None:
        if (self.waveform == "cycle") != bool(self.values):
            raise ValueError('values belong to the waveform "cycle", and that needs some')
        if self.kind == "text" and self.waveform != "cycle":
            raise ValueError('a text channel has the waveform "cycle"')
        kinds = {"text": str, "bool": bool}.get(self.kind)
        for value in self.values:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (isinstance(value, kinds) if kinds else number):
                raise ValueError(f"value {value!r:.60} is not of kind {self.kind}")

    def readings(self, at: float, seed: int) -> list[Reading]:
        """What it is at a time, in seconds of UTC."""
        if waveforms.in_window(at, self.dropout_every, self.dropout_for, seed, self.key, "dropout"):
            return self.told(None)
        return self.told(self._value(at, seed))

    def _value(self, at: float, seed: int) -> Value:
        if self.waveform == "cycle":
            turn = at + self.phase * self.period
            value = self.values[waveforms.place_in(turn, self.period, len(self.values))]
            if isinstance(value, bool | str):
                return value
            return self._as_kind(self._disturbed(value, at, seed))
        if self.kind == "vector":
            return Vector(tuple(self._number(at, seed, number / self.size) for number in range(self.size)))
        return self._as_kind(self._number(at, seed))

    def _as_kind(self, value: float) -> Value:
        if self.kind == "bool":
            return value > self.mean
        if self.kind == "int":
            return round(min(max(value, -INT_MAX), INT_MAX))
        return Vector((value,)) if self.kind == "vector" else value

    def _number(self, at: float, seed: int, ahead: float = 0.0) -> float:
        return self._disturbed(self.mean + self.amplitude * self._shape(at, seed, ahead), at, seed, ahead)

    def _shape(self, at: float, seed: int, ahead: float) -> float:
        turn = at / self.period + self.phase + ahead
        if shape := waveforms.PERIODIC.get(self.waveform):
            return shape(turn)
        if self.waveform == "square":
            return waveforms.square(turn, self.duty)
        if self.waveform == "walk":
            return waveforms.walk(turn * self.period, self.period, seed, self.key)
        return waveforms.noise(at, seed, self.key, ahead) if self.waveform == "noise" else 0.0

    def _disturbed(self, value: float, at: float, seed: int, ahead: float = 0.0) -> float:
        if self.noise:
            value += self.noise * waveforms.noise(at, seed, self.key, "noise", ahead)
        if waveforms.in_window(at, self.spike_every, self.spike_for, seed, self.key, "spike"):
            value += self.spike
        return value


class LabsiteSimulated(Driver):
    """Nothing is at the other end: values are functions of the time of day and the seed."""

    label = "Simulated values"
    schemes = ("simulated",)
    example = "simulated://local"
    options = (
        Option(
            "channels",
            list,
            [
                {
                    "key": "temperature",
                    "label": "Temperature",
                    "unit": "Cel",
                    "mean": 21.0,
                    "amplitude": 2.0,
                    "period": 300.0,
                    "noise": 0.05,
                    "digits": 2,
                }
            ],
            "What is made up: objects with key, and if need be waveform (sine, square, triangle, ramp, "
            "noise, walk, constant, cycle), mean, amplitude, period in s, phase and duty (shares of a "
            "period), noise (standard deviation), values (of cycle, one after the other), spike with "
            "spike_every and spike_for, dropout_every and dropout_for (s, bad readings), kind (float, int, "
            "bool, text, vector with size), label, unit (UCUM), digits, low, high",
        ),
        Option("seed", int, 0, "Another seed, other noise", low=0, high=1_000_000_000),
    )

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        self._waveforms = rows("channels", self.settings["channels"], Waveform)

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        if not rows("channels", checked["channels"], Waveform):
            raise ConfigurationError("option channels: declare at least one")
        return checked

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        declared = options.get("channels", cls.options[0].default)
        return tuple(row.channel() for row in rows("channels", declared, Waveform))

    async def read(self) -> list[Reading]:
        return self.at(time.time())

    def at(self, moment: float) -> list[Reading]:
        """What is read at a moment, in seconds of UTC."""
        seed = self.settings["seed"]
        return [reading for waveform in self._waveforms for reading in waveform.readings(moment, seed)]
