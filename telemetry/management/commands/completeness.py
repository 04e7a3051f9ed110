"""How complete the night was, for the person who comes in the morning."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from devices.models import Instrument
from telemetry.completeness import report
from telemetry.management.times import moment, with_times
from telemetry.parameters import TIMES


class Command(BaseCommand):
    help = "Say how many of the readings that were due are there, and what explains that others are not."

    def run_from_argv(self, argv: list[str]) -> None:
        super().run_from_argv(with_times(argv))

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", default="-12h", help=f"{TIMES}; -12h if left out")
        parser.add_argument("--to", default="now", help="now if left out")
        parser.add_argument(
            "--instrument", action="append", default=[], metavar="NAME", help="only this one; may be repeated"
        )
        parser.add_argument("--edge", default="", metavar="NAME", help="only those of this edge")

    def handle(self, *args: Any, **options: Any) -> None:
        start, end = moment("from", options["from"]), moment("to", options["to"])
        if start >= end:
            raise CommandError("--from is not before --to")
        made = report.make(self._instruments(options), start, end, timezone.now())
        for line in report.lines(made):
            self.stdout.write(line)

    def _instruments(self, options: dict[str, Any]) -> list[Instrument]:
        found = Instrument.objects.filter(retired_at=None)
        if options["edge"]:
            found = found.filter(edge__name=options["edge"])
        if options["instrument"]:
            found = found.filter(name__in=options["instrument"])
            if missing := set(options["instrument"]) - set(found.values_list("name", flat=True)):
                raise CommandError(f"there is no instrument {', '.join(sorted(missing))}")
        return list(found)
