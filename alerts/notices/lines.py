"""Lines of notices, put into other notices by the database: there may be ten thousand of them."""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from django.db import connection

from alerts.lifecycle import UNACKNOWLEDGED
from alerts.models import Notice

COPY = """
INSERT INTO alerts_noticeline (notice_id, event_id, alarm_id, happening_id)
SELECT %(to)s, l.event_id, l.alarm_id, l.happening_id
FROM alerts_noticeline l
    LEFT JOIN alerts_alarm a ON a.id = l.alarm_id
    LEFT JOIN alerts_alarmevent e ON e.id = l.event_id
WHERE l.notice_id = ANY(%(of)s) AND {condition}
ORDER BY l.id
ON CONFLICT DO NOTHING
"""
ADD = """
INSERT INTO alerts_noticeline (notice_id, event_id, alarm_id, happening_id)
SELECT %s, event, alarm, happening
FROM unnest(%s::int8[], %s::int8[], %s::int8[]) WITH ORDINALITY AS n(event, alarm, happening, place)
ORDER BY place
ON CONFLICT DO NOTHING
"""
ALL = COPY.format(condition="TRUE")
BEGINNINGS = COPY.format(condition="e.event IN ('raise', 'latch') AND a.state = ANY(%(states)s)")
# What is due later does not count as told. And nobody is told that nobody can tell them.
UNTOLD = COPY.format(
    condition="""
a.contact_id IS DISTINCT FROM %(contact)s AND NOT EXISTS (
    SELECT FROM alerts_noticeline m JOIN alerts_notice n ON n.id = m.notice_id
    WHERE (m.event_id = l.event_id OR m.happening_id = l.happening_id) AND n.contact_id = %(contact)s
        AND (n.state = 'sent' OR (n.state <> 'dropped' AND n.kind NOT IN ('repeat', 'escalation')))
)"""
)


def add(notice: Notice, changes: Iterable[tuple[int, int]], happenings: Iterable[int] = ()) -> None:
    """New lines: (change, alarm), and happenings."""
    rows = [*((event, alarm, None) for event, alarm in changes), *((None, None, each) for each in happenings)]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(ADD, [notice.pk, *(list(column) for column in zip(*rows, strict=True))])


def copy_all(of: Collection[UUID], to: UUID) -> int:
    """All lines of these notices; the number of those that were not there before."""
    return _copy(ALL, to, of)


def copy_unacknowledged(of: UUID, to: UUID) -> int:
    """The beginnings of what nobody has acknowledged yet."""
    return _copy(BEGINNINGS, to, [of], states=list(UNACKNOWLEDGED))


def copy_untold(of: UUID, to: UUID, contact: int) -> int:
    """What this contact has not been told, and is not about to be told."""
    return _copy(UNTOLD, to, [of], contact=contact)


def _copy(query: str, to: UUID, of: Collection[UUID], **more: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, {"to": to, "of": list(of), **more})
        return int(cursor.rowcount)
