"""The thermostat driver against its protocol notes' transcripts (§13), and what no device should say."""

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices.drivers import thermostat_settings as how_set
from devices.drivers.thermostat import Thermostat
from devices.errors import ConfigurationError, DriverError, ReplyError
from devices.readings import Quality, Reading
from tests.devices.drivers.scripted import Exchange, ScriptedLink

OUTPUT = (
    '[{"channel":0,"center":"vref","i_set":0e0,"max_v":0e0,"max_i_pos":0e0,"max_i_neg":0e0,"polarity":"normal"},'
    '{"channel":1,"center":"vref","i_set":0e0,"max_v":0e0,"max_i_pos":0e0,"max_i_neg":0e0,"polarity":"normal"}]'
)
PWM = (
    '[{"channel":0,"center":"vref","i_set":{"value":0e0,"max":3e0},"max_v":{"value":0e0,"max":5e0},'
    '"max_i_pos":{"value":0e0,"max":3e0},"max_i_neg":{"value":0e0,"max":3e0}},'
    '{"channel":1,"center":"vref","i_set":{"value":0e0,"max":3e0},"max_v":{"value":0e0,"max":5e0},'
    '"max_i_pos":{"value":0e0,"max":3e0},"max_i_neg":{"value":0e0,"max":3e0}}]'
)
PID = (
    '[{"channel":0,"parameters":{"kp":0e0,"ki":0e0,"kd":0e0,"output_min":-2e0,"output_max":2e0},"target":0e0},'
    '{"channel":1,"parameters":{"kp":3e-1,"ki":2e-2,"kd":0e0,"output_min":-2e0,"output_max":2e0},"target":3.2e1}]'
)
CH0 = (
    '{"channel":0,"time":9.1012e2,"interval":1.2e-1,"adc":null,"sens":null,"temperature":null,'
    '"pid_engaged":false,"i_set":0e0,"dac_value":1.5e0,"dac_feedback":1.5e0,"i_tec":1.5e0,"tec_i":0e0,'
    '"tec_u_meas":0e0,"pid_output":0e0}'
)
CH1 = (
    '{"channel":1,"time":9.1018e2,"interval":1.2e-1,"adc":6.97428566064153e-1,"sens":7.467966307221274e3,'
    '"temperature":3.1990001266591094e1,"pid_engaged":true,"i_set":2.67e-1,"dac_value":1.6335e0,'
    '"dac_feedback":1.633e0,"i_tec":1.606e0,"tec_i":2.6500000000000024e-1,"tec_u_meas":4.0000000000000036e-1,'
    '"pid_output":2.67e-1}'
)
REPORT = f"[{CH0},{CH1}]"
INVALID = '{ "error": "invalid input" }'
NAMES = st.sampled_from(
    ["channel", "params", "b", "rate", "rev", "major", "parameters", "kp", "max_v", "value"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES, lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES, each, max_size=4), max_leaves=12
)
OPEN: Exchange = ("output", OUTPUT)
FIELDS = [
    "temperature",
    "i_tec",
    "pid_output",
    "adc",
    "sens",
    "i_set",
    "dac_value",
    "dac_feedback",
    "tec_i",
    "tec_u_meas",
    "pid_engaged",
    "interval",
    "device_time",
]


async def opened(*exchanges: Exchange, **options: Any) -> Thermostat:
    thermostat = Thermostat(ScriptedLink(OPEN, *exchanges), options)
    await thermostat.open()
    return thermostat


def by_key(readings: list[Reading]) -> dict[str, Any]:
    return {reading.key: reading.value for reading in readings}


def bad(readings: list[Reading]) -> set[str]:
    return {reading.key for reading in readings if reading.quality is Quality.BAD}


# ---- what it reads


async def test_a_poll_has_thirteen_values_a_channel() -> None:
    thermostat = await opened(("report", REPORT))
    readings = await thermostat.read()
    assert [r.key for r in readings] == [f"ch{n}.{field}" for n in (0, 1) for field in FIELDS]
    assert {r.key for r in readings} == {channel.key for channel in Thermostat.channels}


def test_what_matters_first_is_shown_first_both_tec_channels_side_by_side() -> None:
    keys = [channel.key for channel in Thermostat.channels]
    first = ("temperature", "tec_i", "pid_engaged")
    assert keys[:6] == [f"ch{n}.{field}" for field in first for n in (0, 1)]
    assert keys[-2:] == ["ch0.device_time", "ch1.device_time"]
    with_targets = [channel.key for channel in Thermostat.channels_for({"target": True})]
    assert with_targets[:5] == ["ch0.temperature", "ch1.temperature", "ch0.target", "ch1.target", "ch0.tec_i"]
    assert set(with_targets) == {*keys, "ch0.target", "ch1.target"}


