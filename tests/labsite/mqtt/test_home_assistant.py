"""Discovery documents: of every driver's channels by Home Assistant's rules, and on a real broker."""

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from devices import drivers, services
from labsite.mqtt import units
from labsite.mqtt.home_assistant import Discovery
from labsite.mqtt.names import identifier
from labsite.mqtt.present import Channel, Instrument
from labsite.mqtt.topics import Topics
from tests import factories
from tests.devices.mosquitto import needed
from tests.labsite.mqtt.home_assistant_rules import UNITS, broken
from tests.labsite.mqtt.kit import Ear, Mosquitto, Running, retained
from tests.waiting import until
from tests.web import store

UUID = "0b9d2f6e-1c2d-4a5b-8c7d-9e0f1a2b3c4d"
NODE = f"labsite_{UUID.replace('-', '')}"
ALL = Discovery("homeassistant", Topics("labsite"), "labsite")


def instrument(driver: str, *channels: Channel, **fields: Any) -> Instrument:
    words = {"id": UUID, "name": "UPS rack A", "edge": "local", "driver": driver, "interval": 30.0}
    return Instrument(**{**words, "in_service": True, "channels": channels, **fields})


def channel(key: str, unit: str = "", kind: str = "float", label: str = "", **fields: Any) -> Channel:
    words = {"number": 1, "key": key, "label": label or key, "unit": unit, "kind": kind}
    return Channel(**{**words, "low": None, "high": None, "digits": None, **fields})


def declared(driver: str) -> list[Channel]:
    """The channels that an instrument of this driver has by itself."""
    found = drivers.load(driver)
    own = found.channels_for({option.name: option.default for option in found.options})
    return [Channel(n, c.key, c.label, c.unit, c.kind, c.low, c.high, c.digits) for n, c in enumerate(own)]


def documents(of: Instrument, *, has_runs: bool = False) -> dict[str, dict[str, Any]]:
    """By component and id."""
    found = ALL.of(of, has_runs=has_runs)
    return {"/".join(topic.split("/")[1:4:2]): json.loads(text) for topic, text in found}


@pytest.mark.parametrize("driver", drivers.names())
def test_home_assistant_takes_what_any_driver_has(driver: str) -> None:
    told = dict(ALL.of(instrument(driver, *declared(driver)), has_runs=True))
    assert len(told) >= 2
    assert [problem for topic, text in told.items() for problem in broken(topic, text)] == []
    ids = [json.loads(text)["unique_id"] for text in told.values()]
    assert len(set(ids)) == len(ids)


def test_it_takes_the_laboratory_itself() -> None:
    told = dict(ALL.hub())
    assert [broken(topic, text) for topic, text in told.items()] == [[], []]


UPS_TABLE = {  # the replaced program's entities: key → component, class, unit, state class
    "input_voltage": ("sensor", "voltage", "V", "measurement"),
    "output_voltage": ("sensor", "voltage", "V", "measurement"),
    "battery_voltage": ("sensor", "voltage", "V", "measurement"),
    "frequency": ("sensor", "frequency", "Hz", "measurement"),
    "input_frequency": ("sensor", "frequency", "Hz", "measurement"),
    "battery_level": ("sensor", "battery", "%", "measurement"),
    "load_percent": ("sensor", None, "%", "measurement"),
    "load_power": ("sensor", "power", "W", "measurement"),
    "temperature": ("sensor", "temperature", "°C", "measurement"),
    "status": ("sensor", "enum", None, None),
    "labsite-mains": ("binary_sensor", "power", None, None),
    "labsite-alarm": ("binary_sensor", "problem", None, None),
    "charging": ("binary_sensor", None, None, None),
}


@pytest.mark.parametrize("key", UPS_TABLE)
def test_a_ups_has_the_entities_that_people_expect(key: str) -> None:
    component, *expected = UPS_TABLE[key]
    found = documents(instrument("must_ep20", *declared("must_ep20")))[f"{component}/{key}"]
    assert [found.get(name) for name in ("device_class", "unit_of_measurement", "state_class")] == expected


def test_a_document_says_where_to_look_and_when_to_stop_believing() -> None:
    found = documents(instrument("must_ep20", *declared("must_ep20")))["sensor/input_voltage"]
    assert found == {
        "name": "Input voltage",
        "state_topic": "labsite/local/UPS rack A/state",
        "value_template": "{{ value_json.channels['input_voltage'].value }}",
        "state_class": "measurement",
        "unit_of_measurement": "V",
        "device_class": "voltage",
        "suggested_display_precision": 1,
        "expire_after": 100,
        "availability": [{"topic": "labsite/status"}, {"topic": "labsite/local/UPS rack A/availability"}],
        "availability_mode": "all",
        "unique_id": f"{NODE}_input_voltage",
        "device": {
            "identifiers": [NODE],
            "name": "UPS rack A",
            "model": "MUST EP20-1000-Pro",
            "via_device": "labsite_labsite",
        },
        "origin": {"name": "Labsite", "sw_version": found["origin"]["sw_version"]},
    }
    status = documents(instrument("must_ep20", channel("status", kind="text")))["sensor/status"]
    assert status["options"] == ["online", "battery", "unknown"]


@pytest.mark.parametrize("ucum", units.TABLE)
def test_every_unit_belongs_to_its_class(ucum: str) -> None:
    shown = units.shown(ucum, "x")
    assert not shown.device_class or shown.unit in UNITS[shown.device_class]


