"""A folder with files that a program writes, read in a thread of its own: a disk may be far away and hang."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Address, Link
from devices.links.stream import words
from devices.links.thread import OwnThread

FILE_BYTES_MAX = 2 << 20


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file was when it was read; another one if it was written since. `changed`: µs of UTC."""

    changed: int
    size: int
    number: int


@dataclass(frozen=True, slots=True)
class Contents:
    """A file as it was read at once; it may have been half written."""

    text: bytes
    stamp: Stamp


class NoFile(ReplyError):
    """The folder is there, a file of this name is not."""


class FilesLink(Link):
    """`file:///folder`."""

    schemes = ("file",)

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(address, deadline, settings)
        self.folder = Path(unquote(address.path))
        self._thread = OwnThread(f"files {self.folder}")

    @classmethod
    def check(cls, address: Address) -> None:
        if address.host or not address.path.startswith("/") or "\0" in unquote(address.path):
            raise ConfigurationError(
                f"address {address.url!r}: write a folder of the edge, from the root on: file:///srv/scs"
            )
        if address.port or address.query or "#" in address.url or "?" in address.url:
            raise ConfigurationError(f"address {address.url!r}: nothing belongs behind the folder")

    async def open(self) -> None:
        try:
            await self._in_thread(self._look)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._thread.close()

    async def read(self, name: str, before: Stamp | None = None) -> Contents | None:
        """A file of the folder; None if it is as it was `before`.

        Raises NoFile or another ReplyError, and LinkError if the folder cannot be had.
        """
        contents: Contents | None = await self._in_thread(self._read, name, before)
        return contents

    async def _in_thread(self, act: Any, *arguments: Any) -> Any:
        try:
            return await self._thread.run(act, *arguments)
        except OSError as error:
            raise LinkError(f"{self.address.url}: {words(error)}") from None

    # ---- in the thread

    def _look(self) -> None:
        """Raises OSError if the folder is none."""
        os.close(os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def _read(self, name: str, before: Stamp | None) -> Contents | None:
        self._look()
        try:
            # A pipe of this name must not hold up the thread until somebody writes into it.
            with os.fdopen(
                os.open(self.folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb"
            ) as file:
                found = os.fstat(file.fileno())
                stamp = Stamp(found.st_mtime_ns // 1000, found.st_size, found.st_ino)
                if stamp == before:
                    return None
                if not stat.S_ISREG(found.st_mode):
                    raise ReplyError(f"{self.folder / name} is no file")
                text = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            kind = NoFile if isinstance(error, FileNotFoundError) else ReplyError
            raise kind(f"{self.folder / name}: {words(error)}") from None
        if len(text) > FILE_BYTES_MAX:
            raise ReplyError(f"{self.folder / name} has more than {FILE_BYTES_MAX} bytes")
        return Contents(text, stamp)
