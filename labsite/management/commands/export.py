"""Write the lab as a file that `apply` takes."""

from typing import Any

from django.core.management.base import BaseCommand

from labsite import lab_file


class Command(BaseCommand):
    help = "Print all edges, instruments, rules, contacts and routes as a TOML file for `apply`."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(lab_file.export(), ending="")
