"""`python -m devices.probe DRIVER URL`: read an instrument once and print a table.

What a person does first with a cable in hand. It needs nothing but this host: no centre, no broker, no
database. Passwords are found as at an edge. Ends with 0 if the instrument was read, 1 if it does not answer
as it should, 2 if it was asked wrongly.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from devices import drivers
from devices.drivers.base import Driver, Option, Secret
from devices.edge.session import DEADLINE
from devices.edge.trial import SAYS_WITHIN, shown, words
from devices.edge.visit import Heard, Visit, line
from devices.errors import ConfigurationError, ReplyError
from devices.readings import Quality, Reading, Said

ANSWERED, SILENT, WRONG = 0, 1, 2
EVERY = 1.0  # seconds between polls while it is watched
NUMBERS_SHOWN = 8


class Watch(Heard):
    """Prints what is said as it comes, once the table has been printed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_printing = False
        self.units: dict[str, str] = {}

    def take(self, said: Iterable[Said]) -> None:
        said = list(said)
        super().take(said)
        if self.is_printing:
            for one in said:
                print(self.of(one) if isinstance(one, Reading) else line(one), flush=True)

    def of(self, reading: Reading) -> str:
        quality = "" if reading.quality == Quality.GOOD else f"  {quality_of(reading)}"
        return f"{reading.key}  {text_of(reading)} {self.units.get(reading.key, '')}{quality}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if chosen.verbose else logging.ERROR, format="%(message)s")
    try:
        driver = drivers.load(chosen.driver)
        if not chosen.url:
            print(describe(driver))
            return ANSWERED
        options = parsed_options(driver, chosen.option)
        return asyncio.run(probe(chosen.driver, chosen.url, options, chosen.seconds))
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return ANSWERED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devices.probe",
        description="Read an instrument once and print what it says. Without URL: what the driver offers.",
        epilog=f"Drivers: {', '.join(drivers.names())}. A password is named, not written: --option "
        "password=QPCR takes it from LABSITE_SECRET_QPCR (or the file in LABSITE_SECRET_QPCR_FILE), for the "
        "hosts in LABSITE_SECRET_QPCR_HOSTS.",
    )
    parser.add_argument("driver", metavar="DRIVER")
    parser.add_argument("url", metavar="URL", nargs="?", help="the instrument's address")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    parser.add_argument(
        "--seconds", type=float, default=0.0, metavar="N", help="go on listening and reading, each second"
    )
    parser.add_argument("--verbose", action="store_true", help="print the log, too")
    return parser


def parsed_options(driver: type[Driver], words: Iterable[str]) -> dict[str, Any]:
    """Options as written on the command line. Raises ConfigurationError."""
    declared = {option.name: option for option in driver.options}
    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ConfigurationError(f"--option {word!r} is not NAME=VALUE")
        found[name] = _value(declared[name], text) if name in declared else text
    return {name: value for name, value in driver.checked_options(found).items() if name in found}


def _value(option: Option, text: str) -> Any:
    if option.kind is Secret:
        return {"secret": text} if text else ""
    if option.kind is str:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # which the option refuses, in its words


# ---- reading


async def probe(name: str, url: str, options: dict[str, Any], seconds: float) -> int:
    """Open, read, print, listen, close; the exit code. Raises ConfigurationError."""
    heard = Watch()
    visit = Visit(name, url, options, heard.take)
    stage = "opening it"
    now = asyncio.get_running_loop().time
    try:
        start = now()
        async with asyncio.timeout(DEADLINE):
            driver = await visit.open()
        opened, stage = now(), "reading it"
        async with asyncio.timeout(DEADLINE):
            heard.take(await driver.read())
        read = now()
        if driver.link.listens:
            await heard.until_all(driver.channels_for(driver.settings), SAYS_WITHIN)
            async with asyncio.timeout(DEADLINE):
                heard.take(await driver.read())  # which tells of a link lost since
        print(f"{driver.label} at {url}: connected in {_ms(opened - start)}, read in {_ms(read - opened)}")
        print(table(driver, heard.readings))
        print("\n".join(heard.told), end="\n" if heard.told else "")
        if seconds > 0:
            await _watch(driver, heard, seconds)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a driver's mistake is told in a line, too
        print(f"error: {words(error, stage)}", file=sys.stderr)
        return SILENT
    finally:
        await visit.close()
    return ANSWERED


async def _watch(driver: Driver, heard: Watch, seconds: float) -> None:
    """Read each second and print what comes, also unasked. Raises what ends it."""
    heard.is_printing = True
    heard.units = {channel.key: channel.unit for channel in driver.channels_for(driver.settings)}
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0:
        await asyncio.sleep(min(EVERY, left))
        try:
            async with asyncio.timeout(DEADLINE):
                heard.take(await driver.read())
        except ReplyError as error:
            print(f"an answer of no use: {error}", flush=True)


# ---- printing


def table(driver: Driver, readings: dict[str, Reading]) -> str:
    """All declared channels and what else was said, a line each."""
    declared = {channel.key: channel for channel in driver.channels_for(driver.settings)}
    rows = [("CHANNEL", "VALUE", "UNIT", "QUALITY", "LABEL")]
    for key in (*declared, *(key for key in readings if key not in declared)):
        reading, channel = readings.get(key), declared.get(key)
        value, quality = (text_of(reading), quality_of(reading)) if reading else ("–", "nothing said")
        label = channel.label if channel else "(not declared)"
        rows.append((key, value, channel.unit if channel else "", quality, label))
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def text_of(reading: Reading) -> str:
    """A value in so many characters that a table stays one."""
    tried = shown(reading)
    value = tried.value
    if isinstance(value, list):
        numbers = ", ".join("–" if number is None else f"{number:.6g}" for number in value[:NUMBERS_SHOWN])
        return f"{numbers}{', …' if tried.length > NUMBERS_SHOWN else ''} ({tried.length})"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "–" if value is None else " ".join(str(value).split())[:60]


def quality_of(reading: Reading) -> str:
    return Quality(reading.quality).name.lower()


def describe(driver: type[Driver]) -> str:
    """What there is to know before the first try."""
    lines = [
        f"{driver.label}: {(driver.__doc__ or '').strip().splitlines()[0]}",
        f"address: {driver.example}",
    ]
    for option in driver.options:
        kind = option.kind.__name__.lower()
        choices = f", one of {', '.join(option.choices)}" if option.choices else ""
        lines.append(
            f"--option {option.name}=…  ({kind}{choices}; {option.default!r} if left out) {option.help}"
        )
    rows = [
        (channel.key, channel.unit, channel.label)
        for channel in driver.channels_for(driver.checked_options({}))
    ]
    return "\n".join([*lines, aligned([("CHANNEL", "UNIT", "LABEL"), *rows])])


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
