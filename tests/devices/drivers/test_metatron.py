"""The Metatron driver against its protocol notes: transcripts (§10), rules of time (§8), and nonsense."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from devices.drivers import json_values
from devices.drivers.metatron import Metatron
from devices.drivers.metatron_history import points
from devices.errors import DriverError, LinkError, ReplyError
from devices.links.base import Address
from devices.links.http import Answer, HttpLink
from devices.readings import RUN_STATES, Event, Quality, Reading, Run, Said
from devices.simulators import metatron as simulated
from tests.devices.drivers.test_json_values import ANYTHING
from tests.devices.simulators.served import Clock, behind_a_door

START = 1_763_029_500_000_000  # 2025-11-13T10:25:00Z
STATUS: dict[str, Any] = json.loads(
    '{"algorithm":"VQE","mode":"Explore","psi":0.897,"rho":0.898,"omega":0.847,"backend_health":'
    '{"scs_ready":true,"dionice_ready":true,"qdash_ready":true},"backend_info":{"provider":"local",'
    '"name":"local_sim","num_qubits":13,"is_simulator":true,"mode":null},"available_backends":["local_sim"],'
    '"triton_status":null,"last_update":"2025-11-13T10:25:00.000812345Z"}'
)
HISTORY: list[dict[str, Any]] = json.loads(
    '[{"timestamp":"2025-11-13T10:25:00.000810112Z","psi":0.894,"rho":0.896,"omega":0.844,"algorithm":"VQE"},'
    '{"timestamp":"2025-11-13T10:25:00.000812401Z","psi":0.897,"rho":0.898,"omega":0.847,"algorithm":"VQE"}]'
)
JOB: dict[str, Any] = json.loads(
    '{"id":"550e8400-e29b-41d4-a716-446655440000","job_type":"calibration","status":"running","started_at":'
    '"2025-11-13T10:26:00.100000001Z","completed_at":null,"metrics":{"energy":null,"accuracy":null,'
    '"duration_secs":null,"iterations":null}}'
)
DONE: dict[str, Any] = {
    **JOB,
    "status": "completed",
    "completed_at": "2025-11-13T10:26:03.1Z",
    "metrics": json.loads(
        '{"energy":-1.1312,"accuracy":0.907,"duration_secs":3.0,"iterations":100,"omega":0.855,"psi":0.907,'
        '"rho":0.903}'
    ),
}
TRITON = {
    "step": 7,
    "best_resonance": 0.8,
    "current_resonance": 0.7,
    "improvement_rate": 0.01,
    "converged": False,
    "num_parameters": 12,
}
FIGURES = ("psi", "rho", "omega", "resonance", "algorithm")


class Server(HttpLink):
    """A link whose other side answers what stands in `told`: JSON, a status with a text, or an error."""

    def __init__(self, **told: Any) -> None:
        super().__init__(Address.parse("http://scripted:8080"), 1.0)
        self.told: dict[str, Any] = {
            "health": {"service": "metatron_telemetry", "status": "ok"},
            "status": STATUS,
            "history": HISTORY,
            "jobs": [],
            **told,
        }
        self.asked: list[str] = []
        self.date = formatdate(time.time(), usegmt=True)

    async def get(self, path: str = "", *, within: float | None = None) -> Answer:
        self.asked.append(path)
        what, _, limit = path.removeprefix("/api/").partition("?limit=")
        told = self.told[what]
        if isinstance(told, Exception):
            raise told
        if isinstance(told, tuple):
            return Answer(told[0], {}, told[1].encode())
        if isinstance(told, list) and limit:
            told = told[-int(limit) :]
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        return Answer(200, {"date": self.date}, body)


class Polled:
    """The driver at a server, and what it told."""

    def __init__(self, memory: dict[str, Any] | None = None, **told: Any) -> None:
        self.server = Server(**told)
        self.said: list[Said] = []
        self.memory: dict[str, Any] = {} if memory is None else memory
        self.connect()

    def connect(self) -> None:
        self.driver = Metatron(self.server, {})
        self.driver.memory = self.memory
        self.driver.tell = self.said.extend
        self.is_open = False

    async def read(self, **told: Any) -> list[Reading]:
        self.server.told |= told
        if not self.is_open:
            await self.driver.open()
            self.is_open = True
        return await self.driver.read()

    def runs(self) -> list[Run]:
        found = [one for one in self.said if isinstance(one, Run)]
        self.said[:] = [one for one in self.said if not isinstance(one, Run)]
        return found

    def events(self) -> list[Event]:
        return [one for one in self.said if isinstance(one, Event)]


def updated(at: str, psi: float = 0.907, **more: Any) -> dict[str, Any]:
    return {**STATUS, "psi": psi, "rho": 0.903, "omega": 0.855, "last_update": at, **more}


def entry(at: str, psi: float = 0.907) -> dict[str, Any]:
    return {"timestamp": at, "psi": psi, "rho": 0.903, "omega": 0.855, "algorithm": "VQE"}


def by_key(readings: list[Reading]) -> dict[str, Any]:
    return {reading.key: reading.value for reading in readings}


def of(readings: list[Reading], key: str) -> list[tuple[int | None, Any]]:
    return [(reading.time, reading.value) for reading in readings if reading.key == key]


def bad(readings: list[Reading]) -> set[str]:
    return {reading.key for reading in readings if reading.quality is Quality.BAD}


# ---- what it reads


async def test_the_first_poll_tells_every_channel() -> None:
    readings = await Polled(status={**STATUS, "triton_status": TRITON}).read()
    assert {reading.key for reading in readings} == {channel.key for channel in Metatron.channels}
    values = by_key(readings)
    assert values["psi"], values["rho"] == (0.897, 0.898)
    assert values["resonance"] == pytest.approx(0.897 * 0.898 * 0.847)
    assert (values["algorithm"], values["mode"], values["service"]) == ("VQE", "Explore", "ok")
    assert (values["backend.num_qubits"], values["backend.is_simulator"]) == (13, True)
    assert (values["backend.mode"], values["available_backends"]) == ("", "local_sim")
    assert (values["triton.step"], values["triton.converged"]) == (7, False)
    assert not bad(readings)


async def test_figures_have_the_servers_time_and_all_else_has_the_edges() -> None:
    readings = await Polled().read()
    assert {reading.time for reading in readings if reading.key in FIGURES} == {START + 810, START + 812}
    assert {reading.time for reading in readings if reading.key not in FIGURES} == {None}


async def test_what_is_unchanged_is_not_told_again() -> None:
    polled = Polled(jobs=[JOB])
    await polled.read()
    assert len(polled.runs()) == 1
    polled.server.asked.clear()
    assert await polled.read() == []
    assert not polled.said
    assert polled.server.asked == ["/api/status", "/api/jobs?limit=100"]


async def test_a_mode_that_changes_is_told_without_the_figures() -> None:
    polled = Polled()
    await polled.read()
    assert await polled.read(status={**STATUS, "mode": "Exploit"}) == [Reading("mode", "Exploit")]


async def test_triton_comes_and_goes() -> None:
    polled = Polled()
    assert Reading("triton.step", None, Quality.UNCERTAIN) in await polled.read()
    assert Reading("triton.step", 7) in await polled.read(status={**STATUS, "triton_status": TRITON})
    readings = await polled.read(status=STATUS)
    assert Reading("triton.step", None, Quality.UNCERTAIN) in readings
    assert len(readings) == 6


# ---- time


@pytest.mark.parametrize(
    ("last_update", "stamps"),
    [
        ("2025-11-13T10:26:03.100000Z", [3_100_002]),
        ("2025-11-13T10:26:03.101002Z", [3_100_002]),
        ("2025-11-13T10:26:03.101003Z", [3_100_002, 3_101_003]),
    ],
    ids=["some µs", "1 ms", "more"],
)
async def test_an_update_is_one_reading_though_status_and_history_stamp_it(
    last_update: str, stamps: list[int]
) -> None:
    polled = Polled()
    await polled.read()
    readings = await polled.read(
        status=updated(last_update), history=[*HISTORY, entry("2025-11-13T10:26:03.100002999Z")]
    )
    assert [time for time, _ in of(readings, "psi")] == [START + 60_000_000 + stamp for stamp in stamps]
    assert await polled.read() == []


async def test_what_came_between_two_polls_is_told_once_at_its_own_time() -> None:
    polled = Polled()
    await polled.read()
    seconds = [f"2025-11-13T10:26:0{n}.5Z" for n in range(3)]
    history = [*HISTORY, *(entry(at, 0.9 + n / 100) for n, at in enumerate(seconds))]
    readings = await polled.read(status=updated(seconds[2], 0.92), history=history)
    assert of(readings, "psi") == [(START + 60_500_000 + n * 1_000_000, 0.9 + n / 100) for n in range(3)]
    assert polled.server.asked[-2:] == ["/api/history?limit=20", "/api/jobs?limit=100"]


async def test_what_was_missed_for_long_is_read_from_the_whole_history() -> None:
    polled = Polled()
    await polled.read()
    stamps = [f"2025-11-13T11:{n // 60:02}:{n % 60:02}Z" for n in range(300)]
    history = [*HISTORY, *(entry(at, 0.9 + n / 10_000) for n, at in enumerate(stamps))]
    readings = await polled.read(status=updated(stamps[-1], 0.9 + 299 / 10_000), history=history)
    assert [value for _, value in of(readings, "psi")] == [0.9 + n / 10_000 for n in range(300)]
    assert not polled.events()


async def test_a_reconnect_tells_the_newest_again_under_the_same_stamp() -> None:
    polled = Polled()
    before = of(await polled.read(), "psi")
    polled.connect()
    readings = await polled.read()
    assert of(readings, "psi") == before[-1:]
    assert "mode" in by_key(readings)


async def test_an_edge_that_was_restarted_tells_nothing_of_other_stamps() -> None:
    history = [*HISTORY, entry("2025-11-13T10:26:03.1Z"), entry("2025-11-13T10:27:03.1Z", 0.91)]
    first = Polled(history=history, status=updated("2025-11-13T10:27:03.0999Z", 0.91))
    told = await first.read()
    again = await Polled(history=history, status=updated("2025-11-13T10:27:03.0999Z", 0.91)).read()
    assert of(told, "psi") == of(again, "psi")


async def test_a_server_without_a_history_is_read_all_the_same() -> None:
    polled = Polled(history=(404, ""))
    assert of(await polled.read(), "psi") == [(START + 812, 0.897)]
    assert await polled.read() == []
    readings = await polled.read(status=updated("2025-11-13T10:26:03.1Z"))
    assert of(readings, "psi") == [(START + 63_100_000, 0.907)]


async def test_a_history_that_cannot_be_read_now_is_waited_for() -> None:
    polled = Polled(history=(500, "state is poisoned"))
    assert of(await polled.read(), "psi") == []
    readings = await polled.read(history=HISTORY)
    assert of(readings, "psi") == [(START + 810, 0.894), (START + 812, 0.897)]
    for expected in ([], [], [(START + 63_100_000, 0.907)]):
        readings = await polled.read(status=updated("2025-11-13T10:26:03.1Z"), history=b"half an ans")
        assert of(readings, "psi") == expected


async def test_what_only_the_status_told_is_not_told_again_when_the_history_has_it() -> None:
    polled = Polled()
    await polled.read()
    status = updated("2025-11-13T10:26:03.100000Z")
    assert of(await polled.read(status=status), "psi") == [(START + 63_100_000, 0.907)]
    history = [*HISTORY, entry("2025-11-13T10:26:03.100002Z"), entry("2025-11-13T10:26:09Z", 0.91)]
    readings = await polled.read(status=updated("2025-11-13T10:26:09Z", 0.91), history=history)
    assert of(readings, "psi") == [(START + 69_000_000, 0.91)]


async def test_figures_without_a_time_have_the_edges() -> None:
    polled = Polled(status={**STATUS, "last_update": "yesterday"})
    assert of(await polled.read(), "psi") == [(None, 0.897)]
    assert await polled.read() == []
    assert of(await polled.read(status={**STATUS, "last_update": None, "psi": 0.5}), "psi") == [(None, 0.5)]


async def test_its_clock_is_compared_with_the_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    polled = Polled()
    for ahead, told in ((0.2, [0.0]), (0.9, []), (3.0, [3.0]), (4.0, []), (-3_600.0, [-3_600.0])):
        now = float(math.floor(time.time()))
        polled.server.date = formatdate(math.floor(now + ahead), usegmt=True)
        monkeypatch.setattr("time.time", lambda now=now: now + 0.5)
        assert [value for _, value in of(await polled.read(), "clock_skew")] == told
    polled.server.date = "nonsense"
    assert of(await polled.read(), "clock_skew") == []


# ---- points that are made up


def ramp(count: int = 50, apart: float = 2_200.0) -> Iterator[dict[str, Any]]:
    """The last points of the ramp at the server's start, `apart` ns."""
    for i in range(50 - count, 50):
        at = 810_112 - round((49 - i) * apart)
        yield {
            "timestamp": f"2025-11-13T10:25:00.{at:09}Z",
            "psi": 0.75 + i / 50 * 0.15,
            "rho": 0.80 + i / 50 * 0.10,
            "omega": 0.70 + i / 50 * 0.15,
            "algorithm": "VQE",
        }


