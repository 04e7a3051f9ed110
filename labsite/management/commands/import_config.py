"""Read the configuration of a replaced program as a lab file."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from devices.lab_file import LabFileError
from devices.services import OPERATOR
from labsite import lab_file
from labsite.import_config import CannotImport, meant, secret_files, written


class Command(BaseCommand):
    help = (
        "Print the lab file that the configuration of qs-monitor (config.toml), Metatron Telemetry, the "
        "thermostat logger (server.py), the UPS monitor or filament box (config.yaml, .env) means, with what "
        "is not carried over; see docs/import-config.md. Secrets go into files of the data folder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", metavar="FILE", nargs="*", type=Path)
        parser.add_argument("--apply", action="store_true", help="put it in force, and print what changed")
        parser.add_argument("--command-line", default="", help="with which the UPS monitor was started")

    def handle(self, *args: Any, files: list[Path], apply: bool, command_line: str, **options: Any) -> None:
        try:
            what = meant(files, os.environ, command_line)
            places, notes = secret_files.write(what.secrets, settings.DATA_DIR / "secrets")
            what.notes += notes
            text = written(what, places)
            if apply:
                changes = lab_file.apply(lab_file.parse(text, "what it means"), by=OPERATOR)
                text = "".join(f"{change}\n" for change in changes) + text.partition("\n\n")[0] + "\n"
        except (CannotImport, LabFileError) as error:
            raise CommandError(f"{error}\nNothing was changed.") from None
        self.stdout.write(text, ending="")
