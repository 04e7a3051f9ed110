"""The database from the bot's one thread for it; the loop goes on meanwhile."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, ParamSpec, TypeVar

import psycopg
from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

from alerts.changes import CHANNEL as ALARMS
from alerts.notices.delivery import CHANNEL as NOTICES

APPLICATION = "labsite matrix"  # what PostgreSQL calls the listener
DJANGO_ONLY = ("context", "cursor_factory", "prepare_threshold")

Given = ParamSpec("Given")
Found = TypeVar("Found")


async def database(function: Callable[Given, Found], *args: Given.args, **named: Given.kwargs) -> Found:
    """What a function of the database returns."""

    def call() -> Found:
        close_old_connections()
        return function(*args, **named)

    return await sync_to_async(call)()


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
