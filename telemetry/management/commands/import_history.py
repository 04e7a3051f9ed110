"""Takes over what the replaced programs have stored."""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from devices import secrets
from devices.errors import ConfigurationError
from devices.models import Instrument
from telemetry.families import FAMILIES
from telemetry.imports import schemas, texts
from telemetry.imports.base import Source, Unreadable
from telemetry.imports.filament_box import INTERVAL, UnsentBatches
from telemetry.imports.generic import Form, GenericCsv
from telemetry.imports.influx1 import Asked, InfluxQl
from telemetry.imports.influx2 import Flux
from telemetry.imports.schemas import MEASUREMENTS, SCHEMAS, Schema
from telemetry.imports.taking import Taker, Tally
from telemetry.imports.thermostat import ThermostatCsv
from telemetry.management.times import moment, with_times
from telemetry.parameters import TIMES

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "blank": " "}


class Command(BaseCommand):
    help = (
        "Import old readings into an instrument's channels: from the thermostat logger's CSV, filament box's "
        "unsent_batches.db, InfluxDB 1 or 2, or any CSV. A second time takes nothing twice."
    )

    def run_from_argv(self, argv: list[str]) -> None:
        super().run_from_argv(with_times(argv))

    def add_arguments(self, parser: CommandParser) -> None:
        sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
        for name, words, more in (
            ("thermostat", "the thermostat logger's data.csv", _of_file),
            ("filament_box", "the filament box's unsent_batches.db", _of_box),
            ("influx1", "InfluxDB 1 over HTTP", _of_influx1),
            ("influx2", "InfluxDB 2 by Flux", _of_influx2),
            ("csv", "any CSV with a column of times", _of_csv),
        ):
            one = sources.add_parser(name, help=words)
            more(one)
            _of_all(one)

    def handle(self, *args: Any, **options: Any) -> None:
        instrument = Instrument.objects.select_related("edge").filter(name=options["instrument"]).first()
        if instrument is None:
            raise CommandError(f"there is no instrument {options['instrument']!r}: make it first")
        source = SOURCES[options["source"]](options)
        taker = Taker(instrument, options["retention"] or "", dry=options["dry_run"])
        start = moment("from", options["from"]) if options["from"] else None
        end = moment("to", options["to"]) if options["to"] else None
        trouble = ""
        try:
            taker.take(source, timezone.now(), start, end)
        except Unreadable as error:
            trouble = str(error)
        except KeyboardInterrupt:
            trouble = "broken off"
        for line in lines(taker.tally, source, dry=options["dry_run"]):
            self.stdout.write(line)
        if trouble:
            raise CommandError(f"{trouble}. What was taken stays; import it again to go on.")


# ---- what there is to say


def _of_all(parser: ArgumentParser) -> None:
    parser.add_argument("--instrument", required=True, metavar="NAME", help="whose channels they are")
    parser.add_argument("--dry-run", action="store_true", help="count, and store nothing")
    parser.add_argument(
        "--retention", choices=FAMILIES, help="class of its channels from now on: how long readings are kept"
    )
    parser.add_argument("--from", metavar="TIME", help=f"only readings from then on. {TIMES}")
    parser.add_argument("--to", metavar="TIME", help="only readings before that")


def _of_file(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path)


def _of_box(parser: ArgumentParser) -> None:
    _of_file(parser)
    parser.add_argument(
        "--interval",
        type=float,
        default=INTERVAL,
        help=f"seconds between two points that have no time of their own; {INTERVAL} if left out",
    )


def _of_influx1(parser: ArgumentParser) -> None:
    _of_influx(parser)
    parser.add_argument("--database", required=True)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="", metavar="SECRET", help="its name: LABSITE_SECRET_<NAME>")


def _of_influx2(parser: ArgumentParser) -> None:
    _of_influx(parser)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--org", required=True)
    parser.add_argument(
        "--token", required=True, metavar="SECRET", help="the token's name: LABSITE_SECRET_<NAME>"
    )


def _of_influx(parser: ArgumentParser) -> None:
    parser.add_argument("url", help="such as http://192.168.1.5:8086")
    parser.add_argument("--schema", choices=sorted(SCHEMAS), help="whose measurements they are")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="MEASUREMENT.FIELD[{TAG=VALUE}]=CHANNEL",
        help="which field is which channel; may be repeated",
    )
    parser.add_argument(
        "--measurement", action="append", default=[], help="in place of the schema's; may be repeated"
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only points with it; may be repeated",
    )


