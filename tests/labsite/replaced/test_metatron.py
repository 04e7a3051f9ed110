"""The Metatron server's interface: its table of errors, its page's requests, other instruments behind it."""

import json
import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from devices.models import Instrument
from devices.wire import RunRow
from tests import factories
from tests.labsite.replaced import lab
from tests.telemetry.factories import NOW, at

pytestmark = pytest.mark.django_db

JSON = {"content_type": "application/json"}
START = "api/control/start_calibration"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
CHOSEN: dict[str, Any] = {
    "psi": {"channel": "ch0.temperature", "low": 20.0, "high": 30.0},
    "rho": {"channel": "ch1.temperature", "low": 30.0, "high": 20.0},
    "omega": {"channel": "ch0.tec_i"},
}


@pytest.fixture(autouse=True)
def the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lab.is_now(monkeypatch)


@pytest.fixture
def q1() -> Instrument:
    made = lab.metatron()
    lab.says(made, lab.METATRON)
    return made


def chosen(**more: Any) -> Instrument:
    """A thermostat that answers as a Metatron server."""
    return lab.answering(factories.instrument("Bath 1"), "metatron", **CHOSEN, **more)


def told(instrument: Instrument, path: str) -> Any:
    answer = lab.ask(instrument, path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    return json.loads(answer.body)


# ---- notes §3, the table of errors


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "code", "start"),
    [
        ("GET", "api/jobs?limit=-1", b"", {}, 400, "Failed to deserialize query string: "),
        ("GET", "api/jobs?limit=1.5", b"", {}, 400, "Failed to deserialize query string: "),
        ("GET", "api/history?limit=", b"", {}, 400, "Failed to deserialize query string: "),
        ("GET", "api/history?limit=1&limit=2", b"", {}, 400, "Failed to deserialize query string: "),
        ("GET", "api/jobs?limit=18446744073709551616", b"", {}, 400, "Failed to deserialize query string: "),
        ("GET", "api/jobs/abc", b"", {}, 400, "Invalid URL: "),
        ("GET", "api/jobs/00000000-0000-4000-8000-000000000000", b"", {}, 404, "Job not found"),
        ("POST", START, b"", {}, 415, "Expected request with `Content-Type: application/json`"),
        ("POST", START, b"{}", {"content_type": "text/plain"}, 415, "Expected request with `Content-Type: "),
        ("POST", START, b"", JSON, 400, "Failed to parse the request body as JSON: "),
        ("POST", START, b"{", JSON, 400, "Failed to parse the request body as JSON: "),
        ("POST", START, b"\xff", JSON, 400, "Failed to parse the request body as JSON: "),
        ("POST", START, b"null", JSON, 422, "Failed to deserialize the JSON body into the target type: "),
        ("POST", START, b"5", JSON, 422, "Failed to deserialize the JSON body into the target type: "),
        ("POST", START, b'{"mode":3}', JSON, 422, "Failed to deserialize the JSON body into the target type"),
        ("POST", START, b" " * (2 * 1024 * 1024 + 1), JSON, 413, ""),
        ("POST", START, b"{}", JSON, 503, "Calibrations cannot be started through Labsite yet"),
        ("POST", START, b'{"algorithm":null,"more":1}', JSON, 503, "Calibrations cannot be started"),
        ("POST", START, b"{}", {"content_type": "application/problem+json; charset=utf-8"}, 503, "Calib"),
    ],
)
def test_an_error_has_its_code_and_begins_as_it_did(
    q1: Instrument, method: str, path: str, body: bytes, headers: dict[str, str], code: int, start: str
) -> None:
    answer = lab.ask(q1, path, method, body, **headers)
    assert (answer.status, answer.headers["Content-Type"]) == (code, "text/plain; charset=utf-8")
    assert answer.text.startswith(start)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("method", "path", "code", "allow"),
    [
        ("POST", "api/status", 405, "GET,HEAD"),
        ("DELETE", "api/jobs", 405, "GET,HEAD"),
        ("PUT", "api/jobs/abc", 405, "GET,HEAD"),
        ("GET", START, 405, "POST"),
        ("GET", "api/xyz", 404, None),
        ("GET", "api/status/", 404, None),
        ("GET", "api/jobs/", 404, None),
        ("GET", "", 404, None),
        ("POST", "api/update_metrics", 405, "GET,HEAD"),
        ("POST", "api/update", 405, "GET,HEAD"),
    ],
)
def test_a_wrong_method_or_path_is_answered_without_a_body(
    q1: Instrument, method: str, path: str, code: int, allow: str | None
) -> None:
    answer = lab.ask(q1, path, method)
    assert (answer.status, answer.body, answer.headers.get("Allow")) == (code, b"", allow)


