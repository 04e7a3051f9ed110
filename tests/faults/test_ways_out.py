"""InfluxDB, MQTT and Prometheus are fed at once and killed in mid-flow; the instruments' ledger judges."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.faults.judge import judge, now
from tests.faults.test_faults import assert_spotless, live_again, outage
from tests.faults.ways_out import Point, WaysOut, given
from tests.labsite.mqtt.kit import Ear
from tests.waiting import until

INSTRUMENTS = 3
LATE = timedelta(seconds=5)  # from an instrument's answer to a topic, on a machine that stalls


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WaysOut]:
    with WaysOut(tmp_path_factory.mktemp("lab"), instruments=INSTRUMENTS) as lab:
        yield lab


def test_each_is_killed_in_mid_flow_and_each_reading_is_in_all_of_them_once(lab: WaysOut) -> None:
    since = now()
    outage(lab, 2)
    for name, out in lab.outs.items():
        outage(lab, 0.5)
        # VictoriaMetrics says that it has what it writes to disk only seconds later: killed, it loses that.
        out.stop() if name == "victoria" else out.kill()
    outage(lab, given())
    live_again(lab)  # ingest does not wait for any of them
    assert lab.backlog() > 0
    back = now()
    for out in lab.outs.values():
        out.start()
    outage(lab, 2)
    lab.kill("central")  # with batches on their way
    lab.start("central")
    with Ear(lab.mosquitto.port) as ear:
        until(lambda: all(len(times) > 3 for times in heard(ear)), 40, "three instruments are told of again")
        assert_the_present_only(ear, back)
    assert_spotless(judge(lab, since))
    assert_complete(lab)
    until(lambda: lab.prometheus.value("max(labsite_reading_age_seconds)") is not None, 20, "scraped again")
    until(lambda: (lab.prometheus.value("max(labsite_reading_age_seconds)") or 99) < 10, 20, "the present")


def assert_complete(lab: WaysOut) -> None:
    """What PostgreSQL has, both have, and nothing else; polling is stopped to compare."""
    lab.stop("edge")
    until(lambda: lab.backlog() == 0, 40, f"the sinks catch up\n{lab.logs()}", every=0.2)
    stored = lab.in_postgres()
    assert len(stored) > 1000
    assert_a_copy(lab.in_influx, stored)
    in_ms = numbers(lab.in_postgres(per_ms=1000))
    assert_a_copy(lambda: set(numbers(lab.in_victoria())), set(in_ms))
    assert numbers(lab.in_victoria()) == pytest.approx(in_ms, rel=1e-9)  # it keeps some 12 digits
    assert lab.rows("SELECT count(*) FROM set_aside") == [(0,)]
    lab.start("edge")


def numbers(points: set[Point]) -> dict[tuple[str, str, int], float]:
    """The values by what they are of."""
    return {(instrument, channel, time): value for instrument, channel, time, value in points}


def assert_a_copy(copy: Callable[[], set[Any]], stored: set[Any]) -> None:
    """It may take a moment to show what it has taken."""
    with contextlib.suppress(AssertionError):
        until(lambda: copy() == stored, 20, every=0.5)
    found = copy()
    missing, more = sorted(stored - found), sorted(found - stored)
    assert (missing[:5], more[:5]) == ([], []), f"{len(missing)} missing, {len(more)} more"


def heard(ear: Ear) -> list[list[datetime]]:
    """The times that each thermostat's topic said since the ear listens, but for what was retained."""
    told: dict[int, list[datetime]] = {number: [] for number in range(INSTRUMENTS)}
    for topic, said, retained in list(ear.heard):
        found = re.search(r"/thermostat (\d)/state$", topic)
        if found and not retained:
            told[int(found[1])].append(datetime.fromisoformat(json.loads(said)["time"]))
    return list(told.values())


def assert_the_present_only(ear: Ear, since: datetime) -> None:
    """Nothing of the outage is told afterwards, and each instrument's readings come in order."""
    for times in heard(ear):
        assert times == sorted(times)
        assert times[0] > since - LATE


def test_what_was_made_while_a_sink_did_not_exist_is_filled_in(lab: WaysOut, tmp_path: Path) -> None:
    """A copy that is lost is made again from PostgreSQL, and goes on from there."""
    lab.influx.ask("DROP DATABASE lab")
    lab.manage("rebuild_sink", "old")
    outage(lab, 2)
    assert_complete(lab)
