"""What Home Assistant accepts as MQTT discovery, written down from its sources.

home-assistant/home-assistant.io, integration MQTT; home-assistant/core, components/mqtt/discovery.py and
schemas.py, components/sensor/const.py (classes, their units and state classes), components/binary_sensor.
Stricter than its schemas in what these let pass and is wrong all the same: the unit of a class, unknown keys.
"""

import json
import re
from typing import Any

from jsonschema import Draft202012Validator

TOPIC = re.compile(r"homeassistant/(?P<component>\w+)/(?P<node>[a-zA-Z0-9_-]+)/(?P<id>[a-zA-Z0-9_-]+)/config")

# class → units; all of these allow the state class `measurement`
UNITS: dict[str, set[str]] = {
    "apparent_power": {"VA"},
    "battery": {"%"},
    "current": {"A", "mA"},
    "data_size": {"bit", "kbit", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"},
    "distance": {"mm", "cm", "m", "km", "in", "ft", "yd", "mi"},
    "duration": {"d", "h", "min", "s", "ms"},
    "frequency": {"Hz", "kHz", "MHz", "GHz"},
    "humidity": {"%"},
    "illuminance": {"lx"},
    "irradiance": {"W/m²", "BTU/(h⋅ft²)"},
    "power": {"W", "kW"},
    "pressure": {"Pa", "hPa", "kPa", "bar", "cbar", "mbar", "mmHg", "inHg", "psi"},
    "sound_pressure": {"dB", "dBA"},
    "speed": {"m/s", "km/h", "ft/s", "mph", "kn", "mm/d", "in/d", "in/h", "mm/h"},
    "temperature": {"°C", "°F", "K"},
    "voltage": {"V", "mV"},
    "volume_flow_rate": {"m³/h", "ft³/min", "L/min", "gal/min"},
    "volume_storage": {"L", "mL", "gal", "fl. oz.", "m³", "ft³", "CCF"},
    "weight": {"g", "kg", "mg", "µg", "oz", "lb", "st"},
}
BINARY_CLASSES = ("connectivity", "power", "problem")

_TEXT = {"type": "string", "minLength": 1}
_WRITTEN_TOPIC = {"type": "string", "pattern": "^[^#+\\x00]+$", "maxLength": 65535}
_SHARED: dict[str, Any] = {
    "name": _TEXT,
    "unique_id": {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"},
    "state_topic": _WRITTEN_TOPIC,
    "value_template": _TEXT,
    "json_attributes_topic": _WRITTEN_TOPIC,
    "expire_after": {"type": "integer", "minimum": 1},
    "entity_category": {"const": "diagnostic"},
    "availability": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"topic": _WRITTEN_TOPIC},
            "required": ["topic"],
            "additionalProperties": False,
        },
    },
    "availability_mode": {"enum": ["all", "any", "latest"]},
    "device": {
        "type": "object",
        "properties": {
            "identifiers": {"type": "array", "items": _TEXT, "minItems": 1},
            **dict.fromkeys(("name", "manufacturer", "model", "sw_version", "via_device"), _TEXT),
        },
        "required": ["identifiers", "name"],
        "additionalProperties": False,
    },
    "origin": {
        "type": "object",
        "properties": {"name": _TEXT, "sw_version": _TEXT, "support_url": _TEXT},
        "required": ["name"],
        "additionalProperties": False,
    },
}
_REQUIRED = ["name", "unique_id", "state_topic", "device", "origin"]


def _schema(**own: Any) -> Draft202012Validator:
    document = {
        "type": "object",
        "properties": {**_SHARED, **own},
        "required": _REQUIRED,
        "additionalProperties": False,
    }
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


SCHEMAS = {
    "sensor": _schema(
        device_class={"enum": ["enum", *UNITS]},
        unit_of_measurement=_TEXT,
        state_class={"enum": ["measurement"]},
        suggested_display_precision={"type": "integer", "minimum": 0},
        options={"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True},
    ),
    "binary_sensor": _schema(
        device_class={"enum": list(BINARY_CLASSES)}, payload_on=_TEXT, payload_off=_TEXT
    ),
}


def broken(topic: str, payload: str) -> list[str]:
    """What Home Assistant would not like about a document; nothing, hopefully."""
    found = TOPIC.fullmatch(topic)
    if found is None or found["component"] not in SCHEMAS:
        return [f"{topic}: not a topic of discovery"]
    document = json.loads(payload)
    errors = [error.message for error in SCHEMAS[found["component"]].iter_errors(document)]
    return [*errors, *(_beside(document) if found["component"] == "sensor" else [])]


def _beside(document: dict[str, Any]) -> list[str]:
    """Rules between keys of a sensor."""
    errors = []
    device_class, unit = document.get("device_class"), document.get("unit_of_measurement")
    if device_class in UNITS and unit not in UNITS[device_class]:
        errors.append(f"{device_class} in {unit}")
    if device_class == "enum" and (unit or "state_class" in document or "options" not in document):
        errors.append("an enumeration has options, no unit and no state class")
    if "options" in document and device_class != "enum":
        errors.append("options are of enumerations")
    return errors
