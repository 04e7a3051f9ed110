"""Secrets of the centre: named in the database, found in this process's environment, never written down."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from devices.errors import ConfigurationError

NAME = re.compile(r"[A-Z0-9_]+")
RESERVED = ("KEY",)  # LABSITE_SECRET_KEY signs sessions


def of(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The word behind a name, from `LABSITE_SECRET_<NAME>` or the file that `…_FILE` names.

    Raises ConfigurationError, which says what to set and nothing of the word.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError("a secret is named by capitals, digits and underscores")
    variable = f"LABSITE_SECRET_{name}"
    if name in RESERVED:
        raise ConfigurationError(f"{variable} is Labsite's own: name another secret")
    if path := environment.get(f"{variable}_FILE", ""):
        return _in_file(variable, path)
    if word := environment.get(variable, "").strip():
        return word
    raise ConfigurationError(
        f"the centre has no secret {name}: set {variable} or {variable}_FILE and restart it"
    )


def _in_file(variable: str, path: str) -> str:
    try:
        word = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(f"{variable}_FILE: cannot read {path}: {reason}") from None
    if not word:
        raise ConfigurationError(f"{variable}_FILE: {path} is empty")
    return word
