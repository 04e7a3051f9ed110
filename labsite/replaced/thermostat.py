"""The replaced thermostat logger: `/report`, `/series`, `/data.csv`, `/save_once` (notes §11).

It was a FastAPI program: what it refuses is `{"detail": …}`.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from devices import trials
from devices.errors import Refused
from labsite.replaced import now, stored
from labsite.replaced.program import Call, Program, json
from labsite.replaced.thermostat_rows import HEADER, KEYS, Row, as_csv, as_json, value
from telemetry.parameters import EPOCH

MEMORY = timedelta(minutes=10)  # what the logger kept in memory, and so told where nothing else was asked
MS = timedelta(milliseconds=1)
MS_MAX = 10**14


class Unprocessable(Exception):
    """A parameter that is no number, as FastAPI tells of it."""

    def __init__(self, name: str, given: str) -> None:
        super().__init__(name)
        self.content = {
            "detail": [
                {
                    "type": "int_parsing",
                    "loc": ["query", name],
                    "msg": "Input should be a valid integer, unable to parse string as an integer",
                    "input": given,
                }
            ]
        }


def report(call: Call) -> HttpResponseBase:
    """The newest row."""
    known = {key: each for key, each in now.readings(call.instrument).items() if key in KEYS}
    time = now.newest(known)
    if time is None:
        return _refused(503, f"nothing was read of {call.instrument} yet")
    values = now.held(known)
    return json(
        msgspec.json.encode(as_json(Row(time, {key: value(key, _number(values[key])) for key in values})))
    )


def series(call: Call) -> HttpResponseBase:
    """All rows from one time to another, both in ms since 1970."""
    start, end = _bounds(call, MEMORY)
    return _streamed(_array(stored.windows(call.instrument, start, end)), "application/json")


def csv(call: Call) -> HttpResponseBase:
    """All rows there are, or those from one time to another."""
    start, end = _bounds(call, None)
    reply = _streamed(_table(stored.windows(call.instrument, start, end)), "text/csv; charset=utf-8")
    reply["Content-Disposition"] = 'attachment; filename="data.csv"'
    return reply


def save_once(call: Call) -> HttpResponseBase:
    """Poll at once, at the edge; what was read. Raises Refused."""
    if not call.instrument.in_service:
        raise Refused(f"{call.instrument} is out of service")
    (verdict,) = trials.run([call.instrument])
    if verdict.error:
        return _refused(504 if verdict.silence else 502, verdict.error)
    values = {row.key: value(row.key, _number(row.value)) for row in verdict.rows() if row.key in KEYS}
    return json(msgspec.json.encode(as_json(Row(timezone.now(), values))))


def _number(read: Any) -> float | None:
    return read if isinstance(read, int | float) else None


def _bounds(call: Call, usual: timedelta | None) -> tuple[datetime, datetime]:
    """`from` and `to`; where they are left out, `usual` before the end (None: all there is), and now."""
    end, start = _moment(call, "to"), _moment(call, "from")
    until = call.now if end is None else end + MS  # both bounds belong to it
    if start is None:
        start = EPOCH if usual is None else until - usual
    return start, until


def _moment(call: Call, name: str) -> datetime | None:
    given = call.request.query_params.get(name)
    if given is None:
        return None
    try:
        ms = int(given)
    except ValueError:
        raise Unprocessable(name, given[:60]) from None
    return EPOCH + timedelta(milliseconds=min(max(ms, 0), MS_MAX))


# ---- streams


def _streamed(pieces: AsyncIterator[str | bytes], kind: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces, content_type=kind)


async def _array(windows: Iterator[list[Row]]) -> AsyncIterator[bytes]:
    before = b"["
    async for rows in _each(windows):
        yield before + b",".join(msgspec.json.encode(as_json(row)) for row in rows)
        before = b","
    yield b"[]" if before == b"[" else b"]"


async def _table(windows: Iterator[list[Row]]) -> AsyncIterator[str]:
    yield HEADER
    async for rows in _each(windows):
        yield as_csv(rows)


async def _each(windows: Iterator[list[Row]]) -> AsyncIterator[list[Row]]:
    """Each window is read in the request's own thread, when the one before has been taken."""
    step: Callable[..., Any] = sync_to_async(next)
    while (rows := await step(windows, None)) is not None:
        yield rows


# ---- what it did not know


def _refused(code: int, words: str) -> HttpResponseBase:
    return json(msgspec.json.encode({"detail": words}), code)


def _missing(_call: Call) -> HttpResponseBase:
    return _refused(404, "Not Found")


def _not_allowed(_call: Call, allowed: str) -> HttpResponseBase:
    reply = _refused(405, "Method Not Allowed")
    reply.headers["Allow"] = allowed
    return reply


def _failed(error: Exception) -> HttpResponseBase | None:
    return json(msgspec.json.encode(error.content), 422) if isinstance(error, Unprocessable) else None


PROGRAM = Program(
    routes={
        "report": {"GET": report},
        "series": {"GET": series},
        "data.csv": {"GET": csv},
        "save_once": {"POST": save_once},
    },
    missing=_missing,
    not_allowed=_not_allowed,
    failed=_failed,
)