async def test_the_ramp_of_the_start_is_uncertain_and_what_follows_is_not() -> None:
    history = [*ramp(), entry("2025-11-13T10:25:00.9Z")]
    readings = await Polled(history=history, status=updated("2025-11-13T10:25:00.9Z")).read()
    psi = [reading for reading in readings if reading.key == "psi"]
    assert [reading.quality for reading in psi] == [*[Quality.UNCERTAIN] * 50, Quality.GOOD]
    assert len({reading.time for reading in psi}) == 51


@pytest.mark.parametrize("count", [2, 30, 49])
def test_the_ramps_rest_in_a_full_ring_is_known_by_its_values(count: int) -> None:
    more = [
        entry(f"2025-11-13T{11 + n // 3600}:{n // 60 % 60:02}:{n % 60:02}Z") for n in range(1_000 - count)
    ]
    found = points([*ramp(count), *more])
    assert [each.is_made_up for each in found] == [True] * count + [False] * (1_000 - count)


def test_measured_points_are_not_taken_for_the_ramp() -> None:
    fast = [entry(f"2025-11-13T10:25:00.{n:03}Z", 0.75 + n * 0.003) for n in range(49)]
    assert not any(each.is_made_up for each in points(fast))
    ring = [entry(f"2025-11-13T10:25:0{n // 1000}.{n % 1000:03}Z", 0.9 + n / 1e5) for n in range(1_000)]
    assert not any(each.is_made_up for each in points(ring))


