"""One alarm, judged by a clock."""

from datetime import datetime

from alerts.changes import Changes
from alerts.judging import conditions, evaluation, memory
from alerts.judging.conditions import Delays
from alerts.models import Alarm, Rule, Source


def of(rule: Rule, **thing: object) -> Alarm | None:
    """The alarm of a rule on a thing, if there is one."""
    if "channel" not in thing:
        thing["channel"] = None
    return Alarm.objects.filter(rule=rule, **thing).select_related("rule", "instrument").first()


def take(alarm: Alarm, delays: Delays, points: list[tuple[int, int]], now: datetime) -> None:
    """Judge what a clock says, and write what comes of it."""
    made = Changes(now, Source.TIMER)
    remembered = memory.of(alarm)
    turns = conditions.walk(remembered, delays, points)
    memory.keep(alarm, remembered, delays)
    made.touch(alarm)
    evaluation.apply([(alarm, turns)], made)
    made.save()
