"""What people may change, and what they are told when they may not."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied, ValidationError

from devices import drivers, services
from devices.drivers.base import Channel as Declared
from devices.errors import Refused
from devices.models import Channel, Edge, Instrument
from tests import factories

pytestmark = pytest.mark.django_db

OPERATOR = services.OPERATOR


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> type[factories.Probe]:
    """A driver with options of every kind."""
    drivers.load.cache_clear()
    monkeypatch.setitem(drivers.OWN, "probe", "tests.factories:Probe")
    monkeypatch.setattr(factories.Probe, "channels", factories.Probe.channels)
    return factories.Probe


@pytest.mark.parametrize(
    "by",
    [AnonymousUser(), User(is_active=True), User(is_active=False, is_staff=True)],
    ids=["nobody", "not staff", "former staff"],
)
def test_only_active_staff_may_change_anything(by: services.Person) -> None:
    edge = factories.edge()
    bath = factories.instrument()
    calls: list[Callable[[], object]] = [
        lambda: services.save_edge("other", by),
        lambda: services.rotate_key(edge, by),
        lambda: services.retire_edge(edge, by),
        lambda: services.save_instrument(bath, by),
        lambda: services.retire_instrument(bath, by),
        lambda: services.retire_demo(by),
    ]
    for call in calls:
        with pytest.raises(PermissionDenied):
            call()


def test_an_edge_comes_with_the_instrument_that_reports_on_its_machine() -> None:
    edge = services.save_edge("nina", factories.person())
    host = edge.instruments.get()
    assert (host.name, host.driver, host.address) == ("edge nina", "edge_host", "edge://local")
    assert edge.revision == 1
    assert services.save_edge("nina", OPERATOR).pk == edge.pk
    assert edge.instruments.count() == 1


def test_the_host_instrument_finds_another_name_if_its_own_is_taken() -> None:
    factories.instrument("edge nina")
    assert factories.edge("nina").instruments.get().name == "edge nina 2"


def test_an_edges_name_is_checked() -> None:
    with pytest.raises(ValidationError) as refused:
        factories.edge("Nina!")
    assert "name" in refused.value.message_dict


def test_an_edge_with_instruments_is_not_retired() -> None:
    edge = factories.edge()
    bath = factories.instrument()
    with pytest.raises(Refused, match="still has 1 instruments"):
        services.retire_edge(edge, OPERATOR)
    services.retire_instrument(bath, OPERATOR)
    services.retire_edge(edge, OPERATOR)
    assert not edge.instruments.filter(retired_at=None).exists()
    with pytest.raises(Refused, match="already"):
        services.retire_edge(edge, OPERATOR)
    with pytest.raises(Refused, match="retired"):
        services.rotate_key(edge, OPERATOR)


def test_a_saved_instrument_has_its_drivers_channels(probe: type[factories.Probe]) -> None:
    level = factories.instrument(driver="probe").channels.get()
    assert (level.key, level.label, level.unit, level.low, level.high, level.digits) == (
        ("level", "Level", "cm", 1.0, 9.0, 1)
    )
    assert level.retention == "standard"


def test_demo_instruments_keep_their_readings_for_two_days() -> None:
    bath = factories.instrument(demo=True)
    assert set(bath.channels.values_list("retention", flat=True)) == {"demo"}


def test_channels_follow_the_driver_and_keep_their_numbers(
    probe: type[factories.Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    instrument = factories.instrument(driver="probe")
    level = instrument.channels.get()
    declared = (Declared("flow", "Flow"), Declared("level", "Level of bath", "mm"))
    monkeypatch.setattr(probe, "channels", declared)
    services.save_instrument(instrument, OPERATOR)
    assert list(instrument.channels.values_list("key", "label", "unit")) == [
        ("flow", "Flow", ""),
        ("level", "Level of bath", "mm"),
    ]
    assert instrument.channels.get(key="level").pk == level.pk
    monkeypatch.setattr(probe, "channels", ())
    services.save_instrument(instrument, OPERATOR)
    assert instrument.channels.count() == 2


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"driver": "nothing"}, "driver", "no driver 'nothing'"),
        ({"address": "192.168.1.26"}, "address", "no URL"),
        ({"address": "edge://local"}, "address", "has an address like"),
        ({"address": "tcp://host"}, "address", ""),
        ({"options": {"speed": 1}}, "options", "no option speed"),
        ({"options": {"count": 11}}, "options", "above 10"),
        ({"options": []}, "options", "object"),
        ({"interval": 0.05}, "interval", "0.1"),
        ({"interval": float("nan")}, "__all__", "interval"),
        ({"name": ""}, "name", "blank"),
        ({"name": "Bath 1"}, "name", "exists"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_by_field(
    probe: type[factories.Probe], fields: dict[str, Any], field: str, said: str
) -> None:
    factories.instrument("Bath 1", driver="probe")
    before = Edge.objects.get().revision
    with pytest.raises(ValidationError) as refused:
        factories.instrument(**{"name": "Bath 2", "driver": "probe", **fields})
    assert said in " ".join(refused.value.message_dict[field])
    assert Edge.objects.get().revision == before


def test_options_are_kept_in_their_declared_types(probe: type[factories.Probe]) -> None:
    instrument = factories.instrument(driver="probe", options={"gain": 2})
    instrument.refresh_from_db()
    assert instrument.options == {"gain": 2.0}
    assert isinstance(instrument.options["gain"], float)


def test_the_saved_instrument_knows_its_revision() -> None:
    bath = factories.instrument()
    bath.interval = 5
    services.save_instrument(bath, OPERATOR)
    assert Edge.objects.get().revision == bath.revision == 3


def test_a_retired_instrument_keeps_its_history_and_frees_its_name() -> None:
    bath = factories.instrument("Bath 1")
    channels = set(bath.channels.values_list("pk", flat=True))
    services.retire_instrument(bath, OPERATOR)
    again = factories.instrument("Bath 1")
    services.retire_instrument(again, OPERATOR)
    retired = Instrument.objects.filter(retired_at__isnull=False, in_service=False)
    names = sorted(retired.values_list("name", flat=True))
    assert names[0].startswith("Bath 1 (retired 20")
    assert names[1] == f"{names[0]} 2"
    assert channels <= set(Channel.objects.values_list("pk", flat=True))
    with pytest.raises(Refused, match="already"):
        services.retire_instrument(bath, OPERATOR)


def test_a_retired_instrument_is_not_changed() -> None:
    bath = factories.instrument()
    services.retire_instrument(bath, OPERATOR)
    bath.refresh_from_db()
    with pytest.raises(ValidationError, match="retired"):
        services.save_instrument(bath, OPERATOR)


def test_an_edges_own_instrument_is_retired_with_its_edge_only() -> None:
    with pytest.raises(Refused, match="reports on the machine"):
        services.retire_instrument(factories.edge().instruments.get(), OPERATOR)


def test_an_instrument_does_not_go_to_a_retired_edge() -> None:
    nina = factories.edge("nina")
    services.retire_edge(nina, OPERATOR)
    nina.refresh_from_db()
    with pytest.raises(ValidationError, match="retired"):
        factories.instrument(edge=nina)


def test_the_demo_lab_is_retired_as_a_whole() -> None:
    for number in range(3):
        factories.instrument(f"Demo {number}", demo=True)
    own = factories.instrument("Own")
    assert services.retire_demo(OPERATOR) == 3
    assert services.retire_demo(OPERATOR) == 0
    live = Instrument.objects.filter(retired_at=None).exclude(driver="edge_host")
    assert [bath.pk for bath in live] == [own.pk]