async def test_values_are_those_of_the_transcript() -> None:
    thermostat = await opened(("report", REPORT))
    values = by_key(await thermostat.read())
    for report in json.loads(REPORT):
        for name, value in report.items():
            if name != "channel":
                key = f"ch{report['channel']}.{'device_time' if name == 'time' else name}"
                assert values[key] == value
                assert type(values[key]) is type(value)


async def test_an_unplugged_thermistor_is_bad_and_the_rest_is_good() -> None:
    thermostat = await opened(("report", REPORT))
    readings = await thermostat.read()
    assert bad(readings) == {"ch0.temperature", "ch0.adc", "ch0.sens"}
    assert all(r.value is None for r in readings if r.quality is Quality.BAD)


@pytest.mark.parametrize(
    ("temperature", "options", "quality"),
    [
        (-50.0, {}, Quality.GOOD),
        (-50.1, {}, Quality.BAD),
        (-312.0, {}, Quality.BAD),
        (150.0, {}, Quality.GOOD),
        (150.1, {}, Quality.BAD),
        (60.0, {"temperature_high": 50}, Quality.BAD),
        (-60.0, {"temperature_low": -80.0}, Quality.GOOD),
    ],
)
async def test_a_temperature_no_load_has_is_bad(
    temperature: float, options: dict[str, float], quality: Quality
) -> None:
    report = f'[{{"channel":1,"time":1e0,"temperature":{temperature}}}]'
    thermostat = await opened(("report", report), **options)
    assert (await thermostat.read())[0] == Reading("ch1.temperature", temperature, quality)


async def test_missing_keys_are_no_readings_and_null_ones_are_bad() -> None:
    """Old hardware has no tec_i, old firmware no pid_output."""
    thermostat = await opened(
        ("report", '[{"channel":0,"time":1e0,"temperature":2e1,"i_tec":null,"tec_i":null}]')
    )
    readings = await thermostat.read()
    assert by_key(readings) == {
        "ch0.temperature": 20.0,
        "ch0.i_tec": None,
        "ch0.tec_i": None,
        "ch0.device_time": 1.0,
    }
    assert bad(readings) == {"ch0.i_tec", "ch0.tec_i"}


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1e0", 1.0), ("null", None)])
async def test_a_private_build_may_report_current_swapped(text: str, value: object) -> None:
    thermostat = await opened(("report", f'[{{"channel":0,"time":1e0,"current_swapped":{text}}}]'))
    assert by_key(await thermostat.read())["ch0.current_swapped"] == value


async def test_firmware_until_2023_reports_vref_too() -> None:
    report = REPORT.replace('"dac_value"', '"vref":1.501e0,"dac_value"')
    thermostat = await opened(("report", report))
    readings = await thermostat.read()
    assert len(readings) == 28
    assert by_key(readings)["ch1.vref"] == 1.501


async def test_a_number_that_is_none_is_bad_and_spoils_no_other() -> None:
    thermostat = await opened(("report", REPORT.replace("3.1990001266591094e1", "NaN")))
    readings = await thermostat.read()
    assert len(readings) == 26
    assert bad(readings) == {"ch0.temperature", "ch0.adc", "ch0.sens", "ch1.temperature"}


async def test_the_same_sample_is_not_told_twice() -> None:
    later = REPORT.replace("9.1018e2", "9.103e2")
    thermostat = await opened(("report", REPORT), ("report", REPORT), ("report", later))
    assert len(await thermostat.read()) == 26
    assert await thermostat.read() == []
    assert {r.key.partition(".")[0] for r in await thermostat.read()} == {"ch1"}


async def test_a_restarted_device_is_asked_again_what_it_is() -> None:
    restarted = REPORT.replace("9.1012e2", "1.2e-1").replace("9.1018e2", "1.8e-1")
    later = restarted.replace("1.2e-1,", "2.4e-1,", 1).replace('"time":1.8e-1', '"time":3e-1')
    thermostat = await opened(
        ("report", REPORT), ("report", restarted), ("output", INVALID), ("pwm", OUTPUT), ("report", later)
    )
    assert len(await thermostat.read()) == 26
    assert len(await thermostat.read()) == 26
    assert len(await thermostat.read()) == 26
    assert thermostat.dialect == "C"


async def test_targets_are_read_if_asked_for() -> None:
    thermostat = await opened(("pid", PID), ("report", REPORT), target=True)
    readings = await thermostat.read()
    assert readings[26:] == [Reading("ch0.target", 0.0), Reading("ch1.target", 32.0)]
    assert {r.key for r in readings} == {c.key for c in Thermostat.channels_for({"target": True})}


