"""What the simulated thermostat measures and does (§6, §9), with the clock turned by hand."""

import json
import math
from typing import Any

import pytest

from devices.simulators.thermostat_channel import Settings, celsius, resistance, thermistor_code
from tests.devices.simulators.served import Bench

LIMITS = ("output 0 max_i_pos 2", "output 0 max_i_neg 2", "output 0 max_v 4.3")


def channel(bench: Bench, number: int = 0) -> dict[str, Any]:
    """One report object; NaN and inf read as Python does."""
    report: dict[str, Any] = json.loads(bench.say("report")[0].replace(":inf", ":Infinity"))[number]
    return report


def told(*lines: str) -> Bench:
    """A bench after these commands, all taken."""
    bench = Bench()
    for line in lines:
        assert bench.say(line) == ["{}"], line
    return bench


# ---- the thermistor


@pytest.mark.parametrize(
    ("temperature", "ohms", "volts"),
    [(25.0, 10_000.0, 0.816832), (20.0, 12_428.22, 0.906238), (36.8703, 6_138.519, 0.619919)],
)
def test_the_check_points_of_the_thermistor(temperature: float, ohms: float, volts: float) -> None:
    adc = thermistor_code(temperature) * 1.65 / (1 << 24)
    assert adc == pytest.approx(volts, abs=1e-6)
    assert resistance(adc) == pytest.approx(ohms, rel=1e-6)
    assert celsius(resistance(adc), Settings()) == pytest.approx(temperature, abs=1e-5)


def test_the_numbers_of_the_transcript_belong_together() -> None:
    assert resistance(6.97428566064153e-1) == 7.467966307221274e3
    assert celsius(7.467966307221274e3, Settings()) == 3.1990001266591094e1


@pytest.mark.parametrize(
    ("lines", "text"),
    [(["b-p 0 r0 0"], "-2.7315e2"), (["b-p 0 r0 -5"], "NaN"), (["b-p 0 b 0", "b-p 0 r0 1"], "-2.7315e2")],
)
def test_bad_thermistor_settings_print_as_rust_does(lines: list[str], text: str) -> None:
    report = told(*lines).after(1.0).say("report")[0]
    assert f'"temperature":{text},' in report


# ---- time


@pytest.mark.parametrize(
    ("lines", "interval"),
    [
        ([], 0.12),
        (["postfilter 0 rate 20", "postfilter 1 rate 20"], 0.11),
        (["postfilter 0 rate 25", "postfilter 1 rate 25"], 0.1),
        (["postfilter 0 rate 30", "postfilter 1 rate 30"], 0.096),
        (["postfilter 0 off", "postfilter 1 off"], 0.2),
    ],
)
def test_the_filter_sets_the_interval(lines: list[str], interval: float) -> None:
    bench = told(*lines).after(1.0)
    first = channel(bench)
    second = channel(bench.after(interval))
    assert first["interval"] == second["interval"] == interval
    assert second["time"] - first["time"] == pytest.approx(interval)


def test_a_sample_is_told_until_the_next() -> None:
    bench = Bench().after(1.0)
    report = bench.say("report")
    assert bench.after(0.01).say("report") == report
    assert bench.after(0.12).say("report") != report


def test_time_is_in_steps_of_two_milliseconds_and_wraps() -> None:
    bench = Bench().after(0.0601)
    assert channel(bench)["time"] == 0.06
    assert channel(bench, 1)["time"] == 0.0
    assert channel(bench.after(86_400 * 49.7103))["time"] < 10.0


def test_the_same_seed_is_the_same_instrument() -> None:
    reports = [Bench(seed=seed, preset="demo").after(5.0).say("report") for seed in (1, 1, 2)]
    assert reports[0] == reports[1] != reports[2]


# ---- the TEC driver


def test_no_current_flows_within_the_factory_limits() -> None:
    report = channel(told("output 0 i_set 1").after(1.0))
    assert (report["i_set"], report["dac_value"], report["i_tec"], report["tec_i"]) == (1.0, 2.0, 1.5, 0.0)


