"""The line-protocol driver: what answers mean, what is asked, and what silence costs."""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices.drivers import scpi_values
from devices.drivers.scpi import ERRORS_MAX, LEFT_OUT_FOR, Scpi
from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Address, LineLink
from devices.readings import Event, Quality, Reading, Said, Vector
from devices.simulators import scpi as simulated
from tests.devices.simulators.served import behind_a_door, driven

CHANNELS = [
    {"key": "voltage", "ask": "FETC?", "field": 0, "unit": "V"},
    {"key": "current", "ask": "FETC?", "field": 1, "unit": "mA", "scale": 1000.0},
    {"key": "temperature", "ask": "MEAS:TEMP?", "unit": "Cel"},
]


class Silence:
    """Stands for an answer that does not come."""


class Instrument(LineLink):
    """Answers by what it is asked; notes what it heard, and breaks at what it does not know, as SCPI does."""

    def __init__(self, answers: dict[str, Any], terminator: str = "\n") -> None:
        super().__init__(Address.parse("tcp://scripted:5025"), 5.0)
        self.answers, self.terminator = answers, terminator
        self.heard: list[str] = []

    async def ask(self, request: bytes) -> bytes:
        self.write(request)
        answer = self.answers.get(self.heard[-1], Silence)
        if isinstance(answer, list):
            answer = answer.pop(0)
        if answer is Silence:
            raise LinkError("no answer within 2 s")
        return answer if isinstance(answer, bytes) else str(answer).encode()

    def write(self, chunk: bytes) -> None:
        assert chunk.endswith(self.terminator.encode())
        self.heard.append(chunk.decode().removesuffix(self.terminator))


def driver(
    answers: dict[str, Any], memory: dict[str, Any] | None = None, **options: Any
) -> tuple[Scpi, list[Said]]:
    made = Scpi(Instrument(answers), {"channels": CHANNELS, **options})
    said: list[Said] = []

    def tell(some: Iterable[Said]) -> None:
        said.extend(some)

    made.tell, made.memory = tell, {} if memory is None else memory
    return made, said


ANSWERS = {"FETC?": "+1.200E+01,+1.5E+00", "MEAS:TEMP?": "23.5"}


async def test_what_several_channels_ask_is_asked_once() -> None:
    made, _ = driver(ANSWERS)
    assert await made.read() == [
        Reading("voltage", 12.0),
        Reading("current", 1500.0),
        Reading("temperature", 23.5),
    ]
    assert made.link.heard == ["FETC?", "MEAS:TEMP?"]  # type: ignore[attr-defined]


async def test_an_answer_that_cannot_be_used_costs_no_other_channel() -> None:
    made, _ = driver({"FETC?": "9.9E37", "MEAS:TEMP?": "23.5"})
    assert await made.read() == [
        Reading("voltage", None, Quality.BAD),
        Reading("current", None, Quality.BAD),
        Reading("temperature", 23.5),
    ]


async def test_setpoints_are_read_back() -> None:
    setpoint = {"key": "set", "ask": "VOLT?", "set": "VOLT {:.3f}", "unit": "V", "low": 0, "high": 30}
    made, _ = driver({**ANSWERS, "VOLT?": "12.5"}, setpoints=[setpoint])
    assert (await made.read())[-1] == Reading("set", 12.5)
    assert [channel.key for channel in Scpi.channels_for(made.settings)][-1] == "set"


@pytest.mark.parametrize(("name", "ends"), [("LF", "\n"), ("CRLF", "\r\n"), ("CR", "\r")])
async def test_lines_end_as_the_option_says(name: str, ends: str) -> None:
    options = {"channels": CHANNELS[2:], "terminator": name}
    made = Scpi(Instrument({"MEAS:TEMP?": "1.5\r"}, ends), options)
    assert await made.read() == [Reading("temperature", 1.5)]
    asked = Scpi.link_settings(Scpi.checked_options(options))
    assert ends.encode().endswith(asked["terminator"])


