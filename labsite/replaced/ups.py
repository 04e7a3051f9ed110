"""The replaced UPS monitor: its page, `/api/telemetry`, `/api/health`, `/metrics` (notes §8 and §9).

It answered with its last good values however old they were, and with zeros before there were any. Here the
time beside them says how old they are, and alarms that it is not connected; before there are any, it says so.
"""

import json as plain_json
import logging
import time
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from alerts.models import Alarm
from labsite.replaced import now, ups_fields
from labsite.replaced.program import Call, Program, empty, json
from labsite.replaced.ups_metrics import gauges

STARTED = time.monotonic()
REFRESH = 10  # seconds
SHOWN: tuple[tuple[str, Promise | str, str], ...] = (
    ("input_voltage", _("Input voltage"), "V"),
    ("output_voltage", _("Output voltage"), "V"),
    ("frequency", _("Frequency"), "Hz"),
    ("input_frequency", _("Input frequency"), "Hz"),
    ("battery_voltage", _("Battery voltage"), "V"),
    ("battery_level", _("Battery level"), "%"),
    ("load_percent", _("Load"), "%"),
    ("load_power", _("Load power"), "W"),
    ("temperature", _("Temperature"), "°C"),
)

logger = logging.getLogger(__name__)


def telemetry(call: Call) -> HttpResponseBase:
    """The fields and the alarms, laid out as the monitor did."""
    told = _told(call)
    if told is None:
        reply = json(_json({"error": f"nothing was read of {call.instrument} yet"}), 503)
    else:
        reply = json(plain_json.dumps(told, indent=2).encode())
    reply.headers["Access-Control-Allow-Origin"] = "*"
    return reply


def health(call: Call) -> HttpResponseBase:
    """That this process runs, since when, and its time."""
    at = call.now.astimezone(ups_fields.machine_zone()).replace(tzinfo=None)
    words = {
        "status": "running",
        "uptime": ups_fields.clock(_uptime()),
        "timestamp": at.isoformat(timespec="microseconds"),
    }
    return json(_json(words))


def metrics(call: Call) -> HttpResponseBase:
    """What Prometheus was shown; nothing of a UPS that is not read now."""
    known = now.readings(call.instrument)
    registry = CollectorRegistry()
    if any(not now.is_stale(call.instrument, each, call.now) for each in known.values()):
        gauges(registry, ups_fields.telemetry(now.held(known), call.now, _uptime()))
    return HttpResponse(generate_latest(registry), CONTENT_TYPE_LATEST)


def page(call: Call) -> HttpResponseBase:
    """The fields, for a person; it asks again by itself."""
    told = _told(call)
    fields = [(label, _shown(told[name]), unit) for name, label, unit in SHOWN] if told else []
    shown = {"told": told, "shown": fields, "instrument": call.instrument, "refresh": REFRESH}
    return render(call.request, "labsite/replaced_ups.html", shown)


def _told(call: Call) -> dict[str, Any] | None:
    """None before anything was read."""
    known = now.readings(call.instrument)
    at = now.newest(known)
    if at is None:
        return None
    values = now.held(known)
    alarms = [*ups_fields.alarms(values), *_of_instrument(call)]
    return {**ups_fields.telemetry(values, at, _uptime()), "alarms": alarms}


def _of_instrument(call: Call) -> list[str]:
    """What Labsite says of the instrument itself, such as that it is not connected."""
    standing = Alarm.objects.standing().filter(instrument=call.instrument, channel=None, active=True)
    return list(standing.values_list("text", flat=True))


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)


def _uptime() -> float:
    return time.monotonic() - STARTED


def _json(content: dict[str, Any]) -> bytes:
    return plain_json.dumps(content).encode()


def _missing(_call: Call) -> HttpResponseBase:
    reply = empty(404)
    reply.content = b"404 Not Found"
    return reply


def _not_allowed(_call: Call, allowed: str) -> HttpResponseBase:
    return empty(405, Allow=allowed)


def _failed(error: Exception) -> HttpResponseBase:
    logger.error("the interface of a UPS monitor failed", exc_info=error)
    return json(_json({"error": "Internal server error"}), 500)


PROGRAM = Program(
    routes={
        "": {"GET": page},
        "api/telemetry": {"GET": telemetry},
        "api/health": {"GET": health},
        "metrics": {"GET": metrics},
    },
    missing=_missing,
    not_allowed=_not_allowed,
    failed=_failed,
)