@pytest.mark.parametrize("answer", [INVALID, OUTPUT, "null", "[]"])
async def test_targets_that_cannot_be_read_cost_no_report(answer: str) -> None:
    thermostat = await opened(("pid", answer), ("report", REPORT), target=True)
    readings = await thermostat.read()
    assert readings[26:] == [
        Reading("ch0.target", None, Quality.BAD),
        Reading("ch1.target", None, Quality.BAD),
    ]


# ---- how it is set

B_P = (
    '[{"channel":0,"params":{"t0":2.9315e2,"r0":1e4,"b":3.8e3}},'
    '{"channel":1,"params":{"t0":2.9815e2,"r0":1e4,"b":3.8e3}}]'
)
POSTFILTER = '[{"channel":0,"rate":2e1},{"channel":1,"rate":null}]'
FAN = '{"fan_pwm":50,"abs_max_tec_i":2.65e-1,"auto_mode":true,"k_a":1e0,"k_b":0e0,"k_c":0e0}'
HWREV = (
    '{"rev":{"major":2,"minor":0},"settings":{"fan_k_a":0e0,"fan_k_b":0e0,"fan_k_c":0e0,"min_fan_pwm":0e0,'
    '"max_fan_pwm":0e0,"fan_pwm_freq_hz":0,"fan_available":false,"fan_pwm_recommended":false}}'
)
IPV4 = '{"addr":"192.168.1.26/24","gateway":"192.168.1.1"}'
REST: tuple[Exchange, ...] = (("postfilter", POSTFILTER), ("fan", FAN), ("hwrev", HWREV), ("ipv4", IPV4))


async def test_its_settings_are_read_if_asked_for_and_then_seldom() -> None:
    exchanges: list[Exchange] = [("output", OUTPUT), ("pid", PID), ("b-p", B_P), *REST, ("report", REPORT)]
    later = ("report", REPORT.replace("9.1018e2", "9.103e2"))
    thermostat = await opened(*exchanges, later, settings_every=60.0)
    readings = await thermostat.read()
    declared = {channel.key for channel in Thermostat.channels_for({"settings_every": 60.0})}
    assert {reading.key for reading in readings} == declared
    values = by_key(readings)
    assert [values[key] for key in ("ch1.kp", "ch1.output_min", "ch0.t0", "ch1.b")] == [0.3, -2, 293.15, 3800]
    assert [values["ch0.polarity"], values["ch0.center"], values["ch0.max_v"]] == ["normal", "vref", 0]
    assert [values["ch0.postfilter"], values["ch1.postfilter"]] == [20, 0]
    assert [values["fan.pwm"], values["fan.auto"], values["hardware"]] == [50, True, "2.0"]
    assert [values["ipv4.address"], values["ipv4.gateway"]] == ["192.168.1.26/24", "192.168.1.1"]
    assert len(await thermostat.read()) == 13


async def test_older_firmware_has_other_words_and_not_all_settings() -> None:
    link = ScriptedLink(
        *(("output", INVALID), ("pwm", PWM), ("report mode", INVALID)),
        *(("pwm", PWM.replace('"max_v":{"value":0e0', '"max_v":{"value":4e0')), ("pid", PID), ("s-h", B_P)),
        *(("postfilter", "nonsense"), ("fan", "null"), ("hwrev", INVALID), ("ipv4", IPV4)),
        ("report", REPORT),
    )
    thermostat = Thermostat(link, {"settings_every": 60.0})
    await thermostat.open()
    readings = await thermostat.read()
    assert by_key(readings)["ch1.max_v"] == 4.0
    assert not {"ch0.polarity", "fan.pwm"} & by_key(readings).keys()
    without = {"ch0.temperature", "ch0.adc", "ch0.sens"}
    of_hwrev = {setting.key for setting in how_set.OF_ALL["hwrev"]}
    assert bad(readings) == without | of_hwrev | {"ch0.postfilter", "ch1.postfilter"}


@given(command=st.sampled_from(how_set.COMMANDS), answer=JSON)
def test_whatever_is_said_of_settings_is_a_reading_of_theirs_or_none(command: str, answer: object) -> None:
    keys = {channel.key for channel in how_set.CHANNELS}
    for reading in how_set.readings(command, answer):
        assert reading.key in keys
        assert (reading.value is None) == (reading.quality is Quality.BAD)


# ---- which dialect it speaks


@pytest.mark.parametrize(
    ("exchanges", "dialect"),
    [
        ([("output", OUTPUT)], "D"),
        ([("output", INVALID), ("pwm", OUTPUT)], "C"),
        ([("output", INVALID), ("pwm", PWM), ("report mode", INVALID)], "B"),
        ([("output", INVALID), ("pwm", PWM), ("report mode", '{ "report": false }')], "A"),
    ],
    ids=["D", "C", "B", "A"],
)
async def test_the_dialect_is_found_by_asking_for_settings(exchanges: list[Exchange], dialect: str) -> None:
    link = ScriptedLink(*exchanges, ("report", REPORT))
    thermostat = Thermostat(link, {})
    await thermostat.open()
    assert thermostat.dialect == dialect
    assert len(await thermostat.read()) == 26
    assert not link.exchanges


