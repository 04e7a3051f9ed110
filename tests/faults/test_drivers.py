"""Every driver with a simulator, in the real edge process, while its instrument misbehaves at random times.

`make test-faults` goes on for longer (LABSITE_OUTAGE_S), with other faults each day (LABSITE_SEED).
"""

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from tests.faults.judge import now
from tests.faults.soak import TESTED, Soak, findings, schedule
from tests.waiting import until

SOAK_S = max(120.0, 5 * float(os.environ.get("LABSITE_OUTAGE_S", "0")))
SEED = int(os.environ.get("LABSITE_SEED", "3"))
CALM_S = 7.0  # after the last fault, so that whatever came of it is over
AWAY_S = 6.0
CPU_MAX = 0.05
DRIVERS = [kind.driver for kind in TESTED]


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    """The laboratory, once all instruments have been through all of their faults."""
    folder: Path = tmp_path_factory.mktemp("soak")
    with Soak(folder) as lab:
        lab.stop_instruments()
        for kind in lab.kinds.values():
            lab.start_instrument(kind.driver, schedule(kind, SOAK_S, SEED))
        lab.since = now()
        time.sleep(SOAK_S + CALM_S)
        lab.until = now() - timedelta(seconds=1)
        yield lab


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_an_instrument_said_is_stored_once_as_it_was_and_then(soak: Soak, driver: str) -> None:
    def settled() -> bool:
        return not findings(soak, driver, soak.since, soak.until).lost

    with contextlib.suppress(AssertionError):  # told in full below
        until(settled, 20, "all is stored", every=0.5)
    found = findings(soak, driver, soak.since, soak.until)
    assert found.answered > SOAK_S / soak.kinds[driver].interval / 4, str(found)
    assert found.stored > 0
    assert not [*found.lost, *found.invented], f"{soak.spans[driver]}\n{found}"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_only_raises_what_a_session_expects(soak: Soak, driver: str) -> None:
    """Whatever else it had raised would be in the log with its traceback."""
    log = soak.processes["edge"].output
    assert "Traceback" not in log, log[log.index("Traceback") - 2000 :][:6000]
    assert soak.processes[driver].running is not None
    assert "Traceback" not in soak.processes[driver].output


def test_all_answer_again(soak: Soak) -> None:
    for driver in soak.kinds:
        assert soak.is_live(driver), f"{driver} does not answer again\n{soak.logs()}"


def test_an_edge_whose_instruments_are_all_away_is_idle(soak: Soak) -> None:
    """The last test: it leaves them away."""
    soak.stop_instruments()
    time.sleep(1.0)
    edge = psutil.Process(soak.processes["edge"].pid)
    before, began = edge.cpu_times(), time.monotonic()
    time.sleep(AWAY_S)
    after, took = edge.cpu_times(), time.monotonic() - began
    share = (after.user + after.system - before.user - before.system) / took
    assert share <= CPU_MAX, f"{share:.1%} of a core"
