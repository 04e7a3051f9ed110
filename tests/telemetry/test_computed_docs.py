"""docs/computed.md: its lab file and its commands do what the page says."""

import re
import shlex
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from devices.conformance.declared import unit_fault
from devices.models import Channel
from devices.services import OPERATOR
from labsite import lab_file
from telemetry.computing.formulas import FUNCTIONS
from telemetry.models import Calibration, Sample, StoragePolicy
from telemetry.store import store
from telemetry.thinning.policies import Point
from telemetry.thinning.sifting import rows
from telemetry.times import microseconds
from tests import factories

pytestmark = pytest.mark.django_db

DOCUMENT = (Path(__file__).parents[2] / "docs" / "computed.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


@pytest.fixture(autouse=True)
def lab() -> None:
    factories.edge()
    lab_file.apply(lab_file.parse(block("toml"), "lab.toml"), OPERATOR)


def channel(key: str) -> Channel:
    return Channel.objects.get(instrument__name="Room 214", key=key)


def test_the_lab_file_makes_what_the_page_says() -> None:
    assert (channel("true_dew_point").label, channel("true_dew_point").unit) == ("Dew point", "Cel")
    assert channel("temperature.calibrated").unit == channel("temperature").unit
    since = Calibration.objects.order_by("valid_from").values_list("valid_from", flat=True)
    assert list(since) == [datetime(2026, 1, 15, 8, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)]
    assert StoragePolicy.objects.get().channel == channel("pressure")
    assert not [fault for unit in ("Cel", "K", "%", "g/m3", "W") if (fault := unit_fault(unit))]


def test_the_page_names_every_function() -> None:
    (listed,) = re.findall(r"^> (.*)$", DOCUMENT, re.MULTILINE)
    assert set(listed.split()) == set(FUNCTIONS)


def test_the_commands_compute_again() -> None:
    before = microseconds(timezone.now() - timedelta(days=1))
    for key, value in (("temperature", 20.0), ("humidity", 50.0)):
        store(rows([Point(before + n, value, 0, None) for n in range(3)], [channel(key).pk] * 3, [0] * 3))
    said = []
    for line in block("sh").splitlines():
        out = StringIO()
        call_command(*shlex.split(line)[2:], stdout=out)
        said.append(out.getvalue())
    assert "0 values would be changed, 6 would be added" in said[0]
    assert "0 values changed, 6 added" in said[1]
    (dew,) = set(
        Sample.objects.filter(channel_id=channel("true_dew_point").pk).values_list("value", flat=True)
    )
    assert dew == pytest.approx(9.3, abs=0.1)
