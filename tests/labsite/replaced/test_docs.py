"""docs/replaced.md: its lab files can be applied, its ports are read, its links lead somewhere."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from devices.services import OPERATOR
from labsite import lab_file
from labsite.replaced.doors import PROGRAMS
from labsite.replaced.ports import parse
from telemetry.models import ReplacedInterface
from tests import factories
from tests.labsite.replaced import lab

TEXT = (Path(settings.BASE_DIR) / "docs" / "replaced.md").read_text(encoding="utf-8")


@pytest.mark.django_db
def test_its_lab_files_can_be_applied() -> None:
    factories.edge()
    for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL):
        lab_file.apply(lab_file.parse(block, "docs/replaced.md"), OPERATOR)
    assert set(ReplacedInterface.objects.values_list("instrument__name", "kind", "open")) == {
        ("UPS rack A", "ups", True),
        ("Bath 1", "metatron", False),
    }
    (path,) = re.findall(r"curl http://127.0.0.1:8000/replaced/ups-rack-a/(\S+)", TEXT)
    assert lab.ask("ups-rack-a", path).status == 503, "nothing was read yet"


def test_its_ports_are_read() -> None:
    (text,) = re.findall(r'LABSITE_REPLACED_PORTS="(.*)"', TEXT)
    assert [port.kind for port in parse(text).values()] == ["thermostat", "ups", "metatron"]


def test_it_names_each_path() -> None:
    for program in PROGRAMS.values():
        for path in program.routes:
            assert f"`/{path.replace('*', '{id}')}" in TEXT or f" /{path.replace('*', '{id}')}" in TEXT
