"""The UPS monitor's interface: what it shows in trouble, and Prometheus' own judgement of its metrics."""

import json
import subprocess
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from devices.models import Instrument
from labsite.replaced import doors, ups as program
from labsite.replaced.program import Program
from labsite.replaced.ups_metrics import gauges
from tests.alerts.factories import alarm
from tests.labsite.replaced import lab
from tests.telemetry.factories import NOW

pytestmark = pytest.mark.django_db

TYPES = {
    "input_voltage": float, "output_voltage": float, "battery_voltage": float, "battery_level": int,
    "load_percent": int, "load_power": int, "frequency": float, "input_frequency": float,
    "temperature": float, "timestamp": str, "status": str, "uptime": str, "alarms": list,
}  # fmt: skip


@pytest.fixture(autouse=True)
def the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lab.is_now(monkeypatch)


def test_fields_have_the_types_and_the_order_they_had() -> None:
    ups = lab.ups()
    lab.says(ups, lab.UPS)
    answer = lab.ask(ups, "api/telemetry")
    told = json.loads(answer.body)
    assert {name: type(value) for name, value in told.items()} == TYPES
    assert list(told) == list(TYPES)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_before_the_first_poll_there_are_no_zeros() -> None:
    ups = lab.ups()
    answer = lab.ask(ups, "api/telemetry")
    assert (answer.status, json.loads(answer.body)) == (503, {"error": "nothing was read of UPS rack A yet"})
    assert lab.ask(ups, "metrics").body == b""
    assert "Nothing was read of it yet." in lab.ask(ups, "").text


def test_what_cannot_be_read_keeps_its_last_values_and_their_time_and_says_so() -> None:
    ups = lab.ups()
    lab.says(ups, lab.UPS, -60.0)
    lab.says(ups, dict.fromkeys(lab.UPS), -30.0)
    alarm(ups, text="UPS rack A is not connected")
    told = json.loads(lab.ask(ups, "api/telemetry").body)
    assert (told["input_voltage"], told["status"], told["timestamp"][-8:]) == (225.6, "online", "11:59:00")
    assert told["alarms"] == ["UPS rack A is not connected"]
    assert lab.ask(ups, "metrics").body == b"", "Prometheus is shown nothing old"


def test_prometheus_is_shown_nothing_after_three_missed_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    ups = lab.ups()
    lab.says(ups, lab.UPS, -1.0)
    lab.is_now(monkeypatch, NOW + timedelta(seconds=14))
    assert b"ups_status" in lab.ask(ups, "metrics").body
    lab.is_now(monkeypatch, NOW + timedelta(seconds=16))
    assert lab.ask(ups, "metrics").body == b""


def test_a_value_that_cannot_be_is_null_and_no_metric() -> None:
    ups = lab.ups()
    lab.says(ups, lab.UPS | {"input_voltage": 6553.5}, quality={"input_voltage": 2})
    assert json.loads(lab.ask(ups, "api/telemetry").body)["input_voltage"] is None
    assert b"ups_input_voltage" not in lab.ask(ups, "metrics").body


def test_a_status_that_is_over_leaves_no_label_behind() -> None:
    ups = lab.ups()
    for seconds, status in ((-3.0, "online"), (-2.0, "battery"), (-1.0, "online")):
        lab.says(ups, lab.UPS | {"status": status}, seconds)
        lines = lab.ask(ups, "metrics").text.splitlines()
        levels = [line for line in lines if line.startswith("ups_battery_level")]
        assert levels == [f'ups_battery_level{{status="{status}"}} 100.0']
        assert f'ups_status{{status="{status}"}} {float(status == "online")}' in lines
    lab.says(ups, lab.UPS | {"status": "unknown"}, -0.5)
    assert "ups_status" not in lab.ask(ups, "metrics").text


@pytest.mark.parametrize("name", ["ups_metrics.txt", "ups_metrics_on_battery.txt"])
def test_promtool_finds_nothing_wrong(name: str) -> None:
    found = subprocess.run(
        ["promtool", "check", "metrics"], input=lab.golden(name), capture_output=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_only_what_is_known_is_a_gauge() -> None:
    registry = CollectorRegistry()
    nothing = dict.fromkeys(("input_voltage", "output_voltage", "battery_voltage", "battery_level"))
    nothing |= dict.fromkeys(("load_percent", "load_power", "frequency", "input_frequency", "temperature"))
    gauges(registry, {**nothing, "status": "unknown"})
    assert generate_latest(registry) == b""


def test_the_page_shows_the_fields_and_comes_again_by_itself() -> None:
    ups = lab.ups()
    lab.says(ups, lab.UPS | {"load_percent": 81})
    page = lab.ask(ups, "")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for text in ('http-equiv="refresh" content="10"', "225.6", "13.6", "81", "online", "Высокая нагрузка"):
        assert text in page.text


@pytest.mark.parametrize(("path", "method", "code"), [("x", "GET", 404), ("metrics", "POST", 405)])
def test_what_it_did_not_know(path: str, method: str, code: int) -> None:
    answer = lab.ask(lab.ups(), path, method)
    assert (answer.status, answer.body) == (code, b"404 Not Found" if code == 404 else b"")


def test_what_fails_is_told_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    ups: Instrument = lab.ups()

    def broken(_call: object) -> None:
        raise ZeroDivisionError

    broken_program = Program(
        {"metrics": {"GET": broken}},  # type: ignore[dict-item]
        program.PROGRAM.missing,
        program.PROGRAM.not_allowed,
        failed=program.PROGRAM.failed,
    )
    monkeypatch.setitem(doors.PROGRAMS, "ups", broken_program)
    answer = lab.ask(ups, "metrics")
    assert (answer.status, json.loads(answer.body)) == (500, {"error": "Internal server error"})
