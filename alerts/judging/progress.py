"""Runs that do not get on."""

from datetime import datetime, timedelta

from django.db import transaction

from alerts import changes
from alerts.judging import connections, naming, reach, rulebook, single
from alerts.judging.conditions import Truth
from alerts.models import Alarm, Rule, RuleKind
from devices.edges import microseconds
from devices.models import Run

NO_PROGRESS_S = 1800.0


def judge(now: datetime) -> None:
    """Runs under way that do not get on, though their instrument is there."""
    rules = list(Rule.objects.filter(enabled=True, kind=RuleKind.NO_PROGRESS))
    if not rules:
        return
    running = {
        run.instrument_id: run
        for run in Run.objects.filter(state="running", instrument__retired_at=None)
        .select_related("instrument")
        .order_by("told_at", "id")
    }
    known = {
        (alarm.rule_id, alarm.instrument_id): alarm
        for alarm in Alarm.objects.filter(rule__in=rules).select_related("rule", "instrument")
    }
    for rule in rules:
        for pk, run in running.items():
            if rulebook.watches_instrument(rule, run.instrument):
                _judge_run(rule, run, known.get((rule.pk, pk)), now)
        for (rule_id, instrument), alarm in known.items():
            if rule_id == rule.pk and instrument not in running and (alarm.held or alarm.active):
                _judge_run(rule, None, alarm, now)


@transaction.atomic
def _judge_run(rule: Rule, run: Run | None, known: Alarm | None, now: datetime) -> None:
    said = None if run is None else [run.pk, run.progress]
    until = reach.complete(run.instrument.edge_id, now) if run else now
    since = _since(known, said)
    limit = timedelta(seconds=rule.seconds or NO_PROGRESS_S)
    is_stuck = run is not None and since is not None and until is not None and until - since > limit
    if known is not None and known.memory.get("run") == said and known.held == is_stuck:
        return
    instrument = run.instrument if run else known.instrument if known else None
    if instrument is None:
        return
    changes.turn(instrument.edge_id)
    alarm = single.of(rule, instrument=instrument.pk) or connections.new_alarm(
        rule, instrument, microseconds(now)
    )
    alarm.text = naming.of_instrument(rule, instrument.name, str(run) if run else "") if run else alarm.text
    if alarm.memory.get("run") != said:
        alarm.memory = {"run": said, "since": (run.told_at if run else now).isoformat()}
    truth = Truth.TRUE if is_stuck else Truth.FALSE
    single.take(alarm, rulebook.delays_of(rule), [(microseconds(until or now), truth)], now)


def _since(alarm: Alarm | None, said: object) -> datetime | None:
    """Since when a run stands where it stands; None if that is news."""
    if alarm is None or alarm.memory.get("run") != said:
        return None
    return datetime.fromisoformat(alarm.memory["since"])
