"""`manage.py prepare_onebox`: what `make run` has done in the database before it starts the programs."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labsite.env import BadSetting
from labsite.onebox.prepare import CannotPrepare, prepare


class Command(BaseCommand):
    help = "Used by `make run`: bring the database up to date and put in what a first start needs."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(json.dumps(asdict(prepare())))
        except (CannotPrepare, BadSetting) as error:
            raise CommandError(str(error)) from None
