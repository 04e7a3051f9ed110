"""The simulated thermostat's words: the transcripts of §13 and the checked grammar of §3, in all dialects."""

import json
import re

import pytest

from devices.simulators.base import BadSetting
from devices.simulators.faults import Faults
from devices.simulators.thermostat import Thermostat
from tests.devices.drivers.test_thermostat import OUTPUT, PID, PWM
from tests.devices.simulators.served import Bench, Clock

INVALID = ['{ "error": "invalid input" }']
DONE = ["{}"]
NOTHING_SAVED = '{{"error": "flash config not found"}}'
B_P = (
    '[{"channel":0,"params":{"t0":2.9315e2,"r0":1e4,"b":3.8e3}},'
    '{"channel":1,"params":{"t0":2.9815e2,"r0":1e4,"b":3.8e3}}]'
)
KEYS = [
    "channel", "time", "interval", "adc", "sens", "temperature", "pid_engaged", "i_set", "dac_value",
    "dac_feedback", "i_tec", "tec_i", "tec_u_meas", "pid_output",
]  # fmt: skip
HWREV_2_0 = (
    '{"rev":{"major":2,"minor":0},"settings":{"fan_k_a":0e0,"fan_k_b":0e0,"fan_k_c":0e0,"min_fan_pwm":0e0,'
    '"max_fan_pwm":0e0,"fan_pwm_freq_hz":0,"fan_available":false,"fan_pwm_recommended":false}}'
)
HWREV_2_2 = (
    '{"rev":{"major":2,"minor":2},"settings":{"fan_k_a":1e0,"fan_k_b":0e0,"fan_k_c":0e0,"min_fan_pwm":4e-2,'
    '"max_fan_pwm":1e0,"fan_pwm_freq_hz":25000,"fan_available":true,"fan_pwm_recommended":false}}'
)


def test_the_transcript_of_a_current_firmware() -> None:
    bench = Bench()
    for said, answer in [
        ("output", [OUTPUT]),
        ("output 1 max_i_pos 1.5", DONE),
        ("output 1 max_i_neg 9", DONE),
        ("output 1 max_v 4", DONE),
        ("pid 1 kp 0.3", DONE),
        ("pid 1 ki 0.02", DONE),
        ("pid 1 target 32.0", DONE),
        ("output 1 pid", DONE),
        ("pid", [PID]),
        ("b-p 0 t0 20", DONE),
        ("b-p", [B_P]),
        ("postfilter 0 rate 21", DONE),
        ("postfilter 1 off", DONE),
        ("postfilter", ['[{"channel":0,"rate":2e1},{"channel":1,"rate":null}]']),
        ("load", [NOTHING_SAVED, NOTHING_SAVED]),
        ("save", ["{}", "{}"]),
        ("load", ["{}", "{}"]),
        ("ipv4", ['{"addr":"192.168.1.26/24"}']),
        ("fan", ["null"]),
        ("hwrev", [HWREV_2_0]),
        ("output 1 pid ", INVALID),
        ("report mode on", INVALID),
        ("output 1 i_set 0", DONE),
    ]:
        assert bench.say(said) == answer, said
    shown = json.loads(bench.say("output")[0])[1]
    assert (shown["max_i_pos"], shown["max_i_neg"], shown["max_v"]) == (1.5, 2.0, 4.0)
    assert bench.say("reset") == []
    assert bench.client.end == "reset"


def test_a_report_has_its_keys_in_wire_order() -> None:
    report = Bench().after(1.0).say("report")[0]
    assert list(json.loads(report)[0]) == KEYS
    assert " " not in report


def test_before_the_first_sample_there_is_nothing() -> None:
    for report in json.loads(Bench().say("report")[0]):
        assert (report["time"], report["interval"]) == (0.0, 0.1)
        assert report["adc"] is report["sens"] is report["temperature"] is None


QUERIES = ("report", "output", "pid", "b-p", "postfilter", "ipv4", "fan")
SETTERS = (
    "output 0 max_v 1", "output 0 i_set 1", "output 0 pid", "output 0 polarity normal", "center 0 vref",
    "center 0 1.5", "pid 0 target 20", "pid 0 kp 1", "b-p 0 t0 25", "b-p 0 r0 10000", "b-p 0 b 3950",
    "postfilter 0 off", "postfilter 0 rate 20", "fcurve 1 0 0", "fcurve default",
)  # fmt: skip


