"""Whether instruments can be had: what gaps, and rows of readings that are bad throughout, say of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from uuid import UUID

import numpy as np
from django.db.models import Q

from alerts.changes import Changes
from alerts.judging import conditions, memory, naming, rulebook
from alerts.judging.conditions import Truth, Turn
from alerts.judging.rulebook import Book
from alerts.models import Alarm, Rule, RuleKind
from devices.edges import microseconds
from devices.models import Instrument
from devices.readings import AWAY, QUALITY_MASK, Quality
from telemetry.columns import Columns
from telemetry.gaps import NamedGap
from telemetry.times import moment

SHARE = 0.5  # of an instrument's channels, at least, a row is that says nothing of any
LEAST = 2

Points = list[tuple[int, int]]


def judge(
    book: Book,
    columns: Columns,
    gaps: Iterable[NamedGap],
    seen: Mapping[str, int],
    troubled: set[UUID],
    changes: Changes,
) -> list[tuple[Alarm, list[Turn]]]:
    """The alarms of instruments that were lost or found again. Columns are of the live track, in order.

    `troubled`: instruments with an alarm of their own that is at work.
    """
    rules = book.instrument_rules(RuleKind.NOT_CONNECTED)
    if not rules:
        return []
    at_work = _at_work(book) if troubled else {}
    points = _points(book, columns, gaps, seen, {alarm.instrument_id for alarm in at_work.values()})
    judged = []
    for instrument, said in points.items():
        for rule, of in rules:
            if instrument in of:
                alarm = at_work.get((rule.pk, instrument)) or _alarm(book, rule, instrument, said)
                if alarm is not None:
                    judged.append((alarm, _walk(alarm, rule, said)))
                    changes.touch(alarm)
    return judged


def _points(
    book: Book,
    columns: Columns,
    gaps: Iterable[NamedGap],
    seen: Mapping[str, int],
    lost: set[UUID | None],
) -> dict[UUID, Points]:
    """What this parcel says of the instruments it matters for: in order, TRUE where they could not be had."""
    points: dict[UUID, Points] = defaultdict(list)
    for gap in gaps:
        if gap.instrument and not gap.key and gap.reason in AWAY:
            points[UUID(gap.instrument)].append((microseconds(gap.start), Truth.TRUE))
    rows = _rows(book, columns, {pk for pk in (*lost, *points) if pk})
    for instrument, said in rows.items():
        if instrument in lost or instrument in points or any(truth == Truth.TRUE for _, truth in said):
            points[instrument] += said
    for text, time in seen.items():
        if UUID(text) in lost or UUID(text) in points:
            points[UUID(text)].append((time, Truth.FALSE))
    return {instrument: sorted(said) for instrument, said in points.items() if instrument in book.instruments}


def _rows(book: Book, columns: Columns, wanted: set[UUID]) -> dict[UUID, Points]:
    """Of these instruments, and of those with bad readings: for each time whether all it said was bad."""
    is_bad = (columns.quality & QUALITY_MASK) == Quality.BAD
    if not is_bad.any() and not wanted:
        return {}
    suspects = {book.instrument_of.get(int(number)) for number in np.unique(columns.channel[is_bad])}
    channels = [n for pk in (suspects | wanted) if pk for n in book.channels_of.get(pk, ())]
    mine = np.flatnonzero(np.isin(columns.channel, np.array(channels, np.int64)))
    counted: dict[tuple[UUID, int], list[int]] = defaultdict(lambda: [0, 0])
    for channel, time, bad in zip(
        columns.channel[mine].tolist(), columns.time[mine].tolist(), is_bad[mine].tolist(), strict=True
    ):
        count = counted[book.instrument_of[channel], time]
        count[0] += 1
        count[1] += bad
    found: dict[UUID, Points] = defaultdict(list)
    for (instrument, time), (all_of_it, bad) in counted.items():
        if bad < all_of_it:
            found[instrument].append((time, Truth.FALSE))
        elif bad >= max(LEAST, SHARE * len(book.channels_of[instrument])):
            found[instrument].append((time, Truth.TRUE))
    return found


def _at_work(book: Book) -> dict[tuple[int, UUID | None], Alarm]:
    """Those whose instruments are lost; the rest are looked up when one is."""
    lost = Alarm.objects.filter(edge=book.edge_id, rule__kind=RuleKind.NOT_CONNECTED)
    alarms = lost.filter(Q(held=True) | Q(active=True))
    return {
        (alarm.rule_id, alarm.instrument_id): _known(book, alarm)
        for alarm in alarms
        if _is_known(book, alarm)
    }


def _is_known(book: Book, alarm: Alarm) -> bool:
    return alarm.rule_id in book.rules and alarm.instrument_id in book.instruments


def _known(book: Book, alarm: Alarm) -> Alarm:
    alarm.rule, alarm.instrument = (
        book.rules[alarm.rule_id],
        book.instruments[alarm.instrument_id or UUID(int=0)],
    )
    return alarm


def _alarm(book: Book, rule: Rule, instrument: UUID, said: Points) -> Alarm | None:
    """That of an instrument that is lost now; None where nothing is."""
    if not any(truth == Truth.TRUE for _, truth in said):
        return None
    found = Alarm.objects.filter(rule=rule, instrument=instrument, channel=None).first()
    if found is not None:
        return _known(book, found)
    return new_alarm(rule, book.instruments[instrument], said[0][0])


def new_alarm(rule: Rule, instrument: Instrument, at: int, what: str = "") -> Alarm:
    """An alarm of a rule on an instrument, for its first trouble."""
    return Alarm(
        rule=rule,
        edge_id=instrument.edge_id,
        instrument=instrument,
        since=moment(at),
        priority=rule.priority,
        text=naming.of_instrument(rule, instrument.name, what),
    )


def _walk(alarm: Alarm, rule: Rule, said: Points) -> list[Turn]:
    """What was said before the newest that was judged is known: a gap is told again as it grows."""
    remembered = memory.of(alarm)
    since = remembered.judged or 0
    delays = rulebook.delays_of(rule)
    turns = conditions.walk(remembered, delays, [point for point in said if point[0] >= since])
    memory.keep(alarm, remembered, delays)
    return turns
