"""A simulated bench instrument that speaks SCPI: a power supply with its load, and a multimeter beside it."""

import math
import random
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from devices.readings import Vector
from devices.simulators.base import BadSetting, Client
from devices.simulators.faults import Faults
from devices.simulators.pty import SerialSimulator

LINE_BYTES_MAX = 1_024
QUEUE_MAX = 20  # errors; the last is then replaced by "Queue overflow"
OVERLOAD = 9.9e37
STEP = 0.1  # seconds of the physics
STEPS_MAX = 6_000  # made up for after a long silence
SAMPLES = 32  # of one trace

# What is asked, and what of the driver's channels the answer carries; the lab in docs/examples names them so.
READS = {
    "MEAS:VOLT?": ("voltage",),
    "MEAS:CURR?": ("current",),
    "MEAS:TEMP?": ("temperature",),
    "FETC?": ("voltage", "current", "temperature"),
    "FETC:ARR?": ("trace",),
    "VOLT?": ("voltage_set",),
    "CURR?": ("current_limit",),
    "OUTP?": ("output",),
}

# Long forms of SCPI's words, for instruments are asked by either.
SHORT = {
    "MEASURE": "MEAS", "VOLTAGE": "VOLT", "CURRENT": "CURR", "TEMPERATURE": "TEMP", "FETCH": "FETC",
    "ARRAY": "ARR", "OUTPUT": "OUTP", "SYSTEM": "SYST", "ERROR": "ERR", "NEXT": "", "SOURCE": "", "SOUR": "",
    "STATE": "", "STAT": "", "LEVEL": "", "LEV": "", "DC": "",
}  # fmt: skip


class Scpi(SerialSimulator):
    """One instrument; all its clients share its state."""

    driver = "scpi"
    scheme = "tcp"
    connections_max = 4
    settings: ClassVar[Mapping[str, str]] = {
        "wire": "tcp or serial (default tcp)",
        "voltage": "volts set at the start (default 12)",
        "output": "on or off at the start (default on)",
    }
    faults_of_its_own = ("overload", "mute")

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        self.scheme = _one_of({"tcp": "tcp", "serial": "serial"}, settings.get("wire", "tcp"), "wire")
        self._at_start = (
            _volts(settings.get("voltage", "12")),
            _one_of({"on": True, "off": False}, settings.get("output", "on"), "output"),
        )
        self._random = random.Random(f"scpi {seed} {number}")  # noqa: S311 - a simulation
        self.room = self._random.uniform(21.0, 24.0)
        self.resistance = self._random.uniform(7.5, 9.0)  # ohm, of the cold load
        self.errors: list[tuple[int, str]] = []
        self.temperature = self.room  # of the load
        self.volts = 0.0  # at the terminals
        self._steps = 0
        self.reset()

    def reset(self) -> None:
        self.voltage_set, self.output_is_on = self._at_start
        self.current_limit = 2.0

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        question, _, answer = reply.partition("\t")
        keys = READS[question]
        if keys == ("trace",):
            return {"trace": Vector(tuple(_plain(part) for part in answer.split(",")))}, ()
        if keys == ("output",):
            return {"output": answer == "1"}, ()
        return dict(zip(keys, map(_plain, answer.split(",")), strict=True)), ()

    def session(self, client: Client) -> "ScpiSession":
        return ScpiSession(self, client)

    def garbage(self, answer: bytes, random: random.Random) -> bytes:  # noqa: ARG002
        """Noise: half a number may well be another number."""
        noise = random.randbytes(random.randint(1, 200))
        return b"\xff" + noise.translate(None, b"\n\r,;0123456789") + b"\n"

    # ---- physics: a load that warms, and so draws less

    def advance(self) -> None:
        due = int(self.elapsed / STEP)
        for _ in range(min(due - self._steps, STEPS_MAX)):
            self._step()
        self._steps = due

    def _step(self) -> None:
        warm = self._warm()
        wanted = min(self.voltage_set, self.current_limit * warm) if self.output_is_on else 0.0
        self.volts += (wanted - self.volts) * (1 - math.exp(-STEP / 0.3))
        power = self.volts**2 / warm
        self.temperature += ((self.room - self.temperature) / 90.0 + power / 40.0) * STEP

    def drift(self, at: float) -> float:
        """Share by which the meter is off, as its own temperature goes."""
        return 40e-6 * math.sin(at / 211.0 + self.number)

    def measured(self) -> tuple[float, float, float]:
        """Voltage, current, temperature of the load; as noisy as a 5½-digit meter."""
        self.advance()
        noise, off = self._random.gauss, 1 + self.drift(self.elapsed)
        volts = self.volts * off + noise(0, 25e-6)
        if self.faults.standing("overload", self.number, self.elapsed):
            volts = OVERLOAD
        return volts, self.volts / self._warm() * off + noise(0, 8e-6), self.temperature + noise(0, 0.01)

    def _warm(self) -> float:
        return self.resistance * (1 + 0.0039 * (self.temperature - 25.0))

    def trace(self) -> list[float]:
        """The ripple at the terminals, one period of the mains."""
        volts = self.measured()[0]
        return [
            volts + 2e-3 * math.sin(2 * math.pi * n / SAMPLES) + self._random.gauss(0, 2e-4)
            for n in range(SAMPLES)
        ]

    # ---- what it is told

    def complain(self, code: int, words: str) -> None:
        if len(self.errors) < QUEUE_MAX:
            self.errors.append((code, words))
        else:
            self.errors[-1] = (-350, "Queue overflow")

    def answer(self, command: str) -> str | None:
        """The answer to a command; None if it has none, and for one that is not known."""
        word, _, argument = _short(command).partition(" ")
        if word in READS:
            return self._read(word)
        simple = {
            "*IDN?": lambda: f"LABSITE,SIM-PSU-DMM,{1000 + self.number},1.0",
            "*OPC?": lambda: "1",
            "*ESR?": lambda: "0",
            "SYST:ERR?": self._next_error,
        }
        if word in simple:
            return simple[word]()
        self._do(word, argument.strip())
        return None

    def _read(self, word: str) -> str:
        settings = {"VOLT?": self.voltage_set, "CURR?": self.current_limit}
        if word in settings:
            return _written(settings[word])
        if word == "OUTP?":
            return str(int(self.output_is_on))
        if word == "FETC:ARR?":
            return ",".join(map(_written, self.trace()))
        values = dict(zip(READS["FETC?"], self.measured(), strict=True))
        return ",".join(_written(values[key]) for key in READS[word])

    def _next_error(self) -> str:
        code, words = self.errors.pop(0) if self.errors else (0, "No error")
        return f'{code:+d},"{words}"'

    def _do(self, word: str, argument: str) -> None:
        self.advance()
        if word == "*RST":
            self.reset()
        elif word == "*CLS":
            self.errors.clear()
        elif word in ("VOLT", "CURR"):
            self._set(word, argument)
        elif word == "OUTP" and argument in ("0", "1", "ON", "OFF"):
            self.output_is_on = argument in ("1", "ON")
        elif word:
            self.complain(-113, "Undefined header")

    def _set(self, word: str, argument: str) -> None:
        try:
            value = float(argument)
        except ValueError:
            self.complain(-104, "Data type error")
            return
        if not 0 <= value <= {"VOLT": 30.0, "CURR": 3.0}[word]:
            self.complain(-222, "Data out of range")
        elif word == "VOLT":
            self.voltage_set = value
        else:
            self.current_limit = value