@pytest.mark.parametrize(
    "exchanges",
    [
        [("output", "220 mail.example ESMTP")],
        [("output", REPORT)],
        [("output", "[]")],
        [("output", INVALID), ("pwm", INVALID)],
        [("output", INVALID), ("pwm", PWM), ("report mode", "[]")],
    ],
    ids=["another server", "a report", "nothing", "no such word", "no mode"],
)
async def test_what_is_no_thermostat_is_not_taken_for_one(exchanges: list[Exchange]) -> None:
    with pytest.raises(ReplyError):
        await Thermostat(ScriptedLink(*exchanges), {}).open()


# ---- what it cannot use


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (INVALID, "answered with the error 'invalid input'"),
        ('{"error":"BufferFull"}', "answered with the error 'BufferFull'"),
        ('{{"error": "flash config not found"}}', "unusable answer"),
        (REPORT.replace("3.1990001266591094e1", "inf"), "unusable answer"),
        (REPORT.replace("3.1990001266591094e1", "-inf"), "unusable answer"),
        (REPORT[:300], "unusable answer"),
        (OUTPUT, "another question"),
        (PID, "another question"),
        ("null", "unusable answer"),
        ("[]", "unusable answer"),
        ("{}", "unusable answer"),
        ("", "unusable answer"),
        (f"[{CH0},{CH0},{CH1}]", "unusable answer"),
        ('[{"channel":2,"time":1e0}]', "unusable answer"),
        ('[{"time":1e0,"temperature":2e1}]', "unusable answer"),
        ('[{"channel":0,"time":1e0,"temperature":"warm"}]', "unusable answer"),
        ('[{"channel":0,"time":1e0,"pid_engaged":"yes"}]', "unusable answer"),
        ("[" * 60_000, "unusable answer"),
        ('[{"channel":0,"time":1e0,"x":' + "[" * 60_000, "unusable answer"),
        ('[{"channel":0,"adc":' + "9" * 6_000 + "}]", "unusable answer"),
        (b"\xff\xfe[\x00]\x00", "unusable answer"),
    ],
)
async def test_an_unusable_answer_is_a_reply_error_in_words(answer: str | bytes, words: str) -> None:
    thermostat = await opened(("report", answer), ("report", REPORT))
    with pytest.raises(ReplyError, match=words) as raised:
        await thermostat.read()
    assert len(str(raised.value)) < 1_000
    assert len(await thermostat.read()) == 26


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
reports = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "channel": st.integers(-1, 2) | json_values,
            **{name: st.floats() | json_values for name in json.loads(CH1) if name != "channel"},
        },
    ),
    max_size=3,
)


def damaged(draw: st.DrawFn) -> bytes:
    """A good report with some bytes changed, taken out or put in."""
    line = bytearray(REPORT.encode())
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(line) - 1))
        line[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(line).replace(b"\n", b"")


answers = (
    st.binary(max_size=300)
    | st.builds(lambda value: json.dumps(value).encode(), json_values | reports)
    | st.composite(damaged)()
)


@given(answers)
async def test_no_answer_does_more_than_a_driver_error(answer: bytes) -> None:
    thermostat = await opened(("report", answer))
    try:
        readings = await thermostat.read()
    except DriverError:
        return
    assert len(readings) <= 28
    for reading in readings:
        assert re.fullmatch(r"ch[01]\.[a-z_]+", reading.key)
        assert isinstance(reading.value, float | bool | None)
        assert reading.value is None or math.isfinite(reading.value)
        assert (reading.quality is Quality.BAD) or reading.value is not None


@given(answers)
async def test_no_answer_at_opening_does_more_than_a_driver_error(answer: bytes) -> None:
    thermostat = Thermostat(ScriptedLink(("output", answer), ("pwm", answer), ("report mode", answer)), {})
    try:
        await thermostat.open()
    except DriverError:
        assert thermostat.dialect is None
    else:
        assert thermostat.dialect in {"A", "B", "C", "D"}


# ---- its options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature_low": 50, "temperature_high": 20}, "below temperature_high"),
        ({"temperature_low": -300.0}, "below -273.15"),
        ({"temperature_high": "hot"}, "'hot' is not a float"),
        ({"temperature_high": math.nan}, "temperature_high"),
        ({"target": 1}, "1 is not a bool"),
        ({"colour": "blue"}, "has no option colour"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Thermostat.checked_options(options)
