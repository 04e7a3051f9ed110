"""Keys that are made on first use and kept in the data folder, readable by their owner only."""

import os
import secrets
from pathlib import Path


def kept(path: Path) -> str:
    """The key in this file (64 hexadecimal digits), made now if there is none yet.

    Raises OSError if the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    return path.read_text(encoding="ascii").strip()
