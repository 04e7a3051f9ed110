"""The simulated chamber that speaks Modbus: its frames, its registers, its climate."""

import json
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, strategies as st
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerRTU

from devices import links
from devices.simulators.base import BadSetting
from devices.simulators.faults import Fault, Faults
from devices.simulators.modbus import MODES, PLACES, Modbus
from tests.devices.simulators.served import Clock, behind_a_door


class Wire:
    """A client that only notes what it is told."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.readings: list[bool | str] = []
        self.closed = False

    def answer(self, chunk: bytes, *, reading: bool | str = False) -> None:
        self.answers.append(chunk)
        self.readings.append(reading)

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        self.closed = True


class Bench:
    """A chamber with a clock to turn, talked to without a wire."""

    def __init__(self, seed: int = 0, faults: Iterable[str] = (), **settings: str) -> None:
        self.clock = Clock()
        parsed = Faults([Fault.parse(text, Modbus.faults_of_its_own) for text in faults])
        self.device = Modbus(0, seed, settings, parsed, self.clock)
        self.client = Wire()
        self.session = self.device.session(self.client)

    def ask(self, question: str) -> bytes:
        """The answer to function code and what follows."""
        return self.device.answer(bytes.fromhex(question))[0]

    def input(self, address: int) -> int:
        return int(struct.unpack(">H", self.ask(f"04 {address:04x} 0001")[2:])[0])


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("03 0000 0002", "03 04 42140000"),
        ("03 0002 0001", "83 02"),
        ("03 0000 0000", "83 03"),
        ("03 0000 007e", "83 03"),
        ("05 0000 ff00", "85 01"),
        ("2b 0e01 0000", "ab 01"),
        ("03", "83 01"),
        ("02 0000 0008", "02 01 00"),
    ],
)
def test_questions_are_answered_or_refused(question: str, answer: str) -> None:
    assert Bench().ask(question) == bytes.fromhex(answer)


def test_frames_by_tcp_bear_their_number() -> None:
    bench = Bench()
    question = bytes.fromhex("abcd 0000 0006 01 03 0000 0002")
    for piece in (question[:3], question[3:9], question[9:] + question):
        bench.session.hear(piece)
    answer = bytes.fromhex("abcd 0000 0007 01 03 04 42140000")
    assert bench.client.answers == [answer, answer]
    bench.session.hear(bytes.fromhex("0001 0000 0006 02 03 0000 0002"))  # for another unit
    assert len(bench.client.answers) == 2
    bench.session.hear(b"GET / HTTP/1.1\r\n")
    assert bench.client.closed


@pytest.mark.parametrize("echo", ["on", "off"])
def test_frames_of_a_serial_line_are_found_by_their_checksum(echo: str) -> None:
    bench = Bench(wire="rtu", echo=echo)
    frame = bytes.fromhex("01 03 0000 0002")
    frame += FramerRTU.compute_CRC(frame).to_bytes(2, "big")
    bench.session.hear(b"\xff\x01" + frame[:4])
    bench.session.hear(frame[4:])
    answer = bytes.fromhex("01 03 04 42140000")
    answer += FramerRTU.compute_CRC(answer).to_bytes(2, "big")
    assert bench.client.answers == [(frame if echo == "on" else b"") + answer]


async def test_another_client_reads_it() -> None:
    """pymodbus's own, which shares nothing with our link but the checksum's table."""
    async with behind_a_door(Modbus, settings={"unit": "9"}) as door:
        address = links.check(door.address)
        client = AsyncModbusTcpClient(address.host, port=address.port or 0, reconnect_delay=0)
        assert await client.connect()
        found = await client.read_holding_registers(0, count=2, device_id=9)
        serial = await client.read_holding_registers(10, count=4, device_id=9)
        refused = await client.read_input_registers(99, count=1, device_id=9)
        client.close()
    assert found.registers == [0x4214, 0]
    assert struct.pack(">4H", *serial.registers) == b"CC-1000\0"
    assert refused.exception_code == 2


def test_the_chamber_warms_to_its_setpoint_and_holds_it() -> None:
    bench = Bench()
    assert MODES[bench.input(6)] == "heating"
    bench.clock.now += 210
    assert bench.input(0) / 10 == pytest.approx(37.0, abs=1.0)
    assert MODES[bench.input(6)] == "holding"
    assert bench.input(7) & 1
    energy = bench.input(4)
    bench.clock.now += 600
    assert bench.input(4) > energy + 5


def test_an_open_door_is_felt() -> None:
    bench = Bench()
    bench.clock.now += 227
    shut = bench.device.values()
    bench.clock.now += 10
    wide = bench.device.values()
    assert (shut["door"], wide["door"]) == (False, True)
    assert wide["humidity"] < shut["humidity"]


def test_the_ledger_holds_what_lies_wholly_within_an_answer() -> None:
    bench = Bench()
    _, text = bench.device.answer(bytes.fromhex("04 0001 0002"))
    values, times = Modbus.read_back(text)
    assert set(values) == {"humidity"}
    assert times == ()
    _, text = bench.device.answer(bytes.fromhex("04 0000 0008"))
    assert len(json.loads(text)) == 7
    assert bench.device.answer(bytes.fromhex("03 0002 0001"))[1] == ""


def test_the_same_seed_behaves_the_same() -> None:
    def run(seed: int) -> list[bytes]:
        bench = Bench(seed)
        said = []
        for _ in range(20):
            bench.clock.now += 1
            said.append(bench.ask("04 0000 0008"))
        return said

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize(
    ("settings", "words"), [({"wire": "can"}, "none of tcp, rtu"), ({"unit": "256"}, "from 0 to 255")]
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Modbus(0, 0, settings, Faults(), Clock())


@given(st.lists(st.binary(max_size=40), max_size=6), st.sampled_from(["tcp", "rtu"]))
def test_no_bytes_do_harm(chunks: list[bytes], wire: str) -> None:
    bench = Bench(wire=wire)
    for chunk in chunks:
        bench.session.hear(chunk)
    assert len(bench.session._heard) < 300  # type: ignore[attr-defined]


@given(st.binary(min_size=1, max_size=10))
def test_no_question_does_harm(question: bytes) -> None:
    answer, _ = Bench().device.answer(question)
    assert 2 <= len(answer) <= 253


def test_places_do_not_overlap() -> None:
    taken: set[tuple[str, int]] = set()
    for table, address, form in PLACES.values():
        size = 1 if form == "?" else struct.calcsize(form) // 2
        places = {(table, at) for at in range(address, address + size)}
        assert not places & taken
        taken |= places