@pytest.mark.parametrize("apart", [2_200.0, 700.0, 20.0])
def test_points_within_one_microsecond_have_stamps_of_their_own_whatever_the_ring_has_lost(
    apart: float,
) -> None:
    whole = points(list(ramp(50, apart)))
    assert len({each.time for each in whole}) == 50
    for count in (1, 7, 49):
        part = points(list(ramp(count, apart)))
        assert [each.time for each in part] == [each.time for each in whole[-count:]]
    assert whole[-1].time == START + 810


# ---- restarts


async def test_a_restart_is_told_and_what_ran_is_lost() -> None:
    polled = Polled(jobs=[JOB])
    await polled.read()
    polled.runs()
    status = updated("2025-11-13T12:00:00.000002Z", 0.897)
    readings = await polled.read(status=status, history=[entry("2025-11-13T12:00:00Z", 0.897)], jobs=[])
    assert of(readings, "psi") == [(START + 5_700_000_000, 0.897)]
    assert [(event.kind, event.time) for event in polled.events()] == [("restart", START + 5_700_000_000)]
    assert [(run.id, run.state) for run in polled.runs()] == [(JOB["id"], "lost")]
    assert await polled.read() == []
    assert not polled.runs()


async def test_a_restart_with_a_clock_that_was_set_back_is_one_too() -> None:
    polled = Polled()
    await polled.read()
    readings = await polled.read(
        status=updated("2024-01-01T00:00:00Z"), history=[entry("2024-01-01T00:00:00Z")]
    )
    assert len(of(readings, "psi")) == 1
    assert [event.kind for event in polled.events()] == ["restart"]


