"""The simulated Metatron server against its protocol notes: transcripts (§10), errors (§3), runs (§4)."""

import json
import re
from typing import Any

import pytest

from devices.links.base import Address
from devices.links.http import Answer, HttpLink
from devices.simulators.base import BadSetting
from devices.simulators.faults import Fault, Faults
from devices.simulators.http import Request, Response
from devices.simulators.metatron import Metatron
from devices.simulators.metatron_state import rfc3339
from tests.devices.simulators.served import Clock, behind_a_door

JSON = {"content-type": "application/json"}
STAMP = r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{3}){1,3})?Z"'
UUID = r'"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"'
STATUS = (
    '{"algorithm":"VQE","mode":"Explore","psi":0.897,"rho":0.898,"omega":0.847,"backend_health":{"scs_ready":'
    'true,"dionice_ready":true,"qdash_ready":true},"backend_info":{"provider":"local","name":"local_sim",'
    '"num_qubits":13,"is_simulator":true,"mode":null},"available_backends":["local_sim"],"triton_status":null,'
    '"last_update":STAMP}'
)
HISTORY = (
    '[{"timestamp":STAMP,"psi":0.894,"rho":0.896,"omega":0.844,"algorithm":"VQE"},'
    '{"timestamp":STAMP,"psi":0.897,"rho":0.898,"omega":0.847,"algorithm":"VQE"}]'
)
RUNNING = (
    '{"id":UUID,"job_type":"calibration","status":"running","started_at":STAMP,"completed_at":null,"metrics":'
    '{"energy":null,"accuracy":null,"duration_secs":null,"iterations":null}}'
)
DONE = (
    '{"id":UUID,"job_type":"calibration","status":"completed","started_at":STAMP,"completed_at":STAMP,"metrics":'
    '{"energy":ENERGY,"accuracy":0.907,"duration_secs":3.0,"iterations":100,"omega":0.855,"psi":0.907,'
    '"rho":0.903}}'
)


class Bench:
    """A simulated server with a clock to turn, asked without a wire."""

    def __init__(self, *faults: str, seed: int = 0, mode: str = "stock", **settings: str) -> None:
        self.clock = Clock()
        parsed = Faults([Fault.parse(text, Metatron.faults_of_its_own) for text in faults])
        self.server = Metatron(0, seed, {"mode": mode, **settings}, parsed, self.clock)

    def ask(self, target: str, method: str = "GET", body: bytes = b"", **headers: str) -> Response:
        path, _, query = target.partition("?")
        pairs = dict(pair.split("=", 1) for pair in query.split("&")) if query else {}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.respond(Request(method, path, pairs, names, body))

    def json(self, target: str) -> Any:
        return json.loads(self.ask(target).body)

    def start(self, body: bytes = b"{}") -> str:
        response = self.ask("/api/control/start_calibration", "POST", body, content_type="application/json")
        assert response.status == 202
        job: str = json.loads(response.body)["job_id"]
        return job

    def after(self, seconds: float) -> "Bench":
        self.clock.now += seconds
        return self


def matches(response: Response, pattern: str) -> bool:
    whole = re.escape(pattern)
    for name, found in {"STAMP": STAMP, "UUID": UUID, "ENERGY": r"-1\.1[23]\d+"}.items():
        whole = whole.replace(name, found)
    return re.fullmatch(whole, response.body.decode()) is not None


# ---- §10


def test_the_transcript_of_a_calibration() -> None:
    bench = Bench().after(60)
    assert bench.ask("/api/health").body == b'{"service":"metatron_telemetry","status":"ok"}'
    status = bench.ask("/api/status")
    assert matches(status, STATUS)
    assert bench.ask("/api/jobs?limit=10").body == b"[]"
    assert matches(bench.ask("/api/history?limit=2"), HISTORY)
    job = bench.start(b'{"algorithm":"QAOA","mode":"Exploit"}')
    bench.after(0.1)
    assert matches(bench.ask(f"/api/jobs/{job}"), RUNNING)
    assert json.loads(bench.ask("/api/status").body) == {**json.loads(status.body), "mode": "Exploit"}
    bench.after(3)
    assert matches(bench.ask(f"/api/jobs/{job}"), DONE)
    after = bench.json("/api/status")
    assert (after["algorithm"], after["mode"]) == ("VQE", "Exploit")
    assert (after["psi"], after["rho"], after["omega"]) == (0.907, 0.903, 0.855)
    assert after["last_update"] > json.loads(status.body)["last_update"]
    (point,) = bench.json("/api/history?limit=1")
    assert list(point) == ["timestamp", "psi", "rho", "omega", "algorithm"]
    assert (point["psi"], point["algorithm"]) == (0.907, "VQE")


