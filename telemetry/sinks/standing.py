"""How sinks stand: what waits for each of them, since when, and what is wrong."""

from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from telemetry.models import Sink

COUNTED_MOST = 10_000  # rows of the outbox that are looked at; more are estimated

WAITING = """
SELECT count(*), coalesce(sum(octet_length(payload)), 0), min(stored_at), coalesce(max(id), 0) FROM (
    SELECT payload, stored_at, id FROM outbox WHERE (xid, id) > (%s::xid8, %s) ORDER BY xid, id LIMIT %s
) AS following
"""
NEWEST = "SELECT id FROM outbox ORDER BY xid DESC, id DESC LIMIT 1"


class Backlog(NamedTuple):
    """What waits in the outbox for one sink: rows, compressed bytes, and since when the oldest."""

    rows: int
    bytes: int
    since: datetime | None


def backlog(sink: Sink) -> Backlog:
    """Of what a sink is not fed yet; a long one is estimated."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING, [str(int(sink.at_xid)), sink.at_id, COUNTED_MOST])
        rows, size, since, last = cursor.fetchone()
        if rows < COUNTED_MOST:
            return Backlog(rows, int(size), since)
        cursor.execute(NEWEST)
        newest = cursor.fetchone()[0]
    more = max(newest - last, 0)
    return Backlog(rows + more, int(size) * (rows + more) // rows, since)


STATES: dict[str, str | Promise] = {
    "disabled": _("disabled"),
    "rebuilding": _("being rebuilt"),
    "to be rebuilt": _("to be rebuilt"),
    "failing": _("takes nothing"),
    "retrying": _("tried again"),
    "fed": _("fed"),
}


def state(sink: Sink) -> str:
    """One of STATES."""
    if not sink.enabled:
        return "disabled"
    if sink.must_rebuild:
        return "rebuilding" if sink.rebuild else "to be rebuilt"
    if sink.failures:
        return "failing" if sink.failures >= sink.alert_threshold else "retrying"
    return "fed"


def said(sink: Sink, now: datetime) -> dict[str, Any]:
    """In a line of the status."""
    waiting = backlog(sink)
    return {
        "name": sink.name,
        "state": state(sink),
        "backlog_rows": waiting.rows,
        "backlog_bytes": waiting.bytes,
        "behind_s": max(round((now - waiting.since).total_seconds(), 1), 0.0) if waiting.since else 0.0,
        "failures": sink.failures,
        "error": sink.error,
    }