async def test_points_that_left_the_ring_unread_are_a_gap() -> None:
    polled = Polled()
    await polled.read()
    full = [entry(f"2025-11-13T{11 + n // 3600}:{n // 60 % 60:02}:{n % 60:02}Z") for n in range(1_000)]
    readings = await polled.read(status=updated(full[-1]["timestamp"]), history=full)
    assert len(of(readings, "psi")) == 1_000
    (gap,) = polled.events()
    assert (gap.kind, gap.fields) == ("history_gap", {"from": START + 812, "to": START + 2_100_000_000})


async def test_a_thinned_history_is_no_restart() -> None:
    polled = Polled(history=[*HISTORY, entry("2025-11-13T10:26:00Z")], status=updated("2025-11-13T10:26:00Z"))
    await polled.read()
    history = [HISTORY[0], entry("2025-11-13T10:27:00Z", 0.91)]
    readings = await polled.read(status=updated("2025-11-13T10:27:00Z", 0.91), history=history)
    assert of(readings, "psi") == [(START + 120_000_000, 0.91)]
    assert not polled.events()


# ---- jobs


async def test_a_job_is_a_run_from_its_start_to_its_end() -> None:
    polled = Polled(jobs=[{**JOB, "status": "pending"}])
    assert by_key(await polled.read())["jobs.pending"] == 1
    (pending,) = polled.runs()
    await polled.read(jobs=[JOB])
    (running,) = polled.runs()
    readings = await polled.read(jobs=[DONE])
    (done,) = polled.runs()
    assert [run.state for run in (pending, running, done)] == ["pending", "running", "completed"]
    assert (running.id, running.kind, running.start) == (JOB["id"], "calibration", START + 60_100_000)
    assert (running.end, running.fields) == (None, {"metrics": {}})
    assert (done.end, done.progress) == (START + 63_100_000, 1.0)
    assert done.fields["metrics"] == DONE["metrics"]
    assert done.fields["duration"] == 3.0
    assert by_key(readings) == {"jobs.running": 0, "jobs.completed": 1}


