"""Labsite on one machine as a new user meets it: started, looked at, stopped, killed, started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from devices.simulators import lab
from labsite.onebox import leftovers
from tests.onebox import ROOT, OneBox, rows
from tests.servers import Postgres, Redis
from tests.waiting import until

PROGRAMS = {"postgres", "redis", "web", "beat", "ingest", "central", "edge-local", "demo"}


@pytest.fixture(scope="module")
def labsite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    with OneBox(tmp_path_factory.mktemp("labsite") / "data").start() as started:
        yield started


@pytest.fixture(scope="module")
def browser(labsite: OneBox) -> Iterator[httpx.Client]:
    with labsite.browser() as client:
        yield client


def test_it_says_where_it_is_and_with_which_password(labsite: OneBox) -> None:
    assert f"Labsite runs at {labsite.url}/" in labsite.output
    assert "User name:      admin" in labsite.output
    assert len(labsite.password) >= 12
    assert httpx.get(f"{labsite.url}/api/v1/health/").status_code == 200


def test_the_password_is_kept_nowhere(labsite: OneBox) -> None:
    password = labsite.password.encode()
    for path in [*labsite.folder.glob("*"), *(labsite.folder / "logs").glob("*")]:
        assert not path.is_file() or password not in path.read_bytes(), path


def test_the_values_of_the_demo_lab_change_each_second(browser: httpx.Client) -> None:
    instruments = [each for each in rows(browser, "/api/v1/instruments/") if each["driver"] == "thermostat"]
    assert len(instruments) == 2

    def newest() -> str:
        return max((str(each["time"]) for each in rows(browser, "/api/v1/latest/")), default="")

    for _ in range(3):
        before = until(newest, 30, "a value")
        until(lambda before=before: newest() > before, 3, "the next value")  # type: ignore[misc]


BELIEVABLE = {  # of each instrument of the demo lab, by the name of its stand: a channel and its range
    "thermostat-1": ("demo thermostat 1", "ch0.temperature", 5, 60),
    "thermostat-2": ("demo thermostat 2", "ch1.temperature", 5, 60),
    "qpcr": ("demo qPCR machine", "sample.1", 4, 105),
    "sensor": ("demo room sensor", "pressure", 900, 1100),
    "calibration": ("demo calibration", "psi", 0.3, 1),
    "ups": ("demo UPS", "battery_level", 20, 100),
    "shell": ("demo calibration shell", "psi", 0.3, 1),
}
STAYS = {"shell"}  # files are there whether or not somebody writes them


def latest(browser: httpx.Client, stand: str) -> dict[str, object]:
    """The newest reading of its channel above; empty if there is none."""
    name, key, _, _ = BELIEVABLE[stand]
    found = rows(browser, f"/api/v1/latest/?instrument_name={name}")
    return next((each for each in found if each["key"] == key), {})


def test_one_of_each_kind_is_live_and_believable(browser: httpx.Client) -> None:
    assert BELIEVABLE.keys() == set(lab.usual())
    for stand, (_, _, low, high) in BELIEVABLE.items():
        reading = until(lambda stand=stand: latest(browser, stand), 30, f"{stand} says something")  # type: ignore[misc]
        assert reading["quality"] == "good", reading
        assert low <= float(str(reading["value"])) <= high, reading


def test_each_can_be_unplugged_and_comes_back_by_itself(labsite: OneBox, browser: httpx.Client) -> None:
    def are(quality: str) -> bool:
        return all(latest(browser, stand).get("quality") == quality for stand in switches)

    switches = {stand: labsite.folder / "demo" / f"{stand}.off" for stand in BELIEVABLE.keys() - STAYS}
    for switch in switches.values():
        switch.touch()
    until(lambda: are("bad"), 40, "all are away")
    for switch in switches.values():
        switch.unlink()
    until(lambda: are("good"), 60, "all are back")


def test_a_second_start_says_that_one_is_running(labsite: OneBox) -> None:
    again = labsite.command_line("run")
    assert again.returncode == 1
    assert again.stdout == f"Labsite is running already (pid {labsite.pid}) at {labsite.url}/\n"
    assert httpx.get(f"{labsite.url}/api/v1/health/").status_code == 200


def test_status_names_every_process(labsite: OneBox) -> None:
    status = labsite.command_line("status")
    assert status.returncode == 0
    lines = status.stdout.splitlines()
    assert lines[0].startswith(f"Labsite runs at {labsite.url}/ (pid {labsite.pid})")
    assert {line.split()[0] for line in lines[1:]} == PROGRAMS
    assert all(line.split()[1] == "RUNNING" for line in lines[1:])


def test_logs_show_every_process_in_one_form_without_passwords(labsite: OneBox) -> None:
    shown = labsite.command_line("logs", "--lines", "200").stdout
    assert {line.split()[0] for line in shown.splitlines()} >= PROGRAMS
    assert "INFO celery.beat: beat: Starting" in shown
    assert (labsite.folder / "redis" / "password").read_text().strip() not in shown
    assert (labsite.folder / "postgres" / "password").read_text().strip() not in shown


@pytest.mark.parametrize("program", ["ingest", "edge-local", "postgres", "redis"])
def test_what_dies_is_started_again(labsite: OneBox, program: str) -> None:
    before = labsite.pid_of(program)
    os.kill(before, signal.SIGKILL)
    until(lambda: labsite.pid_of(program) not in (0, before), 20, f"{program} runs again", every=0.3)
    until(lambda: httpx.get(f"{labsite.url}/api/v1/health/").status_code == 200, 20, "health", every=0.3)
    until(lambda: f"exited: {program}" in labsite.output, 5, "the terminal says so")


def test_no_process_is_given_a_secret_on_its_command_line(labsite: OneBox) -> None:
    secrets = [(labsite.folder / name / "password").read_text().strip() for name in ("postgres", "redis")]
    for pid in labsite.pids():
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        assert not any(secret in words for secret in secrets)


def test_the_database_is_not_open_to_whoever_is_on_this_machine(labsite: OneBox) -> None:
    pid = labsite.pid_of("postgres")
    assert os.geteuid() != 0 or Path(f"/proc/{pid}").stat().st_uid != 0
    assert (labsite.folder / "postgres").stat().st_mode & 0o077 == 0
    assert (labsite.folder / "edge-local.key").stat().st_mode & 0o077 == 0


# ---- stopping, and what comes after


def test_a_life_of_starts_and_stops(tmp_path: Path) -> None:
    """One test, because a start takes seconds: each step goes on from the one before."""
    with OneBox(tmp_path / "data", LABSITE_ADMIN_PASSWORD="a word of my own") as labsite:
        labsite.start()
        assert "the one in LABSITE_ADMIN_PASSWORD" in labsite.output
        with labsite.browser("a word of my own") as browser:
            known = {each["id"] for each in rows(browser, "/api/v1/instruments/")}
        assert len(known) == 8  # the demo lab and the edge itself

        # SIGTERM ends everything in order, with nothing left.
        began = time.monotonic()
        assert labsite.stop(signal.SIGTERM, within=12) == 0
        assert time.monotonic() - began <= 10
        assert labsite.pids() == []
        assert "Labsite has stopped." in labsite.output

        # The next start goes on with the same data, and makes no second administrator.
        labsite.start()
        assert "Password" not in labsite.output
        with labsite.browser("a word of my own") as browser:
            assert {each["id"] for each in rows(browser, "/api/v1/instruments/")} == known

        # Kill -9 of what runs in the terminal: the process manager stops the others by itself,
        # and a start in the middle of that works.
        labsite.kill()
        labsite.start()

        # Kill -9 of all managers leaves everything else running; the next start ends that first.
        labsite.kill_all_managers()
        left = labsite.pids()
        assert len(left) >= len(PROGRAMS)
        labsite.start()
        assert "Ended what an earlier start had left behind" in labsite.output
        assert not any(leftovers.is_there(pid) for pid in left)

        # Kill -9 of the process manager alone: everything is stopped, and said so.
        os.kill(labsite.manager(), signal.SIGKILL)
        assert labsite.wait(30) == 1
        assert "the process manager ended by signal 9" in labsite.output
        assert labsite.pids() == []

        # `stop` from another terminal.
        labsite.start()
        stopped = labsite.command_line("stop")
        assert (stopped.returncode, stopped.stdout) == (0, "Labsite has stopped.\n")
        assert labsite.wait(5) == 0
        assert labsite.command_line("status").returncode == 3
        assert labsite.pids() == []


def test_stop_ends_what_a_killed_start_left(tmp_path: Path) -> None:
    with OneBox(tmp_path / "data", LABSITE_DEMO="0") as labsite:
        labsite.start()
        with labsite.browser() as browser:
            assert [each["driver"] for each in rows(browser, "/api/v1/instruments/")] == ["edge_host"]
        labsite.kill_all_managers()
        stopped = labsite.command_line("stop")
        assert stopped.stdout.startswith("Labsite was not running; ")
        assert labsite.pids() == []
        assert labsite.command_line("stop").stdout == "Labsite is not running.\n"


def test_a_database_and_a_broker_of_the_users_own(tmp_path: Path) -> None:
    """Then the embedded ones are not started, and their passwords are not shown."""
    with Postgres(tmp_path / "pg").start() as postgres, Redis(tmp_path / "redis").start() as own:
        urls = {"LABSITE_DATABASE_URL": postgres.make_database(), "LABSITE_BROKER_URL": own.url}
        with OneBox(tmp_path / "data", LABSITE_LOG_FORMAT="json", **urls).start() as labsite:
            shown = labsite.command_line("status").stdout
            names = {line.split()[0] for line in shown.splitlines()[1:]}
            assert names == PROGRAMS - {"postgres", "redis"}
            with labsite.browser() as browser:
                until(lambda: rows(browser, "/api/v1/latest/"), 30, "values")
            written = "".join(path.read_text() for path in (labsite.folder / "logs").glob("*.log"))
            assert postgres.cluster.password not in written
            assert own.broker.password not in written
            records = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
            assert {"celery.beat", "uvicorn.error"} <= {record.get("logger") for record in records}
            assert labsite.stop() == 0
        assert postgres.cluster.answers()
        assert own.broker.answers()


def test_an_embedded_broker_for_edges_on_other_hosts(tmp_path: Path) -> None:
    with OneBox(tmp_path / "data", LABSITE_DEMO="0", LABSITE_BROKER_LISTEN="127.0.0.2").start() as labsite:
        told = subprocess.run(
            [sys.executable, "manage.py", "enrol_edge", "cellar"],
            check=True,
            capture_output=True,
            text=True,
            env=labsite.given,
            cwd=ROOT,
        ).stdout
        url = next(line for line in told.splitlines() if "LABSITE_BROKER_URL" in line).partition("=")[2]
        password, _, place = url.removeprefix("redis://:").partition("@")
        assert place.startswith("127.0.0.2:")
        with redis.Redis.from_url(url) as broker:
            assert broker.ping()
        with (
            redis.Redis.from_url(f"redis://:{password[::-1]}@{place}") as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
