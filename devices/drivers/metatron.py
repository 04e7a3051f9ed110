"""Metatron Telemetry (Q⊗DASH), as of 2026-02: a status board over HTTP; what it has missed is in its history.

Figures carry the server's own stamps, those of its history: read again, they are the same readings. Status
stamps the same update some µs earlier. All else is told when it changes.
"""

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from devices.drivers import json_values
from devices.drivers.base import Channel, RuleTemplate
from devices.drivers.http_base import HttpDriver, Unwilling
from devices.drivers.metatron_history import HISTORY_MAX, Past, Point, point, points
from devices.drivers.metatron_jobs import COUNTED, changed, counts, runs
from devices.errors import ReplyError
from devices.links.base import Link
from devices.readings import Quality, Reading, Run, Said

HEALTH_WITHIN = 2.0  # seconds
RECENT = 20  # points that are asked for while nothing was missed
TRIES = 3  # to read the history, before figures are told without it
SKEW_MOVES = 2.0  # seconds; less is the header's own coarseness
MISSING = object()


class Field(NamedTuple):
    """Where a channel is found in the status."""

    channel: Channel
    path: tuple[str, ...]
    take: Callable[[Any], float | int | bool | str | None]


def _text_or_nothing(value: Any) -> str | None:
    return "" if value is None else json_values.text(value)


def _list_of_texts(value: Any) -> str | None:
    return ", ".join(str(json_values.text(each)) for each in value) if isinstance(value, list) else None


def _triton(name: str, label: str, kind: str = "float", digits: int | None = None) -> Field:
    take = {"int": json_values.whole, "bool": json_values.truth}.get(kind, json_values.number)
    return Field(Channel(f"triton.{name}", label, kind=kind, digits=digits), ("triton_status", name), take)


FIELDS = (
    Field(Channel("mode", "mode", kind="text"), ("mode",), json_values.text),
    Field(Channel("scs_ready", "SCS ready", kind="bool"), ("backend_health", "scs_ready"), json_values.truth),
    Field(
        Channel("dionice_ready", "dioniceOS ready", kind="bool"),
        ("backend_health", "dionice_ready"),
        json_values.truth,
    ),
    Field(
        Channel("qdash_ready", "Q⊗DASH ready", kind="bool"),
        ("backend_health", "qdash_ready"),
        json_values.truth,
    ),
    Field(Channel("backend.name", "backend", kind="text"), ("backend_info", "name"), json_values.text),
    Field(
        Channel("backend.provider", "backend's provider", kind="text"),
        ("backend_info", "provider"),
        json_values.text,
    ),
    Field(
        Channel("backend.num_qubits", "qubits", kind="int"),
        ("backend_info", "num_qubits"),
        json_values.whole,
    ),
    Field(
        Channel("backend.is_simulator", "backend is a simulator", kind="bool"),
        ("backend_info", "is_simulator"),
        json_values.truth,
    ),
    Field(Channel("backend.mode", "backend's mode", kind="text"), ("backend_info", "mode"), _text_or_nothing),
    Field(
        Channel("available_backends", "backends available", kind="text"),
        ("available_backends",),
        _list_of_texts,
    ),
    _triton("step", "TRITON step", "int"),
    _triton("best_resonance", "TRITON best resonance", digits=4),
    _triton("current_resonance", "TRITON current resonance", digits=4),
    _triton("improvement_rate", "TRITON improvement rate", digits=4),
    _triton("converged", "TRITON converged", "bool"),
    _triton("num_parameters", "TRITON parameters", "int"),
)
FIGURES = (
    Channel("psi", "ψ quality", low=0, high=1, digits=4),
    Channel("rho", "ρ stability", low=0, high=1, digits=4),
    Channel("omega", "ω efficiency", low=0, high=1, digits=4),
    Channel("resonance", "resonance ψ·ρ·ω", low=0, high=1, digits=4),
    Channel("algorithm", "algorithm", kind="text"),
)


