"""The Matrix bot, until SIGTERM."""

import logging
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts.matrix import bot
from alerts.matrix.settings import NotConfigured, account
from devices.files import Held

QUIET = ("nio", "peewee", "aiohttp")


class Command(BaseCommand):
    help = "Run the Matrix bot: notices out, commands in. docs/matrix.md says how it is set up."
    requires_system_checks = []  # they would load all pages; the other processes have done them

    def handle(self, *args: Any, **options: Any) -> None:
        for name in QUIET:  # what they say of each event is for their developers
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            bot.serve(account())
        except NotConfigured as error:
            raise CommandError(str(error)) from None
        except Held as held:
            raise CommandError(f"another Matrix bot runs on {held.path.parent}") from None
