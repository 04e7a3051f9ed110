"""Compares what the instruments say they answered (their ledger) with what the centre has stored."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from devices.simulators.ledger import Reply, replies as ledger_replies
from tests.faults.lab import Lab
from tests.waiting import until

STAMP_TOLERANCE_US = 1_000_000  # between the instrument's answer and the edge's stamp, on a busy machine
SAMPLES = """
    SELECT i.name, c.key, s.time, s.value, s.quality
    FROM (SELECT * FROM sample UNION ALL SELECT * FROM sample_far) s
    JOIN devices_channel c ON c.id = s.channel_id JOIN devices_instrument i ON i.id = c.instrument_id
    WHERE i.driver = 'thermostat' AND s.time >= %s
"""
GAPS = """
    SELECT coalesce(i.name, ''), g.start, g."end", g.reason, g.count
    FROM gap g LEFT JOIN devices_instrument i ON i.id = g.instrument_id WHERE g."end" >= %s
"""

Key = tuple[str, float, float]  # instrument and its own clock at the samples of both channels


@dataclass
class Gap:
    instrument: str
    start: datetime
    end: datetime
    reason: str
    count: int

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


@dataclass
class Verdict:
    """What was answered; what of it is missing, doubled or altered; what is stored but was never answered."""

    answered: int = 0
    missing: list[Reply] = field(default_factory=list)
    doubled: list[Key] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    invented: list[Key] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    @property
    def untrue(self) -> list[object]:
        """What may never be, whatever was broken: doubled, altered or invented readings."""
        return [*self.doubled, *self.altered, *self.invented]

    def gaps_for(self, *reasons: str) -> list[Gap]:
        return [gap for gap in self.gaps if gap.reason in reasons]

    def __str__(self) -> str:
        return (
            f"{self.answered} answered; missing {len(self.missing)} {self.missing[:3]}; "
            f"doubled {self.doubled[:5]}; altered {self.altered[:5]}; invented {self.invented[:5]}; "
            f"gaps {self.gaps}"
        )


def polled_throughout(lab: Lab, start: datetime, end: datetime) -> None:
    """Between two moments every instrument answered, at least half as often as it should."""
    first, last = microseconds(start), microseconds(end)
    counted = Counter(r.instrument for r in ledger_replies(lab.ledger) if first <= r.sent_at <= last)
    due = (end - start).total_seconds() / lab.interval
    assert all(counted[number] >= due / 2 for number in range(lab.instruments)), f"of {due}: {counted}"


def now() -> datetime:
    return datetime.now(UTC)


def microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


def judge(lab: Lab, since: datetime, patience: float = 30.0) -> Verdict:
    """Everything answered from `since` until now, once all of it is stored or patience is at its end."""
    before = now()
    verdict = compare(lab, since, before)

    def settled() -> bool:
        nonlocal verdict
        verdict = compare(lab, since, before)
        return not verdict.missing

    try:
        until(settled, patience, "everything answered is stored", every=0.5)
    except AssertionError:
        return verdict  # the test says whether what is missing may be missing
    return verdict


def compare(lab: Lab, since: datetime, before: datetime) -> Verdict:
    answered = {
        key_of(reply): reply
        for reply in ledger_replies(lab.ledger)
        if microseconds(since) <= reply.sent_at <= microseconds(before)
    }
    stored = stored_polls(lab, since)
    verdict = Verdict(len(answered), gaps=[Gap(*row) for row in lab.rows(GAPS, since)])
    counted = Counter(key for key, _, _ in stored)
    verdict.missing = [reply for key, reply in answered.items() if key not in counted]
    verdict.doubled = [key for key, times in counted.items() if times > 1]
    for key, at, values in stored:
        if reply := answered.get(key):
            verdict.altered += differences(reply, at, values)
        elif (
            at <= microseconds(before) - STAMP_TOLERANCE_US and at >= microseconds(since) + STAMP_TOLERANCE_US
        ):
            verdict.invented.append(key)
    return verdict


def key_of(reply: Reply) -> Key:
    zero, one = reply.device_times
    return (f"thermostat {reply.instrument}", zero, one)


def stored_polls(lab: Lab, since: datetime) -> list[tuple[Key, int, dict[str, float | None]]]:
    """What each poll brought, put together again: its key, the edge's stamp, and its good values."""
    polls: dict[tuple[str, datetime], dict[str, float | None]] = defaultdict(dict)
    for name, key, time, value, quality in lab.rows(SAMPLES, since):
        if quality & 3 == 0:
            polls[name, time][key] = value
    return [
        ((name, *_device_times(values)), microseconds(at), values)
        for (name, at), values in polls.items()
        if "ch0.device_time" in values and "ch1.device_time" in values
    ]


def _device_times(values: dict[str, float | None]) -> tuple[float, float]:
    return (values["ch0.device_time"] or 0.0, values["ch1.device_time"] or 0.0)


def differences(reply: Reply, at: int, values: dict[str, float | None]) -> list[str]:
    """How what was stored differs from what was answered."""
    found = [
        f"{reply.instrument} {key}: stored {values.get(key)}, answered {value}"
        for key, value in reply.values.items()
        if value is not None and values.get(key) != value
    ]
    if abs(at - reply.sent_at) > STAMP_TOLERANCE_US:
        found.append(f"{reply.instrument}: stamped {(at - reply.sent_at) / 1e6:+.1f} s from its answer")
    return found
