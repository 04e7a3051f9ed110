"""What a replaced program's settings mean in Labsite: tables of a lab file, variables, secrets, notes."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devices.lab_file import writing

ORDER = ("instrument", "rule", "contact", "route", "sink", "replaced")
Table = Mapping[str, Any]


@dataclass(slots=True)
class Meant:
    """`secrets`: the words behind the names of `devices.secrets`, and of variables that take a `_FILE`."""

    tables: dict[str, list[Table]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, /, **values: Any) -> None:
        """A table of the lab file; what is None is left out."""
        table = {name: value for name, value in values.items() if value is not None}
        self.tables.setdefault(kind, []).append(table)

    def keep_secret(self, name: str, word: str) -> str:
        """A secret that the lab file only names; the name, or "" where there is no word."""
        if word:
            self.secrets[f"LABSITE_SECRET_{name}"] = word
        return name if word else ""

    def answer_at(self, kind: str, port: int, instrument: str, host: str = "") -> None:
        """The old address goes on to answer."""
        before = self.environment.get("LABSITE_REPLACED_PORTS")
        entry = f"{kind}={port}:{instrument}"
        self.environment["LABSITE_REPLACED_PORTS"] = f"{before},{entry}" if before else entry
        if host and host not in ("127.0.0.1", "localhost"):
            self.environment["LABSITE_REPLACED_HOST"] = host

    def join(self, other: "Meant") -> None:
        """What several programs mean together."""
        for kind, tables in other.tables.items():
            self.tables.setdefault(kind, []).extend(tables)
        ports = [each.environment.get("LABSITE_REPLACED_PORTS") for each in (self, other)]
        self.environment |= other.environment
        if all(ports):
            self.environment["LABSITE_REPLACED_PORTS"] = ",".join(map(str, ports))
        self.secrets |= other.secrets
        self.notes += other.notes

    def lab_file(self) -> str:
        """The tables, as `apply` takes them."""
        return writing.of_tables((kind, self.tables.get(kind, [])) for kind in ORDER)


def written(meant: Meant, secret_files: Mapping[str, str]) -> str:
    """The lab file, with all that is to be done besides as comments in front of it."""
    lines = ["# What the replaced program's settings mean in Labsite: check it, then `manage.py apply` it."]
    variables = {**meant.environment, **{f"{name}_FILE": path for name, path in secret_files.items()}}
    if variables:
        lines += ["#", "# For the environment of the centre:"]
        lines += [f"#   {name}={shlex.quote(_one_line(value))}" for name, value in variables.items()]
    if meant.notes:
        lines += ["#", "# Not carried over, or otherwise than before:"]
        lines += [f"#   {_one_line(note)}" for note in meant.notes]
    return "\n".join(lines) + "\n\n" + meant.lab_file()


def _one_line(text: str) -> str:
    """What came out of a file must not end a comment."""
    return " ".join(text.split())
