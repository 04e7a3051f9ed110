"""The end of a process that is one coroutine: asked for by a signal."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


async def until_ended(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, or cancel it at SIGTERM or SIGINT."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
