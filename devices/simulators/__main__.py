"""`python -m devices.simulators DRIVER`: simulated instruments, one JSON line each, served until stopped."""

import argparse
import asyncio
import contextlib
import gc
import json
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from devices import simulators
from devices.simulators import doors, faults
from devices.simulators.base import BadSetting, Simulator
from devices.simulators.doors import AnyDoor
from devices.simulators.faults import BadFault, Fault, Faults
from devices.simulators.ledger import Ledger

LOOK_EVERY = 0.05  # seconds between looks at whether an instrument is switched off


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    simulator = simulators.load(chosen.driver)
    try:
        instruments = _instruments(simulator, chosen)
        asyncio.run(serve(instruments, chosen.listen, chosen.ledger))
    except (BadFault, BadSetting) as error:
        parser.error(str(error))
    except sqlite3.Error as error:
        sys.exit(f"cannot write the ledger {chosen.ledger}: {error}")
    except OSError as error:
        sys.exit(f"cannot listen on {chosen.listen}: {error.strerror or error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devices.simulators",
        description="Simulated instruments on their real wire: prints one JSON line each, then serves.",
        epilog=_more_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("driver", choices=sorted(simulators.SIMULATORS), metavar="DRIVER", help="%(choices)s")
    parser.add_argument(
        "--listen",
        default="",
        metavar="WHERE",
        help="host:port; port 0 (as in the default, 127.0.0.1:0) takes free ones, with another, instrument n "
        "is at port + n. Of serial ports, the path at which they are to be found; of files, a folder",
    )
    parser.add_argument(
        "--count", type=_at_least_one, default=1, metavar="N", help="how many instruments (1)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="the same seed, the same behaviour (0)"
    )
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="SQLite file that notes every reply sent")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="SPEC", help="KIND[:key=value,…]; repeatable"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; repeatable"
    )
    return parser


def _more_help() -> str:
    kinds = "\n".join(f"    {kind:9} {text}" for kind, text in faults.KINDS.items())
    lines = [f"faults, KIND[:key=value,…]:\n{kinds}\n{(faults.__doc__ or '').partition('limited:')[2]}"]
    for name in simulators.SIMULATORS:
        simulator = simulators.load(name)
        settings = "\n".join(f"    {key:9} {text}" for key, text in simulator.settings.items())
        own = ", ".join(simulator.faults_of_its_own) or "none"
        lines.append(f"settings of {name}:\n{settings}\n\nfaults of {name} itself: {own}\n")
    return "\n".join(lines)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _instruments(simulator: type[Simulator], chosen: argparse.Namespace) -> list[Simulator]:
    parsed = [Fault.parse(text, simulator.faults_of_its_own) for text in chosen.fault]
    wrong = [text for text in chosen.set if "=" not in text]
    if wrong:
        raise BadSetting(f"--set {wrong[0]!r} is not KEY=VALUE")
    settings = dict(text.split("=", 1) for text in chosen.set)
    shared = Faults(parsed, chosen.seed)
    return [
        simulator(number, chosen.seed, settings, shared, time.monotonic) for number in range(chosen.count)
    ]


async def serve(instruments: list[Simulator], where: str, ledger_path: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _allow_many_connections()
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


if __name__ == "__main__":
    main()
