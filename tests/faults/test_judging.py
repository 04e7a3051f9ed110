"""The judge of the soak finds what is lost, doubled, altered or stamped with another's time."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from devices.simulators.ledger import Ledger, replies
from tests.faults.judge import now
from tests.faults.soak import Findings, Kind, Soak, findings

ANSWERS = [20.0, 20.5, 21.0]
GOOD = 0


class Stored:
    """What a laboratory keeps of one thermostat: a ledger, and rows as the judge asks for them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.sqlite"
        self.kinds = {"thermostat": Kind("thermostat")}
        self.spans: dict[str, list[Any]] = {"thermostat": []}
        self.began = {"thermostat": 0}
        ledger = Ledger(self.path)
        ledger.enter(0, "tcp://127.0.0.1:1", "thermostat")
        for number, value in enumerate(ANSWERS):
            ledger.add(0, json.dumps([{"channel": 0, "time": float(number), "adc": value}]))
            time.sleep(0.002)
        ledger.close()
        self.sent = [datetime.fromtimestamp(reply.sent_at / 1e6, UTC) for reply in replies(self.path)]
        self.kept = list(zip(self.sent, ANSWERS, strict=True))

    def ledger_of(self, _driver: str) -> Path:
        return self.path

    def rows(self, question: str, *_values: object) -> list[tuple[Any, ...]]:
        if "vector" in question:
            return []
        return [("ch0.adc", "float", at, value, None, GOOD) for at, value in self.kept]

    def judged(self) -> Findings:
        since = now() - timedelta(minutes=1)
        return findings(cast("Soak", self), "thermostat", since, now() + timedelta(seconds=5))


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


def clock_of(found: Findings) -> list[str]:
    """Without the instrument's own clock, which this store does not keep."""
    return [text for text in found.lost if not text.startswith("ch0.device_time")]


def test_what_was_answered_and_is_stored_so_is_in_order(stored: Stored) -> None:
    found = stored.judged()
    assert (clock_of(found), found.invented) == ([], [])


def test_a_lost_reading_is_found(stored: Stored) -> None:
    del stored.kept[1]
    assert len(clock_of(stored.judged())) == 1


def test_a_doubled_reading_is_found(stored: Stored) -> None:
    stored.kept.append((stored.sent[1] + timedelta(milliseconds=1), ANSWERS[1]))
    assert len(stored.judged().invented) == 1


def test_another_value_is_found(stored: Stored) -> None:
    stored.kept[1] = (stored.sent[1], 99.0)
    found = stored.judged()
    assert (len(clock_of(found)), len(found.invented)) == (1, 1)


def test_another_time_is_found(stored: Stored) -> None:
    stored.kept[1] = (stored.sent[1] - timedelta(seconds=20), ANSWERS[1])
    found = stored.judged()
    assert (len(clock_of(found)), len(found.invented)) == (1, 1)
