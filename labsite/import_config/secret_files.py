"""Secrets of the replaced programs, each in a file of its own that only its owner can read."""

import os
from collections.abc import Mapping
from pathlib import Path

from labsite.import_config.given import CannotImport


def write(secrets: Mapping[str, str], folder: Path) -> tuple[dict[str, str], list[str]]:
    """Write those that are not there yet: variable → its file; and notes on those that have another word.

    A file that is there is left as it is. Raises CannotImport if the folder cannot be used.
    """
    files, notes = {}, []
    try:
        for name, word in secrets.items():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / name.removeprefix("LABSITE_").removeprefix("SECRET_")
            files[name] = str(path)
            if not _written(path, word):
                notes.append(
                    f"{path} is there with another word and stays: delete it to have it written anew"
                )
    except OSError as error:
        raise CannotImport(f"secrets cannot be kept in {folder}: {error.strerror}") from None
    return files, notes


def _written(path: Path, word: str) -> bool:
    """Whether this word is in the file now."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip() == word.strip()
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{word}\n")
    return True
