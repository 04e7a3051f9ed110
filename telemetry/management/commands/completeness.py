"""How complete the night was, for the person who comes in the morning."""

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from devices.models import Instrument
from telemetry.completeness import report
from telemetry.parameters import TIMES, moment_of


class Command(BaseCommand):
    help = "Say how many of the readings that were due are there, and what explains that others are not."

    def run_from_argv(self, argv: list[str]) -> None:
        """argparse would take the `-12h` of `--from -12h` for another option."""
        joined: list[str] = []
        for word in argv:
            if joined and joined[-1] in ("--from", "--to"):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        super().run_from_argv(joined)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", default="-12h", help=f"{TIMES}; -12h if left out")
        parser.add_argument("--to", default="now", help="now if left out")
        parser.add_argument(
            "--instrument", action="append", default=[], metavar="NAME", help="only this one; may be repeated"
        )
        parser.add_argument("--edge", default="", metavar="NAME", help="only those of this edge")

    def handle(self, *args: Any, **options: Any) -> None:
        start, end = self._moment(options, "from"), self._moment(options, "to")
        if start >= end:
            raise CommandError("--from is not before --to")
        made = report.make(self._instruments(options), start, end, timezone.now())
        for line in report.lines(made):
            self.stdout.write(line)

    def _moment(self, options: dict[str, Any], name: str) -> datetime:
        try:
            return moment_of(options[name])
        except ValueError as error:
            raise CommandError(f"--{name}: {error}") from None

    def _instruments(self, options: dict[str, Any]) -> list[Instrument]:
        found = Instrument.objects.filter(retired_at=None)
        if options["edge"]:
            found = found.filter(edge__name=options["edge"])
        if options["instrument"]:
            found = found.filter(name__in=options["instrument"])
            if missing := set(options["instrument"]) - set(found.values_list("name", flat=True)):
                raise CommandError(f"there is no instrument {', '.join(sorted(missing))}")
        return list(found)