def test_a_current_shows_in_all_its_places() -> None:
    report = channel(told(*LIMITS, "output 0 i_set 0.267").after(1.0))
    del report["time"], report["adc"], report["sens"], report["temperature"]
    assert report == {
        "channel": 0,
        "interval": 0.12,
        "pid_engaged": False,
        "i_set": 0.267,
        "dac_value": 1.6335,
        "dac_feedback": 1.633,
        "i_tec": 1.606,
        "tec_i": 0.26500000000000024,
        "tec_u_meas": 0.40000000000000036,
        "pid_output": 0.0,
    }


@pytest.mark.parametrize(
    ("line", "amperes"),
    [("output 0 max_i_pos 0.5", 0.5), ("output 0 max_v 0.9", 0.6), ("output 0 polarity reversed", 1.0)],
)
def test_the_limits_act_behind_the_requested_current(line: str, amperes: float) -> None:
    report = channel(told(*LIMITS, line, "output 0 i_set 1").after(1.0))
    assert report["i_set"] == 1.0
    assert report["tec_i"] == pytest.approx(amperes, abs=0.003)


def test_positive_current_cools_and_reversed_polarity_heats() -> None:
    before = channel(Bench().after(1.0))["temperature"]
    assert channel(told(*LIMITS, "output 0 i_set 0.5").after(60.0))["temperature"] < before - 10
    warm = told(*LIMITS, "output 0 polarity reversed", "output 0 i_set 0.5").after(60.0)
    assert channel(warm)["temperature"] > before + 10


def test_the_load_goes_where_the_plant_equation_says() -> None:
    bench = told(*LIMITS, "output 0 i_set 1").after(600.0)
    room = bench.device.room
    assert channel(bench)["temperature"] == pytest.approx(room + 20 * (0.1 - 2.0), abs=0.5)


# ---- the PID


def test_each_sample_is_regulated_by_the_formula() -> None:
    bench = told(
        *LIMITS, "pid 0 kp 0.25", "pid 0 ki 0.03125", "pid 0 kd 0.125", "pid 0 target 20", "output 0 pid"
    )
    bench.after(0.061)
    x1 = x2 = y = 0.0
    for _ in range(200):
        report = channel(bench)
        x = report["temperature"]
        y = y - 0.03125 * 20 + x * 0.40625 - x1 * 0.5 + x2 * 0.125
        y = min(max(y, -2.0), 2.0)
        x2, x1 = x1, x
        assert report["pid_output"] == report["i_set"] == pytest.approx(y, abs=1e-12)
        bench.after(0.12)


def test_a_loop_settles_on_its_target_however_seldom_it_is_looked_at() -> None:
    lines = (*LIMITS, "pid 0 kp 0.3", "pid 0 ki 0.02", "pid 0 target 15", "output 0 pid")
    often, seldom = told(*lines), told(*lines)
    for _ in range(60):
        often.after(1.0).say("report")
    seldom.after(60.0)
    assert channel(often)["temperature"] == pytest.approx(15.0, abs=0.02)
    assert channel(seldom)["temperature"] == pytest.approx(15.0, abs=0.02)
    assert channel(seldom.after(86_400 * 100))["temperature"] == pytest.approx(15.0, abs=0.02)


def test_the_integrator_runs_while_disengaged() -> None:
    bench = told(*LIMITS, "pid 0 ki 0.02", "pid 0 target 10").after(600.0)
    report = channel(bench)
    assert (report["pid_output"], report["i_set"], report["tec_i"]) == (2.0, 0.0, 0.0)
    bench.say("output 0 pid")
    assert channel(bench.after(0.12))["i_set"] == 2.0


def test_outputs_that_are_no_number_drive_nothing() -> None:
    bench = told(*LIMITS, "b-p 0 r0 -5", "pid 0 kp 0.3", "output 0 pid").after(60.0)
    report = channel(bench)
    assert math.isnan(report["temperature"])
    assert math.isnan(report["i_set"])
    assert report["tec_i"] == 0.0


# ---- the thermistor comes and goes


