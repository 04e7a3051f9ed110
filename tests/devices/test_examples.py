"""The lab files in docs/examples: each is put in force, and says of its driver what is true."""

import tomllib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from devices import drivers, lab_file, links, services, simulators
from devices.models import Channel, Edge, Instrument
from devices.readings import Quality, Vector
from tests.devices.simulators.served import behind_a_door, driven

pytestmark = pytest.mark.django_db

KINDS = {"float": float, "int": int, "bool": bool, "text": str, "vector": Vector}
FOLDER = Path(settings.BASE_DIR) / "docs" / "examples"
EXAMPLES = [FOLDER / f"{name}.toml" for name in sorted(drivers.OWN)]
each = pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])


def applied(lab: lab_file.Lab, *, dry_run: bool = False) -> list[str]:
    changes = lab_file.apply(lab, by=services.OPERATOR, dry_run=dry_run)
    return [str(change).splitlines()[0] for change in changes]


def own() -> list[Instrument]:
    standing = Instrument.objects.filter(retired_at=None).exclude(driver=services.HOST_DRIVER)
    return list(standing.order_by("name"))


def test_there_is_one_for_each_driver() -> None:
    of_no_driver = {"alarms", "influxdb"}
    assert {path.stem for path in FOLDER.glob("*.toml")} == {*drivers.OWN} | of_no_driver


@each
def test_an_example_can_be_tried_and_put_in_force(path: Path) -> None:
    lab = lab_file.read(path)
    told = applied(lab, dry_run=True)
    assert not Instrument.objects.exists()
    assert not Edge.objects.exists()
    assert applied(lab) == told
    assert applied(lab) == []
    assert {instrument.driver for instrument in own()} == {path.stem} - {services.HOST_DRIVER}


@each
def test_what_is_exported_is_what_was_put_in_force(path: Path) -> None:
    applied(lab_file.read(path))
    before = [(one.name, one.driver, one.address, one.interval, one.options) for one in own()]
    exported = lab_file.parse(lab_file.export(), "exported.toml")
    assert applied(exported) == []
    for instrument in own():
        services.retire_instrument(instrument, by=services.OPERATOR)
    applied(exported)
    assert [(one.name, one.driver, one.address, one.interval, one.options) for one in own()] == before


@each
def test_an_example_has_the_channels_that_it_declares(path: Path) -> None:
    applied(lab_file.read(path))
    for table in tomllib.loads(path.read_text()).get("instrument", []):
        declared: list[dict[str, Any]] = []
        for rows in table.get("options", {}).values():
            declared += [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        channels = {
            channel.key: channel for channel in Channel.objects.filter(instrument__name=table["name"])
        }
        assert len(channels) >= len(declared)
        for row in declared:
            assert channels[row["key"]].unit == row.get("unit", "")
            assert channels[row["key"]].low == row.get("low")


@pytest.mark.parametrize("name", ["scpi", "modbus", "labsite_simulated"])
async def test_an_example_reads_what_it_says_it_fits(name: str) -> None:
    (table,) = tomllib.loads((FOLDER / f"{name}.toml").read_text())["instrument"]
    async with AsyncExitStack() as stack:
        if name in simulators.SIMULATORS:
            door = await stack.enter_async_context(behind_a_door(simulators.load(name)))
            driver = await stack.enter_async_context(driven(door, **table["options"]))
        else:
            link = await links.connect(links.check(table["address"]), 1.0)
            driver = drivers.load(name)(link, table["options"])
        readings = await driver.read()
    channels = {channel.key: channel for channel in driver.channels_for(driver.settings)}
    assert {reading.key for reading in readings} == set(channels)
    for reading in readings:
        kind = KINDS[channels[reading.key].kind]
        is_dropout = name == "labsite_simulated" and reading.quality is Quality.BAD
        assert is_dropout or isinstance(reading.value, kind)
