"""The report: a line for each rule. Ends with 0 if all are kept, 1 if not, 2 if it was asked wrongly."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

from devices import drivers
from devices.conformance import Finding, declared, live
from devices.edge.session import DEADLINE
from devices.errors import ConfigurationError
from devices.probe import parsed_options


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.CRITICAL)
    try:
        options = parsed_options(drivers.load(chosen.driver), chosen.option)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = declared.findings(chosen.driver, options)
    if chosen.address:
        found += asyncio.run(live.findings(chosen.driver, chosen.address, options, chosen.deadline))
    for finding in found:
        print(told(finding))
    faults = sum(bool(finding.fault) for finding in found)
    without = "" if chosen.address else "; without --address nothing was read"
    print(f"{len(found) - faults} of {len(found)} rules kept{without}")
    return 1 if faults else 0


def told(finding: Finding) -> str:
    mark = "FAIL" if finding.fault else "ok  "
    what = finding.fault or finding.note
    return f"{mark} {finding.rule}{f': {what}' if what else ''}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devices.conformance",
        description="Check what every driver keeps to: by its declaration, and with --address with an "
        "instrument, which is read and not changed.",
    )
    parser.add_argument("driver", metavar="DRIVER", help=", ".join(drivers.names()))
    parser.add_argument("--address", default="", metavar="URL", help="of an instrument, real or simulated")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    parser.add_argument("--deadline", type=float, default=DEADLINE, metavar="S", help="of each poll (5 s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