def test_an_unplugged_thermistor_shuts_the_driver_down_until_it_is_back() -> None:
    bench = Bench(faults=["unplug:channel=0,from=60,to=120"])
    for line in (*LIMITS, "pid 0 kp 0.3", "pid 0 ki 0.02", "pid 0 target 15", "output 0 pid"):
        bench.say(line)
    assert channel(bench.after(59.0))["tec_i"] > 0.1
    report = channel(bench.after(10.0))
    assert report["adc"] is report["sens"] is report["temperature"] is None
    assert report["pid_engaged"] is True
    assert report["tec_i"] == 0.0
    assert report["i_set"] > 0.1
    assert channel(bench, 1)["temperature"] is not None
    assert channel(bench.after(60.0))["tec_i"] != 0.0
    assert channel(bench.after(60.0))["temperature"] == pytest.approx(15.0, abs=0.02)


def test_a_shorted_thermistor_reads_absurd_values_and_the_load_is_heated_with_all_there_is() -> None:
    bench = Bench(faults=["short:channel=0,from=60,to=120"])
    for line in (*LIMITS, "pid 0 kp 0.3", "pid 0 ki 0.02", "pid 0 target 15", "output 0 pid"):
        bench.say(line)
    assert channel(bench.after(59.0))["tec_i"] > 0.1
    report = channel(bench.after(10.0))
    assert report["sens"] < 0.01
    assert not -50 < report["temperature"] < 150
    assert channel(bench, 1)["temperature"] == pytest.approx(bench.device.room, abs=1)


def test_a_number_that_is_none_is_said_so_of_its_channel_alone() -> None:
    bench = Bench(faults=["nan:channel=1,from=5,to=10"])
    (line,) = bench.after(6.0).say("report")
    assert line.count('"temperature":NaN') == 1
    assert math.isnan(channel(bench, 1)["temperature"])
    assert not math.isnan(channel(bench)["temperature"])
    assert not math.isnan(channel(bench.after(6.0), 1)["temperature"])


def test_a_watchdog_restarts_it_once_and_all_connections_are_reset() -> None:
    bench = Bench(faults=["restart:from=60,to=70"])
    assert channel(bench.after(59.0))["time"] == pytest.approx(59, abs=0.3)
    assert bench.after(2.0).say("report") == []
    assert bench.client.end == "reset"
    assert channel(bench.after(5.0))["time"] == pytest.approx(5, abs=0.3)


# ---- flash and reset


def test_reset_goes_back_to_what_was_saved() -> None:
    bench = told(*LIMITS, "output 0 i_set 0.5", "save 0", "output 0 i_set 0.7", "output 1 max_v 3")
    bench.after(10.0).say("reset")
    output = json.loads(bench.say("output")[0])
    assert (output[0]["i_set"], output[0]["max_v"], output[1]["max_v"]) == (0.5, 4.3, 0.0)
    report = channel(bench.after(0.061))
    assert (report["time"], report["tec_i"]) == (0.06, 0.0)  # shown, but not driven unasked


def test_a_saved_loop_starts_by_itself() -> None:
    bench = told(*LIMITS, "pid 0 kp 0.3", "pid 0 ki 0.02", "pid 0 target 15", "output 0 pid")
    bench.after(1.0).say("report")
    assert bench.say("save 0") == ["{}"]
    bench.say("reset")
    assert json.loads(bench.say("output")[0])[0]["i_set"] == 0.0
    assert channel(bench.after(60.0))["temperature"] == pytest.approx(15.0, abs=0.02)


def test_load_takes_back_what_was_saved() -> None:
    bench = told("pid 1 target 30", "save 1", "pid 1 target 40", "load 1")
    assert json.loads(bench.say("pid")[0])[1]["target"] == 30.0
    assert bench.say("load 0") == ['{{"error": "flash config not found"}}']


# ---- the demo


def test_the_demo_shows_something_of_everything() -> None:
    reports = [json.loads(Bench(number=n, preset="demo").after(120.0).say("report")[0]) for n in range(3)]
    assert reports[0][0]["temperature"] == pytest.approx(20.0, abs=0.02)
    assert reports[0][1]["temperature"] == pytest.approx(32.0, abs=0.02)
    assert reports[1][0]["temperature"] is None
    assert reports[1][1]["temperature"] == pytest.approx(36.6, abs=0.02)
    assert reports[2][0]["i_set"] == 0.25
    assert reports[2][1]["pid_engaged"] is True