async def test_setup_is_sent_at_opening() -> None:
    made, _ = driver({**ANSWERS, "*OPC?": "1"}, setup=["*RST", "CONF:VOLT:DC", "*OPC?"])
    await made.open()
    assert made.link.heard == ["*RST", "CONF:VOLT:DC", "*OPC?"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("identity", "fits"), [("ACME.*,34401A", True), ("^ACME", True), ("OTHER", False)])
async def test_another_instrument_is_not_read(identity: str, fits: bool) -> None:
    made, _ = driver({**ANSWERS, "*IDN?": "ACME INSTRUMENTS,34401A,0,1.0"}, identity=identity)
    if fits:
        await made.open()
    else:
        with pytest.raises(ReplyError, match="says it is 'ACME INSTRUMENTS,34401A,"):
            await made.open()


async def test_errors_in_the_queue_become_events() -> None:
    queue = ['-113,"Undefined header"', '-222,"Data out of range; 99"', '+0,"No error"']
    made, said = driver({**ANSWERS, "SYST:ERR?": queue}, errors=True)
    assert len(await made.read()) == 3
    assert said == [
        Event("instrument_error", "-113: Undefined header", {"code": -113}),
        Event("instrument_error", "-222: Data out of range; 99", {"code": -222}),
    ]


async def test_a_queue_without_end_does_not_hold_the_poll() -> None:
    made, said = driver({**ANSWERS, "SYST:ERR?": '-350,"Queue overflow"'}, errors=True)
    await made.read()
    assert len(said) == ERRORS_MAX


# ---- silence


async def test_what_was_answered_before_the_link_broke_is_told() -> None:
    made, said = driver({"FETC?": "1,2"})
    with pytest.raises(LinkError):
        await made.read()
    assert said == [Reading("voltage", 1.0), Reading("current", 2000.0)]


async def test_a_question_that_alone_is_not_answered_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    memory: dict[str, Any] = {}
    channels = [{"key": "wrong", "ask": "TYPO?"}, *CHANNELS]
    for _ in range(3):
        made, said = driver(ANSWERS, memory, channels=channels)
        with pytest.raises(LinkError):
            await made.read()
    assert [one.kind for one in said if isinstance(one, Event)] == ["no_answer"]
    assert len([one for one in said if isinstance(one, Reading)]) == 3  # it was asked last
    made, _ = driver(ANSWERS, memory, channels=channels)
    readings = await made.read()
    assert Reading("wrong", None, Quality.BAD) in readings
    assert len([one for one in readings if one.quality is Quality.GOOD]) == 3
    assert "TYPO?" not in made.link.heard  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    later = loop.time() + LEFT_OUT_FOR + 1
    monkeypatch.setattr(loop, "time", lambda: later)
    made, _ = driver({**ANSWERS, "TYPO?": "5"}, memory, channels=channels)
    assert Reading("wrong", 5.0) in await made.read()


async def test_an_instrument_that_was_away_is_asked_everything_again() -> None:
    memory: dict[str, Any] = {}
    for answers in ({}, {}, {"FETC?": "1,2"}, {}, {"MEAS:TEMP?": "1"}, {}, {"FETC?": "1,2"}):
        made, _ = driver(answers, memory)
        with pytest.raises(LinkError):
            await made.read()
    made, _ = driver(ANSWERS, memory)
    assert len([one for one in await made.read() if one.quality is Quality.GOOD]) == 3


async def test_the_time_out_is_the_links_too() -> None:
    made, _ = driver(ANSWERS, timeout=0.5)
    assert made.link.deadline == 0.5


async def test_a_pause_is_kept_before_each_command() -> None:
    made, _ = driver(ANSWERS, pause=0.02)
    before = time.monotonic()
    await made.read()
    assert time.monotonic() - before >= 0.04


