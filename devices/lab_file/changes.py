"""What putting a lab file in force changes, as lines of a diff."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit

Shown = Mapping[str, Any]  # what a file can say of something, key by key


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the diff: `sign` is + (new), ~ (changed) or − (retired, deleted)."""

    sign: str
    kind: str
    name: str
    details: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return "\n    ".join([f"{self.sign} {self.kind} {self.name}", *self.details])


def added(kind: str, name: str, now: Shown) -> Change:
    return Change("+", kind, name, tuple(f"{key}: {in_one_line(value)}" for key, value in now.items()))


def changed(kind: str, name: str, was: Shown, now: Shown) -> Change:
    """Key by key; of a list of tables item by item."""
    was, now = _by_item(was), _by_item(now)
    details = tuple(
        f"{key}: {in_one_line(was[key]) if key in was else '–'} → "
        f"{in_one_line(now[key]) if key in now else '–'}"
        for key in {**was, **now}
        if was.get(key) != now.get(key)
    )
    return Change("~", kind, name, details or ("the same items in another order",))


def _by_item(shown: Shown) -> dict[str, Any]:
    """With each item of a list by itself, by its own key if all have one: what changed is then a line."""
    items: dict[str, Any] = {}
    for name, value in shown.items():
        if not isinstance(value, list) or not any(isinstance(item, dict) for item in value):
            items[name] = value
            continue
        keys = [item.get("key") if isinstance(item, dict) else None for item in value]
        named = all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys)
        for place, item in enumerate(value, start=1):
            items[f"{name}[{keys[place - 1] if named else place}]"] = item
    return items


def in_one_line(value: Any) -> str:
    """A value as the file has it, in one line."""
    if isinstance(value, Mapping):
        pairs = (f"{tomlkit.key(name).as_string()} = {in_one_line(each)}" for name, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(in_one_line, value))}]"
    return "null" if value is None else tomlkit.item(value).as_string()
