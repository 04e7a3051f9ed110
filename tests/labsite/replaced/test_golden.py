"""Each endpoint's answer, byte for byte: what clients of the replaced programs have always seen."""

from collections.abc import Callable
from datetime import UTC

import pytest

from devices.models import Instrument
from devices.wire import RunRow
from labsite.replaced import ups as ups_program, ups_fields
from tests.labsite.replaced import lab
from tests.telemetry.factories import at

pytestmark = pytest.mark.django_db

JOB = "550e8400-e29b-41d4-a716-446655440000"
METRICS = {"energy": -1.1312, "accuracy": 0.907, "duration_secs": 3.0, "iterations": 100}
METRICS |= {"omega": 0.855, "psi": 0.907, "rho": 0.903}
DONE = RunRow(
    0,
    at(-57),
    JOB,
    "calibration",
    "completed",
    "c",
    1.0,
    at(-60),
    at(-57),
    {"metrics": METRICS, "duration": 3.0},
)
RUNNING = RunRow(
    0, at(-2), JOB[:-1] + "1", "calibration", "running", "c", None, at(-2), None, {"metrics": {}}
)


@pytest.fixture(autouse=True)
def the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lab.is_now(monkeypatch)
    monkeypatch.setattr(ups_program, "_uptime", lambda: 90_061.0)
    monkeypatch.setattr(ups_fields, "machine_zone", lambda: UTC)


def bath() -> Instrument:
    made = lab.thermostat()
    lab.says(made, {**lab.UNPLUGGED, "ch1.current_swapped": None}, -2.0)
    lab.says(made, lab.BATH, -1.123456)
    lab.says(made, dict.fromkeys(lab.BATH), -0.5)
    return made


def ups() -> Instrument:
    made = lab.ups()
    lab.says(made, lab.UPS)
    return made


def ups_in_trouble() -> Instrument:
    made = lab.ups()
    trouble: dict[str, lab.Value] = {
        "status": "battery",
        "input_voltage": 179.9,
        "battery_level": 19,
        "temperature": 40.1,
    }
    trouble |= {"load_percent": 81, "alarm.battery_low": True, "fault": "fault 7: overload"}
    lab.says(made, lab.UPS | trouble)
    return made


def metatron() -> Instrument:
    made = lab.metatron()
    lab.says(made, lab.METATRON, -3.0)
    lab.says(
        made, {"psi": 0.907, "rho": 0.903, "omega": 0.855, "algorithm": "VQE"}, -1.0, runs=[DONE, RUNNING]
    )
    return made


@pytest.mark.parametrize(
    ("make", "path", "name", "kind"),
    [
        (bath, "report", "thermostat_report.json", "application/json"),
        (bath, "series", "thermostat_series.json", "application/json"),
        (bath, "data.csv", "thermostat_data.csv", "text/csv; charset=utf-8"),
        (ups, "api/telemetry", "ups_telemetry.json", "application/json"),
        (ups_in_trouble, "api/telemetry", "ups_telemetry_in_trouble.json", "application/json"),
        (ups, "api/health", "ups_health.json", "application/json"),
        (ups, "metrics", "ups_metrics.txt", "text/plain; version=1.0.0; charset=utf-8"),
        (ups_in_trouble, "metrics", "ups_metrics_on_battery.txt", "text/plain; version=1.0.0; charset=utf-8"),
        (metatron, "api/status", "metatron_status.json", "application/json"),
        (metatron, "api/jobs", "metatron_jobs.json", "application/json"),
        (metatron, f"api/jobs/{JOB}", "metatron_job.json", "application/json"),
        (metatron, "api/history", "metatron_history.json", "application/json"),
        (metatron, "api/health", "metatron_health.json", "application/json"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_an_answer_is_what_it_was(make: Callable[[], Instrument], path: str, name: str, kind: str) -> None:
    answer = lab.ask(make(), path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert answer.body == lab.golden(name)