# ---- what answers mean


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0), ("+1.2345E-03", 0.0012345), ("-.5", -0.5), ("5.", 5.0), (" 7 \r", 7.0), ("1e3", 1e3),
        ("+9.8E+36", 9.8e36), ("9.9E37", None), ("+9.90000E+37", None), ("-9.9E37", None), ("9.91E37", None),
        ("NAN", None), ("INF", None), ("NINF", None), ("1E999", None), ("", None), ("OVLD", None),
        ("1,2", None), ("1.5E", None), ("1.5E+", None), ("--1", None), ("1 2", None), ("0x1F", None),
        ("1.2.3", None),
        ("21.5 C", 21.5), ("+1.23E+00 VDC", 1.23), ("50%", 50.0), ("3.3V", 3.3), ("25 °C", 25.0),
        ("1.5 mA", 1.5),
        ("#H1F", 31.0), ("#B101", 5.0), ("#q17", 15.0), ("#HXY", None), ("#H", None), ("#15ABCDE", None),
        ("1" * 400, None), ("٣", None), ("1_000", None),
    ],
)  # fmt: skip
def test_numbers(text: str, number: float | None) -> None:
    assert scpi_values.number(text) == number


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("+1.00000000E+00", "int", 1),
        ("1.5", "int", None),
        ("1E20", "int", None),
        ("1", "bool", True),
        ("OFF", "bool", False),
        ("+0.0E0", "bool", False),
        ("9.9E37", "bool", None),
        ("maybe", "bool", None),
        ('"VOLT:DC"', "text", "VOLT:DC"),
        ('"a ""b"" c"', "text", 'a "b" c'),
        ("'x'", "text", "x"),
        ("CV\0", "text", "CV\N{REPLACEMENT CHARACTER}"),
        ("1,2.5,9.91E37", "vector", Vector((1.0, 2.5, None))),
        ("", "vector", None),
        ("word", "vector", None),
    ],
)
def test_values_are_of_the_channels_kind(text: str, kind: str, value: Any) -> None:
    assert scpi_values.value_of(text, kind) == value


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("1,2,3", ["1", "2", "3"]),
        ("", [""]),
        (",", ["", ""]),
        ('"a,b",2', ['"a,b"', "2"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        ('"a,b', ['"a,b']),
    ],
)
def test_fields_are_between_commas_but_for_those_in_quotes(text: str, fields: list[str]) -> None:
    assert scpi_values.fields(text) == fields


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ('+0,"No error"', None),
        ("0", None),
        ('-113,"Undefined header"', (-113, "Undefined header")),
        ("-100", (-100, "")),
        ("nonsense", None),
        ("", None),
    ],
)  # fmt: skip
def test_errors_are_taken_apart(answer: str, error: tuple[int, str] | None) -> None:
    assert scpi_values.error_of(answer) == error


@pytest.mark.parametrize(
    ("channel", "answer", "value"),
    [
        ({"pattern": "CH1:([0-9.]+)V"}, "CH1:1.25V;CH2:2.5V", 1.25),
        ({"pattern": "CH2:([0-9.]+)V"}, "CH1:1.25V;CH2:2.5V", 2.5),
        ({"pattern": "[0-9]+"}, "about 7 apples", 7.0),
        ({"pattern": "CH3:([0-9.]+)V"}, "CH1:1.25V", None),
        ({"pattern": "x|(y)"}, "x", None),
        ({"pattern": "(?:a|aa)+$"}, "a" * 90 + "!", None),  # tries everything, for years
        ({"field": 3}, "1,2,3", None),
        ({"offset": -273.15}, "300", 26.85),
        ({"scale": 1e300}, "1e30", None),
    ],
)
async def test_a_channel_finds_its_part(channel: dict[str, Any], answer: str, value: float | None) -> None:
    made, _ = driver({"ASK?": answer}, channels=[{"key": "a", "ask": "ASK?", **channel}])
    (reading,) = await made.read()
    assert reading.value == (None if value is None else pytest.approx(value))
    assert reading.quality is (Quality.BAD if value is None else Quality.GOOD)


