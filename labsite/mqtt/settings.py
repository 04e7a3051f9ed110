"""The broker and what is told there, from the settings."""

import hashlib
import platform
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path

from django.conf import settings

from devices.errors import ConfigurationError
from devices.links.base import Address
from devices.links.mqtt import MqttLink
from labsite.mqtt.names import is_prefix

PORTS = {"mqtt": 1883, "mqtts": 8883}


class NotConfigured(Exception):
    """What is missing or wrong, in words for the person who starts the bridge."""


@dataclass(frozen=True)
class Told:
    """Where and as whom the bridge connects, and below which topics it tells. Empty `discovery`: none."""

    address: Address
    user: str
    password: str = field(repr=False)
    authority: str  # a file of certificates, whose holders sign brokers'; empty: the machine's own
    version: str
    prefix: str
    discovery: str
    folder: Path

    @property
    def client_id(self) -> str:
        """The same after a restart, another for another Labsite. At most 23 characters, which all take."""
        of = f"{platform.node()} {self.folder} {self.prefix}"
        return "labsite" + hashlib.sha256(of.encode()).hexdigest()[:16]


def told() -> Told:
    """Raises NotConfigured if there is no broker in this lab, or what cannot be one."""
    if not settings.MQTT_URL:
        raise NotConfigured("the MQTT bridge is not set up: LABSITE_MQTT_URL is not set; see docs/mqtt.md")
    for name, value in (
        ("PREFIX", settings.MQTT_PREFIX),
        ("DISCOVERY_PREFIX", settings.MQTT_DISCOVERY_PREFIX or "none"),
    ):
        if not is_prefix(value):
            raise NotConfigured(
                f"LABSITE_MQTT_{name} is {value!r}; write how topics begin, such as lab/2, without + # $"
            )
    if settings.MQTT_PASSWORD and not settings.MQTT_USER:
        raise NotConfigured("LABSITE_MQTT_PASSWORD is set, but no LABSITE_MQTT_USER that it belongs to")
    return Told(
        _address(),
        settings.MQTT_USER,
        settings.MQTT_PASSWORD,
        _authority(settings.MQTT_CA),
        settings.MQTT_VERSION,
        settings.MQTT_PREFIX,
        settings.MQTT_DISCOVERY_PREFIX,
        settings.DATA_DIR / "mqtt",
    )


def _address() -> Address:
    if "@" in settings.MQTT_URL:  # not shown: it may hold a password
        raise NotConfigured(
            "LABSITE_MQTT_URL carries no user or password: set LABSITE_MQTT_USER and LABSITE_MQTT_PASSWORD"
        )
    if not settings.MQTT_URL.startswith(tuple(f"{scheme}://" for scheme in PORTS)):
        raise NotConfigured(
            f"LABSITE_MQTT_URL is {settings.MQTT_URL!r}; write it like mqtt://host:1883, "
            "or mqtts://host:8883 for TLS"
        )
    try:
        address = Address.parse(settings.MQTT_URL)
        address = replace(address, port=address.port or PORTS[address.scheme])
        MqttLink.check(address)
    except ConfigurationError as error:
        raise NotConfigured(f"LABSITE_MQTT_URL: {error}") from None
    return address


def _authority(path: str) -> str:
    if not path:
        return ""
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if type(error) is not ssl.SSLError else "it holds no certificate"
        raise NotConfigured(f"LABSITE_MQTT_CA: cannot use {path}: {reason}") from None
    return path
