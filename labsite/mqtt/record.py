"""Which topics a broker was told to retain: what is no more must be taken back, also after a restart."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from devices import files


class Record:
    """`topics.json` in a folder of the bridge's own: of each broker the topics that it may still retain.

    A topic is written down before it is told, and struck out after the broker has confirmed that it is gone.
    Raises files.Held if another bridge runs on this folder.
    """

    def __init__(self, folder: Path, broker: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = files.hold(folder / "lock")
        self._path = folder / "topics.json"
        self._broker = broker
        self._all = self._read()
        self.topics = set(self._all.get(broker, ()))
        self._changed = False

    def _read(self) -> dict[str, list[str]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, topics: Iterable[str]) -> None:
        """Write down those that are new, at once."""
        if new := set(topics) - self.topics:
            self.topics |= new
            self._changed = True
            self.save()

    def strike(self, topic: str) -> None:
        """The broker retains it no more; it is written with the next change."""
        if topic in self.topics:
            self.topics.remove(topic)
            self._changed = True

    def save(self) -> None:
        if self._changed:
            content = json.dumps({**self._all, self._broker: sorted(self.topics)})
            files.replace(self._path, content.encode())
            self._changed = False

    def close(self) -> None:
        self.save()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
