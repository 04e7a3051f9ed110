"""A thread that follows what is told in the database: it goes on when its connection is cut."""

from typing import Any

import psycopg
import pytest
from django.db import connection as django_connection

from devices import listener
from devices.listener import Follower
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

MINE = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'labsite reader %%'"


class Reader(Follower):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__("reader", "tests_of_listener")
        self.told: list[str] = []

    def follow(self, connection: psycopg.Connection[Any]) -> None:
        while not self.ended.is_set():
            for notice in connection.notifies(timeout=0.2, stop_after=1):
                self.told.append(notice.payload)
            connection.execute("SELECT 1")


def asked(statement: str, *parameters: int | str) -> list[tuple[Any, ...]]:
    with django_connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def test_it_goes_on_when_its_connection_was_cut_and_lets_go_at_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "RETRY_S", 0.1)
    reader = Reader()

    def hears(word: str) -> bool:
        """Told again and again: a connection is there before it listens."""
        asked("SELECT pg_notify('tests_of_listener', %s)", word)
        return word in reader.told

    reader.start()
    try:
        until(lambda: hears("one"), 20)
        ((first,),) = asked(MINE)
        asked("SELECT pg_terminate_backend(%s)", first)
        until(lambda: first not in {pid for (pid,) in asked(MINE)}, 20)
        until(lambda: hears("two"), 20)
        assert "reader: the database is away" in caplog.text
    finally:
        reader.stop()
    assert not reader.is_alive()
    until(lambda: not asked(MINE), 10)
