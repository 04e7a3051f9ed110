"""The replaced Metatron server: `/api/status`, `/api/jobs`, `/api/history`, `/api/health`, `/api/control/…`.

Of an instrument of the driver `metatron` what it told is told on; of any other, three of its channels stand
for ψ, ρ and ω (telemetry.interfaces.MetatronOptions). It was an axum program: what it refuses is plain text.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.http.response import HttpResponseBase

from devices.models import Instrument, Latest, Run
from devices.readings import QUALITY_MASK, RUN_ENDED, Quality
from labsite.replaced import metatron_history, metatron_shapes as shapes, now
from labsite.replaced.metatron_shapes import Backend, Job, Point, written
from labsite.replaced.now import Now
from labsite.replaced.program import Call, Program, empty, json, plain
from telemetry.interfaces import FIGURES, OWN_FIGURES, Figure, MetatronOptions, options

READY = {"scs": "psi", "dionice": "rho", "qdash": "omega"}  # the figure without which that part is not ready
BODY_MAX = 2 * 1024 * 1024
USIZE_MAX = 2**64 - 1
JSON_TYPE = re.compile(r"application/(?:[^;\s]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
NOT_YET = "Calibrations cannot be started through Labsite yet: start it at the instrument"
TRITON = ("step", "best_resonance", "current_resonance", "improvement_rate", "converged", "num_parameters")
TRITON_INTS = ("step", "num_parameters")


class BadQuery(Exception):
    """A parameter that the server would not read; the message is its own."""


class Start(msgspec.Struct):
    """What a start may say; other keys mean nothing."""

    algorithm: str | None = None
    mode: str | None = None


# ---- what is answered


def health(_call: Call) -> HttpResponseBase:
    return json(written(shapes.HEALTH))


def status(call: Call) -> HttpResponseBase:
    """The newest figures, held where there is none now; then the part that they belong to is not ready."""
    known = now.readings(call.instrument)
    chosen = options(call.interface, MetatronOptions)
    is_own = call.instrument.driver == OWN_FIGURES
    figures = {name: known.get(_figure(chosen, name).channel) for name in FIGURES}
    values = {name: _scaled(figures[name], _figure(chosen, name)) for name in FIGURES}
    ready = {
        part: _is_fresh(call, figures[name])
        and (not is_own or _is_told(known.get(f"{part}_ready")))
        and _all_answer(getattr(chosen.health, part), call.now)
        for part, name in READY.items()
    }
    times = [each.time for each in figures.values() if each is not None]
    run = Run.objects.filter(instrument=call.instrument).first()
    algorithm = _text(known.get("algorithm")) if is_own else ""
    mode = _text(known.get("mode")) if is_own else ""
    point = Point(
        max(times, default=call.interface.created_at),
        **values,
        algorithm=algorithm or chosen.algorithm or (run.kind if run else call.instrument.driver),
    )
    return json(
        written(
            shapes.status(
                point,
                mode or chosen.mode or (run.state if run else "idle"),
                ready,
                _backend(call.instrument, known, is_own=is_own),
                _available(call.instrument, known, is_own=is_own),
                _triton(known),
            )
        )
    )


def jobs(call: Call) -> HttpResponseBase:
    """The newest runs, oldest first."""
    limit = _limit(call)
    found = _jobs(call.instrument)
    return json(written([shapes.job(each) for each in found[max(len(found) - limit, 0) :]]))


def job(call: Call) -> HttpResponseBase:
    try:
        wanted = UUID(call.named)
    except ValueError as error:
        return plain(400, f"Invalid URL: UUID parsing failed: {error}")
    found = next((each for each in _jobs(call.instrument) if each.id == wanted), None)
    return plain(404, "Job not found") if found is None else json(written(shapes.job(found)))


def history(call: Call) -> HttpResponseBase:
    """The newest points, oldest first."""
    limit = min(_limit(call), shapes.HISTORY_MAX)
    chosen = options(call.interface, MetatronOptions)
    points = metatron_history.points(call.instrument, chosen, limit) if limit else []
    return json(written([shapes.point(each) for each in points]))


def start_calibration(call: Call) -> HttpResponseBase:
    """What it asks is read as the server did; but nothing can be started yet."""
    if not JSON_TYPE.fullmatch(call.request.headers.get("Content-Type", "").strip()):
        return plain(415, "Expected request with `Content-Type: application/json`")
    try:
        body = call.request.body
    except RequestDataTooBig:
        body = b" " * (BODY_MAX + 1)
    if len(body) > BODY_MAX:
        return plain(413, "Failed to buffer the request body: length limit exceeded")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return plain(400, f"Failed to parse the request body as JSON: {error}")
    try:
        msgspec.json.decode(body, type=Start)
    except msgspec.ValidationError as error:
        return plain(422, f"Failed to deserialize the JSON body into the target type: {error}")
    return plain(503, NOT_YET)


# ---- the figures


def _figure(chosen: MetatronOptions, name: str) -> Figure:
    """The channel that stands for a figure; a Metatron's own is called like it."""
    figure: Figure | None = getattr(chosen, name)
    return figure or Figure(name)


def _scaled(read: Now | None, figure: Figure) -> float:
    """Never null: the last value there was, and 0 before there was one."""
    value = None if read is None else read.value
    return shapes.scaled(value, figure.low, figure.high) if isinstance(value, int | float) else 0.0