@pytest.mark.parametrize("word", QUERIES)
def test_a_query_may_have_blanks_behind_it(word: str) -> None:
    bench = Bench().after(1.0)
    assert bench.say(word + "   ") == bench.say(word) != INVALID


@pytest.mark.parametrize("word", ["save", "save 0", "load", "load 1"])
def test_flash_commands_may_have_blanks_behind_them(word: str) -> None:
    bench = Bench()
    bench.say("save")
    assert bench.say(word + "  ") == bench.say(word) != INVALID


@pytest.mark.parametrize("word", SETTERS)
def test_a_setter_may_not_have_blanks_behind_it(word: str) -> None:
    bench = Bench()
    assert bench.say(word) == DONE
    assert bench.say(word + " ") == INVALID
    assert bench.say(" " + word) == INVALID
    assert bench.say(word.upper()) == INVALID
    assert bench.say(word.replace(" ", "   ")) == DONE


@pytest.mark.parametrize("word", ["reset", "dfu", "quit", "hwrev", "fan auto"])
def test_nor_may_these(word: str) -> None:
    bench = Bench()
    assert bench.say(word + " ") == INVALID
    assert not bench.client.end


@pytest.mark.parametrize(
    ("number", "value"),
    [("5", 5.0), (".5", 0.5), ("5.", 5.0), ("-0.25", -0.25), ("--7", -7.0), ("---7", -7.0), ("007", 7.0)],
)
def test_numbers_that_are_taken(number: str, value: float) -> None:
    bench = Bench()
    assert bench.say(f"pid 0 target {number}") == DONE
    assert json.loads(bench.say("pid")[0])[0]["target"] == value


@pytest.mark.parametrize(
    "number", ["1e-3", "+1", "nan", "inf", "1.2.3", ".", "-", "1-", "", "0x1", "1,5", "1 2", "١"]
)
def test_numbers_that_are_not(number: str) -> None:
    assert Bench().say(f"pid 0 target {number}") == INVALID


@pytest.mark.parametrize(
    "line",
    [
        "nonsense", "repor", "reports", "report 0", "pid 2 target 1", "pid -1 kp 1", "pid 0", "pid 0 target",
        "pid 0 gain 1", "output 0", "output 0 off", "output 0 max_i 1", "output 0 polarity up", "center 0",
        "b-p 0 c 1", "postfilter 0", "postfilter 0 rate", "save 2", "load 01", "ipv4 1.2/24", "ipv4 1.2.3.4",
        "fan -5", "fan 50.5", "fcurve 1 2", "pwm", "s-h", "report mode", "help", "*IDN?", "\x00", "é",
    ],
)  # fmt: skip
def test_what_is_no_command_is_invalid_input(line: str) -> None:
    assert Bench().say(line) == INVALID


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        (b"hwrev\r", 1),
        (b"hwrev\r\n", 1),
        (b"\n\r\n\r", 0),
        (b"hwrev\nhwrev\nhwrev\n", 3),
        (b"hwrev", 0),
        (b"hwrev\nhwr", 1),
    ],
)
def test_lines_end_with_either_and_empty_ones_are_ignored(said: bytes, answers: int) -> None:
    assert Bench().say(said) == [HWREV_2_0] * answers


def test_a_line_may_come_in_pieces() -> None:
    bench = Bench()
    assert [bench.say(bytes([byte])) for byte in b"hwrev\n"] == [[], [], [], [], [], [HWREV_2_0]]


def test_what_is_beyond_64_bytes_of_a_line_is_dropped() -> None:
    bench = Bench().after(1.0)
    assert bench.say("report" + " " * 58 + "nonsense") == bench.say("report")
    assert bench.say("report" + " " * 57 + "nonsense") == INVALID
    assert bench.say(b"x" * 1_000_000 + b"\nhwrev\n") == [*INVALID, HWREV_2_0]


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        ("output 0 max_v 9", "max_v", 4.3),
        ("output 0 max_v -1", "max_v", 0.0),
        ("output 0 max_i_neg 1.25", "max_i_neg", 1.25),
        ("output 0 i_set 5", "i_set", 2.0),
        ("output 0 i_set -5", "i_set", -2.0),
        ("output 0 polarity reversed", "polarity", "reversed"),
        ("center 0 1.6", "center", 1.6),
    ],
)
def test_settings_are_clamped_and_read_back(said: str, name: str, value: object) -> None:
    bench = Bench()
    assert bench.say(said) == DONE
    assert json.loads(bench.say("output")[0])[0][name] == value


