"""Write readings to a file, as the API's export/ does."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from telemetry import export
from telemetry.parameters import TIMES, channels_of, moment_of
from telemetry.series import Resolution


class Command(BaseCommand):
    help = "Write readings of channels to a CSV or Parquet file, with all that it takes to make it again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="its name ends in .csv or .parquet")
        parser.add_argument("--channel", nargs="+", required=True, help="ids of channels")
        parser.add_argument("--from", dest="start", default="-24h", help=TIMES)
        parser.add_argument("--to", dest="end", default="now", help="until before this time")
        parser.add_argument("--resolution", choices=[each.value for each in Resolution], default="raw")
        parser.add_argument("--layout", choices=[each.value for each in export.Layout], default="long")
        parser.add_argument("--no-comments", action="store_true", help="CSV without what it says of itself")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        form = path.suffix.removeprefix(".")
        if form not in export.FORMS:
            raise CommandError(f"{path}: its name must end in .{' or .'.join(export.FORMS)}.")
        try:
            question = export.Question(
                channels_of(options["channel"], export.CHANNELS_MOST),
                moment_of(options["start"]),
                moment_of(options["end"]),
                form,
                Resolution(options["resolution"]),
                export.Layout(options["layout"]),
                comments=not options["no_comments"],
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        running = export.Running(question, timezone.now())
        try:
            with path.open("wb") as file:
                for part in running:
                    file.write(part)
        finally:
            running.close()
        self.stdout.write(f"{path}: {path.stat().st_size} bytes")
