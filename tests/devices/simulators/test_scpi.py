"""The simulated SCPI instrument: what it understands, and how its load behaves."""

from collections.abc import Iterable

import pytest
from hypothesis import given, strategies as st

from devices.simulators.base import BadSetting
from devices.simulators.faults import Fault, Faults
from devices.simulators.scpi import LINE_BYTES_MAX, QUEUE_MAX, READS, Scpi
from tests.devices.simulators.served import Clock, Overheard


class Bench:
    """An instrument with a clock to turn, talked to without a wire."""

    def __init__(self, seed: int = 0, faults: Iterable[str] = (), **settings: str) -> None:
        self.clock = Clock()
        parsed = Faults([Fault.parse(text, Scpi.faults_of_its_own) for text in faults])
        self.instrument = Scpi(0, seed, settings, parsed, self.clock)
        self.client = Overheard()
        self.session = self.instrument.session(self.client)

    def say(self, text: str) -> list[str]:
        self.client.lines.clear()
        self.session.hear(text.encode() + b"\n")
        return list(self.client.lines)

    def number(self, question: str) -> float:
        (answer,) = self.say(question)
        return float(answer)


def test_it_says_who_it_is() -> None:
    assert Bench().say("*IDN?") == ["LABSITE,SIM-PSU-DMM,1000,1.0"]


@pytest.mark.parametrize(
    "question", ["MEAS:VOLT?", "meas:volt?", ":MEASURE:VOLTAGE:DC?", "Meas:Volt:DC?", " MEAS:VOLT? "]
)
def test_words_are_long_or_short_and_of_any_case(question: str) -> None:
    bench = Bench()
    bench.clock.now += 60
    assert bench.number(question) == pytest.approx(12.0, rel=1e-3)


@pytest.mark.parametrize("command", ["VOLT 5", "SOUR:VOLT:LEV 5.0", "source:voltage 5e0"])
def test_a_voltage_is_set_and_settles(command: str) -> None:
    bench = Bench()
    assert bench.say(command) == []
    assert bench.number("VOLT?") == 5.0
    bench.clock.now += 10
    assert bench.number("MEAS:VOLT?") == pytest.approx(5.0, rel=1e-3)


def test_the_load_warms_and_draws_less() -> None:
    bench = Bench()
    bench.clock.now += 5
    cold, early = bench.number("MEAS:TEMP?"), bench.number("MEAS:CURR?")
    bench.clock.now += 600
    assert bench.number("MEAS:TEMP?") > cold + 10
    assert bench.number("MEAS:CURR?") < early - 0.05
    bench.say("OUTP OFF")
    bench.clock.now += 1_200
    assert bench.number("MEAS:TEMP?") == pytest.approx(bench.instrument.room, abs=0.5)
    assert bench.number("MEAS:VOLT?") == pytest.approx(0, abs=1e-3)


def test_the_current_limit_holds() -> None:
    bench = Bench()
    bench.say("CURR 0.5")
    bench.clock.now += 30
    assert bench.number("MEAS:CURR?") == pytest.approx(0.5, rel=1e-2)


def test_the_same_seed_behaves_the_same() -> None:
    def run(seed: int) -> list[str]:
        bench = Bench(seed)
        said = []
        for _ in range(20):
            bench.clock.now += 1
            said += bench.say("FETC?")
        return said

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_errors_wait_in_a_queue() -> None:
    bench = Bench()
    for command in ("FOO?", "VOLT 99", "VOLT warm"):
        assert bench.say(command) == []
    assert [bench.say("SYST:ERR?")[0] for _ in range(4)] == [
        '-113,"Undefined header"',
        '-222,"Data out of range"',
        '-104,"Data type error"',
        '+0,"No error"',
    ]
    for _ in range(QUEUE_MAX + 5):
        bench.say("FOO?")
    assert len(bench.instrument.errors) == QUEUE_MAX
    assert bench.instrument.errors[-1][1] == "Queue overflow"
    bench.say("*CLS")
    assert bench.say("SYST:ERR?") == ['+0,"No error"']


def test_several_commands_are_answered_in_one_line() -> None:
    assert Bench().say("*OPC?;VOLT?") == ["1;+1.200000E+01"]


@pytest.mark.parametrize("question", READS)
def test_the_ledger_reads_back_what_was_said(question: str) -> None:
    bench = Bench()
    bench.clock.now += 5
    (answer,) = bench.say(question)
    assert bench.client.readings == 1
    values, _ = Scpi.read_back(f"{question}\t{answer}")
    assert tuple(values) == READS[question]
    assert all(value is not None for value in values.values())


def test_overload_and_silence() -> None:
    assert Bench(faults=["overload"]).say("MEAS:VOLT?") == ["+9.900000E+37"]
    assert Scpi.read_back("MEAS:VOLT?\t+9.900000E+37")[0] == {"voltage": None}
    assert Bench(faults=["mute"]).say("MEAS:VOLT?") == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"wire": "usb"}, "none of tcp, serial"),
        ({"voltage": "31"}, "from 0 to 30"),
        ({"output": "1"}, "none of on"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Scpi(0, 0, settings, Faults(), Clock())


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_bytes_do_harm(chunks: list[bytes]) -> None:
    bench = Bench()
    for chunk in chunks:
        bench.session.hear(chunk)
    assert len(bench.session._received) <= LINE_BYTES_MAX
    bench.session.hear(b"\n")
    assert bench.say("*OPC?") == ["1"]
