"""A simulated climate chamber that speaks Modbus, by TCP or in a serial line's frames."""

import json
import math
import random
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pymodbus.framer import FramerRTU

from devices.simulators.base import BadSetting, Client, Session
from devices.simulators.faults import Faults
from devices.simulators.pty import SerialSimulator

TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}
NO_FUNCTION, NO_ADDRESS, NO_VALUE, BUSY = 1, 2, 3, 6
STEP = 0.5  # seconds of the physics
STEPS_MAX = 20_000
WIRES = {"tcp": "modbus+tcp", "rtu": "modbus+rtu+tcp", "serial": "modbus+serial"}

# Where what stands: table, address, format. The lab in docs/examples declares the same.
PLACES = {
    "temperature": ("input", 0, ">h"),  # 0.1 °C
    "humidity": ("input", 1, ">H"),  # 0.1 %
    "power": ("input", 2, ">f"),  # W
    "energy": ("input", 4, ">I"),  # Wh, the low word first
    "mode": ("input", 6, ">H"),
    "flags": ("input", 7, ">H"),  # bit 0: at its setpoint, bit 3: too hot
    "setpoint": ("holding", 0, ">f"),  # °C
    "serial": ("holding", 10, ">8s"),
    "uptime": ("holding", 20, ">d"),  # s
    "heater": ("coil", 0, "?"),
    "fan": ("coil", 1, "?"),
    "door": ("discrete", 0, "?"),
    "water": ("discrete", 8, "?"),
}
LOW_WORD_FIRST = ("energy",)
SCALES = {"temperature": 0.1, "humidity": 0.1}
MODES = ("standby", "heating", "cooling", "holding")


