"""The tables of a lab file: which kinds there are, one as it is written, and all of a file."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from devices.lab_file.changes import Change
from devices.services import Person


class LabFileError(Exception):
    """The file cannot be put in force; each line of the message names the file and the line or key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One table of the file. `line` is its header's; None if it has no header."""

    kind: str
    table: dict[str, Any]
    path: str
    line: int | None
    key_lines: Mapping[str, int]
    names: tuple[str, ...] = ("name",)

    @property
    def name(self) -> str:
        return " ".join(str(self.table[key]) for key in self.names if key in self.table)

    def error(self, message: str, key: str = "") -> str:
        """The message with the place that it speaks of. A key within a list is `steps[2].contact`."""
        line = self.line_of(key) or self.line
        place = f"{self.path}:{line}" if line else self.path
        title = f"{self.kind} {self.name!r}" if self.name else f"a nameless {self.kind}"
        return f"{place}: {title}: {message}"

    def line_of(self, key: str) -> int | None:
        """Where a key stands, or what holds it; None if that is not known."""
        while key and key not in self.key_lines:
            outer = re.sub(r"(\.[^.\[]*|\[\d*\])$", "", key)
            key = "" if outer == key else outer
        return self.key_lines.get(key)


def nothing(_entry: Entry) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of table, [[name]]: its keys with their types, several of which may be one key's.

    `items`: of keys that hold a list of tables, what those are. `faults` tells what else is wrong with an
    entry by itself, whatever the database holds; what has the wrong type is told already. `names`: the keys
    by which one is told from the others.
    """

    name: str
    keys: Mapping[str, Any]
    required: tuple[str, ...] = ("name",)
    items: Mapping[str, "Kind"] = field(default_factory=dict)
    faults: Callable[[Entry], Iterable[str]] = nothing
    names: tuple[str, ...] = ("name",)


class Section(Protocol):
    """The tables of one app: which kinds, how they are put in force, and how they are written."""

    @property
    def kinds(self) -> tuple[Kind, ...]: ...

    def apply(self, lab: "Lab", by: Person, *, prune: bool) -> list[Change]:
        """Make the database as the file says, within a transaction. Raises LabFileError."""

    def export(self) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
        """All there is, as tables by kind, in an order in which they can be read."""


@dataclass(frozen=True, slots=True)
class Lab:
    """What a file says, checked for all that can be known without the database."""

    path: str
    sections: tuple[Section, ...]
    entries: Mapping[str, tuple[Entry, ...]]  # by kind

    def of(self, kind: str) -> tuple[Entry, ...]:
        return self.entries.get(kind, ())


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known) or 'none'}"