async def test_the_later_word_on_a_run_has_the_later_time() -> None:
    polled = Polled(jobs=[{**JOB, "status": "pending"}])
    polled.server.date = "Thu, 13 Nov 2025 10:26:00 GMT"
    await polled.read()
    await polled.read(jobs=[JOB])
    polled.server.date = "Thu, 13 Nov 2025 10:26:02 GMT"
    await polled.read(jobs=[{**JOB, "metrics": {"iterations": 5}}])
    polled.server.date = "Thu, 13 Nov 2025 10:26:09 GMT"
    await polled.read(jobs=[DONE])
    times = [run.time for run in polled.runs()]
    assert None not in times
    assert times == sorted(set(times))  # type: ignore[type-var]


async def test_what_is_over_has_one_time_however_late_it_is_read() -> None:
    first, second = Polled(jobs=[DONE]), Polled(jobs=[DONE])
    second.server.date = formatdate(time.time() + 3_600, usegmt=True)
    await first.read()
    await second.read()
    assert first.runs() == second.runs()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("failed", "failed"),
        ("Running", "running"),
        ("cancelled", "aborted"),
        ("hibernating", "unknown"),
        (None, "unknown"),
        (["x"], "unknown"),
    ],
)
async def test_states_of_jobs(status: Any, state: str) -> None:
    polled = Polled(jobs=[{**JOB, "status": status}])
    readings = await polled.read()
    assert [run.state for run in polled.runs()] == [state]
    counted = state if state in ("failed", "running") else "unknown"
    assert by_key(readings)[f"jobs.{counted}"] == 1


