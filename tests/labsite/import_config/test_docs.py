"""docs/import-config.md: the example of each program is read as that program's, and can be applied."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from devices.models import Instrument
from devices.services import OPERATOR
from labsite import lab_file
from labsite.import_config import PROGRAMS, meant, written
from tests import factories

TEXT = (Path(settings.BASE_DIR) / "docs" / "import-config.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^## (.+?): `([\w.]+)`.*?^```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.django_db
def test_each_example_is_read_and_can_be_applied(tmp_path: Path) -> None:
    factories.edge()
    examples = EXAMPLE.findall(TEXT)
    assert [title.lower() for title, _, _ in examples] == [
        "qs-monitor", "metatron telemetry", "thermostat logger", "ups monitor", "filament box",
    ]  # fmt: skip
    assert {title.lower() for title, _, _ in examples} == {program.NAME.lower() for program in PROGRAMS}
    for number, (_, name, text) in enumerate(examples):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
        lab_file.apply(lab_file.parse(written(meant([path], {}), {}), name), OPERATOR)
    drivers = set(Instrument.objects.values_list("driver", flat=True)) - {"edge_host"}
    assert drivers == {"quantstudio", "metatron", "thermostat", "must_ep20", "bme280"}


def test_its_command_line_is_read(tmp_path: Path) -> None:
    (line,) = re.findall(r'--command-line "(.*)"', TEXT)
    path = tmp_path / "config.yaml"
    path.write_text("serial: {port: /dev/ttyUSB0}\nmonitoring: {interval: 30}\n", encoding="utf-8")
    what = meant([path], {}, line)
    assert what.tables["instrument"][0]["address"] == "serial:///dev/ttyS1"
    assert what.environment["LABSITE_MQTT_URL"] == "mqtt://broker.lab:1883"