# ---- notes §2


@pytest.mark.parametrize("path", ["api/status", "api/xyz", START])
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
def test_any_preflight_is_let_pass(q1: Instrument, path: str, is_open: bool) -> None:
    q1.replaced.update(open=is_open)
    answer = lab.ask(q1, path, "OPTIONS", origin="https://dashboard.example")
    assert (answer.status, answer.body) == (200, b"")
    assert {
        name: answer.headers[f"Access-Control-Allow-{name}"] for name in ("Origin", "Methods", "Headers")
    } == {
        "Origin": "*",
        "Methods": "*",
        "Headers": "*",
    }
    assert answer.headers["Vary"].startswith(
        "origin, access-control-request-method, access-control-request-headers"
    )


def test_every_answer_may_be_read_by_pages_of_any_origin(q1: Instrument) -> None:
    q1.replaced.update(open=False)
    answer = lab.ask(q1, "api/status")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, "*")
    assert lab.ask(q1, "api/status", "HEAD").status == 401


def test_head_is_answered_where_get_is(q1: Instrument) -> None:
    answer = lab.ask(q1, "api/health", "HEAD")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "application/json", b"")


# ---- notes §6, the page's own requests and what it needs of the answers


def test_the_stock_page_gets_what_it_asks_for(q1: Instrument) -> None:
    lab.says(q1, {"psi": 0.9}, runs=[run(str(uuid4()), "running")])
    status = told(q1, "api/status")
    assert all(isinstance(status[name], float) for name in ("psi", "rho", "omega"))
    assert all(isinstance(status[name], str) for name in ("algorithm", "mode", "last_update"))
    assert all(isinstance(ready, bool) for ready in status["backend_health"].values())
    (job,) = told(q1, "api/jobs?limit=10")
    assert all(isinstance(job[name], str) for name in ("id", "job_type", "status", "started_at"))
    assert isinstance(job["metrics"], dict)
    for point in told(q1, "api/history?limit=50"):
        assert STAMP.fullmatch(point["timestamp"])
        assert all(isinstance(point[name], float) for name in ("psi", "rho", "omega"))


# ---- jobs are runs


def run(key: str, state: str, number: int = 0, **fields: Any) -> RunRow:
    end = at(-5 + number) if state in ("completed", "failed", "aborted", "lost") else None
    start = at(-100 + number)
    return RunRow(0, end or start, key, "calibration", state, "", None, start, end, fields)


def test_runs_that_have_no_uuid_get_one_that_stays() -> None:
    bath = chosen()
    lab.says(bath, lab.BATH, runs=[run("plate 7", "completed", metrics={"energy": -1.1, "b": 1, "a": 2})])
    (job,) = told(bath, "api/jobs")
    assert UUID(job["id"]).version == 5
    assert told(bath, f"api/jobs/{job['id']}") == told(bath, "api/jobs")[0] == job
    assert told(bath, f"api/jobs/{UUID(job['id']).hex.upper()}") == job
    assert list(job["metrics"]) == ["energy", "accuracy", "duration_secs", "iterations", "a", "b"]
    assert job["metrics"]["duration_secs"] == 95.0


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("pending", "pending"), ("running", "running"), ("paused", "running"), ("completed", "completed"),
        ("failed", "failed"), ("aborted", "failed"), ("lost", "failed"), ("unknown", "running"),
    ],
)  # fmt: skip
def test_a_run_has_one_of_the_four_states(q1: Instrument, state: str, status: str) -> None:
    lab.says(q1, {"psi": 0.9}, runs=[run(str(uuid4()), state)])
    (job,) = told(q1, "api/jobs")
    assert (job["status"], job["completed_at"] is not None) == (status, status in ("completed", "failed"))


