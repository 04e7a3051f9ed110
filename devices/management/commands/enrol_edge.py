"""`manage.py enrol_edge NAME`: what to start an edge with on its own host."""

from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from devices import edge_keys, services
from devices.errors import Refused
from devices.models import Edge

LINES = """\
# On the host of edge {name}. The key is a secret: it is not kept anywhere else.
export LABSITE_EDGE={name}
export LABSITE_BROKER_URL={broker}
export LABSITE_EDGE_KEY={key}
export LABSITE_SPOOL=/var/lib/labsite/{name}
python -m devices.edge"""


class Command(BaseCommand):
    help = "Make an edge if it is new, and print the lines that start it on its host."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--rotate",
            action="store_true",
            help="give it a new key; the old one is taken until the next time",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            edge = services.save_edge(options["name"], services.OPERATOR)
            if options["rotate"]:
                edge = services.rotate_key(edge, services.OPERATOR)
        except (ValidationError, Refused) as error:
            raise CommandError("; ".join(getattr(error, "messages", [str(error)]))) from None
        self.stdout.write(lines(edge))
        if settings.BROKER_IS_EMBEDDED and ip_address(settings.BROKER_LISTEN).is_loopback:
            self.stderr.write(
                "This broker listens on this machine only. For an edge on another host, start the centre "
                "with LABSITE_BROKER_LISTEN set to an address of this machine."
            )


def lines(edge: Edge) -> str:
    """The lines for a shell on the edge's host."""
    key = edge_keys.as_text(edge.name, edge.key_version)
    return LINES.format(name=edge.name, broker=settings.BROKER_URL_FOR_EDGES, key=key)