answers = st.binary(max_size=200) | st.text(
    "0123456789+-.eE,;\"' #HQBNAINFoO%VV\0", max_size=80
).map(str.encode)  # fmt: skip
EVERY_KIND = [
    {"key": f"{kind}{place}", "ask": "A?", "kind": kind, **({"field": place} if place < 3 else {})}
    for kind in ("float", "int", "bool", "text", "vector")
    for place in range(4)
] + [{"key": "p", "ask": "A?", "pattern": "([0-9.]+)V"}]


@given(answers)
async def test_no_answer_does_more_than_a_driver_error(answer: bytes) -> None:
    made, _ = driver({"A?": answer, "SYST:ERR?": answer}, channels=EVERY_KIND, errors=True)
    for reading in await made.read():
        assert (reading.value is None) == (reading.quality is Quality.BAD)
        if isinstance(reading.value, float):
            assert math.isfinite(reading.value)
        if isinstance(reading.value, str):
            assert "\0" not in reading.value


@given(answers)
async def test_no_answer_at_opening_does_more_than_a_driver_error(answer: bytes) -> None:
    made, _ = driver({"*IDN?": answer}, identity="ACME")
    with contextlib.suppress(ReplyError, LinkError):
        await made.open()


def test_a_long_answer_is_read_in_a_moment() -> None:
    before = time.process_time()
    for kind in ("float", "int", "bool", "text", "vector"):
        for text in ("1" * 65_000, "1," * 32_000, '"' * 65_000, "1e" * 32_000, " " * 65_000):
            scpi_values.value_of(text, kind)
            scpi_values.fields(text)
            scpi_values.error_of(text)
    assert time.process_time() - before < 10


# ---- its options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": []}, "option channels: declare at least one"),
        ({"channels": "FETC?"}, "option channels: 'FETC\\?' is no list"),
        ({"channels": ["FETC?"]}, "row 1: Expected object"),
        ({"channels": [{"key": "a"}]}, r"row 1 \(a\): ask is missing"),
        ({"channels": [{"ask": "A?"}]}, "row 1: key is missing"),
        ({"channels": [{"key": "a b", "ask": "A?"}]}, "letters, digits"),
        ({"channels": [{"key": "a", "ask": "A?", "scal": 2}]}, "unknown key 'scal'; did you mean scale"),
        (
            {"channels": [{"key": "a", "ask": "A?", "scale": "2"}]},
            r"row 1 \(a\): Expected float, got str - at scale",
        ),
        ({"channels": [{"key": "a", "ask": "A?\nB?"}]}, "is no command"),
        (
            {"channels": [{"key": "a", "ask": "A?", "kind": "number"}]},
            "none of float, int, bool, text, vector",
        ),
        ({"channels": [{"key": "a", "ask": "A?", "pattern": "("}]}, "no regular expression"),
        ({"channels": [{"key": "a", "ask": "A?", "pattern": "(a)(b)"}]}, "at most one group"),
        ({"channels": [{"key": "a", "ask": "A?", "pattern": "a", "field": 0}]}, "exclude each other"),
        ({"channels": [{"key": "a", "ask": "A?", "field": -1}]}, "the first is 0"),
        ({"channels": [{"key": "a", "ask": "A?", "low": 2, "high": 1}]}, "low must be below high"),
        ({"channels": [{"key": "a", "ask": "A?"}, {"key": "a", "ask": "B?"}]}, "'a' stands twice"),
        ({"setpoints": [{"key": "voltage", "ask": "V?", "set": "V {}"}]}, "'voltage' stands twice"),
        ({"setpoints": [{"key": "s", "ask": "V?", "set": "V"}]}, "one place for the value"),
        ({"setpoints": [{"key": "s", "ask": "V?", "set": "V {:.999999999f}"}]}, "one place for the value"),
        ({"setpoints": [{"key": "s", "ask": "V?", "set": "V {} {}"}]}, "one place for the value"),
        ({"setpoints": [{"key": "s", "ask": "V?", "set": "V {value.real}"}]}, "one place for the value"),
        ({"setup": [1]}, "option setup: command '' is no command"),
        ({"setup": ["*CLS"] * 101}, "at most 100"),
        ({"identity": "["}, "option identity: .*no regular expression"),
        ({"terminator": "NUL"}, "none of LF, CRLF, CR"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Scpi.checked_options({"channels": CHANNELS, **options})


@pytest.mark.parametrize("text", ["VOLT {}", "VOLT {value}", "SP {:.1f}", "SP{value:+.3e},2", "S {:08.3f}"])
def test_commands_for_setpoints(text: str) -> None:
    setpoint = {"key": "s", "ask": "V?", "set": text}
    assert Scpi.checked_options({"setpoints": [setpoint]})["setpoints"] == [setpoint]
    text.format(1.5, value=1.5)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
rows = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "key": st.text(max_size=5), "ask": st.text(max_size=5),
            "pattern": st.text(max_size=5) | json_values,
            "field": st.integers() | json_values, "scale": st.floats() | json_values, "kind": json_values,
            "low": st.floats(), "digits": st.integers(), "label": st.text(max_size=200),
        },
    )
    | json_values,
    max_size=3,
)  # fmt: skip


