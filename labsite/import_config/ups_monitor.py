"""The UPS monitor: config.yaml and its command line (notes, must-ups §11). Command line > file > default."""

import argparse
import shlex
from typing import Any, NoReturn

from devices.drivers.must_ep20_alarms import ALARMS
from devices.models import INTERVAL_MAX, INTERVAL_MIN
from labsite.import_config.given import CannotImport, Given
from labsite.import_config.meant import Meant

NAME = "UPS monitor"
INSTRUMENT = "UPS"
CONTAINER_PORT = "UPS_SERIAL_PORT"  # read by the container's start command only, which put it first
LEVELS = {"DEBUG": "DEBUG", "INFO": "INFO", "WARNING": "WARNING", "ERROR": "ERROR", "CRITICAL": "ERROR"}
# Its four conditions, and that the mains are away, which the first of them follows from.
RULES = (
    "UPS on battery",
    "UPS input voltage low",
    "UPS battery low",
    "UPS temperature high",
    "UPS load high",
)
IGNORED = {
    "monitoring.max_errors": "Labsite tries again for as long as it takes",
    "monitoring.use_modbus_parser": "Labsite always reads registers",
    "battery": "Labsite shows what the UPS says, without estimates",
    "logging.file": "logs are in the data folder",
    "logging.console": "logs are in the data folder; `make run` shows warnings",
    "mqtt.client_id": "it is ups_monitor for the old topic",
}
OPTIONS = {
    "--web-port": "web.port",
    "--interval": "monitoring.interval",
    "--mqtt-broker": "mqtt.broker",
    "--mqtt-port": "mqtt.port",
    "--mqtt-topic": "mqtt.topic",
    "--mqtt-username": "mqtt.username",
    "--mqtt-password": "mqtt.password",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # noqa: ARG002 - it may show a password
        raise CannotImport(
            "--command-line is none of the UPS monitor's: [PORT] [--config FILE] [--web-port N] …"
        )


def recognises(given: Given) -> bool:
    of_file = given.has("serial.port", "monitoring") or (given.has("mqtt") and given.has("web"))
    return of_file or given.has(CONTAINER_PORT)


def command_line(given: Given, text: str) -> None:
    """What the monitor was started with counts more than its file."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("port", nargs="?")
    parser.add_argument("--config", "-c")
    for option in OPTIONS:
        parser.add_argument(option)
    words = shlex.split(text)
    while (
        words and not words[0].startswith(("-", "/dev")) and words[0].endswith((".py", "python", "python3"))
    ):
        words.pop(0)
    told: dict[str, Any] = vars(parser.parse_args(words))
    place = "command line"
    given.over("serial.port", told["port"], place)
    for option, path in OPTIONS.items():
        given.over(path, told[option.removeprefix("--").replace("-", "_")], place)
    if told["mqtt_broker"] is not None:  # which switches it on, whatever the file says
        given.over("mqtt.enabled", True, place)


def meant(given: Given) -> Meant:
    if leaf := given.leaves.pop(CONTAINER_PORT, None):
        in_force = given.leaves.get("serial.port")
        if in_force is None or in_force.place != "command line":
            given.over("serial.port", leaf.value, leaf.place)
    meant = Meant()
    port = given.take("serial.port", str, "")
    if not port:
        raise CannotImport("the UPS monitor was told no serial port: give the one of its command line")
    if not port.startswith("/"):
        given.notes.append(f"serial.port: {port} is no path of a port on Linux: write it like /dev/ttyUSB0")
        port = f"/dev/{port}"
    speed = given.take("serial.baudrate", int, 9600)
    period = given.take("monitoring.interval", float, 30.0)
    meant.add(
        "instrument",
        name=INSTRUMENT,
        driver="must_ep20",
        address=f"serial://{port}" + (f"?baudrate={speed}" if speed != 9600 else ""),
        interval=min(max(period, INTERVAL_MIN), INTERVAL_MAX),
    )
    _rules(meant)
    topic = _mqtt(given, meant)
    options = {"mqtt_topic": topic} if topic else None
    meant.add("replaced", instrument=INSTRUMENT, kind="ups", open=True, options=options)
    host = given.take("web.host", str, "0.0.0.0")  # noqa: S104 - the monitor's default
    meant.answer_at("ups", given.take("web.port", int, 8080), INSTRUMENT, host)
    meant.notes.append(
        f"{INSTRUMENT}: it answers without a login, as the monitor did; without `open` it asks for one"
    )
    if level := LEVELS.get(given.take("logging.level", str, "").upper()):
        meant.environment["LABSITE_LOG_LEVEL"] = level
    given.pass_over(IGNORED)
    return meant


def _rules(meant: Meant) -> None:
    """Those that the driver proposes for what the monitor warned of, each told once."""
    for template in ALARMS:
        if template.name in RULES:
            meant.add(
                "rule",
                name=template.name,
                kind=template.kind,
                driver="must_ep20",
                key=template.key,
                low=template.low,
                high=template.high,
                value=template.value or None,
                deadband=template.deadband or None,
                on_delay=template.on_delay,
                off_delay=template.off_delay,
                priority=template.priority,
                suppressed_by=template.suppressed_by or None,
                guidance=template.guidance,
            )


def _mqtt(given: Given, meant: Meant) -> str:
    """The old topic, where MQTT is on: a broker in the file alone does not switch it on."""
    is_on = given.take("mqtt.enabled", bool, default=False)
    broker = given.take("mqtt.broker", str, "localhost")
    port = given.take("mqtt.port", int, 1883)
    topic = given.take("mqtt.topic", str, "ups/telemetry")
    user, password = given.take("mqtt.username", str, ""), given.take("mqtt.password", str, "")
    if not is_on:
        return ""
    meant.environment["LABSITE_MQTT_URL"] = f"mqtt://{broker}:{port}"
    if user:
        meant.environment["LABSITE_MQTT_USER"] = user
    if password:
        meant.secrets["LABSITE_MQTT_PASSWORD"] = password
    return topic
