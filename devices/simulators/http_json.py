"""A simulated weather station with a small JSON page, such as hobbyists' boards serve."""

import json
import math
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, ClassVar

from devices.simulators.faults import Faults
from devices.simulators.http import JSON, TEXT, HttpSimulator, Request, Response
from devices.simulators.metatron_state import rfc3339


class HttpJson(HttpSimulator):
    """`GET /` and `GET /status`: values in an object, in a list, as text, scaled and missing."""

    driver = "http_json"
    settings: ClassVar[Mapping[str, str]] = {
        **HttpSimulator.settings,
        "token": "a bearer token without which it answers 401 (default none)",
        "value": "a number that stays, in place of the physics",
    }
    faults_of_its_own = ("missing", "null", "error")

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        super().__init__(number, seed, settings, faults, clock)
        self._token = settings.get("token", "")
        self._still = settings.get("value", "")
        self._random = Random(f"{seed} {number}")  # noqa: S311 - a simulation
        self._mean = self._random.uniform(19.0, 24.0)
        self._count = 0

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        """By paths; `value` is the one that the driver reads unless it is told others."""
        told = json.loads(reply)
        values = {"value": told["value"], "count": told["count"], "room": told["sensors"][0]["celsius"]}
        return values, (float(told["count"]),)

    def respond(self, request: Request) -> Response:
        if request.path not in ("/", "/status"):
            return Response(404, b"not found", (TEXT,))
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"", (("allow", "GET, HEAD"),))
        if self._token and request.headers.get("authorization") != f"Bearer {self._token}":
            return Response(401, b"unauthorized", (TEXT, ("www-authenticate", "Bearer")))
        if self._standing("error"):
            return Response(503, b"busy", (TEXT,))
        text = json.dumps(self._told())
        return Response(200, text.encode(), (JSON,), reading=False if self._is_spoilt() else text)

    def _told(self) -> dict[str, Any]:
        self._count += 1
        room = self._mean + 1.5 * math.sin(self.elapsed / 300) + self._random.gauss(0, 0.03)
        humidity = 45 + 8 * math.sin(self.elapsed / 700 + 1) + self._random.gauss(0, 0.2)
        told: dict[str, Any] = {
            "name": "bench 3",
            "time": rfc3339(self.wall_ns()),
            "count": self._count,
            "value": float(self._still) if self._still else round(room, 2),
            "sensors": [
                {"id": "room", "celsius": round(room, 2), "humidity_permille": round(humidity * 10)},
                {"id": "door", "is_open": "on" if int(self.elapsed / 40) % 5 == 4 else "off"},
            ],
            "spectrum": [round(abs(math.sin(self.elapsed / 50 + i)), 3) for i in range(8)],
        }
        if self._standing("missing"):
            del told["value"], told["sensors"][0]["celsius"]
        if self._standing("null"):
            told["value"] = None
        return told

    def _is_spoilt(self) -> bool:
        return self._standing("missing") or self._standing("null")

    def _standing(self, kind: str) -> bool:
        return self.faults.standing(kind, self.number, self.elapsed) is not None
