"""Writing what there is as a lab file."""

from collections.abc import Iterable, Mapping
from typing import Any

import tomlkit
import tomlkit.items

from devices.lab_file.tables import Section

NOTE = "#"  # stands for no key, but for a comment behind the name


class Inline(list[Any]):
    """A list whose tables are written within it, and not under headers of their own."""


def written(sections: Iterable[Section]) -> str:
    return of_tables(tables for section in sections for tables in section.export())


def of_tables(kinds: Iterable[tuple[str, list[Mapping[str, Any]]]]) -> str:
    """A lab file with these tables, by kind."""
    document = tomlkit.document()
    for kind, tables in kinds:
        rows = tomlkit.aot()
        for table in tables:
            rows.append(_table(table))
        if tables:
            document.append(kind, rows)
    return tomlkit.dumps(document)


def _table(values: Mapping[str, Any]) -> tomlkit.items.Table:
    """What has a header of its own comes last: what follows a header belongs to it."""
    table = tomlkit.table()
    for name, value in values.items():
        if name != NOTE and not _has_header(value):
            table.append(name, _without_nulls(value))
    for name, value in values.items():
        if isinstance(value, Mapping):
            table.append(name, _inner(value))
        elif _has_header(value):
            table.append(name, _without_nulls(value))
    if note := values.get(NOTE):
        table["name"].comment(note)
    return table


def _has_header(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    is_open = isinstance(value, list) and not isinstance(value, Inline)
    return is_open and bool(value) and all(isinstance(item, Mapping) for item in value)


def _inner(values: Mapping[str, Any]) -> tomlkit.items.Table:
    """A table within one; those within that (names of secrets) in one line."""
    table = tomlkit.table()
    for name, value in values.items():
        table.append(name, _inline(value) if isinstance(value, Mapping) else _without_nulls(value))
    return table


def _inline(value: Mapping[str, Any]) -> tomlkit.items.InlineTable:
    table = tomlkit.inline_table()
    table.update(_without_nulls(value))
    return table


def _without_nulls(value: Any) -> Any:
    """TOML has none; in JSON, as a form takes it, they stand for what is left out."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, Inline):
        array = tomlkit.array()
        for item in value:
            array.append(_inline(item) if isinstance(item, Mapping) else item)
        return array
    if isinstance(value, list):
        return [_without_nulls(each) for each in value if each is not None]
    return value
