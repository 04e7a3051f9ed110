"""Computes again what is stored of a derived or calibrated channel."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices.errors import Refused
from devices.models import Channel
from devices.services import OPERATOR
from telemetry import defining
from telemetry.parameters import TIMES, moment_of


class Command(BaseCommand):
    help = (
        "Compute a derived or calibrated channel again, as it is defined now, over the stored readings that "
        "it is computed from, and whatever is computed from it. Running it twice does no harm."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "channel", help="its number, or the instrument's name and its key: 'Bath 1/power'"
        )
        parser.add_argument("--from", dest="start", help=f"{TIMES}; default: as far as readings are kept")
        parser.add_argument("--to", dest="end", help="the same; default: now")
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would change, and change nothing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            start, end = (moment_of(text) if text else None for text in (options["start"], options["end"]))
            channel = channel_of(options["channel"])
            done = defining.recompute(channel, OPERATOR, start, end, dry_run=options["dry_run"])
        except (Refused, ValueError) as error:
            raise CommandError(str(error)) from None
        would = "would be " if options["dry_run"] else ""
        self.stdout.write(
            f"{channel}: {done.changed} values {would}changed, {done.added} {would}added; "
            f"{done.same} are the same; {done.left} stay, for what they are computed from is not stored"
        )


def channel_of(text: str) -> Channel:
    """Raises ValueError."""
    channels = Channel.objects.select_related("instrument")
    if text.isdecimal() and len(text) < 10:
        found = channels.filter(pk=int(text)).first()
    else:
        name, _, key = text.rpartition("/")
        found = channels.filter(instrument__name=name, key=key).first()
    if found is None:
        raise ValueError(f"there is no channel {text!r}: write its number, or “instrument/key”")
    return found