# ---- §3, errors


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status", "text"),
    [
        ("GET", "/api/jobs?limit=-1", {}, b"", 400, "Failed to deserialize query string: "),
        ("GET", "/api/jobs?limit=x", {}, b"", 400, "Failed to deserialize query string: "),
        ("GET", "/api/jobs?limit=", {}, b"", 400, "Failed to deserialize query string: "),
        ("GET", "/api/history?limit=1.5", {}, b"", 400, "Failed to deserialize query string: "),
        ("GET", "/api/history?limit=" + "9" * 5_000, {}, b"", 400, "Failed to deserialize query string: "),
        ("GET", "/api/jobs/abc", {}, b"", 400, "Invalid URL: "),
        ("GET", "/api/jobs/00000000-0000-4000-8000-000000000000", {}, b"", 404, "Job not found"),
        ("GET", "/api/xyz", {}, b"", 404, ""),
        ("GET", "/api/status/", {}, b"", 404, ""),
        ("POST", "/api/status", JSON, b"{}", 405, ""),
        ("DELETE", "/api/jobs", {}, b"", 405, ""),
        ("GET", "/api/control/start_calibration", {}, b"", 405, ""),
        ("POST", "/api/update_metrics", JSON, b"{}", 405, ""),
        ("POST", "/api/control/start_calibration", {}, b"", 415, "Expected request with `Content-Type: appl"),
        (
            "POST",
            "/api/control/start_calibration",
            {"content-type": "text/json"},
            b"{}",
            415,
            "Expected request",
        ),
        (
            "POST",
            "/api/control/start_calibration",
            JSON,
            b"",
            400,
            "Failed to parse the request body as JSON: ",
        ),
        (
            "POST",
            "/api/control/start_calibration",
            JSON,
            b"{",
            400,
            "Failed to parse the request body as JSON: ",
        ),
        (
            "POST",
            "/api/control/start_calibration",
            JSON,
            b"null",
            422,
            "Failed to deserialize the JSON body into",
        ),
        (
            "POST",
            "/api/control/start_calibration",
            JSON,
            b"5",
            422,
            "Failed to deserialize the JSON body into",
        ),
        (
            "POST",
            "/api/control/start_calibration",
            JSON,
            b'{"mode":5}',
            422,
            "Failed to deserialize the JSON bo",
        ),
        ("OPTIONS", "/nowhere/at/all", {}, b"", 200, ""),
        ("HEAD", "/api/status", {}, b"", 200, "{"),
        ("GET", "/", {}, b"", 200, "<!DOCTYPE html>"),
    ],
)
def test_errors_are_answered_as_the_stock_program_does(
    method: str, target: str, headers: dict[str, str], body: bytes, status: int, text: str
) -> None:
    bench = Bench()
    response = bench.ask(target, method, body, **{name.replace("-", "_"): v for name, v in headers.items()})
    assert response.status == status
    assert response.body.decode().startswith(text)
    assert bool(response.body) == bool(text)
    assert ("access-control-allow-origin", "*") in response.headers
    assert not bench.json("/api/jobs")


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json; charset=utf-8", b'{"x":1}'),
        ("application/x+json", b'{"mode":null,"algorithm":null}'),
    ],
)
def test_a_start_is_taken_leniently(media: str, body: bytes) -> None:
    bench = Bench()
    response = bench.ask("/api/control/start_calibration", "POST", body, content_type=media)
    assert response.status == 202
    assert json.loads(response.body)["message"] == "Calibration job started"
    assert bench.json("/api/status")["mode"] == "Explore"


def test_job_ids_are_found_in_any_spelling() -> None:
    bench = Bench()
    job = bench.start()
    for spelling in (job, job.upper(), job.replace("-", ""), f"%7B{job}%7D", f"urn:uuid:{job}"):
        assert bench.json(f"/api/jobs/{spelling}")["id"] == job


