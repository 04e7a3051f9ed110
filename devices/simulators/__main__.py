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
from devices.simulators import faults
from devices.simulators.base import BadSetting, Simulator
from devices.simulators.faults import BadFault, Fault, Faults
from devices.simulators.ledger import Ledger
from devices.simulators.tcp import Door

LOOK_EVERY = 0.05  # seconds between looks at whether an instrument is switched off


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    simulator = simulators.load(chosen.driver)
    try:
        instruments = _instruments(simulator, chosen)
        host, port = _host_and_port(chosen.listen, chosen.count)
    except (BadFault, BadSetting) as error:
        parser.error(str(error))
    try:
        asyncio.run(_serve(instruments, host, port, chosen.ledger))
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
        default="127.0.0.1:0",
        metavar="ADDRESS",
        help="host:port; port 0 (the default) takes free ones, with another, instrument n is at port + n",
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


def _host_and_port(text: str, count: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) + (count - 1 if int(port) else 0) > 65_535:
        raise BadSetting(f"--listen {text!r}: write host:port, as in 127.0.0.1:0; ports end at 65535")
    return host.strip("[]"), int(port)


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


async def _serve(instruments: list[Simulator], host: str, port: int, ledger_path: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _allow_many_connections()
    ledger = Ledger(ledger_path, instruments[0].driver) if ledger_path else None
    record = ledger.add if ledger else None
    doors = []
    try:
        doors += [Door(each, host, port and port + each.number, record) for each in instruments]
        if ledger:
            ledger.enter([door.address for door in doors])
        for door in doors:
            line = {
                "address": door.address,
                "driver": door.simulator.driver,
                "instrument": door.simulator.number,
            }
            sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        gc.freeze()  # thousands of instruments are there for good
        await _look_until(stop, doors)
    finally:
        for door in doors:
            await door.close()
        if ledger:
            ledger.close()


async def _look_until(stop: asyncio.Event, doors: list[Door]) -> None:
    watched = [door for door in doors if door.simulator.faults.has("refuse")]
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
