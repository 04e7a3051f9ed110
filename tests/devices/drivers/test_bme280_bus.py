"""The BME280 by the real smbus2: our driver, one that we have not written, and Debian's i2c-tools, all on the
register model, through ioctls that umockdev answers."""

import errno
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.drivers.bme280_math import KEYS, Climate, Raw
from devices.readings import Quality
from devices.simulators.bme280 import Bme280
from devices.simulators.bme280_chip import counts
from devices.simulators.faults import Fault, Faults
from tests.devices.links import mock_bus
from tests.devices.links.mock_bus import Failed, MockBuses, Program

TOOLS = Path("/usr/sbin")


class Socket:
    """The place on the bus where a test puts its sensor; none answers at first."""

    def __init__(self) -> None:
        self.sensor: Bme280 | None = None

    def plug(self, *faults: str, **settings: str) -> Bme280:
        parsed = Faults([Fault.parse(text, Bme280.faults_of_its_own) for text in faults])
        self.sensor = Bme280(0, 0, {"air": "still", **settings}, parsed, time.monotonic)
        return self.sensor

    def suffer(self, *faults: str) -> None:
        assert self.sensor
        self.sensor.faults = Faults([Fault.parse(text, Bme280.faults_of_its_own) for text in faults])

    def _found(self) -> Bme280:
        if self.sensor is None:
            raise OSError(errno.EREMOTEIO, "not acknowledged")
        return self.sensor

    def read(self, place: int, first: int, count: int) -> bytes:
        return self._found().read(place, first, count)

    def read_on(self, place: int, count: int) -> bytes:
        return self._found().read_on(place, count)

    def write(self, place: int, chunk: bytes) -> None:
        self._found().write(place, chunk)


@pytest.fixture(scope="module")
def only_socket() -> Socket:
    return Socket()


@pytest.fixture(scope="module")
def buses(only_socket: Socket) -> Iterator[MockBuses]:
    mock_bus.require()
    buses = MockBuses(i2c_1=only_socket)
    yield buses
    buses.close()


@pytest.fixture(scope="module")
def running(buses: MockBuses) -> Iterator[Program]:
    program = Program(buses)
    yield program
    program.close()


@pytest.fixture
def socket(only_socket: Socket) -> Iterator[Socket]:
    yield only_socket
    only_socket.sensor = None


@pytest.fixture
def program(running: Program) -> Iterator[Program]:
    yield running
    running.does("close")


@pytest.fixture
def tool(buses: MockBuses) -> Callable[..., str]:
    def run(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [TOOLS / name, "-y", *arguments],
            env=buses.environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return done.stdout.strip()

    return run


def polled(program: Program) -> dict[str, Any]:
    return {key: value for key, value, _quality, _time in program.does("poll")}


# ---- our driver


@pytest.mark.parametrize("mode", ["forced", "normal"])
@pytest.mark.parametrize("place", ["0x76", "0x77"])
def test_the_air_is_measured(program: Program, socket: Socket, mode: str, place: str) -> None:
    socket.plug(place=place)
    program.does("open_driver", url=f"i2c://1/{place}", options={"mode": mode})
    for _ in range(3):
        readings = program.does("poll")
        assert [key for key, *_ in readings] == list(KEYS[:-1])
        assert {quality for _, _, quality, _ in readings} == {Quality.GOOD}
        assert readings[0][1] == pytest.approx(22.5, abs=0.02)
        assert readings[1][1] == pytest.approx(45.0, abs=0.05)
        assert readings[2][1] == pytest.approx(1013.25, abs=0.02)


def test_it_is_found_at_either_address(program: Program, socket: Socket) -> None:
    socket.plug(place="0x77")
    program.does("open_driver", url="i2c://1/auto", options={})
    assert polled(program)["temperature"] == pytest.approx(22.5, abs=0.02)


def test_all_oversampled_with_a_filter(program: Program, socket: Socket) -> None:
    socket.plug(chip="B")
    most = {f"{each}_oversampling": "16" for each in ("temperature", "pressure", "humidity")}
    program.does("open_driver", url="i2c://1/0x76", options={**most, "filter": "16"})
    before = time.monotonic()
    assert polled(program)["humidity"] == pytest.approx(45.0, abs=0.05)
    assert time.monotonic() - before >= 0.1128


def test_a_vector_through_all_layers(
    program: Program, socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = socket.plug(chip="B")
    monkeypatch.setattr(sensor.chip, "_counted", lambda _at: Raw(529191, 326816, 30281))
    program.does("open_driver", url="i2c://1/0x76", options={"arithmetic": "integer"})
    values = polled(program)
    assert values["temperature"] == 24.79
    assert values["pressure"] == 1006.6114453125
    assert values["humidity"] == 75.359375


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("nack", "ReplyError", "no chip acknowledges at 0x76"),
        ("busy", "ReplyError", "0x76 is busy"),
        ("stuck", "ReplyError", "does not come to the end of a measurement"),
        ("reset", "ReplyError", "has lost its settings"),
        ("stuck_bus", "LinkError", "the bus is stuck"),
        ("gone", "LinkError", "the bus is gone"),
    ],
)
def test_a_fault_and_the_end_of_it(
    program: Program, socket: Socket, fault: str, kind: str, words: str
) -> None:
    socket.plug()
    program.does("open_driver", url="i2c://1/0x76", options={})
    program.does("poll")
    socket.suffer(fault)
    with pytest.raises(Failed, match=words) as caught:
        program.does("poll")
    assert caught.value.kind == kind
    with pytest.raises(Failed) as caught:  # a second time: it is away
        program.does("poll")
    assert caught.value.kind == "LinkError"
    socket.suffer()
    program.does("close")
    program.does("open_driver", url="i2c://1/0x76", options={})
    assert polled(program)["temperature"] == pytest.approx(22.5, abs=0.02)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("wrong_id", "0x76 is no BME280.*a BMP280"), ("blank", "held high"), ("calibration", "cannot be read")],
)
def test_what_is_no_sound_sensor_is_not_opened(
    program: Program, socket: Socket, fault: str, words: str
) -> None:
    socket.plug(fault)
    with pytest.raises(Failed, match=words):
        program.does("open_driver", url="i2c://1/0x76", options={})