def _is_fresh(call: Call, read: Now | None) -> bool:
    return read is not None and not now.is_stale(call.instrument, read, call.now)


def _is_told(read: Now | None) -> bool:
    """Whether a Metatron says so itself; an older one says nothing of it."""
    return read is None or read.value is None or (bool(read.value) and not read.is_bad)


def _all_answer(drivers: list[str], at: datetime) -> bool:
    """Whether each instrument of these drivers that is in service has a reading of now."""
    if not drivers:
        return True
    wanted = Instrument.objects.filter(driver__in=drivers, in_service=True, retired_at=None)
    heard = {
        instrument: seen_at
        for instrument, seen_at, quality in Latest.objects.filter(channel__instrument__in=wanted)
        .order_by("seen_at")
        .values_list("channel__instrument", "seen_at", "quality")
        if quality & QUALITY_MASK != Quality.BAD
    }
    return all(
        each.pk in heard
        and not now.is_stale(each, Now(None, heard[each.pk], heard[each.pk], is_bad=False), at)
        for each in wanted
    )


def _text(read: Now | None) -> str:
    return read.value if read is not None and isinstance(read.value, str) else ""


# ---- what stands behind them


def _backend(instrument: Instrument, known: Mapping[str, Now], *, is_own: bool) -> Backend:
    if not is_own:
        return Backend("labsite", instrument.name, 0, instrument.demo, None)
    qubits, simulated = known.get("backend.num_qubits"), known.get("backend.is_simulator")
    return Backend(
        _text(known.get("backend.provider")),
        _text(known.get("backend.name")),
        int(qubits.value) if qubits is not None and isinstance(qubits.value, int | float) else 0,
        bool(simulated and simulated.value),
        _text(known.get("backend.mode")) or None,
    )


def _available(instrument: Instrument, known: Mapping[str, Now], *, is_own: bool) -> list[str]:
    if not is_own:
        return [instrument.name]
    return [name for name in _text(known.get("available_backends")).split(", ") if name]


def _triton(known: Mapping[str, Now]) -> dict[str, Any] | None:
    """None while TRITON is not at work: an instrument says of that only that there is nothing."""
    found = {name: known.get(f"triton.{name}") for name in TRITON}
    if any(each is None or each.value is None or each.is_bad for each in found.values()):
        return None
    numbers = {name: each.value for name, each in found.items() if each is not None}
    return {
        name: bool(value) if name == "converged" else int(float(value)) if name in TRITON_INTS else value
        for name, value in numbers.items()
        if value is not None
    }


def _jobs(instrument: Instrument) -> list[Job]:
    """The newest runs, as many as the server kept, oldest first."""
    runs = list(Run.objects.filter(instrument=instrument).order_by("-id")[: shapes.JOBS_MAX])
    return [
        Job(
            shapes.job_id(instrument.pk, run.key),
            run.kind,
            run.state,
            run.start or run.told_at,
            run.over_at if run.state in RUN_ENDED else None,
            _metrics(run.fields),
        )
        for run in reversed(runs)
    ]


def _metrics(fields: Mapping[str, Any]) -> dict[str, Any]:
    metrics = fields.get("metrics")
    return dict(metrics) if isinstance(metrics, dict) else {}


# ---- what it did not know


def _limit(call: Call) -> int:
    """Raises BadQuery for what is no whole number from 0 on."""
    given = call.request.query_params.getlist("limit")
    if not given:
        return shapes.HISTORY_MAX
    if len(given) > 1:
        raise BadQuery("duplicate field `limit`")
    text = given[0].removeprefix("+")
    if not text:
        raise BadQuery("cannot parse integer from empty string")
    if not (text.isascii() and text.isdecimal()):
        raise BadQuery("invalid digit found in string")
    if int(text[:30]) > USIZE_MAX:
        raise BadQuery("number too large to fit in target type")
    return int(text)


def _missing(call: Call) -> HttpResponseBase:
    """What was no path of its own fell through to its static files, which are only read."""
    reads = call.request.method in ("GET", "HEAD")
    return empty(404) if reads else empty(405, Allow="GET,HEAD")


def _not_allowed(_call: Call, allowed: str) -> HttpResponseBase:
    return empty(405, Allow=allowed)


def _preflight(_call: Call) -> HttpResponseBase:
    return empty(200, **{"Access-Control-Allow-Methods": "*", "Access-Control-Allow-Headers": "*"})


def _failed(error: Exception) -> HttpResponseBase | None:
    if isinstance(error, BadQuery):
        return plain(400, f"Failed to deserialize query string: {error}")
    return None


def _for_all(reply: HttpResponseBase) -> HttpResponseBase:
    """Pages of any origin may read it."""
    reply.headers["Access-Control-Allow-Origin"] = "*"
    reply.headers["Vary"] = "origin, access-control-request-method, access-control-request-headers"
    return reply


PROGRAM = Program(
    routes={
        "api/status": {"GET": status},
        "api/jobs": {"GET": jobs},
        "api/jobs/*": {"GET": job},
        "api/history": {"GET": history},
        "api/control/start_calibration": {"POST": start_calibration},
        "api/health": {"GET": health},
    },
    missing=_missing,
    not_allowed=_not_allowed,
    preflight=_preflight,
    failed=_failed,
    dressed=_for_all,
)
