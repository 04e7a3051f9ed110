"""Serves simulated instruments until the process is told to stop; a JSON line each says where they are."""

import asyncio
import contextlib
import gc
import json
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from devices.simulators import doors
from devices.simulators.base import Simulator
from devices.simulators.doors import AnyDoor
from devices.simulators.ledger import Ledger

LOOK_EVERY = 0.05  # seconds between looks at whether an instrument is switched off


async def serve(instruments: Iterable[Simulator], where: str, ledger_path: Path | None) -> None:
    stop = until_told()
    ledger = Ledger(ledger_path) if ledger_path else None
    record = ledger.add if ledger else None
    open_doors: list[AnyDoor] = []
    try:
        for place, each in enumerate(instruments):
            open_doors.append(doors.opened(each, where, place, record))
            if ledger:
                ledger.enter(each.number, open_doors[-1].address, each.driver)
        for door in open_doors:
            announce(door)
        sys.stdout.flush()
        gc.freeze()  # thousands of instruments are there for good
        await _look_until(stop, open_doors)
    finally:
        for door in open_doors:
            await door.close()
        if ledger:
            ledger.close()


def announce(door: AnyDoor) -> None:
    simulator = door.simulator
    line = {"address": door.address, "driver": simulator.driver, "instrument": simulator.number}
    sys.stdout.write(json.dumps(line) + "\n")


def until_told() -> asyncio.Event:
    """Set by the signals that stop a program."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _allow_many_connections()
    return stop


async def _look_until(stop: asyncio.Event, open_doors: list[AnyDoor]) -> None:
    watched = [door for door in open_doors if door.simulator.faults.has("refuse")]
    while not stop.is_set():
        for door in watched:
            door.look()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_EVERY if watched else None)


def _allow_many_connections() -> None:
    """Each instrument takes one file for its port and one for each client."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
