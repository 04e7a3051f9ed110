"""A simulated BME280 on a bus of its own. `Bme280` answers transfers, whatever carries them: the demo lab's
line protocol over TCP (`devices.links.i2c_tcp`) here, the kernel's ioctls in tests."""

import errno
import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, ClassVar, TypeVar

from devices.drivers.bme280_math import Calibration, Climate, Raw, climate, values
from devices.simulators.base import BadSetting, Client, Session, Simulator
from devices.simulators.bme280_chip import BME280, BMP280, CALIBRATIONS, RESULTS, Chip
from devices.simulators.bme280_room import Room
from devices.simulators.faults import Faults

T = TypeVar("T")

LINE_BYTES_MAX = 256
REQUEST = re.compile(
    rb"read (?P<from>[0-9a-f]{2}) (?P<first>[0-9a-f]{2}) (?P<count>[1-9]|[12][0-9]|3[0-2])"
    rb"|write (?P<to>[0-9a-f]{2}) (?P<pairs>(?:[0-9a-f]{4}){1,16})"
)
STILL = Climate(22.5, 1013.25, 45.0)
PLACES = {"0x76": 0x76, "0x77": 0x77}
CHIPS = {"A": 0, "B": 1}

ERRNOS = {
    "nack": errno.EREMOTEIO,
    "io": errno.EIO,
    "busy": errno.EAGAIN,
    "stuck_bus": errno.ETIMEDOUT,
    "gone": errno.ENODEV,
}


class Bme280(Simulator):
    """One sensor. `read` and `write` are its bus; they raise OSError as the kernel's would."""

    driver = "bme280"
    scheme = "i2c+tcp"
    settings: ClassVar[Mapping[str, str]] = {
        "place": "its address on the bus: 0x76 or 0x77 (default 0x76)",
        "chip": "whose calibration: A or B of the protocol notes (default: one after the other)",
        "air": "room: day, weather, windows; still: always the same (default room)",
    }
    # Not acknowledged; other errnos; a measurement without end; the id of a BMP280; calibration with wrong
    # bits, all bits one; a reset by a drop of the supply; values that stand still.
    faults_of_its_own = (*ERRNOS, "stuck", "wrong_id", "calibration", "blank", "reset", "frozen")

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        self.place = _one_of(PLACES, settings.get("place", "0x76"), "place")
        air = _one_of({"room": "room", "still": "still"}, settings.get("air", "room"), "air")
        chip = _one_of(CHIPS, settings.get("chip", "AB"[number % 2]), "chip")
        room = Room(f"{seed} {number}")
        self._random = Random(f"{seed} {number}")  # noqa: S311 - a simulation
        self.image = CALIBRATIONS[chip]
        self.chip = Chip(
            self.image,
            (lambda at: room.at(at - self.started)) if air == "room" else (lambda _at: STILL),
            clock,
            self._random,
        )

    def session(self, client: Client) -> "LineSession":
        return LineSession(self, client)

    def address(self, host: str, port: int) -> str:
        return f"{super().address(host, port)}/0x{self.place:02x}"

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        """What a driver with its default options makes of it."""
        image, _, block = reply.partition(" ")
        low = bytes.fromhex(image)
        calibration = Calibration.parse(low[:24], low[24:25], low[25:])
        figures = values(climate(calibration, Raw.parse(bytes.fromhex(block))))
        del figures["sea_level_pressure"]
        return dict(figures), ()

    # ---- the bus

    def read(self, place: int, first: int, count: int) -> bytes:
        self._suffer(place)
        block = self.chip.read(first, count)
        if self._holds("blank"):
            return b"\xff" * count
        return self._spoilt(block) if self._is_calibration(first) and self._holds("calibration") else block

    def read_on(self, place: int, count: int) -> bytes:
        self._suffer(place)
        return self.chip.read_on(count)

    def write(self, place: int, chunk: bytes) -> None:
        """A register, its value, the next register …; nothing: only its address."""
        self._suffer(place)
        self.chip.write(chunk)

    def reading(self, first: int, block: bytes) -> str | None:
        """What the ledger notes of what was read; None: it was no whole measurement."""
        offset = RESULTS - first
        results = block[offset : offset + 8]
        if offset < 0 or len(results) < 8 or not self.chip.has_measured or not set(results) - {0xFF}:
            return None
        return f"{self.image.hex()} {results.hex()}"

    def _suffer(self, place: int) -> None:
        """What goes wrong with the transfer that is about to begin."""
        if place != self.place or not self.is_plugged:
            raise OSError(errno.EREMOTEIO, "not acknowledged")
        for kind, number in ERRNOS.items():
            if self._holds(kind):
                raise OSError(number, kind)
        if self._holds("reset"):
            self.chip.power_on()
        self.chip.is_stuck = self._holds("stuck")
        self.chip.is_frozen = self._holds("frozen")
        self.chip.id = BMP280 if self._holds("wrong_id") else BME280

    def _holds(self, kind: str) -> bool:
        fault = self.faults.standing(kind, self.number, self.elapsed)
        return fault is not None and self.faults.chance(fault.p)

    def _is_calibration(self, first: int) -> bool:
        return first in {0x88, 0xA1, 0xE1}

    def _spoilt(self, block: bytes) -> bytes:
        """With some bit wrong, another one each time."""
        spoilt = bytearray(block)
        spoilt[self._random.randrange(len(spoilt))] ^= 1 << self._random.randrange(8)
        return bytes(spoilt)


class LineSession(Session):
    """The line protocol of `devices.links.i2c_tcp`."""

    def __init__(self, simulator: Bme280, client: Client) -> None:
        self._simulator = simulator
        self._client = client
        self._received = b""

    def hear(self, chunk: bytes) -> None:
        *lines, self._received = (self._received + chunk).split(b"\n")
        for line in lines:
            self._carry_out(line)
        if len(self._received) > LINE_BYTES_MAX:
            self._client.reset()

    def end(self) -> None:
        self._received = b""

    def _carry_out(self, line: bytes) -> None:
        found = REQUEST.fullmatch(line)
        if found is None:
            self._client.answer(f"error {errno.EINVAL}\n".encode())
            return
        try:
            if found["to"]:
                self._simulator.write(int(found["to"], 16), bytes.fromhex(found["pairs"].decode()))
                self._client.answer(b"ok\n")
            else:
                self._read(int(found["from"], 16), int(found["first"], 16), int(found["count"]))
        except OSError as error:
            self._client.answer(f"error {error.errno}\n".encode())

    def _read(self, place: int, first: int, count: int) -> None:
        block = self._simulator.read(place, first, count)
        reading = self._simulator.reading(first, block)
        self._client.answer(f"ok {block.hex()}\n".encode(), reading=reading or False)


def _one_of(choices: Mapping[str, T], text: str, setting: str) -> T:
    try:
        return choices[text]
    except KeyError:
        raise BadSetting(f"setting {setting}: {text!r} is none of {', '.join(choices)}") from None
