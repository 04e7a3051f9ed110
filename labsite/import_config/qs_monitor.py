"""qs-monitor, config.toml: its qPCR machines, the InfluxDB it wrote to, its account and rooms in Matrix.

It knew a machine's name and host only: port 7443, TLS without looking at the certificate, no password.
"""

import re

from labsite.import_config.given import Given
from labsite.import_config.meant import Meant

NAME = "qs-monitor"
TAG = "qpcr"  # of its machines: those whose runs its room heard of
# It told of log lines with Error, Ended, Aborted, Stopped or Starting, in the first room.
TOLD = ["run.started", "run.completed", "run.failed", "run.aborted", "log_error"]
IGNORED = {
    "matrix.session_file": "Labsite's bot logs in anew and keeps its session in the data folder",
    "matrix.allow_commands": "the bot takes commands of people who are mapped to a user: docs/matrix.md",
    "matrix.allow_control": "what a person may do goes by the rights of their user: docs/matrix.md",
    "global": "it had no effect",
    "stdout": "it had no effect",
}


def recognises(given: Given) -> bool:
    return given.has("machines") or (given.has("influxdb.org", "influxdb.token") and given.has("matrix"))


def meant(given: Given) -> Meant:
    meant = Meant()
    _machines(given, meant)
    if given.has("influxdb"):
        _influx(given, meant)
    if given.has("matrix"):
        _matrix(given, meant)
    given.pass_over(IGNORED)
    return meant


def _machines(given: Given, meant: Meant) -> None:
    places = sorted(
        {path.partition(".")[0] for path in given.leaves if path.startswith("machines[")}, key=_number
    )
    for place in places:
        host = given.take(f"{place}.host", str, "")
        name = given.take(f"{place}.name", str, "") or host
        if not host:
            given.notes.append(f"{place}: without a host there is no instrument")
            continue
        if any(table["name"] == name for table in meant.tables.get("instrument", [])):
            meant.notes.append(f"{place}: {name} is there twice: the second is {name} ({host})")
            name = f"{name} ({host})"
        meant.add(
            "instrument",
            name=name,
            driver="quantstudio",
            address=f"tls://{host}:7443",
            interval=2.0,
            tags=[TAG],
            options={"verify": False},
        )
        meant.notes.append(
            f"{name}: any certificate is taken, as before; better is `pin` (README, QuantStudio)"
        )


def _number(place: str) -> int:
    return int(place.removeprefix("machines[").rstrip("]"))


def _influx(given: Given, meant: Meant) -> None:
    meant.add(
        "sink",
        name="qs-monitor",
        api="v2",
        url=given.take("influxdb.url", str, "http://localhost:8086"),
        org=given.take("influxdb.org", str, ""),
        bucket=given.take("influxdb.bucket", str, ""),
        secret=meant.keep_secret("QS_MONITOR", given.take("influxdb.token", str, "")),
        schema="qs-monitor",
        only={"driver": "quantstudio"},
        batch_size=given.take("influxdb.batch_size", int, 100) or 1,
        flush_interval=max(given.take("influxdb.flush_interval_ms", int, 10_000) / 1000, 0.1),
    )


def _matrix(given: Given, meant: Meant) -> None:
    host = given.take("matrix.host", str, "")
    if host:
        meant.environment["LABSITE_MATRIX_HOMESERVER"] = host if "://" in host else f"https://{host}"
    if user := given.take("matrix.user", str, ""):
        meant.environment["LABSITE_MATRIX_USER"] = user
    if password := given.take("matrix.password", str, ""):
        meant.secrets["LABSITE_MATRIX_PASSWORD"] = password
    if given.take("matrix.allow_verification", bool, default=False):
        meant.environment["LABSITE_MATRIX_ALLOW_VERIFICATION"] = "1"
    rooms = [room for room in given.take("matrix.rooms", list, []) if isinstance(room, str)]
    names = [_room_name(room, number) for number, room in enumerate(rooms)]
    for name, room in zip(names, rooms, strict=True):
        meant.add("contact", name=name, transport="matrix", address=room)
    if names:
        meant.add(
            "route",
            name="qPCR runs",
            alarms=False,
            happenings=TOLD,
            tags=[TAG],
            steps=[{"contact": names[0]}],
        )
        meant.notes.append(
            "route qPCR runs: it tells of runs only, as before; `alarms = true` tells of alarms, too"
        )


def _room_name(room: str, number: int) -> str:
    """By its alias; a room that is known by its id only gets a number."""
    alias = re.match(r"#([^:]+)", room)
    return f"Room {alias[1]}" if alias else f"Room {number + 1}"
