"""The MQTT bridge, until SIGTERM."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from devices.files import Held
from labsite.mqtt import bridge
from labsite.mqtt.settings import NotConfigured, told


class Command(BaseCommand):
    help = "Tell an MQTT broker what all instruments say now. docs/mqtt.md says how it is set up."
    requires_system_checks = []  # they would load all pages; the other processes have done them

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            bridge.serve(told())
        except NotConfigured as error:
            raise CommandError(str(error)) from None
        except Held as held:
            raise CommandError(f"another MQTT bridge runs on {held.path.parent}") from None