class ScpiSession:
    """One client's; a line may hold several commands between semicolons, their answers come in one line."""

    def __init__(self, instrument: Scpi, client: Client) -> None:
        self.instrument, self.client = instrument, client
        self._received = bytearray()

    def hear(self, chunk: bytes) -> None:
        self._received += chunk
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        for line in lines:
            self._take(line.decode(errors="replace").strip())
        if len(self._received) > LINE_BYTES_MAX:
            self._received.clear()
            self.instrument.complain(-363, "Input buffer overrun")

    def end(self) -> None:
        pass

    def _take(self, line: str) -> None:
        if self.instrument.faults.standing("mute", self.instrument.number, self.instrument.elapsed):
            return  # it hears, and acts, but says nothing
        answers = [self.instrument.answer(command) for command in line.split(";") if command.strip()]
        said = [answer for answer in answers if answer is not None]
        if said:
            question = _short(line)
            reading = f"{question}\t{said[0]}" if question in READS else False
            self.client.answer(";".join(said).encode() + b"\n", reading=reading)


def _short(command: str) -> str:
    """A command in short form and capitals: `:measure:voltage:dc?` is `MEAS:VOLT?`."""
    header, space, argument = command.strip().upper().partition(" ")
    words = re.split("([:?])", header.lstrip(":"))
    short = "".join(SHORT.get(word, word) for word in words)
    return re.sub(":+(?=[:?]|$)|^:+", "", short) + space + argument


def _written(value: float) -> str:
    return f"{value:+.6E}"


def _plain(text: str) -> float | None:
    value = float(text)
    return None if value >= OVERLOAD else value


def _volts(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 30:
        raise BadSetting(f"voltage {text!r} is not from 0 to 30")
    return value


def _one_of(choices: Mapping[str, Any], text: str, name: str) -> Any:
    if text not in choices:
        raise BadSetting(f"{name} {text!r} is none of {', '.join(choices)}")
    return choices[text]
