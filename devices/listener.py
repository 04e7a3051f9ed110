"""A connection to the database of one's own, to listen and to hold a lock: no pool hands it on, and it
notices a dead network in 10 s."""

import os
from typing import Any

import psycopg
from django.db import connection as django_connection

SESSION = """
SET statement_timeout = '10s'; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3; SET tcp_user_timeout = 10000; SET jit = off; LISTEN {channel}
"""
KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
DJANGO_ONLY = ("context", "cursor_factory", "prepare_threshold")


def own_connection(process: str, channel: str) -> psycopg.Connection[Any]:
    """A connection to Django's database for a process of this name, listening to a channel."""
    django = django_connection.get_connection_params()
    params = {name: value for name, value in django.items() if name not in DJANGO_ONLY}
    name = f"labsite {process} {os.getpid()}"
    connection = psycopg.connect(**{**params, **KEEPALIVE, "application_name": name}, autocommit=True)
    connection.execute(SESSION.format(channel=channel))
    return connection
