"""Chatter: an alarm raised again and again within minutes is told once, and once more when it calms down."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from alerts.notices.outbox import Change

RAISED = "p.event = 'raise' AND p.after = 'unacknowledged' AND NOT p.past"
TOO_OFTEN = f"""
SELECT e.id FROM alerts_alarmevent e
JOIN alerts_alarm a ON a.id = e.alarm_id
JOIN alerts_rule r ON r.id = a.rule_id
JOIN alerts_alarmevent p ON p.alarm_id = e.alarm_id AND {RAISED}
    AND p.at <= e.at AND p.at > e.at - make_interval(secs => r.chatter_seconds)
WHERE e.id = ANY(%s)
GROUP BY e.id, r.chatter_changes HAVING count(*) > r.chatter_changes
"""  # noqa: S608
# Who is just changing one of them has it: that one is damped at its next turn.
BEGIN = """
UPDATE alerts_alarm SET chatter_at = %s
WHERE id IN (SELECT id FROM alerts_alarm WHERE id = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED)
RETURNING id
"""
# Half as often is calm: not at the first raise less.
CALM = f"""
SELECT a.id, a.chatter_at, (
    SELECT p.id FROM alerts_alarmevent p
    WHERE p.alarm_id = a.id AND {RAISED} ORDER BY p.at DESC, p.id DESC LIMIT 1
)
FROM alerts_alarm a JOIN alerts_rule r ON r.id = a.rule_id
WHERE a.chatter_at IS NOT NULL AND (
    SELECT count(*) FROM alerts_alarmevent p
    WHERE p.alarm_id = a.id AND {RAISED} AND p.at > %(now)s - make_interval(secs => r.chatter_seconds)
) * 2 <= r.chatter_changes
ORDER BY a.id FOR UPDATE OF a SKIP LOCKED
"""  # noqa: S608
END = "UPDATE alerts_alarm SET chatter_at = NULL WHERE id = ANY(%s)"
# The first of a chatter is never before it.
TOLD = """
SELECT DISTINCT l.alarm_id, n.route_id, n.contact_id
FROM alerts_noticeline l JOIN alerts_notice n ON n.id = l.notice_id
JOIN unnest(%s::int8[], %s::timestamptz[]) AS c(alarm, began)
    ON c.alarm = l.alarm_id AND n.created_at >= c.began
WHERE n.kind = 'chatter' AND n.state IN ('sent', 'waiting') AND n.route_id IS NOT NULL
"""


def begun(begins: Sequence[Change], now: datetime) -> set[int]:
    """Of these changes, those with which a chatter begins; their alarms are marked."""
    asked = {change.id: change.alarm for change in begins if not change.chatters}
    if not asked:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(TOO_OFTEN, [list(asked)])
        found = sorted(change for (change,) in cursor.fetchall())
        if not found:
            return set()
        cursor.execute(BEGIN, [now, [asked[change] for change in found]])
        marked = {alarm for (alarm,) in cursor.fetchall()}
    first: dict[int, int] = {}
    for change in found:
        if asked[change] in marked:
            first.setdefault(asked[change], change)
    return set(first.values())


def calmed(now: datetime) -> dict[int, set[tuple[int, int]]]:
    """By the newest raise of each alarm that has calmed down: the (route, contact) that heard of it."""
    with connection.cursor() as cursor:
        cursor.execute(CALM, {"now": now})
        rows = cursor.fetchall()
        if not rows:
            return {}
        newest = {alarm: change for alarm, _began, change in rows if change}
        cursor.execute(END, [[alarm for alarm, _began, _change in rows]])
        cursor.execute(TOLD, [[alarm for alarm, _, _ in rows], [began for _, began, _ in rows]])
        found: dict[int, set[tuple[int, int]]] = {}
        for alarm, route, contact in cursor.fetchall():
            if alarm in newest:
                found.setdefault(newest[alarm], set()).add((route, contact))
    return found
