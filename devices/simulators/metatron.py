"""A simulated Metatron telemetry server: its API as the stock program answers it, restarts on demand.

Section numbers are those of the protocol notes.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from typing import Any, ClassVar
from urllib.parse import unquote
from uuid import UUID

from devices.simulators.base import BadSetting, Client
from devices.simulators.faults import Faults
from devices.simulators.http import HTML, JSON, TEXT, HttpSession, HttpSimulator, Request, Response
from devices.simulators.metatron_state import State, compact
from devices.simulators.metatron_work import WORK, Work

ANYWHERE = (
    ("vary", "origin, access-control-request-method, access-control-request-headers"),
    ("access-control-allow-origin", "*"),
)
PREFLIGHT = (*ANYWHERE, ("access-control-allow-methods", "*"), ("access-control-allow-headers", "*"))
PAGE = b"<!DOCTYPE html><title>Metatron Telemetry (simulated)</title><p>See /api/status.</p>"
JOB = re.compile("/api/jobs/([^/]+)")
USIZE_MAX = 2**64 - 1
NOT_QUERY = "Failed to deserialize query string: "
NOT_JSON = "Failed to parse the request body as JSON: "
NOT_TYPE = "Failed to deserialize the JSON body into the target type: "
NO_TYPE = "Expected request with `Content-Type: application/json`"
Answering = Callable[[Request], Response]


class Metatron(HttpSimulator):
    """One server. `work` is what changes its values: the stock action alone, or believable calibrations."""

    driver = "metatron"
    settings: ClassVar[Mapping[str, str]] = {
        **HttpSimulator.settings,
        "mode": f"{' or '.join(WORK)} (default demo): demo has calibrations that converge, again and again; "
        "stock does what the original does, with its ramp at the start",
        "skew": "seconds by which its clock is ahead (default 0)",
    }
    faults_of_its_own = ("restart", "sparse", "strange", "wild", "error")

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        mode = settings.get("mode", "demo")
        if mode not in WORK:
            raise BadSetting(f"--set mode={mode}: there are {', '.join(WORK)}")
        try:
            self._skew_ns = round(float(settings.get("skew", "0")) * 1e9)
        except (ValueError, OverflowError):
            raise BadSetting(f"--set skew={settings['skew']}: not a number of seconds") from None
        self._mode = mode
        self._random = Random(f"{seed} {number}")  # noqa: S311 - a simulation
        self._sessions: set[MetatronSession] = set()
        self._restarts_now = False
        self._begin()

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        """Of a status, or of the last point of a history."""
        return cls.read_all(reply)[-1]

    @classmethod
    def read_all(cls, reply: str) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
        told = json.loads(reply)
        return [_figures(point) for point in told] if isinstance(told, list) else [_figures(told)]

    def wall_ns(self) -> int:
        return super().wall_ns() + self._skew_ns

    def session(self, client: Client) -> "MetatronSession":
        return MetatronSession(self, client, self._sessions)

    def restart(self) -> None:
        """As when its process is killed and started again: all it knew is gone."""
        for session in tuple(self._sessions):
            session.client.reset()
        self._begin()

    def _begin(self) -> None:
        self.state = State(self._random)
        self.work: Work = WORK[self._mode](self.state, self._random)
        self.work.begin(self.wall_ns())

    def respond(self, request: Request) -> Response:
        is_restarting = bool(self._standing("restart"))
        if is_restarting and not self._restarts_now:
            self.restart()
        self._restarts_now = is_restarting
        self.work.go_on(self.wall_ns())
        if request.method == "OPTIONS":
            return Response(200, b"", PREFLIGHT)
        response = self._routed(request)
        return Response(response.status, response.body, response.headers + ANYWHERE, response.reading)

    def _standing(self, kind: str) -> bool:
        return self.faults.standing(kind, self.number, self.elapsed) is not None

    # ---- what is asked (§3)

    def _routed(self, request: Request) -> Response:
        if self._standing("error") and request.path.startswith("/api/"):
            return Response(500, b"state is poisoned", (TEXT,))
        methods, answer = self._route(request.path)
        if request.method not in methods:
            return Response(405, b"", (("allow", ",".join(methods)),) if answer else ())
        return answer(request) if answer else _page(request)

    def _route(self, path: str) -> tuple[tuple[str, ...], Answering | None]:
        """The methods of a path, and what answers; None: whatever is left, which is static files."""
        fixed: dict[str, Answering] = {
            "/api/status": self._status,
            "/api/jobs": self._jobs,
            "/api/history": self._history,
            "/api/health": _health,
        }
        if path == "/api/control/start_calibration":
            return ("POST",), self._start
        if found := JOB.fullmatch(path):
            return ("GET", "HEAD"), lambda _: self._job(found[1])
        return ("GET", "HEAD"), fixed.get(path)

    def _status(self, _request: Request) -> Response:
        status = self.state.status()
        if self._standing("sparse"):
            for key in ("backend_info", "available_backends", "triton_status"):
                del status[key]
        if self._standing("wild"):
            status["psi"], status["rho"] = 1.5, None
        body = compact(status)
        return Response(200, body, (JSON,), reading=body.decode())

    def _jobs(self, request: Request) -> Response:
        newest = _limit(request, len(self.state.jobs))
        if isinstance(newest, Response):
            return newest
        jobs = [job.as_json() for job in self.state.jobs]
        if self._standing("strange"):
            jobs = [{**job, "status": "hibernating", "colour": "blue"} for job in jobs]
        return _json(jobs[len(jobs) - newest :])

    def _job(self, text: str) -> Response:
        try:
            wanted = UUID(unquote(text))
        except ValueError:
            return Response(400, b"Invalid URL: UUID parsing failed", (TEXT,))
        job = self.state.job(wanted)
        return _json(job.as_json()) if job else Response(404, b"Job not found", (TEXT,))

    def _history(self, request: Request) -> Response:
        newest = _limit(request, len(self.state.history))
        if isinstance(newest, Response):
            return newest
        points = list(self.state.history)
        body = compact(points[len(points) - newest :])
        return Response(200, body, (JSON,), reading=body.decode() if newest else False)

    def _start(self, request: Request) -> Response:
        asked = _asked(request)
        if isinstance(asked, Response):
            return asked
        job = self.work.start(self.wall_ns())
        if asked.get("mode") is not None:
            self.state.mode = asked["mode"]
        return _json({"job_id": str(job.id), "message": "Calibration job started"}, 202)


class MetatronSession(HttpSession):
    """A connection that a restart breaks."""

    def __init__(self, simulator: Metatron, client: Client, sessions: set["MetatronSession"]) -> None:
        super().__init__(simulator, client)
        self._sessions = sessions
        sessions.add(self)

    def end(self) -> None:
        self._sessions.discard(self)


def _health(_request: Request) -> Response:
    return _json({"service": "metatron_telemetry", "status": "ok"})


def _page(request: Request) -> Response:
    return Response(200, PAGE, (HTML,)) if request.path in ("/", "/index.html") else Response(404)


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, compact(value), (JSON,))


def _limit(request: Request, there_are: int) -> int | Response:
    """How many of the newest are wanted; or the refusal."""
    text = request.query.get("limit")
    if text is None:
        return there_are
    if not re.fullmatch(r"\+?[0-9]+", text) or int(text[:40]) > USIZE_MAX:
        return Response(400, f"{NOT_QUERY}limit: invalid digit found in string".encode(), (TEXT,))
    return min(int(text), there_are)


def _asked(request: Request) -> dict[str, Any] | Response:
    """The body of a start; or the refusal."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not re.fullmatch(r"application/([^/ ]+\+)?json", media):
        return Response(415, NO_TYPE.encode(), (TEXT,))
    try:
        asked = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        return Response(400, f"{NOT_JSON}{error}".encode(), (TEXT,))
    if not isinstance(asked, dict):
        return Response(422, f"{NOT_TYPE}invalid type".encode(), (TEXT,))
    for key in ("algorithm", "mode"):
        if not isinstance(asked.get(key), str | None):
            return Response(422, f"{NOT_TYPE}{key}: invalid type, expected a string".encode(), (TEXT,))
    return asked


def _figures(point: dict[str, Any]) -> tuple[dict[str, Any], tuple[float, ...]]:
    """Of a status, or of one point of a history, and when that was."""
    values = {key: point[key] for key in ("psi", "rho", "omega", "algorithm", "mode") if key in point}
    time = point.get("timestamp") or point["last_update"]
    at = datetime.fromisoformat(f"{time[:26].rstrip('Z')}Z").timestamp()
    return values | point.get("backend_health", {}), (at,)