async def test_a_run_that_vanishes_before_its_end_is_lost_and_one_after_it_is_not() -> None:
    other = {**DONE, "id": "11111111-e29b-41d4-a716-446655440000"}
    polled = Polled(jobs=[JOB, other])
    await polled.read()
    polled.runs()
    await polled.read(jobs=[])
    assert [(run.id, run.state) for run in polled.runs()] == [(JOB["id"], "lost")]


async def test_runs_are_known_from_one_session_to_the_next() -> None:
    polled = Polled(jobs=[JOB])
    await polled.read()
    polled.runs()
    polled.connect()
    await polled.read()
    assert not polled.runs()


async def test_one_job_that_is_none_costs_no_other() -> None:
    polled = Polled(jobs=[None, 5, {}, {"id": 7}, {"id": ""}, {"id": "x", "metrics": [1]}, JOB])
    await polled.read()
    assert [run.id for run in polled.runs()] == ["x", JOB["id"]]


async def test_metrics_are_kept_as_far_as_they_are_values() -> None:
    metrics = {"a": 1, "b": 2.5, "c": None, "d": True, "e": "x" * 999, "f": [1], "g": 10**400, "h": 2**53}
    polled = Polled(jobs=[{**JOB, "metrics": metrics}])
    await polled.read()
    (run,) = polled.runs()
    assert run.fields["metrics"] == {"a": 1, "b": 2.5, "d": True, "e": "x" * 200, "h": 2**53}


# ---- what is not as it should be


@pytest.mark.parametrize(
    ("changes", "key", "expected"),
    [
        ({"psi": None}, "psi", (None, Quality.BAD)),
        ({"psi": None}, "resonance", (None, Quality.BAD)),
        ({"psi": None}, "rho", (0.898, Quality.GOOD)),
        ({"psi": "high"}, "psi", (None, Quality.BAD)),
        ({"psi": 1.5}, "psi", (1.5, Quality.UNCERTAIN)),
        ({"psi": -0.1}, "psi", (-0.1, Quality.UNCERTAIN)),
        ({"psi": 1.5}, "resonance", (1.5 * 0.898 * 0.847, Quality.UNCERTAIN)),
        ({"psi": 1}, "psi", (1.0, Quality.GOOD)),
        ({"backend_health": None}, "scs_ready", (None, Quality.UNCERTAIN)),
        ({"backend_health": {"scs_ready": "yes"}}, "scs_ready", (None, Quality.BAD)),
        ({"backend_health": {"scs_ready": "yes"}}, "mode", ("Explore", Quality.GOOD)),
        ({"backend_info": {"num_qubits": 5.0, "mode": "dry-run"}}, "backend.num_qubits", (5, Quality.GOOD)),
        ({"backend_info": {"num_qubits": 5.0, "mode": "dry-run"}}, "backend.mode", ("dry-run", Quality.GOOD)),
        ({"available_backends": "all"}, "available_backends", (None, Quality.BAD)),
        ({"mode": "Ruminate"}, "mode", ("Ruminate", Quality.GOOD)),
        ({"mode": 5}, "mode", (None, Quality.BAD)),
    ],
)
async def test_one_value_that_is_wrong_costs_no_other(
    changes: dict[str, Any], key: str, expected: tuple[Any, Quality]
) -> None:
    readings = await Polled(status={**STATUS, **changes}, history=[]).read()
    assert [(r.value, r.quality) for r in readings if r.key == key] == [expected]


