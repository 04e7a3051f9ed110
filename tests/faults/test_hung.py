"""One that hangs holds up nobody else, or only those that share its link, by the edge's own tally."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.judge import now
from tests.faults.lab import Lab
from tests.faults.proxy import Proxy
from tests.waiting import until

HANGS_S = 12.0  # two of a poll's deadlines
LATENESS_MAX_MS = 20.0
SLACK = 5.0  # for a machine that runs other tests meanwhile
FIGURE = """
    SELECT l.value FROM devices_latest l JOIN devices_channel c ON c.id = l.channel_id
    JOIN devices_instrument i ON i.id = c.instrument_id
    WHERE i.driver = 'edge_host' AND c.key = %s AND l.seen_at > %s AND l.value IS NOT NULL
"""
OVERRUNS = """
    SELECT i.name, g.count FROM gap g JOIN devices_instrument i ON i.id = g.instrument_id
    WHERE g.reason = 'overrun' AND g."end" >= %s
"""
SHARED, BEHIND, ALONE = "thermostat 0", "thermostat 0 again", "thermostat 1"


class Hanging(Lab):
    """Five thermostats, the first of them twice, as two on one serial line; the second hangs by itself."""

    def start_instruments(self, stack: ExitStack) -> None:
        super().start_instruments(stack)
        host = urlsplit(self.addresses[1])
        self.second_wire = stack.enter_context(Proxy(host.hostname or "", host.port or 0))
        self.addresses[1] = f"tcp://127.0.0.1:{self.second_wire.port}"

    def lab_file(self, interval: float = 0) -> str:
        again = (
            f'[[instrument]]\nname = "{BEHIND}"\ndriver = "thermostat"\nedge = "{self.edge_name}"\n'
            f'address = "{self.addresses[0]}"\ninterval = {interval or self.interval}\n'
        )
        return f"{super().lab_file(interval)}\n{again}"

    def figure(self, key: str, after: datetime) -> float:
        """What the edge says of itself after this time."""
        [(value,)] = until(lambda: self.rows(FIGURE, key, after), 30, f"{key} is told")
        return float(value)

    def overruns(self, since: datetime) -> Counter[str]:
        counted: Counter[str] = Counter()
        for name, count in self.rows(OVERRUNS, since):
            counted[name] += count
        return counted

    def hang(self, wire: Proxy) -> datetime:
        """Have what is at the end of the wire take every request and answer none; when that ended."""
        wire.silence("down")
        time.sleep(HANGS_S)
        return now()

    def recover(self, wire: Proxy) -> None:
        start = now()
        wire.resume()
        until(lambda: self.oldest_latest() > start, 40, f"all answer again\n{self.logs()}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hanging]:
    folder: Path = tmp_path_factory.mktemp("hung")
    with Hanging(folder, instruments=5) as lab:
        yield lab


def test_one_that_hangs_on_its_own_link_delays_no_other(lab: Hanging) -> None:
    since = now()
    end = lab.hang(lab.second_wire)
    p99 = lab.figure("lateness_p99", end)
    lab.recover(lab.second_wire)
    assert p99 <= SLACK * LATENESS_MAX_MS
    assert lab.overruns(since).keys() == {ALONE}


def test_on_a_shared_link_only_those_behind_it_wait_and_every_overrun_is_stored(lab: Hanging) -> None:
    since = now()
    told_before = lab.figure("overruns", since)
    end = lab.hang(lab.instrument_wire)
    told = lab.figure("overruns", end) - told_before
    lab.recover(lab.instrument_wire)
    assert told > 0
    until(lambda: lab.overruns(since).total() >= told, 20, f"{told} overruns stored: {lab.overruns(since)}")
    assert lab.overruns(since).keys() == {SHARED, BEHIND}