def test_the_last_hundred_jobs_are_told_oldest_first(q1: Instrument) -> None:
    lab.says(q1, {"psi": 0.9}, runs=[run(str(UUID(int=n)), "completed", n) for n in range(101)])
    assert [UUID(job["id"]).int for job in told(q1, "api/jobs")] == list(range(1, 101))
    assert [UUID(job["id"]).int for job in told(q1, "api/jobs?limit=2")] == [99, 100]
    assert told(q1, "api/jobs?limit=0") == []
    assert lab.ask(q1, f"api/jobs/{UUID(int=0)}").status == 404


# ---- history


def test_the_last_thousand_points_are_told_oldest_first(q1: Instrument) -> None:
    for number in range(1_003):
        lab_points(q1, number)
    lab.says(q1, {"psi": 1.0, "rho": 0.0, "omega": 0.5, "algorithm": "QAOA"}, -0.5)
    points = told(q1, "api/history")
    assert (len(points), len(told(q1, "api/history?limit=5000"))) == (1_000, 1_000)
    assert [point["timestamp"] for point in points] == sorted(point["timestamp"] for point in points)
    assert points[-1] == {
        "timestamp": "2026-11-20T11:59:59.500000000Z", "psi": 1.0, "rho": 0.0, "omega": 0.5,
        "algorithm": "QAOA",
    }  # fmt: skip
    assert told(q1, "api/history?limit=1") == points[-1:]
    assert told(q1, "api/history?limit=0") == []


def lab_points(q1: Instrument, number: int) -> None:
    if number % 500 == 0:  # half a thousand at once
        values = {"psi": number / 2_000, "rho": 0.5, "omega": 0.25}
        lab.says_often(q1, values, [-1_100.0 + number + n for n in range(min(500, 1_003 - number))])


def test_a_point_has_what_the_others_were_at_its_time() -> None:
    bath = chosen()
    lab.says(bath, {"ch0.temperature": 21.0}, -9.0)
    lab.says(bath, {"ch1.temperature": 25.0, "ch0.tec_i": 0.5}, -8.0)
    lab.says(bath, {"ch0.temperature": None}, -7.0)
    lab.says(bath, {"ch0.temperature": 22.0}, -6.0)
    assert [(p["psi"], p["rho"], p["omega"]) for p in told(bath, "api/history")] == [
        (0.1, 0.5, 0.5),
        (0.2, 0.5, 0.5),
    ]


def test_a_history_can_be_thinned() -> None:
    bath = chosen(every=10.0)
    for number in range(35):
        values = {"ch0.temperature": 20.0 + number / 10, "ch1.temperature": 25.0, "ch0.tec_i": 0.5}
        lab.says(bath, values, -35.0 + number)
    points = told(bath, "api/history")
    assert [point["timestamp"][17:19] for point in points] == ["29", "39", "49", "59"]
    assert [round(point["psi"], 3) for point in points] == [0.04, 0.14, 0.24, 0.34]
    assert len(told(bath, "api/history?limit=2")) == 2


# ---- other instruments behind it


