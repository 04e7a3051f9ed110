"""How tables of a lab file become rows that are known by their names, and may name each other."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from django.db import models

from alerts.models import Priority
from devices.lab_file import Change, Entry, Kind, Lab, LabFileError
from devices.lab_file.changes import added, changed
from devices.lab_file.force import said
from devices.lab_file.tables import suggestion
from devices.services import Person

M = TypeVar("M", bound=models.Model)
P = TypeVar("P", bound=models.Model)

PRIORITIES = {priority.name.lower(): priority for priority in Priority}


@dataclass(slots=True)
class Draft(Generic[M, P]):
    """A row as it is to be, with the rows that are parts of it; `parts_given`: the file says which."""

    row: M
    parts: list[P]
    parts_given: bool = False


class Rows(ABC, Generic[M, P]):
    """The rows of one kind of table. `other` is the key by which one may name another of them."""

    kind: Kind
    other: ClassVar[str] = ""
    fields: ClassVar[Mapping[str, str]] = {}  # what a form calls otherwise than the file → the file's key

    @abstractmethod
    def rows(self) -> models.QuerySet[M]: ...

    @abstractmethod
    def drafts(self, rows: Iterable[M]) -> Iterable[Draft[M, P]]: ...

    def load(self, *, lock: bool = False) -> dict[str, Draft[M, P]]:
        """All there are, by name; locked against others who change them, within a transaction."""
        rows = self.rows()
        # Alarms and notices of these may be made meanwhile.
        rows = rows.select_for_update(of=("self",), no_key=True) if lock else rows
        return {draft.row.name: draft for draft in self.drafts(list(rows))}  # type: ignore[attr-defined]

    @abstractmethod
    def new(self, entry: Entry) -> Draft[M, P]: ...

    @abstractmethod
    def take(self, entry: Entry, draft: Draft[M, P], known: Mapping[str, Draft[M, P]]) -> None:
        """Write the entry's keys onto it; what it leaves out stays. Raises LabFileError."""

    @abstractmethod
    def shown(self, draft: Draft[M, P]) -> dict[str, Any]:
        """All that a file can say of it, in the file's words; without what is null."""

    @abstractmethod
    def save(self, draft: Draft[M, P], by: Person) -> None: ...

    @abstractmethod
    def drop(self, draft: Draft[M, P], by: Person) -> Change | None:
        """Do away with one that the file leaves out; None if it stays as it is."""

    def is_writable(self, draft: Draft[M, P]) -> bool:  # noqa: ARG002
        """Whether a file can say it: not what is of retired instruments."""
        return True

    def prune(self, lab: Lab, by: Person) -> list[Change]:
        named = {entry.name for entry in lab.of(self.kind.name)}
        left_out = (draft for name, draft in self.load().items() if name not in named)
        return [change for draft in left_out if (change := self.drop(draft, by))]

    def tables(self) -> list[Mapping[str, Any]]:
        drafts = self.load().items()
        return [{"name": name, **self.written(draft)} for name, draft in drafts if self.is_writable(draft)]

    def written(self, draft: Draft[M, P]) -> dict[str, Any]:
        """What is otherwise than where nothing is said."""
        usual = self.shown(Draft(type(draft.row)(), []))
        return {key: value for key, value in self.shown(draft).items() if value != usual.get(key)}


def put(rows: Rows[M, P], lab: Lab, by: Person) -> list[Change]:
    """Make or change what the file names: all is taken over first, then saved, whom one names before it."""
    known = rows.load(lock=True)
    was = {name: rows.shown(draft) for name, draft in known.items()}
    entries = {entry.name: entry for entry in lab.of(rows.kind.name)}
    for name, entry in entries.items():
        if name not in known:
            known[name] = rows.new(entry)
    for name, entry in entries.items():
        rows.take(entry, known[name], known)
    for name in _in_order(rows, entries, known):
        if name not in was or rows.shown(known[name]) != was[name]:
            save = partial(rows.save, known[name], by)
            said(entries[name], lambda field, _: rows.fields.get(field, field), save)
    return list(_changes(rows, entries, was, known))


def _in_order(rows: Rows[M, P], names: Iterable[str], known: Mapping[str, Draft[M, P]]) -> Iterator[str]:
    """Each after the one that it names; where they name each other in a ring, saving says so."""
    told: set[str] = set()

    def chain(name: str) -> Iterator[str]:
        if name in told or name not in wanted:
            return
        told.add(name)
        if rows.other and (other := getattr(known[name].row, rows.other)) is not None:
            yield from chain(other.name)
        yield name

    wanted = set(names)
    for name in names:
        yield from chain(name)


def _changes(
    rows: Rows[M, P],
    names: Iterable[str],
    was: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Draft[M, P]],
) -> Iterator[Change]:
    for name in names:
        if name not in was:
            yield added(rows.kind.name, name, rows.written(known[name]))
        elif (now := rows.shown(known[name])) != was[name]:
            yield changed(rows.kind.name, name, was[name], now)


# ---- what several kinds of tables need


def named(entry: Entry, key: str, known: Mapping[str, Draft[M, P]]) -> M | None:
    """The other row that a key names; None for ""."""
    name = entry.table[key]
    if not name:
        return None
    if name not in known:
        raise LabFileError(entry.error(f"there is no {entry.kind} {name!r}{suggestion(name, known)}", key))
    return known[name].row


def word_faults(
    entry: Entry, key: str, words: Iterable[str], place: str = "", where: Any = None
) -> Iterator[str]:
    """A word, or one of a list, that is none of those there are. What is no text is told elsewhere."""
    found = (entry.table if where is None else where).get(key)
    for word in found if isinstance(found, list) else [found]:
        if isinstance(word, str) and word not in words:
            yield entry.error(f"{key}: {word!r} is none{suggestion(word, words)}", f"{place}{key}")
