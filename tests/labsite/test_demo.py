"""The demo lab: what is put into an empty Labsite, and what is left alone."""

from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from pytest_django.fixtures import Settings

from alerts.models import Rule
from devices import drivers, services
from devices.models import Edge, Instrument
from devices.simulators import lab
from labsite.onebox import demo

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    settings.DEMO = True
    return tmp_path


@pytest.fixture
def edge() -> Edge:
    return services.save_edge("local", services.OPERATOR)


def drivers_of_demo() -> set[str]:
    return set(Instrument.objects.filter(demo=True).values_list("driver", flat=True))


def of_earlier_version(edge: Edge) -> None:
    """What the first version put in: three thermostats, and nothing else."""
    for number in range(3):
        thermostat = Instrument(
            name=f"demo thermostat {number + 1}",
            driver="thermostat",
            edge=edge,
            address=f"tcp://127.0.0.1:{demo.port() + number}",
            interval=1.0,
            demo=True,
        )
        services.save_instrument(thermostat, services.OPERATOR)


def test_an_empty_labsite_gets_one_of_each_kind_and_no_start_adds_to_them(edge: Edge) -> None:
    served = demo.load(edge)
    assert served == lab.usual()
    assert drivers_of_demo() == {stand.driver for stand in lab.known()}
    count = Instrument.objects.count()
    assert demo.load(edge) == served
    assert Instrument.objects.count() == count


def test_the_rules_that_its_drivers_propose_come_with_it_once(edge: Edge) -> None:
    demo.load(edge)
    proposed = {each.name for name in drivers_of_demo() for each in drivers.load(name).alarms}
    assert set(Rule.objects.filter(built_in=False).values_list("name", flat=True)) == proposed
    Rule.objects.get(name="UPS load high").delete()
    demo.load(edge)
    assert not Rule.objects.filter(name="UPS load high").exists()


def test_every_usual_stand_says_how_it_is_entered() -> None:
    assert set(lab.usual()) == set(demo.DEMOS) & {stand.name for stand in lab.known()}


def test_an_earlier_demo_lab_keeps_its_own_and_gets_what_is_new(edge: Edge) -> None:
    of_earlier_version(edge)
    served = demo.load(edge)
    assert set(served) == {stand.name for stand in lab.known()}
    assert Instrument.objects.filter(driver="thermostat").count() == 3
    assert drivers_of_demo() == {stand.driver for stand in lab.known()}


def test_a_lab_with_instruments_of_its_own_is_left_alone(edge: Edge) -> None:
    of_earlier_version(edge)
    own = Instrument(name="bath", driver="thermostat", edge=edge, address="tcp://10.0.0.1:23")
    services.save_instrument(own, services.OPERATOR)
    assert demo.load(edge) == ["thermostat-1", "thermostat-2", "thermostat-3"]
    assert Instrument.objects.filter(demo=True).count() == 3


def test_a_retired_demo_lab_stays_retired(edge: Edge) -> None:
    demo.load(edge)
    services.retire_demo(services.OPERATOR)
    count = Instrument.objects.count()
    assert demo.load(edge) == []
    assert Instrument.objects.count() == count


def test_only_what_is_in_use_is_served(edge: Edge) -> None:
    demo.load(edge)
    Instrument.objects.filter(name="demo thermostat 2").update(retired_at=timezone.now())
    assert "thermostat-2" not in demo.load(edge)


def test_without_a_demo_nothing_is_added(edge: Edge, settings: Settings) -> None:
    settings.DEMO = False
    assert demo.load(edge) == []
    assert not Instrument.objects.filter(demo=True).exists()


@pytest.mark.skipif(not any(stand.is_path for stand in lab.known()), reason="nothing is found in a folder")
def test_paths_follow_the_data_folder(edge: Edge, folder: Path, settings: Settings) -> None:
    served = demo.load(edge)
    settings.DATA_DIR = folder / "elsewhere"
    settings.DATA_DIR.mkdir()
    (settings.DATA_DIR / "demo.port").write_text((folder / "demo.port").read_text())
    assert demo.load(edge) == served
    paths = [stand for stand in lab.known() if stand.is_path]
    for stand in paths:
        assert Instrument.objects.filter(driver=stand.driver, address=demo.address(stand)).exists()
    assert str(django_settings.DATA_DIR) in demo.address(paths[0])
