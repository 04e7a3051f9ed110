"""Times among the words of a command."""

from collections.abc import Sequence
from datetime import datetime

from django.core.management.base import CommandError

from telemetry.parameters import moment_of

OPTIONS = ("--from", "--to")


def with_times(argv: Sequence[str]) -> list[str]:
    """argparse would take the `-12h` of `--from -12h` for another option: it needs `--from=-12h`."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in OPTIONS:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def moment(name: str, text: str) -> datetime:
    """The time that an option gives, as the API takes it. Raises CommandError."""
    try:
        return moment_of(text)
    except ValueError as error:
        raise CommandError(f"--{name}: {error}") from None
