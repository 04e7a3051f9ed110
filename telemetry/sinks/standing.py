"""How sinks stand: what waits for each of them, since when, and what is wrong."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from telemetry.models import Sink

COUNTED_MOST = 10_000  # rows of the outbox that are looked at; more are estimated

WAITING = """
SELECT sink.id, w.rows, w.bytes, w.since, w.last, (SELECT max(id) FROM outbox_newest)
FROM sink CROSS JOIN LATERAL (
    SELECT count(*) AS rows, coalesce(sum(octet_length(payload)), 0) AS bytes, min(stored_at) AS since,
        coalesce(max(id), 0) AS last
    FROM (
        SELECT payload, stored_at, id FROM outbox WHERE (xid, id) > (sink.at_xid::text::xid8, sink.at_id)
        ORDER BY xid, id LIMIT %s
    ) AS following
) AS w WHERE sink.id = ANY(%s)
"""
NEWEST = "WITH outbox_newest AS (SELECT id FROM outbox ORDER BY xid DESC, id DESC LIMIT 1)"


class Backlog(NamedTuple):
    """What waits in the outbox for one sink: rows, compressed bytes, and since when the oldest."""

    rows: int
    bytes: int
    since: datetime | None

    def age(self, now: datetime) -> float:
        """Seconds that the oldest waits."""
        return max(round((now - self.since).total_seconds(), 1), 0.0) if self.since else 0.0


def backlogs(sinks: Iterable[Sink]) -> dict[int, Backlog]:
    """Of what each of these is not fed yet, by their ids; long ones are estimated."""
    with connection.cursor() as cursor:
        cursor.execute(NEWEST + WAITING, [COUNTED_MOST, [sink.pk for sink in sinks]])
        return {number: _backlog(*row) for number, *row in cursor.fetchall()}


def _backlog(rows: int, size: int, since: datetime | None, last: int, newest: int | None) -> Backlog:
    more = max((newest or 0) - last, 0) if rows == COUNTED_MOST else 0
    return Backlog(rows + more, int(size) * (rows + more) // max(rows, 1), since)


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


def said(sinks: Sequence[Sink], now: datetime) -> list[dict[str, Any]]:
    """Each in a line of the status."""
    waiting = backlogs(sinks)
    return [
        {
            "name": sink.name,
            "state": state(sink),
            "backlog_rows": waiting[sink.pk].rows,
            "backlog_bytes": waiting[sink.pk].bytes,
            "behind_s": waiting[sink.pk].age(now),
            "failures": sink.failures,
            "error": sink.error,
        }
        for sink in sinks
    ]
