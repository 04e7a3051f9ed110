"""An export under way: a connection of its own, which ends with it, whatever happens."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any

import psycopg
from django.db import connection
from django.utils.module_loading import import_string
from psycopg import sql

from telemetry import series
from telemetry.export.legend import legend
from telemetry.export.question import Column, Question
from telemetry.export.statements import statements

logger = logging.getLogger(__name__)

APPLICATION = "labsite export"  # what PostgreSQL calls it
AT_ONCE_LOCK = 0x1B1  # advisory, with a person's id: one export each
PLACES_LOCK = 0x1B2  # with a number: so many in all, in whichever process
PLACES = 3
ROWS = 1000  # that COPY gives one by one and are handed on together
CANCEL_S = 1.0

SETTINGS = """
SET TIME ZONE 'UTC'; SET datestyle = 'ISO'; SET work_mem = '32MB'; SET jit = off;
SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off
"""  # rows come in the order of the key: nothing is sorted, and the first one comes at once

Encode = Callable[[Iterator[bytes], Sequence[Column], dict[str, Any]], Generator[bytes]]


class Busy(Exception):
    """There are as many exports under way as there may be."""


class Running:
    """An export, whose parts are taken one after the other, by any thread. `close` ends it at any time."""

    def __init__(self, question: Question, now: datetime) -> None:
        self._stopped = False
        self._taking = threading.Lock()
        told = legend(question, now) if question.comments or question.form != "csv" else {}
        _, published = series.standing(question.channels, now)
        copies = statements(question, published, escape=question.form == "csv")
        encode: Encode = import_string(ENCODERS[question.form])
        self._parts = encode(self._rows(copies), question.columns, told)
        self._connection = _connect()

    def reserve(self, person: int) -> None:
        """Take this person's turn and one of the places. Raises Busy."""
        if not self._locked(AT_ONCE_LOCK, person):
            self.close()
            raise Busy("You have an export under way. Wait until it is done, or end it.")
        if not any(self._locked(PLACES_LOCK, place) for place in range(PLACES)):
            self.close()
            raise Busy(f"{PLACES} exports are under way. Wait until one of them is done.")

    def _locked(self, lock: int, number: int) -> bool:
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [lock, number]).fetchone()
        return bool(row and row[0])

    def _rows(self, copies: Iterator[sql.Composed]) -> Iterator[bytes]:
        """Rows as COPY writes them, each part whole rows."""
        with self._connection.cursor() as cursor:
            for statement in copies:
                if self._stopped:
                    return
                with cursor.copy(statement) as copy:
                    while part := b"".join(islice(copy, ROWS)):
                        yield part

    def take(self) -> bytes:
        """The next part; empty at the end, after which nothing is held any more."""
        with self._taking:
            part = b"" if self._stopped else next(filter(None, self._parts), b"")
        if not part:
            self.close()
        return part

    def __iter__(self) -> Iterator[bytes]:
        while part := self.take():
            yield part

    def close(self) -> None:
        """End the query and the connection, also while another thread takes a part."""
        self._stopped = True
        while not self._taking.acquire(blocking=False):
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=CANCEL_S)
            if self._taking.acquire(timeout=CANCEL_S):
                break
        try:
            self._parts.close()
        finally:
            self._connection.close()
            self._taking.release()


ENCODERS = {"csv": "telemetry.export.csv_table.encoded", "parquet": "telemetry.export.parquet.encoded"}


def _connect() -> psycopg.Connection[Any]:
    """With Django's parameters. Not held open in a transaction: nothing waits for an export's end."""
    known = connection.get_connection_params()
    own = ("context", "cursor_factory", "prepare_threshold")
    parameters = {name: value for name, value in known.items() if name not in own}
    parameters["application_name"] = APPLICATION
    made = psycopg.connect(**parameters, autocommit=True)
    made.execute(SETTINGS)
    return made
