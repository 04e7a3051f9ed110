"""What goes on in a simulated MUST EP20: mains, a lead-acid battery, its charger, a load, heat. No wire."""

import math
from dataclasses import dataclass, field
from random import Random

BACKUP, LINE, STOP, SOFT_START = 3, 4, 5, 8
BYPASS, STEP_DOWN, BOOST = 0, 1, 2
CONSTANT_CURRENT, CONSTANT_VOLTAGE, FLOAT = 0, 1, 2
UNDER_VOLTAGE = 4  # a fault's number
AMBIENT = 24.0
EFFICIENCY = 0.85
IDLE_POWER = 8.0  # W, of the inverter
HEAT_SECONDS = 300.0
DISCHARGE_OHM, CHARGE_OHM = 0.02, 0.09  # of a 12 V battery


@dataclass(slots=True)
class Supply:
    """The state at one time, stepped in whole seconds: the same seed and outages, the same course."""

    rated: int = 1000
    battery_class: int = 12
    capacity: float = 9.0  # Ah
    load: float = 140.0  # W, on average
    charge: float = 0.9  # of the battery, 0 to 1
    random: Random = field(default_factory=Random)
    settings: dict[int, int] = field(
        default_factory=lambda: {
            31000: 0, 31001: 220, 31002: 105, 31003: 141, 31004: 136, 31005: 5,
            31006: 0, 31007: 0, 31008: 0, 31009: 1, 31016: 0, 31017: 1,
        }
    )  # fmt: skip
    second: int = 0
    state: int = LINE
    mains: bool = True
    sag: float = 0.0  # V that the mains lack
    input_voltage: float = 0.0
    input_frequency: float = 0.0
    output_voltage: float = 0.0
    output_frequency: float = 0.0
    power: float = 0.0
    power_factor: float = 0.8
    battery_voltage: float = 0.0
    battery_current: float = 0.0
    temperature: float = AMBIENT + 6
    regulation: int = BYPASS
    stage: int = FLOAT
    fault: int = 0
    _wander: float = 0.0
    _since: int = 0  # second of the last change of state

    def step(self, mains: bool, sag: float = 0.0, extra_load: float = 0.0) -> None:
        """One second passes."""
        self.second += 1
        self.mains, self.sag = mains, sag
        self._wander += -0.02 * self._wander + self.random.gauss(0, 0.25)
        self._follow_mains()
        self._change_state()
        self._carry(extra_load)
        if self.state in (LINE, SOFT_START) and not self.settings[31007]:
            self._charge()
        else:
            self._discharge()
        self._heat()

    @property
    def is_charging(self) -> bool:
        return self.battery_current > 0

    @property
    def load_percent(self) -> float:
        return 100 * self.power / self.rated

    @property
    def alarms(self) -> int:
        """Bits of 30022."""
        return (self.charge < 0.2) << 1 | (self.load_percent > 80) << 2

    @property
    def buzzer(self) -> int:
        if self.settings[31006]:
            return 0
        return 2 if self.alarms or self.fault else int(self.state == BACKUP)

    def _follow_mains(self) -> None:
        if not self.mains:
            self.input_voltage = self.input_frequency = 0.0
            return
        slow = 3 * math.sin(2 * math.pi * self.second / 900)
        self.input_voltage = self.settings[31001] + 3 + slow + self._wander - self.sag
        self.input_frequency = (60 if self.settings[31000] else 50) + 0.03 * self._wander

    def _change_state(self) -> None:
        before = self.state
        if self.state == STOP and self.mains:
            self.state, self.fault = SOFT_START, 0
        elif self.state == SOFT_START and self.second - self._since >= 2:
            self.state = LINE
        elif self.state == LINE and not self.mains:
            self.state = BACKUP
        elif self.state == BACKUP and self.mains:
            self.state, self.stage = LINE, CONSTANT_CURRENT
        elif self.state == BACKUP and self._is_empty():
            self.state, self.fault = STOP, UNDER_VOLTAGE
        if self.state != before:
            self._since = self.second

    def _is_empty(self) -> bool:
        return self.charge <= 0 or self.battery_voltage < self.settings[31002] / 10

    def _carry(self, extra: float) -> None:
        """What is connected: a base that wanders, and a machine that runs a minute in five."""
        if self.state == STOP:
            self.output_voltage = self.output_frequency = self.power = 0.0
            self.regulation = BYPASS
            return
        if self.state == BACKUP:
            self.regulation = BOOST  # as real ones say, though it is the inverter that feeds
            self.output_voltage = self.settings[31001] + 0.9 + 0.1 * self._wander
            self.output_frequency = 60.0 if self.settings[31000] else 50.0
        else:
            self._regulate()
        runs = 0.35 if self.second % 300 < 60 else 0.0
        tide = 0.08 * math.sin(2 * math.pi * self.second / 420)
        noise = self.random.gauss(0, 0.01)
        self.power = max(self.load * (1 + runs + tide + noise) + extra, 0.0)

    def _regulate(self) -> None:
        nominal = self.settings[31001]
        ratio = self.input_voltage / nominal
        self.regulation = BOOST if ratio < 0.9 else STEP_DOWN if ratio > 1.1 else BYPASS
        factor = {BOOST: 1.15, STEP_DOWN: 0.87}.get(self.regulation, 0.998)
        self.output_voltage = self.input_voltage * factor
        self.output_frequency = self.input_frequency

    # ---- the battery; voltages of a 12 V one

    @property
    def _cells(self) -> float:
        return self.battery_class / 12

    def _rest_voltage(self) -> float:
        return 11.5 + 1.25 * self.charge - 0.9 * max(0.0, 0.1 - self.charge) / 0.1

    def _discharge(self) -> None:
        current = 0.0
        if self.state == BACKUP:
            current = (self.power / EFFICIENCY + IDLE_POWER) / (self._rest_voltage() * self._cells)
        self._flow(-current)
        drop = current * DISCHARGE_OHM * self._cells
        self.battery_voltage = self._rest_voltage() * self._cells - drop + self.random.gauss(0, 0.01)

    def _charge(self) -> None:
        """Constant current up to the absorption voltage, that voltage until little flows, then float."""
        surface = (
            1.4 * max(0.0, (self.charge - 0.75) / 0.25) ** 2
        )  # what a nearly full battery sets against it
        rest = (self._rest_voltage() + surface) * self._cells
        ohm = CHARGE_OHM * self._cells
        most, absorption = float(self.settings[31005]), self.settings[31003] / 10
        if self.charge < 0.95 and self.stage == FLOAT:
            self.stage = CONSTANT_CURRENT
        current = most
        if rest + most * ohm >= absorption:
            current = max((absorption - rest) / ohm, 0.1)
            if self.stage == CONSTANT_CURRENT:
                self.stage = CONSTANT_VOLTAGE
        if self.stage == CONSTANT_VOLTAGE and current < 0.05 * self.capacity:
            self.stage = FLOAT
        voltage = min(rest + current * ohm, absorption)
        if self.stage == FLOAT:
            current, voltage = 0.2, self.settings[31004] / 10
        self._flow(current)
        self.battery_voltage = voltage + self.random.gauss(0, 0.01)

    def _flow(self, current: float) -> None:
        self.battery_current = current
        taken = current * (0.95 if current > 0 else 1)
        self.charge = min(max(self.charge + taken / 3600 / self.capacity, 0.0), 1.0)

    def _heat(self) -> None:
        lost = 0.12 * self.power if self.state == BACKUP else 0.03 * self.power
        aim = AMBIENT + 4 + 0.6 * lost + 0.8 * max(self.battery_current, 0.0)
        self.temperature += (aim - self.temperature) / HEAT_SECONDS
