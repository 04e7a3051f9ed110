"""Tells how much room what is stored takes."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from telemetry import storage
from telemetry.api.storage import StorageSerializer

COLUMNS = "{:<32} {:>10} {:>13} {:>13} {:>13} {:>9} {:>12}"


class Command(BaseCommand):
    help = "How much room what is stored takes, how fast it grows, and when the disk will be full."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="as the API gives it")

    def handle(self, *args: Any, **options: Any) -> None:
        found = storage.now(timezone.now())
        if options["json"]:
            self.stdout.write(json.dumps(StorageSerializer(found).data, default=str))
            return
        self.stdout.write(
            COLUMNS.format("", "bytes", "rows", "rows a day", "bytes a day", "kept", "grows to")
        )
        for each in found.kinds:
            self.stdout.write(line(each))
        self.stdout.write(f"\nThe database: {filesizeformat(found.database_bytes)}")
        if found.disk:
            free, total = filesizeformat(found.disk.free), filesizeformat(found.disk.total)
            self.stdout.write(f"The disk: {free} of {total} free")
        self.stdout.write(f"The disk is full: {found.outlook}")


def line(each: storage.Figures) -> str:
    """One kind."""
    days, full = each.kind.days, each.full_bytes
    return COLUMNS.format(
        str(each.kind.label),
        filesizeformat(each.bytes),
        f"{each.rows:,}",
        f"{each.rows_per_day:,.0f}",
        filesizeformat(each.bytes_per_day),
        "for ever" if days is None else f"{days} days",
        "no end" if full is None else filesizeformat(full),
    )