# ---- §4, §5, §11: arithmetic


@pytest.mark.parametrize("runs", [1, 2, 5, 11, 25])
def test_each_run_adds_its_fixed_increments_up_to_one(runs: int) -> None:
    bench = Bench()
    for _ in range(runs):
        bench.start()
        bench.after(3.1)
    status = bench.json("/api/status")
    assert status["psi"] == pytest.approx(min(1, 0.897 + 0.010 * runs))
    assert status["rho"] == pytest.approx(min(1, 0.898 + 0.005 * runs))
    assert status["omega"] == pytest.approx(min(1, 0.847 + 0.008 * runs))
    assert len(bench.json("/api/history")) == 50 + runs


def test_the_ramp_at_the_start() -> None:
    history = Bench().json("/api/history")
    assert len(history) == 50
    assert (history[0]["psi"], history[0]["rho"], history[0]["omega"]) == (0.75, 0.80, 0.70)
    stamps = [in_order(point["timestamp"]) for point in history]
    assert stamps == sorted(stamps)


def in_order(stamp: str) -> tuple[str, str]:
    """It has 0, 3, 6 or 9 decimal places: as text alone 0.5Z would come after 0.55Z."""
    whole, _, places = stamp.removesuffix("Z").partition(".")
    return whole, places.ljust(9, "0")


def test_rings_keep_the_newest() -> None:
    bench = Bench()
    first = bench.start()
    for _ in range(1_000):
        bench.start()
    assert bench.ask(f"/api/jobs/{first}").status == 404
    assert len(bench.json("/api/jobs")) == 100
    bench.after(4)
    history = bench.json("/api/history?limit=5000")
    assert len(history) == 1_000
    assert history[0]["psi"] > 0.897


@pytest.mark.parametrize(("limit", "expected"), [("", [0, 1, 2]), ("?limit=2", [1, 2]), ("?limit=0", [])])
def test_a_limit_keeps_the_newest_oldest_first(limit: str, expected: list[int]) -> None:
    bench = Bench()
    jobs = [bench.after(1).start() for _ in range(3)]
    assert [job["id"] for job in bench.json(f"/api/jobs{limit}")] == [jobs[i] for i in expected]


def test_two_clients_who_start_at_once_have_two_runs() -> None:
    bench = Bench()
    jobs = {bench.start(), bench.start()}
    assert len(jobs) == 2
    bench.after(4)
    assert {job["status"] for job in bench.json("/api/jobs")} == {"completed"}
    assert bench.json("/api/status")["psi"] == pytest.approx(0.917)


def test_a_job_waits_at_first() -> None:
    bench = Bench()
    assert bench.json(f"/api/jobs/{bench.start()}")["status"] == "pending"


@pytest.mark.parametrize(
    ("rest", "text"),
    [(0, "Z"), (500_000_000, ".500Z"), (123_456_000, ".123456Z"), (1, ".000000001Z"), (120_000, ".000120Z")],
)
def test_stamps_have_as_many_digits_as_they_need(rest: int, text: str) -> None:
    assert rfc3339(1_763_029_500_000_000_000 + rest) == f"2025-11-13T10:25:00{text}"


# ---- calibrations that converge


def test_in_the_demo_a_calibration_converges() -> None:
    bench = Bench(mode="demo")
    before = bench.json("/api/status")
    bench.after(3)
    modes, energies, statuses = set(), [], set()
    for _ in range(60):
        status = bench.after(1).json("/api/status")
        (job,) = bench.json("/api/jobs")
        modes.add(status["mode"])
        statuses.add(job["status"])
        if job["metrics"]["energy"] is not None:
            energies.append(job["metrics"]["energy"])
        for name in ("psi", "rho", "omega"):
            assert 0 <= status[name] <= 1
    assert modes == {"Explore", "Exploit", "Homeostasis"}
    assert statuses == {"pending", "running", "completed"} - {"pending"}
    assert status["psi"] > before["psi"] + 0.2
    assert status["psi"] * status["rho"] * status["omega"] > 0.7
    assert energies[0] > -1.0 > -1.1 > energies[-1]


