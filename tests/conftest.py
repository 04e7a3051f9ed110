"""What all tests stand on: a data folder, a PostgreSQL and a Redis of the test run's own.

The settings read the environment when Django is set up, which is after this file is loaded.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
import redis
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.utils.module_loading import import_string
from pytest_django import DjangoDbBlocker

from telemetry.families import SAMPLES, VECTORS
from tests.servers import Postgres, Redis

FOLDER = Path(tempfile.mkdtemp(prefix="labsite-tests-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

FOR_TESTS = {"LABSITE_TEST_DATABASE_URL", "LABSITE_OUTAGE_S", "LABSITE_SEED"}
for name in [name for name in os.environ if name.startswith("LABSITE_") and name not in FOR_TESTS]:
    del os.environ[name]
GIVEN_DATABASE = os.environ.get("LABSITE_TEST_DATABASE_URL", "")
POSTGRES = None if GIVEN_DATABASE else Postgres(FOLDER / "postgres")
REDIS = Redis(FOLDER / "redis")

os.environ["LABSITE_DATA"] = str(FOLDER / "data")
(FOLDER / "data" / "static").mkdir(parents=True)  # collected by nobody; the finders serve in tests
os.environ["LABSITE_DATABASE_URL"] = GIVEN_DATABASE if POSTGRES is None else POSTGRES.url()
os.environ["LABSITE_BROKER_URL"] = REDIS.url
os.environ["DJANGO_SETTINGS_MODULE"] = "labsite.settings"


def pytest_configure(config: pytest.Config) -> None:
    """Of several workers each has servers of its own: they must not find what is meant for this process."""
    if getattr(config.option, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        for name in [name for name in os.environ if name.startswith(("LABSITE_", "DJANGO_"))]:
            if name not in FOR_TESTS:
                del os.environ[name]
    else:
        django.setup()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres | None]:
    """The run's PostgreSQL; None if LABSITE_TEST_DATABASE_URL names one that is there already."""
    if POSTGRES is None:
        yield None
    else:
        with POSTGRES.start():
            yield POSTGRES


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_server: Postgres | None) -> None:
    """pytest-django makes its database after this."""


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """The run's Redis, the broker that the settings name."""
    with REDIS.start():
        yield REDIS


@pytest.fixture
def broker(redis_server: Redis) -> str:
    """The URL of a real broker, empty at the start of each test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


UNMANAGED = [*SAMPLES, *VECTORS, "sample_far", "vector_sample_far", "rollup_minute", "rollup_hour", "outbox"]
TRANSACTIONAL = {
    "transactional_db",
    "django_db_reset_sequences",
    "django_db_serialized_rollback",
    "live_server",
}


def is_transactional(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("django_db")
    return bool(TRANSACTIONAL.intersection(request.fixturenames)) or bool(
        marker and marker.kwargs.get("transaction")
    )


def uses_database(request: pytest.FixtureRequest) -> bool:
    return "db" in request.fixturenames or request.node.get_closest_marker("django_db") is not None


def partitions_there(cursor: CursorWrapper) -> set[str]:
    cursor.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relkind = 'r'"
    )
    return {name for (name,) in cursor.fetchall()}


@pytest.fixture(autouse=True)
def as_migrated(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """In whatever order tests come, those with real transactions begin without built-in rules, others with.

    And what is committed is cleared away, also from tables that Django's flush does not know, and the
    partitions that a test made.
    """
    transactional = is_transactional(request)
    if transactional or uses_database(request):
        request.getfixturevalue("django_db_setup")
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            if transactional:
                cursor.execute("TRUNCATE alerts_rule CASCADE")
                before = partitions_there(cursor)
            else:
                cursor.execute("SELECT EXISTS (SELECT FROM alerts_rule WHERE built_in)")
                if not cursor.fetchone()[0]:
                    import_string("tests.alerts.factories.built_in_rules")()
    yield
    if transactional:
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(UNMANAGED)}")
            if made := partitions_there(cursor) - before:
                cursor.execute(f"DROP TABLE {', '.join(sorted(made))}")
