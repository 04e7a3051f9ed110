"""A simulated MUST EP20-1000-Pro on a serial port: Modbus RTU, and all the ways in which replies break."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, ClassVar

from devices.simulators.base import BadSetting, Client
from devices.simulators.faults import Faults
from devices.simulators.must_ep20_power import (
    BACKUP,
    BOOST,
    BYPASS,
    CONSTANT_CURRENT,
    CONSTANT_VOLTAGE,
    FLOAT,
    LINE,
    SOFT_START,
    STEP_DOWN,
    STOP,
    UNDER_VOLTAGE,
    Supply,
)
from devices.simulators.must_ep20_wire import SPOILED, answer, requests
from devices.simulators.pty import SerialSimulator

logger = logging.getLogger(__name__)

STATUS_START, STATUS_COUNT = 30000, 27
SETTINGS_START, MORE_SETTINGS_START = 31000, 31016
SOFTWARE = 16710
STEPS_MAX = 100_000  # a day and more; of what was longer ago nothing is seen
SAG, SURGE = 48.0, 720.0  # V, W: what the faults brownout and overload do
PAUSE = 0.7  # seconds in the middle of a reply
SETTLED = 0.05  # seconds without a byte, after which a request begins anew
OWN = ("blackout", "brownout", "overload")
NUMBERS = {
    "unit": (10, 1, 247),
    "baudrate": (9600, 300, 115_200),
    "rated": (1000, 300, 3000),
    "battery": (12, 12, 48),
    "capacity": (9, 1, 1000),
    "load": (140, 0, 3000),
    "charge": (90, 0, 100),
}


class MustEp20(SerialSimulator):
    """One unit, with its battery and what hangs on it."""

    driver = "must_ep20"
    settings: ClassVar[Mapping[str, str]] = {
        "outages": "when the mains fail: every so many seconds, for how many (600/120); or none",
        "load": "W on average (140)",
        "capacity": "Ah of its battery (9)",
        "charge": "% in its battery at first (90)",
        "battery": "V of its battery: 12, 24 or 48 (12)",
        "rated": "W it is made for (1000)",
        "unit": "its Modbus unit (10)",
        "baudrate": "its speed (9600)",
        "delay": "seconds until it answers, more or less (0.05); 0: at once",
    }
    faults_of_its_own = (*OWN, *SPOILED, "pause", "stale")

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        numbers = {name: _number(settings, name, *limits) for name, limits in NUMBERS.items()}
        self.unit, self.baudrate = int(numbers["unit"]), int(numbers["baudrate"])
        self.line = {} if self.baudrate == NUMBERS["baudrate"][0] else {"baudrate": str(self.baudrate)}
        self.delay = _number(settings, "delay", 0.05, 0, 10)
        self.random = Random(f"{seed}/{number}")  # noqa: S311 - a simulation
        self._outages = _outages(settings.get("outages", "600/120"))
        self.supply = Supply(
            int(numbers["rated"]),
            int(numbers["battery"]),
            numbers["capacity"],
            numbers["load"],
            numbers["charge"] / 100,
            Random(f"{seed}/{number}/power"),  # noqa: S311 - a simulation
        )
        for register in (31002, 31003, 31004):
            self.supply.settings[register] *= self.supply.battery_class // 12
        self.advance()

    def session(self, client: Client) -> "Conversation":
        return Conversation(self, client)

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        return json.loads(reply), ()

    def garbage(self, answer: bytes, random: Random) -> bytes:
        noise = random.randbytes(random.randint(1, 200)) if random.random() < 0.5 else answer[:-3]
        return noise.replace(bytes([self.unit]), b"\xff")

    def advance(self) -> None:
        """Let pass what has passed."""
        due = int(self.elapsed) + 1
        self.supply.second = max(self.supply.second, due - STEPS_MAX)
        while self.supply.second < due:
            at = self.supply.second
            every, lasts = self._outages
            is_out = every > 0 and at % every >= every - lasts
            mains = not is_out and not self._stands("blackout", at)
            sag = SAG if self._stands("brownout", at) else 0.0
            self.supply.step(mains, sag, SURGE if self._stands("overload", at) else 0.0)

    def registers(self, start: int, count: int) -> list[int] | None:
        """None if it has not got them all."""
        self.advance()
        for first, block in ((STATUS_START, self._status()), (SETTINGS_START, self._settings())):
            at = start - first
            if at >= 0 and 0 < count <= len(block) - at:
                return [value & 0xFFFF for value in block[at : at + count]]
        return None

    def write(self, register: int, values: list[int]) -> bool:
        """Whether the settings take these values."""
        cells = self.supply.battery_class // 12
        ranges = {
            31000: (0, 1), 31001: (220, 230), 31002: (100 * cells, 120 * cells),
            31003: (138 * cells, 145 * cells), 31004: (135 * cells, 145 * cells), 31005: (2, 40),
            **dict.fromkeys((31006, 31007, 31008, 31009, 31016, 31017), (0, 1)),
        }  # fmt: skip
        wanted = dict(enumerate(values, register))
        fits = all(at in ranges and ranges[at][0] <= value <= ranges[at][1] for at, value in wanted.items())
        if fits:
            self.supply.settings.update(wanted)
        return fits

    def note(self, start: int, block: list[int]) -> str:
        """What of this is to be found again in the readings, for the ledger; nothing of a part."""
        if (start, len(block)) == (STATUS_START, STATUS_COUNT):
            return json.dumps(_status_values(block))
        if (start, len(block)) == (SETTINGS_START, 10):
            return json.dumps(_settings_values(block))
        if (start, len(block)) == (MORE_SETTINGS_START, 2):
            keys = ("settings.utility_power", "settings.overload_recovery")
            return json.dumps(dict(zip(keys, (not block[0], bool(block[1])), strict=True)))
        return ""

    def _stands(self, kind: str, at: float) -> bool:
        return self.faults.standing(kind, self.number, at) is not None

    def _status(self) -> list[int]:
        now = self.supply
        current = now.power / now.power_factor / now.output_voltage if now.output_voltage else 0.0
        percent = round(now.load_percent)
        return [
            0, SOFTWARE, now.state, now.battery_class, now.rated,
            round(10 * now.input_voltage), round(10 * now.input_frequency),
            round(10 * now.output_voltage), round(10 * now.output_frequency),
            round(10 * current), round(now.power), round(now.power / now.power_factor), percent,
            2 if percent > 100 else int(percent > 80),
            round(10 * now.battery_voltage), round(10 * now.battery_current), 0, round(100 * now.charge),
            round(now.temperature), now.regulation, now.buzzer, now.fault, now.alarms, now.stage,
            int(now.is_charging), 1, 1,
        ]  # fmt: skip

    def _settings(self) -> list[int]:
        return [self.supply.settings.get(SETTINGS_START + at, 0) for at in range(18)]


class Conversation:
    """What comes over the line, and the replies, each after a while."""

    def __init__(self, device: MustEp20, client: Client) -> None:
        self.device, self.client = device, client
        self._heard = bytearray()
        self._heard_at = 0.0
        self._owed: tuple[bytes, str] | None = None  # by the fault "stale", sent with the next reply
        self._timers: set[asyncio.TimerHandle] = set()

    def hear(self, chunk: bytes) -> None:
        now = self.device.clock()
        if now - self._heard_at > SETTLED:
            self._heard.clear()
        self._heard_at = now
        self._heard += chunk
        for request in requests(self._heard, self.device.unit):
            self._reply(request)

    def end(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _reply(self, request: bytes) -> None:
        device = self.device
        reply, text = answer(device, request)
        logger.debug("%s -> %s", request.hex(" "), reply.hex(" "))
        wait = device.delay * device.random.uniform(0.4, 3) if device.delay else 0.0
        kind = self._fault()
        owed, self._owed = self._owed, (reply, text) if kind == "stale" else None
        if kind == "stale":
            if owed:
                self._after(wait, *owed)
        elif kind == "pause":
            fault = device.faults.standing(kind, device.number, device.elapsed)
            cut = min(20, len(reply) // 2)
            self._after(wait, reply[:cut], "")
            self._after(wait + (fault.delay if fault and fault.delay else PAUSE), reply[cut:], text)
        elif kind:
            spoil, is_whole = SPOILED[kind]
            self._after(wait, spoil(request, reply), text if is_whole else "")
        else:
            self._after(wait, (owed[0] if owed else b"") + reply, text)

    def _fault(self) -> str:
        faults, number, elapsed = self.device.faults, self.device.number, self.device.elapsed
        for kind in (*SPOILED, "pause", "stale"):
            fault = faults.standing(kind, number, elapsed)
            if fault is not None and faults.chance(fault.p):
                return kind
        return ""

    def _after(self, seconds: float, chunk: bytes, text: str) -> None:
        if not seconds:
            self.client.answer(chunk, reading=text or False)
            return

        def send() -> None:
            self._timers.discard(timer)
            self.client.answer(chunk, reading=text or False)

        timer = asyncio.get_running_loop().call_later(seconds, send)
        self._timers.add(timer)


def _status_values(block: list[int]) -> dict[str, Any]:
    """The channels' values as this instrument means them."""
    signed = [value - 0x1_0000 if value >= 0x8000 else value for value in block]
    state, fault, alarms = block[2], block[21], block[22]
    return {
        "status": "battery" if state == BACKUP else "online" if state == LINE else "unknown",
        "work_state": {BACKUP: "backup", LINE: "line", STOP: "stop", SOFT_START: "soft start"}[state],
        "machine_type": "EP2000 Pro", "software_version": block[1],
        "battery_class": block[3], "rated_power": block[4],
        "input_voltage": block[5] / 10, "input_frequency": block[6] / 10,
        "output_voltage": block[7] / 10, "frequency": block[8] / 10,
        "load_current": block[9] / 10, "load_power": block[10], "load_apparent_power": block[11],
        "load_percent": block[12], "load_state": ("normal", "alarm", "overload")[block[13]],
        "battery_voltage": block[14] / 10, "battery_current": signed[15] / 10, "battery_level": block[17],
        "temperature": float(signed[18]),
        "regulation": {BYPASS: "bypass", STEP_DOWN: "step-down", BOOST: "boost"}[block[19]],
        "buzzer": ("off", "sounding", "alarm")[block[20]],
        "fault_number": fault,
        "fault": {0: "none", UNDER_VOLTAGE: "fault 4: battery under-voltage"}[fault],
        "alarm_bits": alarms,
        "alarm.battery_low": bool(alarms & 2), "alarm.overload": bool(alarms & 4),
        "alarm.battery_high": bool(alarms & 8), "alarm.parameter_error": bool(alarms & 16),
        "charge_stage": {
            CONSTANT_CURRENT: "constant current", CONSTANT_VOLTAGE: "constant voltage", FLOAT: "float"
        }[block[23]],
        "charging": bool(block[24]), "main_switch": bool(block[25]), "delay_type": "long delay",
    }  # fmt: skip


def _settings_values(block: list[int]) -> dict[str, Any]:
    return {
        "settings.frequency": 60 if block[0] else 50, "settings.voltage": block[1],
        "settings.shutdown_voltage": block[2] / 10, "settings.absorption_voltage": block[3] / 10,
        "settings.float_voltage": block[4] / 10, "settings.charge_current": block[5],
        "settings.buzzer_silenced": bool(block[6]), "settings.grid_charging": not block[7],
        "settings.key_sound": not block[8], "settings.backlight": bool(block[9]),
    }  # fmt: skip


def _number(settings: Mapping[str, str], name: str, usual: float, low: float, high: float) -> float:
    text = settings.get(name, str(usual))
    try:
        number = float(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise BadSetting(f"--set {name}={text}: write a number from {low} to {high}")
    return number


def _outages(text: str) -> tuple[int, int]:
    every, slash, lasts = text.partition("/")
    if text == "none":
        return 0, 0
    if slash and every.isdecimal() and lasts.isdecimal() and 0 < int(lasts) < int(every):
        return int(every), int(lasts)
    raise BadSetting(f"--set outages={text}: write every/for in whole seconds, as 600/120, or none")