def test_the_demo_goes_on_for_hours_and_some_of_its_runs_fail() -> None:
    bench = Bench(mode="demo")
    jobs = bench.after(4 * 3_600).json("/api/jobs")
    assert len(jobs) == 100
    counted = [job["status"] for job in jobs]
    assert 5 < counted.count("failed") < 20
    assert counted.count("completed") > 75
    history = bench.json("/api/history")
    assert max(point["psi"] for point in history) > 0.93
    assert min(point["psi"] for point in history) < 0.92


def test_the_same_seed_brings_the_same_values() -> None:
    def told(seed: int) -> list[float]:
        bench = Bench(mode="demo", seed=seed)
        return [point["psi"] for point in bench.after(200).json("/api/history")]

    assert told(1) == told(1) != told(2)


# ---- faults, settings, the ledger


def test_a_restart_forgets_everything_once() -> None:
    bench = Bench("restart:from=10,to=20")
    bench.start()
    bench.after(5)
    assert len(bench.json("/api/jobs")) == 1
    bench.after(5)
    assert bench.json("/api/jobs") == []
    bench.start()
    bench.after(5)
    assert len(bench.json("/api/history")) == 51


@pytest.mark.parametrize(
    ("fault", "target", "words"),
    [
        ("sparse", "/api/status", '^(?!.*backend_info).*"last_update"'),
        ("wild", "/api/status", '"psi":1.5,"rho":null'),
        ("strange", "/api/jobs", '"hibernating".*"colour":"blue"'),
        ("error", "/api/status", "^state is poisoned$"),
    ],
)
def test_faults_of_its_own(fault: str, target: str, words: str) -> None:
    bench = Bench(f"{fault}:from=5")
    bench.start()
    assert not re.search(words, bench.ask(target).body.decode())
    assert re.search(words, bench.after(6).ask(target).body.decode())


def test_settings_that_cannot_be_used_are_refused_in_words() -> None:
    with pytest.raises(BadSetting, match="there are demo, stock"):
        Bench(mode="fast")
    with pytest.raises(BadSetting, match="not a number of seconds"):
        Bench(skew="much")


def test_its_clock_may_be_ahead() -> None:
    ahead, right = Bench(skew="3600"), Bench()
    assert 3_590e9 < ahead.server.wall_ns() - right.server.wall_ns() < 3_610e9


async def test_the_ledger_reads_back_what_was_sent() -> None:
    noted: list[str] = []
    async with behind_a_door(
        Metatron, record=lambda _, text: noted.append(text), settings={"mode": "stock"}
    ) as door:
        link = HttpLink(Address.parse(door.address), 5.0)
        status = json.loads((await link.get("/api/status")).body)
        await link.get("/api/jobs")
        history = json.loads((await link.get("/api/history?limit=3")).body)
        await link.close()
    values, times = Metatron.read_back(noted[0])
    assert values == {
        "psi": 0.897,
        "rho": 0.898,
        "omega": 0.847,
        "algorithm": "VQE",
        "mode": "Explore",
        **status["backend_health"],
    }
    assert len(times) == 1
    assert len(noted) == 2
    samples = Metatron.read_all(noted[1])
    assert [values["psi"] for values, _ in samples] == [point["psi"] for point in history]
    assert samples[-1] == Metatron.read_back(noted[1])
    assert abs(samples[-1][1][0] - times[0]) < 0.001


async def test_over_the_wire() -> None:
    async with behind_a_door(Metatron, settings={"mode": "stock"}) as door:
        link = HttpLink(Address.parse(door.address), 5.0)
        answer = await link.get("/api/status")
        assert isinstance(answer, Answer)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["date"].endswith(" GMT")
        assert (await link.request("HEAD", "/api/status")).body == b""
        assert (await link.request("POST", "/api/control/start_calibration")).status == 415
        assert (await link.request("POST", "/api/control/start_calibration", body=b"{}")).status == 202
        assert (await link.request("POST", "/api/jobs", body=b"x" * (3 << 20))).status == 413
        await link.close()


async def test_it_is_had_under_tls() -> None:
    async with behind_a_door(Metatron, settings={"tls": "on"}) as door:
        assert door.address.startswith("https://")
        link = HttpLink(Address.parse(door.address), 5.0, {"verify": False})
        assert (await link.get("/api/health")).status == 200
        await link.close()
