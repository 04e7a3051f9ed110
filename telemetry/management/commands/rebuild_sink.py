"""Fills a sink from PostgreSQL."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices.errors import ConfigurationError, Refused
from telemetry.parameters import TIMES, moment_of
from telemetry.sinks import editing
from telemetry.sinks.rebuild import Rebuild


class Command(BaseCommand):
    help = (
        "Fill a sink with what PostgreSQL holds. Interrupted, it goes on where it was when it is run again; "
        "points that are there already are the same points. What is stored meanwhile is fed as ever."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the sink's")
        parser.add_argument("--from", dest="start", help=f"{TIMES}; default: all there is")
        parser.add_argument("--to", dest="end", help="the same; default: now")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            start, end = (moment_of(text) if text else None for text in (options["start"], options["end"]))
            sink = editing.find(options["name"])
            filled = Rebuild(sink, self.stdout.write, time.sleep).fill(start, end)
        except (ConfigurationError, Refused, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"{filled.points} points written, {filled.refused} refused, from {filled.start} to {filled.end}"
        )
        if sink.must_rebuild:
            raise CommandError(
                "more is missing: rebuild it without --from and --to, or start it at the present"
            )
