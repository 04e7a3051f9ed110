"""A connection to the database of one's own, to listen and to hold a lock: no pool hands it on, and it
notices a dead network in 10 s. And the thread that works as long as it has one."""

import logging
import os
import threading
from typing import Any

import psycopg
from django.db import Error, connection as django_connection

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
RETRY_S = 2.0
DJANGO_ONLY = ("context", "cursor_factory", "prepare_threshold")

logger = logging.getLogger(__name__)


def own_connection(process: str, channel: str) -> psycopg.Connection[Any]:
    """A connection to Django's database for a process of this name, listening to a channel."""
    django = django_connection.get_connection_params()
    params = {name: value for name, value in django.items() if name not in DJANGO_ONLY}
    name = f"labsite {process} {os.getpid()}"
    connection = psycopg.connect(**{**params, **KEEPALIVE, "application_name": name}, autocommit=True)
    connection.execute(SESSION.format(channel=channel))
    return connection


class Follower(threading.Thread):
    """Follows what is told on a channel, until `stop`; begins again when the database was away."""

    def __init__(self, name: str, channel: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ended = threading.Event()
        self.channel = channel
        self.connection: psycopg.Connection[Any] | None = None

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                if self.connection is None:
                    self.connection = own_connection(self.name, self.channel)
                self.follow(self.connection)
            except (psycopg.Error, Error, OSError) as error:
                logger.warning("%s: the database is away: %s", self.name, str(error).strip())
                self.let_go()
                self.ended.wait(RETRY_S)
        self.let_go()
        django_connection.close()

    def follow(self, connection: psycopg.Connection[Any]) -> None:
        """Work until it has ended; what is raised for the database's sake, begins anew."""
        raise NotImplementedError

    def let_go(self) -> None:
        """With the connection go its locks."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def stop(self, within: float = 5.0) -> None:
        """Wait for what is under way."""
        self.ended.set()
        self.join(within)
