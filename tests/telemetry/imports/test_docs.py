"""docs/import-history.md and docs/gaps.md: every command and every question in them is one."""

import re
import shlex
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from rest_framework.test import APIClient

from telemetry.management.commands.completeness import Command as Completeness
from telemetry.management.commands.import_history import SOURCES, Command as ImportHistory
from telemetry.management.times import moment, with_times
from tests import factories

DOCS = Path(__file__).parents[3] / "docs"
COMMANDS = {"import_history": ImportHistory, "completeness": Completeness}
RUNS = [
    shlex.split(line.partition("manage.py ")[2])
    for name in ("import-history.md", "gaps.md")
    for line in (DOCS / name).read_text().splitlines()
    if re.match(r"(\.venv/bin/python )?manage\.py ", line)
]
ASKED = re.findall(r'"\$LABSITE_URL(/api/v1/[^"]+)"', (DOCS / "gaps.md").read_text())


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_each_command_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABSITE_SECRET_INFLUX", "word")
    parser = COMMANDS[words[0]]().create_parser("manage.py", words[0])
    options = vars(parser.parse_args(with_times(words[1:])))
    if options["from"]:
        assert moment("from", options["from"])
    if words[0] == "import_history":
        assert SOURCES[options["source"]](options).place


def test_all_sources_have_an_example() -> None:
    assert {words[1] for words in RUNS if words[0] == "import_history"} == set(SOURCES)


@pytest.mark.django_db
@pytest.mark.parametrize("question", ASKED)
def test_each_question_is_answered(question: str) -> None:
    factories.instrument("Bath", edge=factories.edge("local"))
    parts = urlsplit(question)
    api: APIClient = factories.client(factories.person(staff=False))
    assert api.get(parts.path, dict(parse_qsl(parts.query))).status_code == 200
