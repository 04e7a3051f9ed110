"""`python -m devices.simulators DRIVER` or `lab`: simulated instruments, a JSON line each, until stopped."""

import argparse
import asyncio
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from devices import simulators
from devices.simulators import faults, lab
from devices.simulators.base import BadSetting, Simulator
from devices.simulators.faults import BadFault, Fault, Faults
from devices.simulators.serving import serve

LAB = "lab"


def main(arguments: Sequence[str] | None = None) -> None:
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == [LAB]:
        lab.main(words[1:])
        return
    parser = _parser()
    chosen = parser.parse_args(words)
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


class Parser(argparse.ArgumentParser):
    """Its help names what each simulator has; their modules are imported for that only."""

    def format_help(self) -> str:
        self.epilog = _more_help()
        return super().format_help()


def _parser() -> Parser:
    parser = Parser(
        prog="python -m devices.simulators",
        description="Simulated instruments on their real wire: prints one JSON line each, then serves.\n"
        "`python -m devices.simulators lab` serves one of each; see its own --help.",
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


if __name__ == "__main__":
    main()
