"""A simulated watch over cooling water with a small JSON page, such as hobbyists' boards serve."""

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
        self._mean = self._random.uniform(17.0, 19.0)
        self._count = 0

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        """By the channels of the example lab file, and the one that is read unless others are told.

        None for what the reply lacks.
        """
        told = json.loads(reply)
        by_id = {sensor["id"]: sensor.get("value") for sensor in told["sensors"]}
        values = {"flow": by_id["flow"] * 0.1, "temperature": by_id["t"], "pump": told["pump"] == "on"}
        return {**values, "value": told.get("value")}, (float(told["count"]),)

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
        return Response(200, text.encode(), (JSON,), reading=text)

    def _told(self) -> dict[str, Any]:
        self._count += 1
        at, chance = self.elapsed, self._random
        water = self._mean + 1.5 * math.sin(at / 300) + chance.gauss(0, 0.03)
        is_on = int(at / 40) % 15 != 14
        flow = 12.3 + 0.4 * math.sin(at / 90) + chance.gauss(0, 0.06) if is_on else 0.0
        told: dict[str, Any] = {
            "uptime": round(at),
            "time": rfc3339(self.wall_ns()),
            "count": self._count,
            "value": float(self._still) if self._still else round(water, 2),
            "sensors": [
                {"id": "flow", "value": round(flow * 10), "unit": "dL/min"},
                {"id": "t", "value": round(water, 2), "unit": "C"},
            ],
            "pump": "on" if is_on else "off",
            "spectrum": [round(abs(math.sin(at / 50 + i)), 3) for i in range(8)],
        }
        if self._standing("missing"):
            del told["value"], told["sensors"][1]["value"]
        if self._standing("null"):
            told["value"] = told["sensors"][1]["value"] = None
        return told

    def _standing(self, kind: str) -> bool:
        return self.faults.standing(kind, self.number, self.elapsed) is not None
