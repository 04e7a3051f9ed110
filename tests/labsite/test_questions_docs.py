"""docs/questions.md: its commands and its program, run against the real web process."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from devices.models import AccessToken
from telemetry import partitions
from tests import factories
from tests.web import Web

DOCUMENT = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
(PROGRAM,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def environment(transactional_db: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a program needs, with the web process running and a reading a minute for three hours."""
    bath = factories.instrument("Bath 1")
    channel = bath.channels.create(key="bath", label="Bath", unit="Cel")
    now = timezone.now().astimezone(UTC)
    moments = [now - timedelta(minutes=minutes + 0.5) for minutes in range(180)]
    partitions.ensure(partitions.holding("sample", moment.date()) for moment in moments)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sample (time, value, channel_id, quality) VALUES (%s, %s, %s, 0)",
            [(moment, 20 + minutes / 10, channel.pk) for minutes, moment in enumerate(moments)],
        )
    _token, token = AccessToken.objects.create(factories.person(staff=False), None, scope="read")
    with Web(tmp_path).start() as web:
        yield os.environ | {"LABSITE_URL": web.url, "LABSITE_TOKEN": token, "CHANNEL": str(channel.pk)}


def run(*words: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        words, env=environment, cwd=folder, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_program_works(environment: dict[str, str], tmp_path: Path) -> None:
    said = run(sys.executable, "-c", PROGRAM, environment=environment, folder=tmp_path)
    assert said.splitlines() == ["37.9 Cel", "180 Labsite 0.1.0"]


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_its_commands_work(environment: dict[str, str], tmp_path: Path) -> None:
    series, _export = (
        run("sh", "-ec", command.replace("curl ", "curl -sS ", 1), environment=environment, folder=tmp_path)
        for command in COMMANDS
    )
    assert sum(json.loads(series)["series"][0]["n"]) == 180
    lines = (tmp_path / "readings.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(io.StringIO("\n".join(line for line in lines if not line.startswith("# ")))))
    assert len(rows) == 180
    assert datetime.fromisoformat(rows[0]["time"]) < datetime.fromisoformat(rows[-1]["time"])
