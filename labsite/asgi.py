"""The web door."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labsite.settings")
django = get_asgi_application()

from django.db import connections  # noqa: E402 - need Django set up

from labsite.pages.live import hub  # noqa: E402
from labsite.replaced import moving  # noqa: E402

# Each request has a thread of its own: a connection it left open would be nobody's, and there are not many.
connections.settings["default"]["CONN_MAX_AGE"] = 0

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Django, also on the ports of replaced programs; and the server's start and stop."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await django(moving.moved(scope, settings.REPLACED_PORTS, https=settings.HTTPS), receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    """Tell the server that all is ready, and end the live streams when it stops (ASGI lifespan 2.0)."""
    await receive()
    _end_streams_on_signals()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    hub.stop()
    await send({"type": "lifespan.shutdown.complete"})


def _end_streams_on_signals() -> None:
    """End the streams at the signal: the server says its shutdown only when all connections are closed."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(hub.stop)
            if callable(before):
                before(number, frame)

        signal.signal(number, handle)
