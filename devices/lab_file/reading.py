"""Reading a lab file: its tables with the places where they stand, and every fault that it has by itself."""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from types import GenericAlias
from typing import Any, get_origin

from devices.lab_file.tables import Entry, Kind, Lab, LabFileError, Section, suggestion

TYPE_NAMES: dict[Any, str] = {
    str: "text in quotes",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    dict: "a table",
    time: "a time of day such as 08:00:00",
    date: "a date or time such as 2026-01-15T08:00:00Z",
    list[str]: "a list of texts in quotes",
    list[float]: "a list of numbers",
    list[list[float]]: "a list of lists of numbers",
    list[dict[str, Any]]: "a list of tables",
}

# A string over several lines may hold what looks like a table's header.
MULTI_LINE_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}', re.DOTALL)
HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
KEY = re.compile(r"\s*[\"']?([\w.-]+)[\"']?\s*=")


def read(path: Path, sections: tuple[Section, ...]) -> Lab:
    return parse(_text(path), str(path), sections)


def parse(text: str, path: str, sections: tuple[Section, ...]) -> Lab:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LabFileError(_syntax_error(error, path, text)) from None
    kinds = {kind.name: kind for section in sections for kind in section.kinds}
    faults = [
        f"{path}: {key!r} is no table of a lab file{suggestion(key, kinds)}"
        for key in document
        if key not in kinds
    ]
    places = _places(text, kinds)
    found: dict[str, tuple[Entry, ...]] = {}
    for name, kind in kinds.items():
        tables = document.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            faults.append(f"{path}: write each {name} as a table [[{name}]]")
            continue
        found[name] = _entries(kind, tables, path, places[name])
        for entry in found[name]:
            faults += _faults(kind, entry)
        faults += _doubles(found[name])
    if faults:
        raise LabFileError("\n".join(faults))
    return Lab(path, sections, found)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LabFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LabFileError(f"{path}: not UTF-8 at byte {error.start}") from None


def _syntax_error(error: tomllib.TOMLDecodeError, path: str, text: str) -> str:
    """tomllib's message with its place in front."""
    if found := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL):
        return f"{path}:{found[2]}: {found[1]} (column {found[3]})"
    message = str(error).removesuffix(" (at end of document)")
    return f"{path}:{text.count(chr(10)) + 1}: {message} (at the end of the file)"


# ---- where it stands


@dataclass(frozen=True, slots=True)
class _Place:
    line: int
    key_lines: dict[str, int]


def _places(text: str, kinds: Iterable[str]) -> dict[str, list[_Place]]:
    """Where each table stands, and in it each key; the parser does not tell."""
    plain = MULTI_LINE_STRING.sub(lambda string: '""' + "\n" * string[0].count("\n"), text)
    places: dict[str, list[_Place]] = {kind: [] for kind in kinds}
    keys: dict[str, int] = {}
    items: Counter[str] = Counter()
    prefix = ""
    for number, line in enumerate(plain.splitlines(), start=1):
        if header := HEADER.match(line):
            kind, *path = (part.strip(" \t\"'") for part in header[2].split("."))
            prefix = ".".join(path)
            if kind in places and not path and header[1] == "[[":
                keys, items = {}, Counter()
                places[kind].append(_Place(number, keys))
            elif path:
                _note(keys, prefix, number)
                if header[1] == "[[":
                    items[prefix] += 1
                    prefix = f"{prefix}[{items[prefix]}]"
                    _note(keys, prefix, number)
                prefix += "."
        elif key := KEY.match(line):
            _note(keys, prefix + key[1], number)
    return places


def _note(keys: dict[str, int], key: str, number: int) -> None:
    """The first line of a key, and of all that hold it."""
    parts = key.split(".")
    for count in range(1, len(parts) + 1):
        keys.setdefault(".".join(parts[:count]), number)


def _entries(kind: Kind, tables: list[dict[str, Any]], path: str, places: list[_Place]) -> tuple[Entry, ...]:
    """The tables with their places; without, where they are not written under headers of their own."""
    if len(places) != len(tables):
        return tuple(Entry(kind.name, table, path, None, {}, kind.names) for table in tables)
    return tuple(
        Entry(kind.name, table, path, place.line, place.key_lines, kind.names)
        for table, place in zip(tables, places, strict=True)
    )


# ---- what is wrong with it


def _faults(kind: Kind, entry: Entry) -> list[str]:
    """What is wrong with an entry by itself."""
    faults = _key_faults(kind, entry.table, entry.error)
    for name, items in kind.items.items():
        for number, item in enumerate(_tables(entry.table.get(name)), start=1):
            faults += _key_faults(items, item, _of_item(entry, f"{name}[{number}]", f"{items.name} {number}"))
    faults += kind.faults(entry)
    if "name" in entry.table and not str(entry.table["name"]).strip():
        faults.append(entry.error("name is empty", "name"))
    return faults


def _of_item(entry: Entry, place: str, title: str) -> Callable[..., str]:
    return lambda message, key="": entry.error(f"{title}: {message}", f"{place}.{key}" if key else place)


def _tables(found: object) -> list[dict[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _key_faults(kind: Kind, table: Mapping[str, Any], error: Callable[..., str]) -> list[str]:
    faults = [
        error(f"unknown key {key!r}{suggestion(key, kind.keys)}", key)
        for key in table
        if key not in kind.keys
    ]
    faults += [error(f"{key} is missing") for key in kind.required if key not in table]
    for key, types in kind.keys.items():
        if key in table and not is_one_of(table[key], types):
            faults.append(error(f"{key} must be {_named(types)}", key))
    return faults


def is_one_of(value: object, types: Any) -> bool:
    """Whether a value is of this type, or of one of these."""
    return any(_is(value, kind) for kind in (types if isinstance(types, tuple) else (types,)))


def _is(value: object, kind: Any) -> bool:
    if isinstance(kind, GenericAlias):
        inner = get_origin(kind.__args__[0]) or kind.__args__[0]
        return isinstance(value, list) and all(_is(each, inner) for each in value)
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and not math.isnan(value)  # type: ignore[arg-type]
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _named(types: Any) -> str:
    return " or ".join(TYPE_NAMES[kind] for kind in (types if isinstance(types, tuple) else (types,)))


def _doubles(entries: Iterable[Entry]) -> list[str]:
    first: dict[str, Entry] = {}
    faults = []
    for entry in entries:
        if entry.name in first:
            before = first[entry.name].key_lines.get(entry.names[0])
            where = f" in line {before}" if before else ""
            words = "the name stands" if entry.names == ("name",) else "it stands"
            faults.append(entry.error(f"{words}{where} already", entry.names[0]))
        first.setdefault(entry.name, entry)
    return faults