class Modbus(SerialSimulator):
    """One device; `unit` is its number on the line."""

    driver = "modbus"
    scheme = WIRES["tcp"]
    connections_max = 8
    settings: ClassVar[Mapping[str, str]] = {
        "wire": "tcp, rtu (serial frames over TCP) or serial (default tcp)",
        "unit": "its number (default 1); it says nothing to others",
        "echo": "on: the adapter hears itself (default off); rtu only",
    }
    faults_of_its_own = ("busy", "missing", "mute")

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        wire = settings.get("wire", "tcp")
        if wire not in WIRES:
            raise BadSetting(f"wire {wire!r} is none of {', '.join(WIRES)}")
        self.scheme = WIRES[wire]
        unit = settings.get("unit", "1")
        if not unit.isdecimal() or int(unit) > 255:
            raise BadSetting(f"unit {unit!r} is not from 0 to 255")
        self.unit = int(unit)
        self.echoes = settings.get("echo", "off") == "on" and wire != "tcp"
        self._random = random.Random(f"modbus {seed} {number}")  # noqa: S311 - a simulation
        self.room = self._random.uniform(20.0, 24.0)
        self.setpoint = 37.0
        self.temperature = self.room
        self.humidity, self.heat, self.energy = 45.0, 0.0, 0.0
        self._steps = 0

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        values: dict[str, Any] = json.loads(reply)
        return values, ()

    def session(self, client: Client) -> Session:
        return RtuSession(self, client) if self.scheme != WIRES["tcp"] else TcpSession(self, client)

    def address_of(self, port: Path) -> str:
        return f"modbus+{super().address_of(port)}"

    def garbage(self, answer: bytes, random: random.Random) -> bytes:  # noqa: ARG002
        """Noise that no frame begins with: no function has such a number, no protocol either."""
        return b"\xfe\x7f\xfe\x7f" + random.randbytes(random.randint(1, 60)).replace(b"\x00", b"\x7f")

    # ---- physics: a chamber that is heated to its setpoint, its door opened now and then

    def advance(self) -> None:
        due = int(self.elapsed / STEP)
        for step in range(self._steps, min(due, self._steps + STEPS_MAX)):
            self._step(step * STEP)
        self._steps = due

    def _step(self, at: float) -> None:
        ambient = 30.0 if self.door_is_open(at) else 180.0  # seconds, the time constant to the room
        self.heat = min(max(self.heat * 0.95 + 40.0 * (self.setpoint - self.temperature), 0.0), 800.0)
        self.temperature += ((self.room - self.temperature) / ambient + self.heat / 4_000.0) * STEP
        damp = 45.0 if self.door_is_open(at) else 85.0
        self.humidity += (damp - self.humidity) / 60.0 * STEP
        self.energy += self.heat * STEP / 3_600.0

    def door_is_open(self, at: float) -> bool:
        return (at + 37.0 * self.number) % 240.0 > 228.0

    def mode(self) -> int:
        off = self.setpoint - self.temperature
        return 0 if self.setpoint < self.room else 1 if off > 0.5 else 2 if off < -0.5 else 3

    def values(self) -> dict[str, Any]:
        """What stands in the registers, as numbers that fit."""
        self.advance()
        mode = self.mode()
        noisy = self.temperature + self._random.gauss(0, 0.03)
        return {
            "temperature": round(noisy * 10),
            "humidity": round(min(max(self.humidity + self._random.gauss(0, 0.2), 0), 100) * 10),
            "power": struct.unpack(">f", struct.pack(">f", self.heat + self._random.gauss(0, 1.0)))[0],
            "energy": int(self.energy),
            "mode": mode,
            "flags": (mode == 3) | (self.temperature > 60) << 3,
            "setpoint": self.setpoint,
            "serial": f"CC-{1000 + self.number}".encode(),
            "uptime": math.floor(self.elapsed * 1000) / 1000,
            "heater": self.heat > 0,
            "fan": mode != 0,
            "door": self.door_is_open(self.elapsed),
            "water": self.elapsed % 3_600 < 3_500,
        }

    # ---- what it is asked: the part of a frame without unit and checksum

    def answer(self, question: bytes) -> tuple[bytes, str]:
        """The answer, and what of it are readings, for the ledger."""
        function = question[0]
        if function not in TABLES or len(question) != 5:
            return bytes([function | 0x80, NO_FUNCTION]), ""
        address, count = struct.unpack(">HH", question[1:])
        if self.stands("busy"):
            return bytes([function | 0x80, BUSY]), ""
        if not 1 <= count <= MOST[function]:
            return bytes([function | 0x80, NO_VALUE]), ""
        values = self.values()
        image = self._image(TABLES[function], values)
        if not all(at in image for at in range(address, address + count)):
            return bytes([function | 0x80, NO_ADDRESS]), ""
        words = [image[at] for at in range(address, address + count)]
        content = _bits(words) if function in (1, 2) else struct.pack(f">{count}H", *words)
        reading = json.dumps(self._readings(TABLES[function], address, count, values))
        return bytes([function, len(content)]) + content, reading if reading != "{}" else ""

    def stands(self, kind: str) -> bool:
        return self.faults.standing(kind, self.number, self.elapsed) is not None

    def _image(self, table: str, values: Mapping[str, Any]) -> dict[int, int]:
        """Register or bit by address."""
        image = dict.fromkeys(range(8), 0) if table in ("coil", "discrete") else {}
        for key, (where, address, form) in PLACES.items():
            if where == table and not (key == "mode" and self.stands("missing")):
                image |= enumerate(_words(key, form, values[key]), start=address)
        return image

    def _readings(self, table: str, start: int, count: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """By channel key, what lies wholly within what was asked."""
        found: dict[str, Any] = {}
        for key, (where, address, form) in PLACES.items():
            size = len(_words(key, form, values[key]))
            if where == table and start <= address and address + size <= start + count:
                found |= _shown(key, values[key])
        return found


class TcpSession:
    """One client's, by TCP."""

    def __init__(self, device: Modbus, client: Client) -> None:
        self.device, self.client = device, client
        self._heard = bytearray()

    def hear(self, chunk: bytes) -> None:
        self._heard += chunk
        while len(self._heard) >= 8:
            size = 6 + int.from_bytes(self._heard[4:6], "big")
            if self._heard[2:4] != b"\0\0" or not 8 <= size <= 260:
                self.client.close()
                self._heard.clear()
            elif len(self._heard) < size:
                return
            else:
                frame = bytes(self._heard[:size])
                del self._heard[:size]
                self._take(frame)

    def end(self) -> None:
        pass

    def _take(self, frame: bytes) -> None:
        if frame[6] != self.device.unit or self.device.stands("mute"):
            return
        answer, reading = self.device.answer(frame[7:])
        header = frame[:4] + struct.pack(">HB", len(answer) + 1, self.device.unit)
        self.client.answer(header + answer, reading=reading or False)


class RtuSession:
    """One line's: questions of eight bytes, found by their checksum."""

    def __init__(self, device: Modbus, client: Client) -> None:
        self.device, self.client = device, client
        self._heard = bytearray()

    def hear(self, chunk: bytes) -> None:
        self._heard += chunk
        while len(self._heard) >= 8:
            frame = bytes(self._heard[:8])
            if FramerRTU.compute_CRC(frame[:6]) == int.from_bytes(frame[6:], "big"):
                del self._heard[:8]
                self._take(frame)
            else:
                del self._heard[:1]

    def end(self) -> None:
        pass

    def _take(self, frame: bytes) -> None:
        echo = frame if self.device.echoes else b""
        if frame[0] != self.device.unit or self.device.stands("mute"):
            return
        answer, reading = self.device.answer(frame[1:6])
        answer = frame[:1] + answer
        answer += FramerRTU.compute_CRC(answer).to_bytes(2, "big")
        self.client.answer(echo + answer, reading=reading or False)


def _bits(bits: list[int]) -> bytes:
    """Eight to a byte, the first the least."""
    number = sum(1 << at for at, bit in enumerate(bits) if bit)
    return number.to_bytes((len(bits) + 7) // 8, "little")


def _words(key: str, form: str, value: Any) -> list[int]:
    if form == "?":
        return [int(value)]
    content = struct.pack(form, value)
    words = [int.from_bytes(content[at : at + 2], "big") for at in range(0, len(content), 2)]
    return words[::-1] if key in LOW_WORD_FIRST else words


def _shown(key: str, value: Any) -> dict[str, Any]:
    """As the driver reads it, with the channels of the example."""
    if key == "flags":
        return {"in_range": bool(value & 1), "too_hot": bool(value >> 3 & 1)}
    if key == "mode":
        return {"mode": MODES[value]}
    if key == "serial":
        return {"serial": value.decode()}
    return {key: value * SCALES[key] if key in SCALES else value}
