"""Files that are there whole or as they were before, and files that one process holds."""

import fcntl
import os
from pathlib import Path
from typing import IO


class Held(Exception):
    """Another process holds the file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"another process holds {path}")
        self.path = path


def replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read: after a power cut there is the old one or the new one."""
    draft = path.with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def hold(path: Path) -> IO[bytes]:
    """The file, made if there is none, held until it is closed or this process ends, however it does.

    Raises Held, and OSError if it cannot be opened.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Held(path) from None
    return file