def test_three_channels_stand_for_the_figures() -> None:
    bath = chosen(algorithm="PID", mode="Homeostasis")
    lab.says(bath, lab.BATH | {"ch0.temperature": 24.0, "ch1.temperature": 28.0, "ch0.tec_i": 0.25})
    status = told(bath, "api/status")
    assert {name: status[name] for name in ("algorithm", "mode", "psi", "rho", "omega")} == {
        "algorithm": "PID", "mode": "Homeostasis", "psi": 0.4, "rho": 0.2, "omega": 0.25,
    }  # fmt: skip
    assert status["backend_info"] == {
        "provider": "labsite", "name": "Bath 1", "num_qubits": 0, "is_simulator": False, "mode": None,
    }  # fmt: skip
    assert set(status["backend_health"].values()) == {True}


def test_what_is_out_of_its_range_is_0_or_1() -> None:
    bath = chosen()
    lab.says(bath, lab.BATH | {"ch0.temperature": 31.0, "ch1.temperature": 31.0})
    status = told(bath, "api/status")
    assert (status["psi"], status["rho"]) == (1.0, 0.0)


def test_a_figure_is_never_null_and_its_part_is_not_ready_when_it_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bath = chosen()
    status = told(bath, "api/status")
    assert ((status["psi"], status["omega"]), set(status["backend_health"].values())) == ((0.0, 0.0), {False})
    lab.says(bath, lab.BATH | {"ch0.temperature": 24.0}, -2.0)
    lab.says(bath, {"ch0.temperature": None}, -1.0)
    status = told(bath, "api/status")
    assert status["psi"] == 0.4
    assert status["backend_health"] == {"scs_ready": False, "dionice_ready": True, "qdash_ready": True}
    lab.is_now(monkeypatch, NOW + timedelta(seconds=20))
    status = told(bath, "api/status")
    assert (status["omega"], set(status["backend_health"].values())) == (lab.BATH["ch0.tec_i"], {False})


def test_a_part_is_ready_when_all_instruments_of_its_drivers_are_there() -> None:
    bath = chosen(health={"dionice": ["must_ep20"]})
    ups = factories.instrument("UPS", driver="must_ep20", address="serial:///dev/ttyUSB0")
    lab.says(bath, lab.BATH)
    assert told(bath, "api/status")["backend_health"]["dionice_ready"] is False
    lab.says(ups, lab.UPS)
    assert told(bath, "api/status")["backend_health"]["dionice_ready"] is True
    lab.says(ups, dict.fromkeys(lab.UPS), -0.5)
    assert told(bath, "api/status")["backend_health"]["dionice_ready"] is False
    type(ups).objects.filter(pk=ups.pk).update(in_service=False)
    assert told(bath, "api/status")["backend_health"]["dionice_ready"] is True


def test_triton_is_told_while_it_is_at_work(q1: Instrument) -> None:
    triton = {"step": 7.0, "best_resonance": 0.8, "current_resonance": 0.7, "improvement_rate": 0.01}
    values: dict[str, lab.Value] = {f"triton.{name}": value for name, value in triton.items()}
    lab.says(q1, {**values, "triton.converged": False, "triton.num_parameters": 12})
    status = told(q1, "api/status")["triton_status"]
    assert status == {**triton, "converged": False, "num_parameters": 12}
    assert [type(status[name]) for name in ("step", "converged")] == [int, bool]


def test_what_the_server_says_of_its_parts_is_told_on(q1: Instrument) -> None:
    lab.says(q1, {"scs_ready": False, "backend.mode": "dry-run"}, -0.5)
    status = told(q1, "api/status")
    assert status["backend_health"] == {"scs_ready": False, "dionice_ready": True, "qdash_ready": True}
    assert status["backend_info"]["mode"] == "dry-run"


def test_an_older_server_that_tells_less_is_ready() -> None:
    old = lab.metatron()
    lab.says(old, {"psi": 0.5, "rho": 0.5, "omega": 0.5})
    status = told(old, "api/status")
    assert set(status["backend_health"].values()) == {True}
    assert (status["backend_info"]["name"], status["available_backends"]) == ("", [])
