"""System checks: what would lose data or open a door stops the start."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning as Caution, register
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

OLDEST_POSTGRES = 15
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
SCHEMES_WITH_PASSWORD = ("redis", "rediss", "valkey", "amqp", "amqps")


def register_all() -> None:
    register(broker_has_a_password, Tags.security)
    register(database_keeps_readings, Tags.database)


def broker_has_a_password(**_: Any) -> list[CheckMessage]:
    """Whoever reaches a broker without a password can read and send everything."""
    parts = urlsplit(settings.BROKER_URL)
    if parts.scheme not in SCHEMES_WITH_PASSWORD or parts.password or is_local(parts.hostname):
        return []
    message = f"LABSITE_BROKER_URL names a broker without a password on another host ({parts.hostname})."
    return [
        Error(message, hint="Set requirepass there, and put the password into the URL.", id="labsite.E001")
    ]


def is_local(host: str | None) -> bool:
    if host in (None, "localhost"):
        return True
    try:
        return ip_address(str(host)).is_loopback
    except ValueError:
        return False


def database_keeps_readings(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """The version, the settings and the tables without which readings would be lost."""
    found: list[CheckMessage] = []
    for alias in databases or []:
        connection = connections[alias]
        found += [*version(connection), *durability(connection), *tables(connection)]
    return found


def version(connection: BaseDatabaseWrapper) -> list[CheckMessage]:
    major = connection.get_database_version()[0]
    if major >= OLDEST_POSTGRES:
        return []
    return [Error(f"PostgreSQL {major} is too old; {OLDEST_POSTGRES} is needed.", id="labsite.E002")]


def durability(connection: BaseDatabaseWrapper) -> list[CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting = 'off'", [list(DURABLE)]
        )
        off = [name for (name,) in cursor.fetchall()]
    return [
        Caution(f"PostgreSQL runs with {name} off: a power cut loses readings.", id="labsite.W001")
        for name in off
    ]


def tables(connection: BaseDatabaseWrapper) -> list[CheckMessage]:
    """A database that was migrated, but has lost the table of readings."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('django_migrations') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return []
        cursor.execute(
            "SELECT to_regclass('sample') IS NULL"
            " AND EXISTS (SELECT 1 FROM django_migrations WHERE app = 'telemetry' AND name LIKE '0001%%')"
        )
        lost = cursor.fetchone()[0]
    return [Error("The table of readings, sample, is missing.", id="labsite.E003")] if lost else []
