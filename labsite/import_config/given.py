"""What a replaced program was told, setting by setting, each with the place where it stands.

What is taken is carried over; of all else a note says so. Notes name places and settings, never values: one
may be a password.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class CannotImport(Exception):
    """What is wrong with a file, and where, in words for a person."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting. `place` is like `config.yaml:12`."""

    value: Any
    place: str


@dataclass(slots=True)
class Given:
    """The settings by their paths (`influxdb.host`, `machines[0].name`), as far as nobody took them yet."""

    leaves: dict[str, Leaf] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def has(self, *paths: str) -> bool:
        """Whether any of these, or something below them, is given."""
        return any(_is_below(leaf, path) for path in paths for leaf in self.leaves)

    def over(self, path: str, value: Any, place: str) -> None:
        """What is said elsewhere with more weight; null says nothing."""
        if value is not None:
            self.leaves[path] = Leaf(value, place)

    def take(self, path: str, kind: type[T], default: T) -> T:
        """A setting in its type, or the default: where it is not given, is null, or is of another type."""
        leaf = self.leaves.pop(path, None)
        if leaf is None or leaf.value is None:
            return default
        value = _converted(leaf.value, kind)
        if value is None:
            self.notes.append(f"{leaf.place}: {path} is not usable: the usual {default!r} is taken")
            return default
        return value

    def all_below(self, path: str) -> dict[str, Any]:
        """A mapping of settings that nobody can know the names of."""
        taken = {
            leaf: self.leaves.pop(leaf).value for leaf in list(self.leaves) if leaf.startswith(f"{path}.")
        }
        whole = self.leaves.pop(path, None)
        if whole is not None and isinstance(whole.value, dict):
            return dict(whole.value)
        return {name.removeprefix(f"{path}."): value for name, value in taken.items()}

    def pass_over(self, reasons: Mapping[str, str]) -> None:
        """Note why these are not carried over; a path stands for all below it."""
        for path, reason in reasons.items():
            for leaf in [leaf for leaf in self.leaves if _is_below(leaf, path)]:
                self.notes.append(f"{self.leaves.pop(leaf).place}: {leaf}: {reason}")

    def pass_over_rest(self) -> None:
        for path, leaf in self.leaves.items():
            self.notes.append(f"{leaf.place}: {path}: not carried over, Labsite has no such setting")
        self.leaves.clear()


def flat(told: Mapping[str, Any], lines: Mapping[str, int], name: str) -> Given:
    """A document's settings. `lines`: where each stands in the file called `name`."""
    given = Given()
    for path, value in _leaves(told, ""):
        line = lines.get(path)
        given.leaves[path] = Leaf(value, f"{name}:{line}" if line else name)
    return given


def _leaves(told: Any, path: str) -> Iterable[tuple[str, Any]]:
    if isinstance(told, Mapping) and told:
        for name, value in told.items():
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    elif isinstance(told, list) and told and all(isinstance(item, Mapping) for item in told):
        for number, item in enumerate(told):
            yield from _leaves(item, f"{path}[{number}]")
    elif path:
        yield path, told


def _is_below(leaf: str, path: str) -> bool:
    return leaf == path or leaf.startswith((f"{path}.", f"{path}["))


def _converted(value: Any, kind: type[T]) -> T | None:
    """None if it is no such thing. A whole number may be written as text, and stands for a float."""
    try:
        if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
            return kind(value)  # type: ignore[call-arg]
        if kind is int and isinstance(value, str):
            return kind(value)  # type: ignore[call-arg]
    except ValueError:
        return None
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # type: ignore[return-value]
    if kind is not bool and isinstance(value, bool):
        return None
    return value if isinstance(value, kind) else None