def test_parameters_are_kept_as_singles_but_the_target() -> None:
    bench = Bench()
    bench.say("pid 0 target 20.12345678901")
    bench.say("pid 0 kp 0.123456789012345")
    assert '"kp":1.2345679e-1' in bench.say("pid")[0]
    assert '"target":2.012345678901e1' in bench.say("pid")[0]
    bench.say("pid 0 kp 99999999999999999999999999999999999999999")
    assert '"kp":inf' in bench.say("pid")[0]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("ipv4 10.0.0.300/8", '{"addr":"10.0.0.44/8"}'),
        ("ipv4 10.0.0.3/8 10.0.0.1", '{"addr":"10.0.0.3/8","gateway":"10.0.0.1"}'),
        ("ipv4 10.0.0.3/8  ", '{"addr":"10.0.0.3/8"}'),
    ],
)
def test_a_new_address_ends_the_connection(said: str, shown: str) -> None:
    bench = Bench()
    assert bench.say(said) == DONE
    assert bench.client.end == "closed"
    assert bench.say("ipv4") == [shown]


def test_a_prefix_beyond_32_is_the_devices_end() -> None:
    bench = Bench()
    assert bench.say("ipv4 10.0.0.3/33") == DONE
    assert not bench.device.is_on()


def test_quit_and_dfu() -> None:
    bench = Bench()
    assert bench.say("quit") == []
    assert bench.client.end == "closed"
    bench = Bench()
    assert bench.say("dfu") == []
    assert bench.client.end == "reset"
    assert not bench.device.is_on()


def test_a_fan_is_only_on_hardware_2_2() -> None:
    without, having = Bench(), Bench(hwrev="2.2")
    no_fan = ['{ "warning": "this thermostat doesn\'t have a fan!" }']
    poor_fan = ['{ "warning": "this fan doesn\'t have full PWM support. Use it at your own risk!" }']
    assert without.say("fan 50") == without.say("fan auto") == no_fan
    assert having.say("hwrev") == [HWREV_2_2]
    assert having.say("fan 500") == poor_fan
    expected = '{"fan_pwm":100,"abs_max_tec_i":0e0,"auto_mode":false,"k_a":1e0,"k_b":0e0,"k_c":0e0}'
    assert having.say("fan") == [expected]
    assert having.say("fcurve 0 0.5 0.25") == DONE
    assert having.say("fan auto") == poor_fan
    expected = '{"fan_pwm":25,"abs_max_tec_i":0e0,"auto_mode":true,"k_a":0e0,"k_b":5e-1,"k_c":2.5e-1}'
    assert having.say("fan") == [expected]


# ---- older firmware (§7)


def test_dialect_a() -> None:
    bench = Bench(dialect="A")
    assert bench.say("pwm") == [PWM]
    assert bench.say("output") == bench.say("b-p") == bench.say("pwm 0 polarity normal") == INVALID
    assert bench.say("s-h 0 b 3950") == DONE
    assert '"params":{"t0":2.9815e2,"r0":1e4,"b":3.95e3}' in bench.say("s-h")[0]
    assert bench.say("report mode") == ['{ "report": false }']
    assert bench.say("pwm 0 i_set 2.7") == DONE
    assert json.loads(bench.say("pwm")[0])[0]["i_set"] == {"value": 2.7, "max": 3.0}
    bench.say("pwm 0 max_i_pos 1.1")
    assert 1.0999 < json.loads(bench.say("pwm")[0])[0]["max_i_pos"]["value"] <= 1.1


def test_dialect_b() -> None:
    bench = Bench(dialect="B")
    assert re.search(r'"max_v":{"value":0e0,"max":4e0}.*"polarity":"normal"}', bench.say("pwm")[0])
    assert bench.say("pwm 0 polarity reversed") == DONE
    assert bench.say("report mode") == bench.say("output") == INVALID


def test_dialect_c() -> None:
    bench = Bench(dialect="C")
    assert bench.say("pwm") == [OUTPUT]
    assert bench.say("s-h")[0].startswith("[")
    assert bench.say("report mode") == bench.say("b-p") == INVALID
    bench.say("postfilter 0 rate 1000")
    assert bench.say("postfilter")[0].startswith('[{"channel":0,"rate":2.7e1}')


@pytest.mark.parametrize(
    "settings", [{"dialect": "E"}, {"hwrev": "3"}, {"preset": "none"}, {"colour": "blue"}], ids=str
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(BadSetting):
        Thermostat(0, 0, settings, Faults(), Clock())
