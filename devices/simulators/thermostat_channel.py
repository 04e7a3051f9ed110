"""One channel of the simulated thermostat: the load, its thermistor, the ADC, the PID and the TEC driver.

Section numbers are those of the protocol notes' signal model (§9). The state moves on when it is looked at:
all samples since the last look are worked out then, so that an instrument nobody asks costs nothing.
"""

import math
import random
from dataclasses import dataclass, field
from functools import lru_cache

from devices.simulators.rust_text import e64

KELVIN = 273.15
FULL_SCALE = 1 << 24
VOLTS_PER_CODE = 1.65 / FULL_SCALE
SHUNT = 10_200.0  # Ω, in series with the thermistor
CENTRE = 1.5  # V, no current
LOAD_OHMS = 1.5
COUPLING = 20.0  # s, time constant of the load towards the room
CATCH_UP = 1_000  # samples regulated one by one after a long time unasked; the time before is jumped over

_random = random.Random(8451)  # noqa: S311 - a simulation
STRIDE = 2_654_435  # through the noise, so that channels do not look alike
NOISE = [_random.gauss(0.0, 0.0005) for _ in range(4096)]  # K


@dataclass(slots=True)
class Settings:
    """What `save` keeps of a channel."""

    max_v: float = 0.0
    max_i_pos: float = 0.0
    max_i_neg: float = 0.0
    rate: float | None = 16.667
    t0: float = 298.15  # K
    r0: float = 10_000.0
    b: float = 3_800.0
    kp: float = 0.0
    ki: float = 0.0
    kd: float = 0.0
    output_min: float = -2.0
    output_max: float = 2.0
    target: float = 0.0
    engaged: bool = False
    i_set: float = 0.0
    polarity: str = "normal"

    def has_usual_thermistor(self) -> bool:
        """Whether the device knows the thermistor as the one that is there."""
        return (self.t0, self.r0, self.b) == (298.15, 10_000.0, 3_800.0)


@dataclass(slots=True)
class TecChannel:
    """The state of one channel. Positive current cools the load."""

    number: int
    salt: int
    temperature: float  # of the load, °C
    settings: Settings = field(default_factory=Settings)
    centre: float | None = None  # V, as shown; None: vref
    current_max: float = 2.0
    plugged: bool = True
    shorted: bool = False
    speaks_nan: bool = False
    driving: bool = False  # the driver's shutdown pin is high
    samples: int = 0
    time_ms: int = 0
    interval_ms: int = 100
    adc: float | None = None
    sens: float | None = None
    measured: float | None = None
    pid_output: float = 0.0
    x1: float = 0.0
    x2: float = 0.0

    # ---- time

    def advance(self, count: int, time_ms: int, step_ms: int, ambient: float) -> None:
        """Take `count` samples `step_ms` apart, the last at `time_ms`."""
        self.interval_ms = time_ms - self.time_ms if count == 1 else step_ms
        self.time_ms = time_ms
        decay = math.exp(-step_ms / 1000.0 / COUPLING)
        if count > 1:
            one_by_one = min(count - 1, CATCH_UP) if self.plugged and self._regulates() else 0
            self._settle(count - 1 - one_by_one, ambient, decay)
            self._regulate(one_by_one, ambient, decay)
        self._drift(ambient, decay)
        self._sample()

    def _regulates(self) -> bool:
        settings = self.settings
        return settings.engaged or settings.kp != 0 or settings.ki != 0 or settings.kd != 0

    def _settle(self, count: int, ambient: float, decay: float) -> None:
        """Let the time of so many samples pass at the present current."""
        if count > 0:
            if self.settings.engaged and not self.plugged:
                self.driving = False
            self._drift(ambient, decay**count)
            self.samples += count

    def _regulate(self, count: int, ambient: float, decay: float) -> None:
        """Take samples as `_sample` does, but without the ADC's steps and the thermistor's arithmetic."""
        if count < 1:
            return
        settings, salt = self.settings, self.salt
        offset, first = settings.ki * settings.target, settings.kp + settings.ki + settings.kd
        second, third = settings.kp + 2 * settings.kd, settings.kd
        if not (settings.has_usual_thermistor() and math.isfinite(offset + first + second)):
            for _ in range(count):
                self._drift(ambient, decay)
                self._sample()
            return
        low, high, engaged = settings.output_min, settings.output_max, settings.engaged
        least, most = self._current_limits()
        sign = -1.0 if settings.polarity == "reversed" else 1.0
        current = sign * self.current()
        temperature, y, x1, x2 = self.temperature, self.pid_output, self.x1, self.x2
        for number in range(self.samples + 1, self.samples + count + 1):
            rest = ambient + COUPLING * (0.1 * current * current - 2.0 * current)
            temperature = rest + (temperature - rest) * decay
            x = temperature + NOISE[(number * STRIDE + salt) & 4095]
            y += x * first - x1 * second + x2 * third - offset
            y = low if y < low else min(y, high)
            x2, x1 = x1, x
            if engaged:
                current = sign * (least if y < least else min(y, most))
        self.samples += count
        self.temperature, self.pid_output, self.x1, self.x2 = temperature, y, x1, x2
        if engaged:
            self.driving = True
            self.set_current(y)

    def _drift(self, ambient: float, decay: float) -> None:
        """dT/dt = −2·I + 0.1·I² − (T − T_amb) / 20 s, solved for a constant current."""
        current = self.current()
        if self.settings.polarity == "reversed":
            current = -current
        rest = ambient + COUPLING * (0.1 * current * current - 2.0 * current)
        self.temperature = rest + (self.temperature - rest) * decay

    def _sample(self) -> None:
        self.samples += 1
        settings = self.settings
        if not self.plugged:
            self.adc = self.sens = self.measured = None
            if settings.engaged:
                self.driving = False
            return
        noise = NOISE[(self.samples * STRIDE + self.salt) & 4095]
        code = 1 if self.shorted else thermistor_code(self.temperature + noise)
        self.adc = code * VOLTS_PER_CODE
        self.sens = resistance(self.adc)
        self.measured = x = celsius(self.sens, settings)
        kp, ki, kd = settings.kp, settings.ki, settings.kd
        y = (
            self.pid_output
            - ki * settings.target
            + x * (kp + ki + kd)
            - self.x1 * (kp + 2 * kd)
            + self.x2 * kd
        )
        self.x2, self.x1 = self.x1, x
        low, high = settings.output_min, settings.output_max
        self.pid_output = y = low if y < low else min(y, high)
        if settings.engaged:
            self.driving = True
            self.set_current(y)

    # ---- the TEC driver

    def set_current(self, amperes: float) -> None:
        if amperes > self.current_max:
            amperes = self.current_max
        elif amperes < -self.current_max:
            amperes = -self.current_max
        self.settings.i_set = amperes

    def current(self) -> float:
        """What flows: the requested current within the analog limits, none while the driver is shut down."""
        if not self.driving:
            return 0.0
        wanted = self.settings.i_set
        if math.isnan(wanted):  # which the DAC takes for 0
            return 0.0
        least, most = self._current_limits()
        return least if wanted < least else min(wanted, most)

    def _current_limits(self) -> tuple[float, float]:
        settings = self.settings
        by_voltage = settings.max_v / LOAD_OHMS
        return max(-settings.max_i_neg, -by_voltage), min(settings.max_i_pos, by_voltage)

    # ---- the report

    def report(self) -> str:
        """The report object, keys in wire order (§6)."""
        measured = 'null,"sens":null,"temperature":null'
        if self.adc is not None and self.sens is not None and self.measured is not None:
            temperature = "NaN" if self.speaks_nan else e64(self.measured)
            measured = f'{e64(self.adc)},"sens":{e64(self.sens)},"temperature":{temperature}'
        settings = self.settings
        i_set = e64(settings.i_set)
        same = settings.i_set is self.pid_output
        return (
            f'{{"channel":{self.number},"time":{e64((self.time_ms & 0xFFFFFFFF) / 1000)}'
            f',"interval":{_seconds(self.interval_ms)},"adc":{measured}'
            f',"pid_engaged":{"true" if settings.engaged else "false"},"i_set":{i_set}{self._drive()}'
            f',"pid_output":{i_set if same else e64(self.pid_output)}}}'
        )

    def _drive(self) -> str:
        """From `dac_value` to `tec_u_meas`."""
        settings = self.settings
        sign = -1 if settings.polarity == "reversed" else 1
        current = sign * self.current()
        dac = CENTRE + sign * 0.5 * settings.i_set
        monitor, voltage = millivolts(CENTRE + 0.4 * current), millivolts(CENTRE + current * LOAD_OHMS / 4)
        return f',"dac_value":{e64(dac)}{_pins(millivolts(dac), monitor, voltage, sign)}'


