"""The embedded servers, run as the product runs them."""

from pathlib import Path

import psycopg
import pytest
import redis
from django.db import connection

from labsite.onebox.postgres import WrongVersion
from tests.servers import Postgres, Redis


@pytest.fixture
def postgres(tmp_path: Path) -> Postgres:
    return Postgres(tmp_path / "postgres")


def test_postgres_keeps_what_was_committed_before_a_kill(postgres: Postgres) -> None:
    with postgres.start():
        url = postgres.make_database()
        with psycopg.connect(url) as database:
            database.execute("CREATE TABLE kept AS SELECT 7 AS value")
        postgres.kill()
        postgres.start()
        with psycopg.connect(url) as database:
            assert database.execute("SELECT value FROM kept").fetchone() == (7,)


def test_postgres_takes_nobody_without_the_password(postgres: Postgres) -> None:
    with postgres.start():
        url = postgres.url("postgres").replace(postgres.cluster.password, "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url)


def test_postgres_is_durable_and_small(postgres: Postgres) -> None:
    with postgres.start(), psycopg.connect(postgres.url("postgres")) as database:
        for name, value in [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("data_checksums", "on"),
            ("shared_buffers", "64MB"),
        ]:
            assert database.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)


def test_a_first_start_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with Postgres(tmp_path / "postgres").start() as postgres:
        assert postgres.cluster.answers()


def test_a_cluster_of_another_major_version_is_refused(tmp_path: Path) -> None:
    cluster = tmp_path / "postgres" / "data"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("16\n")
    with pytest.raises(WrongVersion, match="made by PostgreSQL 16; this Labsite brings PostgreSQL 18"):
        Postgres(tmp_path / "postgres")


def test_redis_takes_nobody_without_the_password(tmp_path: Path) -> None:
    with Redis(tmp_path / "redis").start() as server, redis.Redis(port=server.broker.port) as client:
        with pytest.raises(redis.AuthenticationError):
            client.ping()
        assert server.broker.password not in Path(f"/proc/{server.pid}/cmdline").read_text()
        assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o077 == 0


def test_the_broker_fixture_is_a_real_redis(broker: str) -> None:
    with redis.Redis.from_url(broker) as client:
        assert client.dbsize() == 0


@pytest.mark.django_db
def test_the_database_of_the_tests_is_a_real_postgresql() -> None:
    assert connection.vendor == "postgresql"
