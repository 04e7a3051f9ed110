"""A rule tried on history says what live judging would have raised."""

import random
from datetime import timedelta
from typing import Any

import pytest

from alerts.lifecycle import Event
from alerts.models import AlarmEvent, Rule, RuleKind
from alerts.rules import backtest
from devices.errors import Refused
from devices.readings import Quality
from devices.wire import Batch
from labsite import pipeline
from telemetry.models import Gap
from tests.alerts.factories import rule
from tests.telemetry.factories import NOW, at, edge, instrument, moment, new_spool, parcel

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (RuleKind.HIGH, {"high": 30.0}),
        (RuleKind.HIGH, {"high": 30.0, "deadband": 2.0}),
        (RuleKind.LOW, {"low": 29.0, "on_delay": 3.0}),
        (RuleKind.OUTSIDE, {"low": 29.0, "high": 31.0, "on_delay": 2.0, "off_delay": 4.0}),
        (RuleKind.RATE, {"high": 60.0, "seconds": 5.0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_it_says_what_was_raised_when_the_readings_came_live(
    kind: str, fields: dict[str, Any], seed: int
) -> None:
    bench = edge()
    bath = instrument(bench)
    tried = rule(kind, key="a", **fields)
    chance, spool, value = random.Random(seed), new_spool(), 30.0
    second, sequence = -50.0, 1
    while second < 0:
        rows: list[int] = []
        values: list[float | None] = []
        qualities: list[int] = []
        for _ in range(chance.randint(1, 5)):
            value += chance.gauss(0, 0.8)
            rows += [0, 0, at(second) if not rows else 1_000_000]
            is_bad = chance.random() < 0.1
            values.append(None if is_bad else value)
            qualities.append(Quality.BAD if is_bad else Quality.GOOD)
            second += 1
        sent = parcel(Batch([str(bath.pk)], [["a"]], rows, values, qualities), first=sequence, spool=spool)
        pipeline.ingest(bench, sent, moment(second))
        sequence += 1
    live = AlarmEvent.objects.filter(alarm__rule=tried).order_by("id")
    found = backtest.run(tried, NOW - timedelta(hours=1), moment(second))
    assert [each.start for each in found.raised] == [row.at for row in live if row.event == Event.RAISE]
    ends = [each.end for each in found.raised if each.end]
    assert ends == [row.at for row in live if row.event == Event.CLEAR]
    assert found.readings >= 50


def test_it_counts_how_long_all_of_it_would_have_stood() -> None:
    bench = edge()
    bath = instrument(bench)
    values: list[float | None] = [20.0, 31.0, 31.0, 20.0, 31.0]
    rows = [number for index in range(5) for number in (0, 0, at(-10) if not index else 1_000_000)]
    pipeline.ingest(bench, parcel(Batch([str(bath.pk)], [["a"]], rows, values)), NOW)
    found = backtest.run(Rule(kind=RuleKind.HIGH, key="a", high=30.0), moment(-60), NOW)
    assert [(each.what, each.start, each.end) for each in found.raised] == [
        ("bath a", moment(-9), moment(-7)),
        ("bath a", moment(-6), None),
    ]
    assert found.standing == timedelta(seconds=8)
    assert (found.channels, found.readings) == (1, 5)


def test_connections_are_tried_on_the_gaps_there_were() -> None:
    bench = edge()
    bath = instrument(bench)
    for start, end in ((-100, -90), (-50, -48)):
        Gap.objects.create(
            edge=bench, instrument=bath, start=moment(start), end=moment(end), reason="not connected"
        )
    found = backtest.run(Rule(kind=RuleKind.NOT_CONNECTED, on_delay=5.0), moment(-3600), NOW)
    assert [(each.start, each.end) for each in found.raised] == [(moment(-95), moment(-90))]


@pytest.mark.parametrize(
    "kind", [RuleKind.EDGE_SILENT, RuleKind.NO_PROGRESS, RuleKind.UNDELIVERED, RuleKind.SINK_NOT_FED]
)
def test_what_history_does_not_tell_is_refused_in_words(kind: str) -> None:
    with pytest.raises(Refused, match="history does not tell"):
        backtest.run(Rule(kind=kind), moment(-60), NOW)
