"""`manage.py apply` and `export`, with the tables of all apps."""

import re
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from alerts.models import Route, Rule
from devices.models import Instrument

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LAB = """\
[[edge]]
name = "bench"

[[instrument]]
name = "Bath 1"
driver = "thermostat"
edge = "bench"
address = "tcp://192.168.1.26:23"
tags = ["room-214"]

[[rule]]
name = "Bath too warm"
kind = "high"
tag = "room-214"
key = "ch*.temperature"
high = 40

[[contact]]
name = "Hook"
transport = "webhook"
address = "https://example.org/alarms"
secret = "HOOK"

[[route]]
name = "All"
steps = [{ contact = "Hook" }]
"""


def called(*command: object) -> str:
    out = StringIO()
    call_command(*map(str, command), stdout=out)
    return out.getvalue()


def test_the_commands(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(LAB, encoding="utf-8")
    assert "5 changes; this was a dry run" in called("apply", file, "--dry-run")
    assert not Instrument.objects.exists()
    told = called("apply", file)
    for line in ("+ instrument Bath 1", "+ rule Bath too warm", "+ contact Hook", "+ route All"):
        assert line in told.splitlines()
    assert called("apply", file) == "Nothing to change.\n"
    file.write_text(called("export"), encoding="utf-8")
    assert called("apply", file, "--prune") == "Nothing to change.\n"
    with pytest.raises(CommandError, match=r"missing\.toml: No such file"):
        called("apply", tmp_path / "missing.toml")
    file.write_bytes(b"name = '\xff'")
    with pytest.raises(CommandError, match="not UTF-8 at byte 8"):
        called("apply", file)


EXAMPLE = ROOT / "docs" / "examples" / "alarms.toml"


def of_readme() -> str:
    (block,) = [
        found for found in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "[[route]]" in found
    ]
    return str(block)


@pytest.mark.parametrize(
    "text", [EXAMPLE.read_text(encoding="utf-8"), of_readme()], ids=["example", "README"]
)
def test_what_the_documents_show_is_put_in_force_and_written_again(text: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(text, encoding="utf-8")
    told = called("apply", file)
    heads = re.findall(r"(?m)^\[\[(\w+)\]\]", text)
    kinds = [line.split()[1] for line in told.splitlines() if line[:2] in ("+ ", "~ ")]
    assert Counter(kinds) >= Counter(heads)
    assert called("apply", file) == "Nothing to change.\n"
    file.write_text(called("export"), encoding="utf-8")
    assert called("apply", file, "--prune") == "Nothing to change.\n"


@pytest.mark.django_db(transaction=True)
def test_the_commands_need_no_transaction_around_them(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(LAB, encoding="utf-8")
    called("apply", file)
    file.write_text(called("export"), encoding="utf-8")
    assert called("apply", file, "--prune") == "Nothing to change.\n"


def test_an_error_in_a_later_section_takes_back_the_ones_before(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(LAB.replace('contact = "Hook"', 'contact = "Hok"'), encoding="utf-8")
    with pytest.raises(CommandError, match=r"lab.toml:26: route 'All': .*'Hok'; did you mean 'Hook'"):
        called("apply", file)
    assert not Instrument.objects.exists()
    assert not Rule.objects.filter(name="Bath too warm").exists()
    assert not Route.objects.exists()
