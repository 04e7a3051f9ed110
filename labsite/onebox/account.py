"""Under which account the embedded servers run, and how they are started."""

import os
import pwd
import shutil
import sys
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")
SERVERS = "nobody"


def launched(*command: str | Path, die_with: str = "", drop: bool = True) -> list[str]:
    """The command line that starts a server: not as root, and ending with its parent if a signal is named."""
    options = ["--drop"] if drop and os.geteuid() == 0 else []
    if die_with:
        options.append(f"--die-with={die_with}")
    return [sys.executable, "-I", "-S", str(LAUNCH), *options, *map(str, command)]


def own_folder(folder: Path) -> Path:
    """A folder that only the servers' account (and root) may look into."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    give(folder)
    return folder


def give(path: Path) -> None:
    """Let the servers' account own this path."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(SERVERS)
        shutil.chown(path, account.pw_uid, account.pw_gid)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner, the servers' account, can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    give(path)
