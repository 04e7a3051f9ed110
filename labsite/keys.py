"""Keys, passwords, ports: made on first use and kept in the data folder, readable by their owner only."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from labsite.env import BadSetting


def new_key() -> str:
    """64 hexadecimal digits."""
    return secrets.token_hex(32)


def kept(path: Path, make: Callable[[], str] = new_key) -> str:
    """The word in this file, made now if there is none yet; the same one for all who ask at once.

    Raises BadSetting if the folder cannot be used.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_new(path, make())
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise BadSetting(f"LABSITE_DATA: cannot use {error.filename or path}: {reason}") from None


def write_new(path: Path, word: str) -> None:
    """Write the file whole, or not at all if somebody else was first."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{word}\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
