"""What every driver keeps to, and how drivers are found."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices import drivers, links
from devices.drivers.base import Driver
from devices.errors import ConfigurationError

# UCUM codes in use; a new driver's unit is looked up there before it is added here.
UCUM = {"", "Cel", "K", "A", "V", "Ohm", "s", "ms", "%", "MiBy", "Hz", "W", "V.A", "hPa", "[degF]", "m", "uL"}

every_driver = pytest.mark.parametrize("name", drivers.names())


@every_driver
def test_a_driver_declares_itself(name: str) -> None:
    driver = drivers.load(name)
    assert driver.label.strip()
    assert driver.__doc__
    address = links.check(driver.example)
    assert address.scheme in driver.schemes
    assert all(scheme in links.LINKS for scheme in driver.schemes)


@every_driver
def test_a_driver_declares_its_channels(name: str) -> None:
    driver = drivers.load(name)
    channels = driver.channels_for({})
    keys = [channel.key for channel in channels]
    assert len(set(keys)) == len(keys)
    assert keys or name == "push"  # whose channels come with its readings
    for channel in channels:
        assert channel.label.strip()
        assert channel.unit in UCUM
        assert channel.kind in {"float", "int", "bool", "text", "vector"}
        assert len(channel.key) <= 100
        assert len(channel.label) <= 120


@every_driver
def test_a_driver_explains_its_options(name: str) -> None:
    driver = drivers.load(name)
    names = [option.name for option in driver.options]
    assert len(set(names)) == len(names)
    for option in driver.options:
        assert option.help.strip()
        assert option.checked(option.default) == option.default
    assert driver.checked_options({}) == {option.name: option.default for option in driver.options}
    with pytest.raises(ConfigurationError, match="has no option surely_not"):
        driver.checked_options({"surely_not": 1})


def test_an_unknown_driver_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no driver 'nonsense'; there are .*thermostat"):
        drivers.load("nonsense")


def test_drivers_are_imported_only_when_they_are_asked_for() -> None:
    assert "thermostat" in drivers.names()
    assert drivers.load("thermostat") is drivers.load("thermostat")
    assert "devices.drivers.thermostat" in sys.modules


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that declares drivers, good and bad."""
    described = tmp_path / "kelda-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: kelda\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(
        "[labsite.drivers]\n"
        "kelda_c20 = kelda_c20:KeldaC20\n"
        "kelda_c21 = kelda_c20:Missing\n"
        "kelda_c22 = kelda_broken:KeldaC22\n"
        "kelda_c23 = kelda_c20:NOT_A_DRIVER\n"
        "thermostat = kelda_c20:KeldaC20\n"
    )
    (tmp_path / "kelda_c20.py").write_text(
        "from devices.drivers.base import Driver\n"
        "NOT_A_DRIVER = dict\n"
        "class KeldaC20(Driver):\n"
        "    label = 'Kelda C20 chiller'\n"
    )
    (tmp_path / "kelda_broken.py").write_text("raise ZeroDivisionError('at import')\n")
    monkeypatch.syspath_prepend(tmp_path)
    drivers.forget()
    yield tmp_path
    monkeypatch.undo()
    importlib.invalidate_caches()
    drivers.forget()
    for module in ("kelda_c20", "kelda_broken"):
        sys.modules.pop(module, None)


def test_a_package_adds_a_driver(package: Path) -> None:
    assert {"kelda_c20", "thermostat"} <= set(drivers.names())
    driver = drivers.load("kelda_c20")
    assert issubclass(driver, Driver)
    assert driver.label == "Kelda C20 chiller"


def test_a_package_does_not_replace_an_own_driver(package: Path) -> None:
    assert drivers.load("thermostat").label == "Sinara 8451 Thermostat"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kelda_c21", "does not load: AttributeError"),
        ("kelda_c22", "does not load: ZeroDivisionError: at import"),
        ("kelda_c23", "is no subclass of Driver"),
    ],
)
def test_a_driver_that_does_not_load_says_why(package: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        drivers.load(name)