async def test_an_older_server_lacks_some_keys() -> None:
    keys = ("algorithm", "mode", "psi", "rho", "omega", "backend_health", "last_update")
    readings = await Polled(status={key: STATUS[key] for key in keys}).read()
    assert not bad(readings)
    assert Reading("backend.name", None, Quality.UNCERTAIN) in readings


@pytest.mark.parametrize("answer", [(500, "state is poisoned"), (200, "half an ans"), (200, "[]"), (302, "")])
async def test_no_status_costs_no_jobs_and_all_of_it_is_told_again_afterwards(
    answer: tuple[int, str],
) -> None:
    polled = Polled(jobs=[JOB])
    whole = await polled.read()
    lost = await polled.read(status=answer)
    assert bad(lost) == {each.key for each in whole} - {"service", "clock_skew"} - {
        each.key for each in whole if each.key.startswith("jobs.")
    }
    assert await polled.read() == []
    again = await polled.read(status=STATUS)
    assert by_key(again).items() >= {"psi": 0.897, "mode": "Explore"}.items()
    assert not bad(again)
    assert {reading.time for reading in again if reading.key == "psi"} == {START + 812}
    assert bad(await polled.read(status=answer))


async def test_no_jobs_cost_no_status() -> None:
    polled = Polled(jobs=(500, "no"))
    readings = await polled.read()
    assert bad(readings) == {
        f"jobs.{state}" for state in ("pending", "running", "completed", "failed", "unknown")
    }
    assert by_key(await polled.read(jobs=[]))["jobs.pending"] == 0


async def test_neither_is_a_reply_error_that_says_what_was_answered() -> None:
    polled = Polled(status=(401, "who are you"), jobs=(401, ""))
    with pytest.raises(ReplyError, match=r"http://scripted:8080/api/status: answered 401: it wants a token"):
        await polled.read()
    readings = await polled.read(status=STATUS, jobs=[])
    assert len(readings) > 20


async def test_a_link_lost_in_mid_poll_loses_nothing() -> None:
    polled = Polled()
    await polled.read()
    status, history = updated("2025-11-13T10:26:03.1Z"), [*HISTORY, entry("2025-11-13T10:26:03.1Z")]
    with pytest.raises(LinkError):
        await polled.read(status=status, history=history, jobs=LinkError("gone"))
    assert not polled.said
    polled.connect()
    readings = await polled.read(jobs=[])
    assert of(readings, "psi")[-1] == (START + 63_100_000, 0.907)


async def test_health_may_be_missing() -> None:
    readings = await Polled(health=(404, "")).read()
    assert Reading("service", None, Quality.UNCERTAIN) in readings
    readings = await Polled(health={"status": "moribund"}).read()
    assert Reading("service", "moribund") in readings


DAMAGE = st.sampled_from([*STATUS, *STATUS["backend_info"], *HISTORY[0], *JOB, "step"])


@settings(max_examples=150, deadline=None)
@given(
    status=ANYTHING | st.dictionaries(DAMAGE, ANYTHING, max_size=4).map(lambda found: {**STATUS, **found}),
    history=ANYTHING
    | st.lists(
        st.dictionaries(DAMAGE, ANYTHING, max_size=3).map(lambda found: {**HISTORY[0], **found}), max_size=4
    ),
    jobs=ANYTHING
    | st.lists(st.dictionaries(DAMAGE, ANYTHING, max_size=3).map(lambda found: {**JOB, **found}), max_size=4),
    health=ANYTHING,
)
async def test_nothing_that_json_can_say_upsets_it(status: Any, history: Any, jobs: Any, health: Any) -> None:
    told: dict[str, Any] = {"status": status, "history": history, "jobs": jobs, "health": health}
    polled = Polled(None, **{name: json.dumps(what).encode() for name, what in told.items()})
    keys = {channel.key for channel in Metatron.channels}
    for _ in range(2):
        try:
            readings = await polled.read()
        except DriverError:
            readings = []
        for reading in readings:
            assert reading.key in keys
            assert (
                reading.value is None or not isinstance(reading.value, float) or math.isfinite(reading.value)
            )
            assert reading.time is None or reading.time >= 0
        for said in polled.said:
            assert isinstance(said, Run | Event)
            json.dumps(dict(said.fields), allow_nan=False).encode()
            assert isinstance(said, Event) or said.state in RUN_STATES


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=100))
async def test_nor_anything_that_is_no_json(noise: bytes) -> None:
    polled = Polled(status=noise, history=noise, jobs=noise, health=noise)
    with pytest.raises(ReplyError):
        await polled.read()


