"""docs/push.md: its commands, run against the real web process."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from devices import lab_file, services
from devices.models import AccessToken, Instrument
from telemetry.models import Sample
from tests import factories
from tests.web import Web

DOCUMENT = (Path(__file__).parents[2] / "docs" / "push.md").read_text()
HISTORY = {
    "history": [
        {
            "step": step,
            "config": {"algorithm": "VQE"},
            "performance": {"psi": 0.97 + step / 100, "rho": 0.7142, "omega": 0.8454},
            "j_t": 0.587,
            "por_accepted": True,
            "cri_triggered": False,
            "timestamp": 1_795_176_000.25 + step,
        }
        for step in (1, 2)
    ]
}


def block(language: str, word: str) -> str:
    """The block of code in the document that has the word in it."""
    (found,) = [code for code in re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL) if word in code]
    return re.sub("(?m)^ {3}(?! )", "", found) if found.startswith("   ") else found


@pytest.fixture
def environment(transactional_db: None, tmp_path: Path) -> Any:
    """What a program needs, with the web process running and the document's lab file applied."""
    text = block("toml", "push")
    assert tomllib.loads(text)
    lab_file.apply(lab_file.parse(text, "lab.toml"), by=services.OPERATOR)
    user = factories.person("program", staff=False)
    only = [instrument.pk for instrument in Instrument.objects.all()]
    _token, token = AccessToken.objects.create(user, None, scope="push", instruments=only)
    with Web(tmp_path).start() as web:
        yield os.environ | {"LABSITE_URL": web.url, "LABSITE_TOKEN": token}


def test_what_the_document_says_works(environment: dict[str, str], tmp_path: Path) -> None:
    said = [curl(environment) for _ in range(2)]
    assert said == re.findall(r'`(\{"stored".*?\})`', DOCUMENT)
    (tmp_path / "scs_history.json").write_text(json.dumps(HISTORY))
    program = [sys.executable, "-c", block("python", "import")]
    for expected in ({"stored": 4, "known": 0}, {"stored": 0, "known": 4}):
        run = subprocess.run(
            program, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=30
        )
        assert run.stdout.splitlines() == [str({**expected, "conflicts": []})] * 2
    assert Sample.objects.count() == 9
    assert set(Instrument.objects.get().channels.values_list("key", "label")) == {
        ("psi", "ψ"), ("rho", "rho"), ("omega", "omega"), ("j", "j"),
    }  # fmt: skip


def curl(environment: dict[str, str]) -> str:
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    command = block("sh", "curl")
    run = subprocess.run(
        ["sh", "-ec", command.replace("curl ", "curl -sS ", 1)],
        env=environment, check=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return run.stdout


def test_its_program_is_short() -> None:
    assert len([line for line in block("python", "import").splitlines() if line]) <= 15