@lru_cache(maxsize=4096)
def _pins(feedback: int, monitor: int, voltage: int, sign: int) -> str:
    """What the pins say, from their millivolts; there are few different ones."""
    tec_i = sign * (monitor / 1000 - CENTRE) / 0.4
    tec_u = (voltage / 1000 - CENTRE) * 4
    return (
        f',"dac_feedback":{e64(feedback / 1000)},"i_tec":{e64(monitor / 1000)}'
        f',"tec_i":{e64(tec_i)},"tec_u_meas":{e64(tec_u)}'
    )


@lru_cache(maxsize=256)
def _seconds(milliseconds: int) -> str:
    return e64(milliseconds / 1000)


def thermistor_code(temperature: float) -> int:
    """The ADC's code for a 10 kΩ NTC (B = 3800 K) at this temperature in °C."""
    ohms = 10_000.0 * math.exp(3_800.0 * (1 / (temperature + KELVIN) - 1 / 298.15))
    return round(ohms / (SHUNT + ohms) * FULL_SCALE)


def resistance(adc: float) -> float:
    """Ω from the ADC's volts."""
    return SHUNT * adc / (1.65 - adc)


def celsius(ohms: float, settings: Settings) -> float:
    """°C by the channel's own b-p settings; NaN or infinite where Rust's arithmetic is."""
    return (
        divided(1.0, divided(1.0, settings.t0) + divided(logarithm(divided(ohms, settings.r0)), settings.b))
        - KELVIN
    )


def logarithm(number: float) -> float:
    """IEEE 754 has an answer for every number; Python raises for 0 and less."""
    if number > 0:
        return math.log(number)
    return -math.inf if number == 0 else math.nan


def divided(numerator: float, denominator: float) -> float:
    """IEEE 754 division, which Rust has and Python has not for 0."""
    if denominator != 0:
        return numerator / denominator
    if numerator == 0 or math.isnan(numerator):
        return math.nan
    return math.copysign(math.inf, numerator) * math.copysign(1.0, denominator)


def millivolts(volts: float) -> int:
    """What the pin's ADC reads: whole millivolts, cut off."""
    if math.isnan(volts):
        return 0
    return int(min(max(volts, 0.0), 3.3) * 1000 + 1e-9)
