"""Make a bearer token for a user and print it once."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from devices.models import AccessToken, Instrument

DAYS = 365
DAYS_MAX = 3650


def only(names: list[str], scope: str) -> list[Instrument]:
    """The instruments of these names."""
    if names and scope != AccessToken.Scope.PUSH:
        raise CommandError("--instrument is for a token with --scope push.")
    found = list(Instrument.objects.filter(name__in=names, retired_at=None))
    if missing := sorted(set(names) - {instrument.name for instrument in found}):
        raise CommandError(f"There is no instrument {missing[0]!r}.")
    return found


class Command(BaseCommand):
    help = "Make a bearer token for the API and print it; it is stored hashed and cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", metavar="USER", help="whose token it is")
        parser.add_argument("--days", type=int, default=DAYS, help=f"until it expires (default {DAYS})")
        parser.add_argument(
            "--scope",
            choices=AccessToken.Scope.values,
            default="",
            help="what it may do at most (default: all that its user may do)",
        )

        parser.add_argument(
            "--instrument",
            metavar="NAME",
            action="append",
            default=[],
            help="with --scope push: only for this instrument; may be given more than once",
        )

    def handle(
        self, *args: Any, user: str, days: int, scope: str, instrument: list[str], **options: Any
    ) -> None:
        if not 1 <= days <= DAYS_MAX:
            raise CommandError(f"--days must be from 1 to {DAYS_MAX}")
        users = get_user_model()
        try:
            owner = users._default_manager.get_by_natural_key(user)  # noqa: SLF001 - the documented way
        except users.DoesNotExist:
            raise CommandError(f"There is no user {user!r}.") from None
        if not owner.is_active:
            raise CommandError(f"The user {user!r} is not active: a token would be refused.")
        chosen = only(instrument, scope)
        token, text = AccessToken.objects.create(
            owner, timedelta(days=days), scope=scope, instruments=[each.pk for each in chosen]
        )
        # The token alone goes to standard output, so that a script can take it from there.
        self.stderr.write(f"Shown only now; valid until {token.expiry:%Y-%m-%d %H:%M} UTC:")
        self.stdout.write(text)
