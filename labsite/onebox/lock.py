"""One Labsite to a data folder: the file that says which process runs it, locked as long as it does."""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

NAME = "labsite.lock"
TRY_AGAIN_S = 0.1


@dataclass(frozen=True)
class Holder:
    """Who runs Labsite on a data folder, and where it is to be seen."""

    pid: int
    address: str


class Taken(Exception):
    """Somebody else holds the lock."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"Labsite is running already (pid {holder.pid}) at {holder.address}")
        self.holder = holder


class Lock:
    """Held from `with` to its end, or to the end of the process, whatever ends it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.path = folder / NAME
        self.address = address

    def __enter__(self) -> Self:
        self.file = self.path.open("a+", encoding="utf-8")
        if not locked(self.file):
            self.file.close()
            raise Taken(read(self.path))
        self.file.truncate(0)
        json.dump(asdict(Holder(os.getpid(), self.address)), self.file)
        self.file.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def locked(file: IO[str]) -> bool:
    """Whether the lock could be had, and now is."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read(path: Path) -> Holder:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except ValueError:  # between its lock and its first word
        return Holder(0, "an address not known yet")


def holder(folder: Path) -> Holder | None:
    """Who runs Labsite on this folder now; None if nobody does."""
    path = folder / NAME
    if not path.exists():
        return None
    with path.open("a+", encoding="utf-8") as file:
        return None if locked(file) else read(path)


def released(folder: Path, within: float) -> bool:
    """Wait until nobody holds the lock; False if that takes longer."""
    end = time.monotonic() + within
    while holder(folder):
        if time.monotonic() > end:
            return False
        time.sleep(TRY_AGAIN_S)
    return True