class Metatron(HttpDriver):
    """Metatron Telemetry server."""

    label = "Metatron Telemetry (Q⊗DASH)"
    example = "http://192.168.1.30:8080"
    channels = (
        *FIGURES,
        *(field.channel for field in FIELDS),
        *(Channel(f"jobs.{state}", f"jobs {state}", kind="int") for state in COUNTED),
        Channel("service", "service", kind="text"),
        Channel("clock_skew", "its clock ahead of the edge's", "s", digits=0),
    )
    alarms = (
        RuleTemplate(
            "Metatron backend not ready",
            "equals",
            "The server runs, but one of the programs behind it does not: start it, or look at its log.",
            key="*_ready",
            value="false",
            on_delay=30.0,
            off_delay=10.0,
        ),
    )

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        self._service = Reading("service", None, Quality.UNCERTAIN)
        self._told: dict[str, tuple[Any, Quality]] = {}  # in this session; told again when it changes
        self._update: Update | None = None  # the one whose figures were told last
        self._failures = 0  # of the history, one after the other
        self._clock = 0  # the server's, in µs, as far as it told
        self._skew: float | None = None

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return False

    async def open(self) -> None:
        await super().open()
        self._service = await self._health()

    async def read(self) -> list[Reading]:
        # All is asked first and taken then: should the link break in between, nothing counts as told.
        status = await self._tried("/api/status", dict)
        update = None if isinstance(status, ReplyError) else _update(status)
        page = await self._history() if update is not None and update != self._update else None
        jobs = await self._tried("/api/jobs?limit=100", list)
        if isinstance(status, ReplyError) and isinstance(jobs, ReplyError):
            self._told.clear()
            self._update = None
            raise status
        said: list[Said] = []
        figures = self._figures(status, update, page, said)
        others = [self._service, *_of_status(status), *self._of_jobs(jobs, said), *self._clock_skew()]
        if said:
            self.tell(said)
        return figures + self._fresh(others)

    # ---- asking

    async def _tried(self, path: str, kind: type) -> Any:
        """What is there, or the ReplyError that says why there is nothing."""
        try:
            told, answer = await self.ask(path)
        except ReplyError as error:
            return error
        self._look_at_clock(answer.headers.get("date", ""))
        if not isinstance(told, kind):
            return ReplyError(f"{self.link.address.url}{path}: {told!r:.100} is no {kind.__name__}")
        return told

    async def _health(self) -> Reading:
        """What it says of itself; other programs with the same interface may say nothing."""
        try:
            health, _ = await self.ask("/api/health", within=HEALTH_WITHIN)
        except ReplyError:
            return self._service
        word = json_values.text(health.get("status")) if isinstance(health, dict) else None
        return Reading("service", word, Quality.BAD if word is None else Quality.GOOD)

    async def _history(self) -> list[Point] | ReplyError:
        """The newest points, down to the last one known, if it is still there."""
        past = self._past
        if past.last is not None:
            history = await self._tried(f"/api/history?limit={RECENT}", list)
            page = points(history)
            if past.is_followed_by(page):
                return page
        history = await self._tried(f"/api/history?limit={HISTORY_MAX}", list)
        if not isinstance(history, ReplyError):
            self._failures = 0
            return points(history)
        never = isinstance(history, Unwilling) and history.status == 404
        self._failures = TRIES if never else self._failures + 1
        return history

    # ---- what was answered

    def _figures(
        self, status: Any, update: "Update | None", page: list[Point] | ReplyError | None, said: list[Said]
    ) -> list[Reading]:
        if isinstance(status, ReplyError):
            self._update = None
            return self._fresh([Reading(channel.key, None, Quality.BAD) for channel in FIGURES])
        if update is None:  # no time of its own
            return self._fresh(point(status, 0).readings(stamped=False))
        if page is None or (isinstance(page, ReplyError) and self._failures < TRIES):
            return []
        for channel in FIGURES:
            self._told.pop(channel.key, None)
        now, known = point(status, update.time), [] if isinstance(page, ReplyError) else page
        new, events = self._past.take(known, now, again=self._update is None)
        self._update = update
        said += events
        return [reading for each in new for reading in each.readings()]

    def _of_jobs(self, jobs: Any, said: list[Said]) -> list[Reading]:
        """How many there are; the runs that are not as they were are told."""
        if isinstance(jobs, ReplyError):
            return [Reading(f"jobs.{state}", None, Quality.BAD) for state in COUNTED]
        now = runs(jobs)
        said += changed(self._runs, now, self._clock)
        return [Reading(key, count) for key, count in counts(now).items()]

    def _clock_skew(self) -> list[Reading]:
        return [] if self._skew is None else [Reading("clock_skew", self._skew)]

    def _look_at_clock(self, date: str) -> None:
        """The date that answers carry is cut to whole seconds."""
        try:
            self._clock = int(parsedate_to_datetime(date).timestamp() * 1e6)
        except (ValueError, TypeError, IndexError, OverflowError):
            return
        skew = round(self._clock / 1e6 + 0.5 - time.time())
        if self._skew is None or abs(skew - self._skew) >= SKEW_MOVES:
            self._skew = float(skew)

    def _fresh(self, readings: list[Reading]) -> list[Reading]:
        """Those that are not as they were told last."""
        fresh = [each for each in readings if self._told.get(each.key) != (each.value, each.quality)]
        self._told.update({each.key: (each.value, each.quality) for each in fresh})
        return fresh

    @property
    def _past(self) -> Past:
        past: Past = self.memory.setdefault("past", Past())
        return past

    @property
    def _runs(self) -> dict[str, Run]:
        known: dict[str, Run] = self.memory.setdefault("runs", {})
        return known


class Update(NamedTuple):
    """What of a status changes with its figures; `time` in µs of UTC."""

    time: int
    stamp: str
    figures: tuple[Any, ...]


def _update(status: Mapping[str, Any]) -> Update | None:
    """None without a usable time."""
    stamp = status.get("last_update")
    at = json_values.moment(stamp)
    return None if at is None else Update(at, str(stamp), point(dict(status), at).figures)


def _of_status(status: Any) -> list[Reading]:
    if isinstance(status, ReplyError):
        return [Reading(field.channel.key, None, Quality.BAD) for field in FIELDS]
    return [_reading(field, status) for field in FIELDS]


def _reading(field: Field, status: Any) -> Reading:
    """What is missing is no fault: older servers lack some, and TRITON is not always at work."""
    found = status
    for name in field.path:
        found = found.get(name, MISSING) if isinstance(found, dict) else MISSING
    if found is MISSING:
        return Reading(field.channel.key, None, Quality.UNCERTAIN)
    value = field.take(found)
    return Reading(field.channel.key, value, Quality.BAD if value is None else Quality.GOOD)