def test_no_sensor(program: Program, socket: Socket) -> None:
    with pytest.raises(Failed, match="no chip acknowledges at 0x76"):
        program.does("open_driver", url="i2c://1/0x76", options={})


def test_a_hung_bus_ends_the_poll_and_the_loop_goes_on(
    program: Program, socket: Socket, buses: MockBuses
) -> None:
    socket.plug()
    program.does("open_driver", url="i2c://1/0x76", options={}, deadline=0.5)
    program.does("poll")
    program.does("stands")
    buses.hang()
    try:
        with pytest.raises(Failed, match=r"no answer within 0\.5 s"):
            program.does("poll")
        stands = program.does("stands")
        assert stands["waited"] < 0.4
        assert stands["threads"] == ["/dev/i2c-1"]
    finally:
        buses.go_on()


# ---- what others have written


@pytest.mark.parametrize("chip", ["A", "B"])
@pytest.mark.parametrize("place", ["0x76", "0x77"])
def test_another_driver_reads_the_same(
    program: Program, socket: Socket, monkeypatch: pytest.MonkeyPatch, chip: str, place: str
) -> None:
    """RPi.bme280 starts the chip itself and measures once."""
    sensor = socket.plug(chip=chip, place=place)
    counted = counts(sensor.chip.calibration, Climate(-3.25, 987.6, 61.8))
    monkeypatch.setattr(sensor.chip, "_counted", lambda _at: counted)
    theirs = program.does("other_driver", place=int(place, 16))
    program.does("open_driver", url=f"i2c://1/{place}", options={})
    ours = polled(program)
    assert [ours["temperature"], ours["pressure"], ours["humidity"]] == pytest.approx(theirs, abs=1e-6)


def test_the_tools_of_debian_find_and_read_it(socket: Socket, tool: Callable[..., str]) -> None:
    sensor = socket.plug()
    found = tool("i2cdetect", "1").splitlines()[-1].split()
    assert found == ["70:", "--", "--", "--", "--", "--", "--", "76", "--"]
    assert tool("i2cget", "1", "0x76", "0xd0") == "0x60"
    calibration = bytes.fromhex(
        tool("i2ctransfer", "1", "w1@0x76", "0x88", "r24").replace("0x", "").replace(" ", "")
    )
    assert calibration == sensor.image[:24]
    assert tool("i2cget", "1", "0x76", "0x88", "w") == "0x6b70"
    tool("i2cset", "1", "0x76", "0xf2", "0x01")
    tool("i2ctransfer", "1", "w4@0x76", "0xf5", "0x00", "0xf4", "0x25")
    while tool("i2cget", "1", "0x76", "0xf3") != "0x00":
        pass
    block = tool("i2ctransfer", "1", "w1@0x76", "0xf7", "r8")
    assert block != "0x80 0x00 0x00 0x80 0x00 0x00 0x80 0x00"
    assert tool("i2cget", "1", "0x76", "0xf4") == "0x24"  # asleep again