# ---- with its simulator, over the wire


class Edge:
    """Opens, reads and opens again, as a session does; keeps what it is told."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.memory: dict[str, Any] = {}
        self.told: dict[tuple[str, int], set[Any]] = {}
        self.said: list[Said] = []
        self.driver: Metatron | None = None

    async def poll(self) -> None:
        try:
            if self.driver is None:
                driver = Metatron(HttpLink(Address.parse(self.address), 0.1), {})
                driver.memory, driver.tell = self.memory, self.said.extend
                self.driver = driver
                await driver.link.open()
                await driver.open()
            readings = await self.driver.read()
        except ReplyError:
            return
        except LinkError:
            await self.close()
            return
        for reading in readings:
            if reading.key == "psi" and reading.time is not None:
                self.told.setdefault((reading.key, reading.time), set()).add(reading.value)

    async def close(self) -> None:
        driver, self.driver = self.driver, None
        if driver is not None:
            await driver.link.close()


FAULTS = (
    "hang:p=0.03",
    "close:p=0.05",
    "garbage:p=0.05",
    "split:p=0.1",
    "merge:p=0.05,delay=0.005",
    "slow:p=0.05,delay=0.02",
    "refuse:every=40,for=6",
    "error:every=55,for=4",
    "sparse:every=33,for=5",
    "strange:every=47,for=3",
)


async def test_under_all_faults_each_point_is_told_once_as_it_was_and_none_that_was_not() -> None:
    clock = Clock()
    async with behind_a_door(
        simulated.Metatron, *FAULTS, clock=clock, seed=3, settings={"mode": "stock"}
    ) as door:
        simulator = door.simulator
        assert isinstance(simulator, simulated.Metatron)
        edge = Edge(door.address)
        for second in range(150):
            clock.now += 1.0
            door.look()
            if second % 3 == 0:
                simulator.work.start(simulator.wall_ns())
            await edge.poll()
        simulator.faults.faults = ()
        simulator.faults._of_exchanges = []
        door.look()
        await edge.poll()
        await edge.poll()
        truth = points(list(simulator.state.history))
        assert {time: values for (_, time), values in edge.told.items()} == {
            each.time: {each.psi} for each in truth
        }
        assert len(truth) > 90
        runs = {run.id: run.state for run in edge.said if isinstance(run, Run)}
        assert runs == {str(job.id): job.status for job in simulator.state.jobs}
        assert len(runs) == 50
        await edge.close()


async def test_a_server_that_restarts_is_followed_to_its_new_history() -> None:
    clock = Clock()
    async with behind_a_door(
        simulated.Metatron, "restart:from=10,to=12", clock=clock, settings={"mode": "stock"}
    ) as door:
        assert isinstance(door.simulator, simulated.Metatron)
        edge = Edge(door.address)
        await edge.poll()
        door.simulator.work.start(door.simulator.wall_ns())
        await edge.poll()
        first = set(edge.told)
        for _ in range(20):
            clock.now += 1.0
            await edge.poll()
        assert len(edge.told) == 50 + 1 + 50
        assert first < set(edge.told)
        assert [said.kind for said in edge.said if isinstance(said, Event)] == ["restart"]
        states: Mapping[str, str] = {run.id: run.state for run in edge.said if isinstance(run, Run)}
        assert list(states.values()) == ["completed"]
        await edge.close()


def test_a_moment_of_the_transcript_is_cut_to_microseconds() -> None:
    assert json_values.moment(STATUS["last_update"]) == START + 812
