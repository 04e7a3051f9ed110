"""Compares what the instruments say they answered (their ledger) with what the centre has stored."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from devices.simulators.ledger import Reply, replies as ledger_replies
from tests.faults.lab import Lab
from tests.waiting import until

STAMP_TOLERANCE_US = 5_000_000  # from an answer to the edge's stamp: a poll's deadline, if the machine stalls
LEDGER_LAG_US = 1_500_000  # until an answer is in the ledger
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

Key = tuple[str, int, float]  # instrument, TEC channel, and the instrument's own clock at the sample


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
    first, last = microseconds(since), microseconds(before)
    answered: dict[Key, list[Reply]] = defaultdict(list)
    due: dict[Key, Reply] = {}
    for reply in ledger_replies(lab.ledger):
        if reply.sent_at < first - STAMP_TOLERANCE_US:
            continue
        for number, device_time in enumerate(reply.device_times):
            # The same sample may be answered twice, when one poll is late and the next in time.
            key = (f"thermostat {reply.instrument}", number, device_time)
            answered[key].append(reply)
            if first <= reply.sent_at <= last:
                due.setdefault(key, reply)
    stored = stored_samples(lab, since)
    verdict = Verdict(len(due), gaps=[Gap(*row) for row in lab.rows(GAPS, since)])
    counted = Counter(sample.key for sample in stored)
    verdict.missing = [reply for key, reply in due.items() if key not in counted]
    verdict.doubled = [key for key, times in counted.items() if times > 1]
    for sample in stored:
        if replies := answered.get(sample.key):
            found = [differences(reply, sample) for reply in replies]
            verdict.altered += [] if [] in found else found[0]
        elif sample.at <= last - LEDGER_LAG_US:
            verdict.invented.append(sample.key)
    return verdict


@dataclass
class Sample:
    """What is stored of one sample of one TEC channel: its key, the edge's stamp, and its good values."""

    key: Key
    at: int
    values: dict[str, float | None]


def stored_samples(lab: Lab, since: datetime) -> list[Sample]:
    together: dict[tuple[str, int, datetime], dict[str, float | None]] = defaultdict(dict)
    for name, key, time, value, quality in lab.rows(SAMPLES, since):
        if quality & 3 == 0:
            together[name, int(key[2]), time][key] = value
    return [
        Sample((name, number, device_time), microseconds(at), values)
        for (name, number, at), values in together.items()
        if (device_time := values.get(f"ch{number}.device_time")) is not None
    ]


def differences(reply: Reply, sample: Sample) -> list[str]:
    """How what was stored differs from what was answered."""
    name, number, _ = sample.key
    found = [
        f"{name} {key}: stored {sample.values.get(key)}, answered {value}"
        for key, value in reply.values.items()
        if key.startswith(f"ch{number}.") and value is not None and sample.values.get(key) != value
    ]
    if abs(sample.at - reply.sent_at) > STAMP_TOLERANCE_US:
        found.append(f"{name}: stamped {(sample.at - reply.sent_at) / 1e6:+.1f} s from its answer")
    return found
