"""Filament box: config.yaml, .env and its variables (notes, bme280 §9). Variables > .env > file.

Its files of all versions are read: `influxdb` stands at the top or, later, below `database`.
"""

import json
from typing import Any

from devices.models import INTERVAL_MAX, INTERVAL_MIN
from labsite.import_config.given import CannotImport, Given
from labsite.import_config.meant import Meant

NAME = "filament box"
INSTRUMENT = "Filament box"
TAG = "filament-box"
PREFIXES = ("INFLUXDB_", "DATA_COLLECTION_")
VARIABLES = {
    "INFLUXDB_USERNAME": "influxdb.username",
    "INFLUXDB_PASSWORD": "influxdb.password",
    "INFLUXDB_HOST": "influxdb.host",
    "INFLUXDB_PORT": "influxdb.port",
    "INFLUXDB_DATABASE": "influxdb.database",
    "DATA_COLLECTION_MEASUREMENT": "data_collection.measurement",
}
TAGS = "DATA_COLLECTION_TAGS"
IGNORED = {
    "queue": "readings wait in the edge's spool and the outbox, on disk",
    "retry.backoff_base": "a sink that fails is tried again after 1 s, twice as long each time",
    "retry.backoff_max": "a sink that fails is tried again after 5 min at the latest",
    "retry.persist_on_alert": "all readings are kept, whatever a sink does",
    "persistence": "its unsent batches are taken over by `manage.py import_history`",
    "data_collection.enabled": "an instrument is in service or not: `in_service`",
    "heating_control": "Labsite does not switch relays",
    "humidity_control": "Labsite does not switch relays",
    "sensor.gpio_pin": "it is of another sensor",
    "database.type": "a sink writes to InfluxDB",
    "database": "only its InfluxDB is taken over",
}


def recognises(given: Given) -> bool:
    of_file = given.has("data_collection", "database.influxdb", "sensor.sea_level_pressure")
    return of_file or given.has("influxdb.database", *VARIABLES, TAGS)


def meant(given: Given) -> Meant:
    _move_up(given)
    _variables(given)
    meant = Meant()
    sea_level = given.take("sensor.sea_level_pressure", float, 1013.25)
    period = given.take("data_collection.read_interval", float, 0.25)
    kind = given.take("sensor.type", str, "bme280").lower()
    if kind != "bme280":
        raise CannotImport(f"{NAME}: sensor.type is {kind}: Labsite has no driver for it")
    meant.add(
        "instrument",
        name=INSTRUMENT,
        driver="bme280",
        address="i2c://1/0x77",  # where it looked for its sensor
        interval=min(max(period, INTERVAL_MIN), INTERVAL_MAX),
        tags=[TAG],
        options={"sea_level": sea_level} if sea_level != 1013.25 else None,
    )
    _sink(given, meant)
    given.pass_over(IGNORED)
    return meant


def _move_up(given: Given) -> None:
    for path in [path for path in given.leaves if path.startswith("database.influxdb.")]:
        given.leaves[path.removeprefix("database.")] = given.leaves.pop(path)


def _variables(given: Given) -> None:
    for name, path in VARIABLES.items():
        leaf = given.leaves.pop(name, None)
        if leaf is None or not leaf.value:
            continue
        if name == "INFLUXDB_PORT" and not str(leaf.value).isdecimal():
            given.notes.append(f"{leaf.place}: {name} is no whole number: it is left out, as the program did")
        else:
            given.over(path, leaf.value, leaf.place)
    leaf = given.leaves.pop(TAGS, None)
    if leaf is None or not leaf.value:
        return
    tags = _json(leaf.value)
    if tags is None:
        given.notes.append(f"{leaf.place}: {TAGS} is no JSON object: it is left out, as the program did")
        return
    for path in [path for path in given.leaves if path.startswith("data_collection.tags")]:
        del given.leaves[path]
    given.over("data_collection.tags", tags, leaf.place)


def _json(text: str) -> dict[str, Any] | None:
    try:
        tags = json.loads(text)
    except ValueError:
        return None
    return tags if isinstance(tags, dict) else None


def _sink(given: Given, meant: Meant) -> None:
    database = given.take("influxdb.database", str, "")
    if not database:
        raise CannotImport(f"{NAME}: influxdb.database is needed in config.yaml, as the program needed it")
    tags = given.all_below("data_collection.tags")
    scheme = "https" if given.take("influxdb.ssl", bool, default=False) else "http"
    host, port = given.take("influxdb.host", str, "localhost"), given.take("influxdb.port", int, 8086)
    if not given.take("influxdb.verify_ssl", bool, default=True):
        given.notes.append("influxdb.verify_ssl: a sink always checks the server's certificate")
    password = given.take("influxdb.password", str, "")
    meant.add(
        "sink",
        name="filament-box",
        api="v1",
        url=f"{scheme}://{host}:{port}",
        bucket=database,
        user=given.take("influxdb.username", str, "") or None,
        secret=meant.keep_secret("FILAMENT_BOX", password) or None,
        schema="filament-box",
        measurement=given.take("data_collection.measurement", str, "environment"),
        tags={name: str(value) for name, value in tags.items() if value is not None} or None,
        only={"tag": TAG},
        batch_size=max(given.take("data_collection.batch_size", int, 5000), 1),
        flush_interval=max(given.take("data_collection.flush_interval", float, 2.0), 0.1),
        alert_threshold=max(given.take("retry.alert_threshold", int, 5), 1),
    )
