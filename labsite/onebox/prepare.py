"""What is done in the database before the programs start.

In a process of its own (`manage.py prepare_onebox`), so that the memory it needs is free again afterwards.
"""

import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import Error, run_checks
from django.core.management import call_command
from django.db import OperationalError, connection
from psycopg.sql import SQL, Identifier

from devices import edge_keys, services
from devices.models import Edge
from labsite.env import env_secret
from labsite.onebox import demo
from labsite.onebox.postgres import DATABASE, Cluster

ADMIN = "admin"
LOCAL_EDGE = "local"
OLDEST_POSTGRES = 15
DATABASE_PATIENCE_S = 30


class CannotPrepare(Exception):
    """A reason for a person, in one line."""


@dataclass
class Prepared:
    """What a person and supervisor must be told. The password is told this once, and kept nowhere."""

    admin_password: str = ""  # "" if there was an administrator already, or the password was given
    first_start: bool = False
    demo: list[str] = field(default_factory=list)  # which instruments of the demo lab are in use
    demo_port: int = 0


def prepare() -> Prepared:
    """Bring the database up to date, and put in what a first start needs."""
    wait_for_database()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    check()
    prepared = Prepared()
    add_administrator(prepared)
    prepared.demo = demo.load(enrol_local_edge())
    prepared.demo_port = demo.port()
    return prepared


def wait_for_database() -> None:
    """Until it answers; an embedded one is new at the first start and needs its database made."""
    end = time.monotonic() + DATABASE_PATIENCE_S
    while True:
        try:
            if settings.DATABASE_IS_EMBEDDED:
                make_database()
            connection.ensure_connection()
            break
        except (OperationalError, psycopg.OperationalError) as error:
            if time.monotonic() > end or is_final(error):
                raise CannotPrepare(f"the database does not let Labsite in: {last_line(error)}") from None
            time.sleep(0.2)
    major, _ = connection.get_database_version()
    if major < OLDEST_POSTGRES:
        raise CannotPrepare(
            f"LABSITE_DATABASE_URL: PostgreSQL {major} is too old; {OLDEST_POSTGRES} is needed"
        )


def make_database() -> None:
    url = Cluster(settings.DATA_DIR / "postgres").url("postgres")
    with psycopg.connect(url, autocommit=True) as server:
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            server.execute(SQL("CREATE DATABASE {}").format(Identifier(DATABASE)))


def check() -> None:
    """Raises CannotPrepare for a setting that would lose data or open a door."""
    errors = [message for message in run_checks(databases=["default"]) if message.level >= Error("").level]
    if errors:
        raise CannotPrepare("; ".join(str(error.msg) for error in errors))


def add_administrator(prepared: Prepared) -> None:
    """The first start makes `admin`; nobody else is there to let people in."""
    users = get_user_model().objects
    if users.exists():
        return
    given = env_secret("LABSITE_ADMIN_PASSWORD")
    password = given or secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, password=password)
    prepared.first_start = True
    prepared.admin_password = "" if given else password


def enrol_local_edge() -> Edge:
    """The edge beside the centre, with its key in the file that its environment names."""
    edge = services.save_edge(LOCAL_EDGE, services.OPERATOR)
    path = Path(os.environ["LABSITE_EDGE_KEY_FILE"])
    path.touch(mode=0o600)
    path.write_text(edge_keys.as_text(edge.name, edge.key_version), encoding="ascii")
    return edge


def is_final(error: Exception) -> bool:
    """Whether the server said no, and not that it is still starting."""
    return "FATAL:" in str(error) and " starting up" not in str(error)


def last_line(error: Exception) -> str:
    return str(error).strip().rsplit("\n", 1)[-1]
