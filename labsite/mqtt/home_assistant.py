"""What Home Assistant needs to know of each instrument to show it by itself: its MQTT discovery.

Source: home-assistant.io, integration MQTT, discovery. An entity of its own for each channel is understood by
all versions; documents of whole devices only since 2024.11.
"""

import json
from collections.abc import Iterator
from typing import Any

from devices import drivers
from devices.drivers.must_ep20_registers import STATUS_OF_STATE
from devices.errors import ConfigurationError
from devices.readings import RUN_STATES
from labsite import __version__
from labsite.mqtt import units
from labsite.mqtt.names import identifier
from labsite.mqtt.present import Channel, Instrument
from labsite.mqtt.topics import Topics, silent_after

BIRTH = "status"  # below the discovery prefix: Home Assistant says that it is there
HUB = "labsite"
ORIGIN = {"name": "Labsite", "sw_version": __version__}
UPS = "must_ep20"
# Texts that are one of a few words; of all others Home Assistant would complain when a new word comes.
ENUMERATIONS = {(UPS, "status"): (*sorted(set(STATUS_OF_STATE.values()), reverse=True), "unknown")}

Entity = tuple[str, str, dict[str, Any]]  # component, its id, what is special of it


class Discovery:
    """The documents, by topic. `of` those of an instrument, `hub` those of the whole laboratory."""

    def __init__(self, prefix: str, topics: Topics, identity: str) -> None:
        self.birth = f"{prefix}/{BIRTH}"
        self._prefix, self._topics = prefix, topics
        self._hub = f"{HUB}_{identity}"

    def hub(self) -> Iterator[tuple[str, str]]:
        device = {"identifiers": [self._hub], "name": "Labsite", "sw_version": __version__}
        problem = {**_problem(self._topics.alarms), "name": "Alarm"}
        connected = {
            "name": "Connection",
            "state_topic": self._topics.status,
            "payload_on": "online",
            "payload_off": "offline",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
        }
        yield self._document("binary_sensor", self._hub, "alarm", problem | self._present(), device)
        yield self._document("binary_sensor", self._hub, "connection", connected, device)

    def of(self, instrument: Instrument, *, has_runs: bool) -> Iterator[tuple[str, str]]:
        node = f"{HUB}_{instrument.id.replace('-', '')}"
        device = {
            "identifiers": [node],
            "name": instrument.name,
            "model": _model(instrument.driver),
            "via_device": self._hub,
        }
        shared = self._present(self._topics.of(instrument, "availability"))
        for component, key, own in self._entities(instrument, has_runs=has_runs):
            yield self._document(component, node, key, own | shared, device)

    def _entities(self, instrument: Instrument, *, has_runs: bool) -> Iterator[Entity]:
        source = {
            "state_topic": self._topics.of(instrument, "state"),
            "expire_after": round(silent_after(instrument.interval)),
        }
        for channel in instrument.channels:
            if channel.kind != "vector":
                component, own = _channel(instrument.driver, channel)
                yield component, identifier(channel.key), source | own
        if instrument.driver == UPS and any(channel.key == "status" for channel in instrument.channels):
            yield "binary_sensor", "labsite-mains", source | _mains()
        problem = _problem(self._topics.of(instrument, "alarms"))
        yield "binary_sensor", "labsite-alarm", {"name": "Alarm", **problem}
        if has_runs:
            yield "sensor", "labsite-run", _run(self._topics.of(instrument, "run"))

    def _present(self, *topics: str) -> dict[str, Any]:
        """Available only while the bridge is there, and these topics say so, too."""
        return {
            "availability": [{"topic": topic} for topic in (self._topics.status, *topics)],
            "availability_mode": "all",
        }

    def _document(
        self, component: str, node: str, key: str, own: dict[str, Any], device: dict[str, Any]
    ) -> tuple[str, str]:
        document = {**own, "unique_id": f"{node}_{key}", "device": device, "origin": ORIGIN}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return f"{self._prefix}/{component}/{node}/{key}/config", text


def _channel(driver: str, channel: Channel) -> tuple[str, dict[str, Any]]:
    """The component of a channel, and what is special of it."""
    value = f"value_json.channels[{_quoted(channel.key)}].value"
    name = {"name": _name(channel.label or channel.key)}
    if channel.kind == "bool":
        return "binary_sensor", name | {"value_template": _truth(value, value)}
    told: dict[str, Any] = name | {"value_template": f"{{{{ {value} }}}}"}
    if channel.kind == "text":
        return "sensor", told | _words(ENUMERATIONS.get((driver, channel.key), ()))
    unit, device_class = units.shown(channel.unit, channel.key)
    told["state_class"] = "measurement"
    if unit:
        told["unit_of_measurement"] = unit
    if device_class:
        told["device_class"] = device_class
    if channel.digits is not None:
        told["suggested_display_precision"] = max(0, channel.digits)
    return "sensor", told


def _words(options: tuple[str, ...]) -> dict[str, Any]:
    return {"device_class": "enum", "options": list(options)} if options else {}


def _truth(value: str, condition: str) -> str:
    """ON, OFF, or None, which is unknown."""
    return f"{{{{ 'None' if {value} is none else 'ON' if {condition} else 'OFF' }}}}"


def _mains() -> dict[str, Any]:
    value = "value_json.channels['status'].value"
    return {
        "name": "Mains",
        "device_class": "power",
        "value_template": _truth(value, f"{value} == 'online'"),
    }


def _problem(topic: str) -> dict[str, Any]:
    return {
        "state_topic": topic,
        "device_class": "problem",
        "value_template": "{{ 'ON' if value_json.active else 'OFF' }}",
        "json_attributes_topic": topic,
    }


def _run(topic: str) -> dict[str, Any]:
    return {
        "name": "Run",
        "state_topic": topic,
        "value_template": "{{ value_json.state }}",
        "json_attributes_topic": topic,
        **_words(RUN_STATES),
    }


def _model(driver: str) -> str:
    try:
        return drivers.load(driver).label
    except ConfigurationError:
        return driver


def _name(label: str) -> str:
    return label[:1].upper() + label[1:]


def _quoted(key: str) -> str:
    """As a text in a template (Jinja)."""
    escaped = key.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
