"""The bot's account, from the settings."""

from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings


class NotConfigured(Exception):
    """What is missing, in words for the person who starts the bot."""


@dataclass(frozen=True)
class Account:
    """Where and as whom the bot logs in, and the folder of its session and keys."""

    homeserver: str
    user: str
    password: str = field(repr=False)
    device: str
    allow_verification: bool
    folder: Path


def account() -> Account:
    """Raises NotConfigured if there is no bot in this lab, or half of one."""
    wanted = {
        "LABSITE_MATRIX_HOMESERVER": settings.MATRIX_HOMESERVER,
        "LABSITE_MATRIX_USER": settings.MATRIX_USER,
        "LABSITE_MATRIX_PASSWORD": settings.MATRIX_PASSWORD,
    }
    if missing := [name for name, value in wanted.items() if not value]:
        raise NotConfigured(f"the Matrix bot is not set up: {', '.join(missing)} not set; see docs/matrix.md")
    homeserver = settings.MATRIX_HOMESERVER.rstrip("/")
    if not homeserver.startswith(("https://", "http://")):
        raise NotConfigured(
            "LABSITE_MATRIX_HOMESERVER must be the homeserver's URL, such as https://matrix.example.org"
        )
    return Account(
        homeserver,
        settings.MATRIX_USER,
        settings.MATRIX_PASSWORD,
        settings.MATRIX_DEVICE,
        settings.MATRIX_ALLOW_VERIFICATION,
        settings.DATA_DIR / "matrix",
    )