@given(rows, rows, st.lists(json_values, max_size=2))
def test_no_option_does_more_than_a_configuration_error(channels: Any, setpoints: Any, setup: Any) -> None:
    options = {"channels": channels, "setpoints": setpoints, "setup": setup}
    with contextlib.suppress(ConfigurationError):
        assert Scpi.channels_for(Scpi.checked_options(options))


# ---- with its simulator


def simulated_options(**more: Any) -> dict[str, Any]:
    return {
        "channels": [
            *CHANNELS[:2],
            {"key": "temperature", "ask": "FETC?", "field": 2},
            {"key": "trace", "ask": "FETC:ARR?", "kind": "vector"},
            {"key": "output", "ask": "OUTP?", "kind": "bool"},
        ],
        "identity": "^LABSITE,",
        "setup": ["*CLS"],
        "errors": True,
        **more,
    }


@pytest.mark.parametrize("wire", ["tcp", "serial"])
async def test_the_simulated_instrument_is_read(wire: str) -> None:
    async with behind_a_door(simulated.Scpi, settings={"wire": wire}) as door:
        assert door.address.startswith(f"{wire}://")
        async with driven(door, **simulated_options()) as made:
            readings = {reading.key: reading for reading in await made.read()}
    assert all(reading.quality is Quality.GOOD for reading in readings.values())
    assert readings["output"].value is True
    assert isinstance(readings["trace"].value, Vector)
    assert len(readings["trace"].value.values) == simulated.SAMPLES


@pytest.mark.parametrize("fault", ["garbage", "split", "merge", "slow:delay=0.02"])
async def test_faults_of_the_wire_bring_no_wrong_value(fault: str) -> None:
    async with behind_a_door(simulated.Scpi, fault) as door:
        options = simulated_options(identity="", setup=[], errors=False)
        async with driven(door, **options) as made:
            for _ in range(3):
                readings = await made.read()
                qualities = {reading.quality for reading in readings}
                assert qualities == {Quality.BAD if fault == "garbage" else Quality.GOOD}


@pytest.mark.parametrize("fault", ["hang", "close", "mute"])
async def test_faults_that_end_the_link(fault: str) -> None:
    async with behind_a_door(simulated.Scpi, fault) as door:
        options = simulated_options(identity="", setup=[], timeout=0.1)
        async with driven(door, **options) as made:
            with pytest.raises(LinkError):
                await made.read()


async def test_an_overload_is_bad() -> None:
    async with behind_a_door(simulated.Scpi, "overload") as door, driven(door, **simulated_options()) as made:
        readings = {reading.key: reading for reading in await made.read()}
    assert readings["voltage"] == Reading("voltage", None, Quality.BAD)
    assert readings["current"].quality is Quality.GOOD