@pytest.mark.parametrize(
    ("key", "unit", "expected"),
    [
        ("humidity", "%", ("%", "humidity")),
        ("room.humidity", "%", ("%", "humidity")),
        ("battery_level", "%", ("%", "battery")),
        ("load_percent", "%", ("%", "")),
        ("flow", "mol/s", ("mol/s", "")),
        ("resistance", "kOhm", ("kΩ", "")),
        ("energy", "kW.h", ("kW·h", "")),  # that class allows totals only
        ("count", "1", ("", "")),
    ],
)
def test_a_unit_has_a_class_where_there_is_one(key: str, unit: str, expected: tuple[str, str]) -> None:
    assert units.shown(unit, key) == expected


ODD = 'it\'s {{ "a\\b" }}/+#é'


@pytest.mark.parametrize("key", ["temperature", "ch0.temperature", ODD])
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("float", 21.5, "21.5"),
        ("float", None, "None"),
        ("int", 7, "7"),
        ("text", "running", "running"),
        ("bool", True, "ON"),
        ("bool", False, "OFF"),
        ("bool", None, "None"),
    ],
)
def test_templates_find_the_value(key: str, kind: str, value: object, expected: str) -> None:
    [found, _alarm] = documents(instrument("modbus", channel(key, kind=kind))).values()
    template = ImmutableSandboxedEnvironment().from_string(found["value_template"])
    assert template.render(value_json={"channels": {key: {"value": value}}}) == expected


@pytest.mark.parametrize(("said", "mains"), [("online", "ON"), ("battery", "OFF"), (None, "None")])
def test_mains_are_there_or_not_or_unknown(said: str | None, mains: str) -> None:
    found = documents(instrument("must_ep20", channel("status", kind="text")))["binary_sensor/labsite-mains"]
    template = ImmutableSandboxedEnvironment().from_string(found["value_template"])
    assert template.render(value_json={"channels": {"status": {"value": said}}}) == mains


def test_ids_are_such_as_home_assistant_takes_and_never_the_same() -> None:
    keys = ["a.b", "a_b", "a-b", "a b", "ä", "ö", ODD]
    ids = {identifier(key) for key in keys}
    assert len(ids) == len(keys)
    assert [broken(*each) for each in ALL.of(instrument("modbus", *map(channel, keys)), has_runs=False)] == [
        [] for _ in range(len(keys) + 1)
    ]


# ---- on a real broker


def discovered(port: int) -> dict[str, str]:
    return {
        topic: text for topic, text in retained(port).items() if topic.startswith("homeassistant/") and text
    }


def left(port: int) -> set[str]:
    """The devices that are to be found."""
    return {topic.split("/")[2] for topic in discovered(port)}


@needed
@pytest.mark.django_db(transaction=True)
def test_instruments_are_found_and_taken_away_again(mosquitto: Mosquitto, ear: Ear, tmp_path: Path) -> None:
    bath = factories.instrument("Bath 1")
    topic = f"homeassistant/sensor/labsite_{bath.pk.hex}/{identifier('ch0.temperature')}/config"
    with Running(mosquitto.port, tmp_path):
        assert ear.json(topic)["device"]["name"] == "Bath 1"
        ear.until("labsite/status", "online")
        found = discovered(mosquitto.port)
        assert [problem for each in found.items() for problem in broken(*each)] == []
        bath.name = "Bath 2"
        services.save_instrument(bath, by=services.OPERATOR)
        ear.until(topic, lambda said: json.loads(said)["state_topic"] == "labsite/local/Bath 2/state")
        services.retire_instrument(bath, by=services.OPERATOR)
        ear.until(topic, "")
        ear.until("labsite/local/Bath 2/state", "")
        until(lambda: f"labsite_{bath.pk.hex}" not in left(mosquitto.port), 3, "all of it is taken away")
        assert "labsite_labsite" in left(mosquitto.port)


@needed
@pytest.mark.django_db(transaction=True)
def test_home_assistant_that_starts_is_told_anew(mosquitto: Mosquitto, ear: Ear, tmp_path: Path) -> None:
    bath = factories.instrument("Bath 1")
    store(bath.channels.first(), 25.0)  # type: ignore[arg-type]
    with Running(mosquitto.port, tmp_path):
        hub = "homeassistant/binary_sensor/labsite_labsite/alarm/config"
        ear.until(hub, lambda said: said)
        ear.until("labsite/local/Bath 1/availability", "online")
        count = len(ear.of(hub))
        ear.say("homeassistant/status", "offline")
        ear.say("homeassistant/status", "online")
        ear.until(hub, lambda _said: len(ear.of(hub)) == count + 1)


@needed
@pytest.mark.django_db(transaction=True)
def test_without_discovery_there_is_none_and_what_was_there_goes(
    mosquitto: Mosquitto, ear: Ear, tmp_path: Path
) -> None:
    factories.instrument("Bath 1")
    with Running(mosquitto.port, tmp_path):
        ear.until("labsite/status", "online")
        ear.until("homeassistant/binary_sensor/labsite_labsite/alarm/config", lambda said: said)
    with Running(mosquitto.port, tmp_path, discovery=""):
        ear.until("homeassistant/binary_sensor/labsite_labsite/alarm/config", "")
        until(lambda: discovered(mosquitto.port) == {}, 3, "nothing is left")