def _of_csv(parser: ArgumentParser) -> None:
    _of_file(parser)
    parser.add_argument("--time", required=True, metavar="COLUMN", help="the column of times")
    parser.add_argument(
        "--time-format",
        default="iso",
        help="iso, s, ms, us or ns (since 1970), or as %%d.%%m.%%Y %%H:%%M:%%S; iso if left out",
    )
    parser.add_argument("--zone", default="UTC", help="of times without one, such as Europe/Berlin")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="COLUMN=CHANNEL",
        help="which column is which channel; may be repeated. If left out, each is one of its own name",
    )
    parser.add_argument("--delimiter", default="comma", help=f"{', '.join(DELIMITERS)}, or the character")
    parser.add_argument("--decimal-comma", action="store_true")
    parser.add_argument("--encoding", default="utf-8-sig", help="such as latin-1")
    parser.add_argument("--skip", type=int, default=0, help="lines before that with the names of the columns")


# ---- what it means


def _influx1(options: dict[str, Any]) -> Source:
    password = _secret(options["password"]) if options["password"] else ""
    return InfluxQl(_asked(options, options["database"]), options["user"], password)


def _influx2(options: dict[str, Any]) -> Source:
    return Flux(_asked(options, options["bucket"]), options["org"], _secret(options["token"]))


def _asked(options: dict[str, Any], database: str) -> Asked:
    url = urlsplit(options["url"])
    if url.scheme not in ("http", "https") or not url.hostname:
        raise CommandError(f"{options['url'][:60]!r} is no address such as http://192.168.1.5:8086")
    if url.username or url.password:
        raise CommandError("a password has no place in an address: name a secret")
    schema, measurements = _schema(options)
    tags = dict(_pair("tag", text) for text in options["tag"])
    start, end = (moment(name, options[name]) if options[name] else None for name in ("from", "to"))
    return Asked(options["url"], database, schema, options["measurement"] or measurements, tags, start, end)


def _schema(options: dict[str, Any]) -> tuple[Schema, list[str]]:
    if bool(options["schema"]) == bool(options["map"]):
        raise CommandError("--schema is needed, or --map, and not both")
    if options["schema"]:
        return SCHEMAS[options["schema"]], list(MEASUREMENTS[options["schema"]])
    try:
        rules = [schemas.rule_of(text) for text in options["map"]]
    except ValueError as error:
        raise CommandError(f"--map: {error}") from None
    return schemas.by_rules(rules), sorted({rule.measurement for rule in rules})


def _csv(options: dict[str, Any]) -> Source:
    form = Form(
        options["time"],
        _clock(options),
        dict(_pair("column", text) for text in options["column"]),
        DELIMITERS.get(options["delimiter"], options["delimiter"]),
        options["decimal_comma"],
        options["encoding"],
        options["skip"],
    )
    if len(form.delimiter) != 1:
        raise CommandError(f"--delimiter: {form.delimiter!r} is none of {', '.join(DELIMITERS)}")
    return GenericCsv(options["file"], form)


def _clock(options: dict[str, Any]) -> texts.Clock:
    form = options["time_format"]
    if form in texts.EPOCHS:
        return texts.epoch(form)
    if form != "iso" and "%" not in form:
        raise CommandError(
            f"--time-format: {form!r} is neither iso, {', '.join(texts.EPOCHS)} nor like %H:%M"
        )
    try:
        zone = ZoneInfo(options["zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CommandError(f"--zone: there is no time zone {options['zone']!r}") from None
    return texts.LocalClock(zone, "" if form == "iso" else form)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, sign, value = text.rpartition("=")
    if not (sign and name and value):
        raise CommandError(f"--{option}: {text!r} is not of the form name=value")
    return name, value


def _secret(name: str) -> str:
    try:
        return secrets.of(name)
    except ConfigurationError as error:
        raise CommandError(str(error)) from None


SOURCES = {
    "thermostat": lambda options: ThermostatCsv(options["file"]),
    "filament_box": lambda options: UnsentBatches(options["file"], options["interval"]),
    "influx1": _influx1,
    "influx2": _influx2,
    "csv": _csv,
}


# ---- what came of it


def lines(tally: Tally, source: Source, *, dry: bool) -> Iterator[str]:
    """In words: what was taken, what was known, and what was refused and why."""
    span = ""
    if tally.start and tally.end:
        span = f", from {tally.start:%Y-%m-%d %H:%M:%S} to {tally.end:%Y-%m-%d %H:%M:%S} UTC"
    yield f"{'would be taken' if dry else 'taken'}: {tally.taken}{span}"
    yield f"known: {tally.known}"
    if source.blank:
        yield f"blank: {source.blank}"
    if tally.outside:
        yield f"of another time: {tally.outside}"
    yield f"refused: {sum(refused.count for refused in tally.refused.values())}"
    for reason, refused in sorted(tally.refused.items(), key=lambda each: -each[1].count):
        yield f"  {refused.count}: {reason}"
        yield from (f"    {example}" for example in refused.first)
    if tally.made:
        yield f"channels made: {', '.join(tally.made)}"
    if tally.kept_longer:
        yield f"channels of another retention class now: {', '.join(tally.kept_longer)}"
    yield from source.notes
