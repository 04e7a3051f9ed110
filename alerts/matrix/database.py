"""The database from the bot's one thread for it; the loop goes on meanwhile."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any, ParamSpec, TypeVar

import psycopg
from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, close_old_connections, connections

from alerts.changes import CHANNEL as ALARMS
from alerts.notices.delivery import CHANNEL as NOTICES

RETRY_S = 5.0
DATABASE_AWAY = (DatabaseError, InterfaceError, psycopg.Error)
APPLICATION = "labsite matrix"  # what PostgreSQL calls the listener
DJANGO_ONLY = ("context", "cursor_factory", "prepare_threshold")

logger = logging.getLogger(__name__)

Given = ParamSpec("Given")
Found = TypeVar("Found")


async def database(function: Callable[Given, Found], *args: Given.args, **named: Given.kwargs) -> Found:
    """What a function of the database returns."""

    def call() -> Found:
        close_old_connections()
        return function(*args, **named)

    return await sync_to_async(call)()


async def until_it_works(function: Callable[Given, Found], *args: Given.args, **named: Given.kwargs) -> Found:
    """The same, however long the database is away."""
    while True:
        try:
            return await database(function, *args, **named)
        except DATABASE_AWAY as error:
            logger.warning("database lost, again in %.0f s: %s", RETRY_S, str(error).strip())
            await asyncio.sleep(RETRY_S)


async def changes() -> AsyncGenerator[None]:
    """One item now, and one at each change of alarms or notices. Raises psycopg.Error."""
    known = connections["default"].get_connection_params()
    parameters: dict[str, Any] = {name: value for name, value in known.items() if name not in DJANGO_ONLY}
    parameters["application_name"] = APPLICATION
    async with await psycopg.AsyncConnection.connect(**parameters, autocommit=True) as connection:
        await connection.execute(f"LISTEN {ALARMS}; LISTEN {NOTICES}")
        yield
        async for _notice in connection.notifies():
            yield
