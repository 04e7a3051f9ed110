"""System checks that stop a start."""

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from labsite import checks


@pytest.mark.parametrize(
    ("url", "errors"),
    [
        ("redis://10.0.0.5:6379/0", ["labsite.E001"]),
        ("redis://broker.lab/0", ["labsite.E001"]),
        ("amqp://broker.lab//", ["labsite.E001"]),
        ("redis://:word@10.0.0.5:6379/0", []),
        ("redis://127.0.0.1:6379/0", []),
        ("redis://localhost/0", []),
        ("redis://[::1]/0", []),
        ("unix:///run/redis.sock", []),
    ],
)
def test_a_broker_that_others_reach_has_a_password(settings: Settings, url: str, errors: list[str]) -> None:
    settings.BROKER_URL = url
    assert [found.id for found in checks.broker_has_a_password()] == errors


@pytest.mark.django_db
def test_a_database_that_lost_its_readings_stops_the_start() -> None:
    assert checks.database_keeps_readings(databases=["default"]) == []
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sample RENAME TO lost")
    assert [found.id for found in checks.database_keeps_readings(databases=["default"])] == ["labsite.E003"]


@pytest.mark.django_db
def test_a_database_that_forgets_is_warned_of() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
    assert [found.id for found in checks.database_keeps_readings(databases=["default"])] == ["labsite.W001"]
