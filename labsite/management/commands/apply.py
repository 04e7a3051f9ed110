"""Put a lab file in force."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from devices.lab_file import LabFileError
from devices.services import OPERATOR
from labsite import lab_file


class Command(BaseCommand):
    help = (
        "Make edges, instruments, rules, contacts and routes as a TOML file says: all of it or, if there is "
        "an error, nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE.toml", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="only print what would change")
        parser.add_argument("--prune", action="store_true", help="retire or delete what the file leaves out")

    def handle(self, *args: Any, file: Path, dry_run: bool, prune: bool, **options: Any) -> None:
        try:
            lab = lab_file.read(file)
            changes = lab_file.apply(lab, by=OPERATOR, prune=prune, dry_run=dry_run)
        except LabFileError as error:
            raise CommandError(f"{error}\nNothing was changed.") from None
        for change in changes:
            self.stdout.write(str(change))
        if not changes:
            self.stdout.write("Nothing to change.")
        elif dry_run:
            self.stdout.write(f"{len(changes)} changes; this was a dry run, nothing was changed.")
        else:
            self.stdout.write(f"{len(changes)} changes made.")
