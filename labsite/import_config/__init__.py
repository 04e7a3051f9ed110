"""The configuration of the five replaced programs, read as what it means in Labsite.

One module for each program; `given` and `reading` take its files apart, `meant` writes the lab file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from labsite.import_config import filament_box, metatron, qs_monitor, reading, thermostat_logger, ups_monitor
from labsite.import_config.given import CannotImport, Given
from labsite.import_config.meant import Meant, written

__all__ = ["CannotImport", "Meant", "meant", "written"]


class Program(Protocol):
    """A module of a replaced program."""

    NAME: str

    def recognises(self, given: Given) -> bool: ...
    def meant(self, given: Given) -> Meant: ...


# The first that recognises a file takes it.
PROGRAMS: tuple[Program, ...] = (qs_monitor, thermostat_logger, ups_monitor, filament_box, metatron)
LAYERED: Mapping[str, tuple[str, ...]] = {  # whose variables this process may have
    filament_box.NAME: filament_box.PREFIXES,
    metatron.NAME: metatron.PREFIXES,
    ups_monitor.NAME: (ups_monitor.CONTAINER_PORT,),
}


def meant(paths: Sequence[Path], variables: Mapping[str, str], command_line: str = "") -> Meant:
    """All that the files, these variables and a command line mean together. Raises CannotImport."""
    known: dict[str, tuple[Program, Given]] = {}
    # .env after the file that it overrides, whatever the order in which they are named.
    for path in sorted([*paths, *_beside(paths)], key=_weight):
        program, given = _recognised(path)
        if program.NAME not in known:
            known[program.NAME] = program, given
        elif _weight(path):
            _lay_over(known[program.NAME][1], given)
        else:
            raise CannotImport(f"{path}: a second file of {program.NAME}: take over one after the other")
    if not known and not paths:
        known = _of_variables(variables)
    if not known:
        raise CannotImport(
            "name a file of the replaced program, such as config.toml, config.yaml or server.py"
        )
    for name, prefixes in LAYERED.items():
        if name in known:
            _lay_over(known[name][1], reading.environment(variables, prefixes))
    if command_line:
        if ups_monitor.NAME not in known:
            raise CannotImport("--command-line is that of the UPS monitor: name its file, too")
        ups_monitor.command_line(known[ups_monitor.NAME][1], command_line)
    together = Meant()
    for program, given in known.values():
        one = program.meant(given)
        given.pass_over_rest()
        one.notes += given.notes
        together.join(one)
    return together


def _recognised(path: Path) -> tuple[Program, Given]:
    given = reading.read(path)
    for program in PROGRAMS:
        if program.recognises(given):
            return program, given
    raise CannotImport(
        f"{path}: of none of the replaced programs: {', '.join(each.NAME for each in PROGRAMS)}"
    )


def _beside(paths: Sequence[Path]) -> list[Path]:
    """The .env that filament box found by itself: beside its file, or in the folder above."""
    found = []
    for path in paths:
        if path.suffix.lower() in (".yaml", ".yml") and not any(_weight(other) for other in paths):
            there = [
                folder / ".env" for folder in (path.parent, path.parent / "..") if (folder / ".env").is_file()
            ]
            if there and filament_box.recognises(reading.read(path)):
                found.append(there[0])
    return found


def _weight(path: Path) -> int:
    return int(path.suffix == ".env" or path.name.startswith(".env"))


def _of_variables(variables: Mapping[str, str]) -> dict[str, tuple[Program, Given]]:
    """Metatron may have been told by variables alone."""
    given = reading.environment(variables, metatron.PREFIXES)
    return {metatron.NAME: (metatron, given)} if metatron.recognises(given) else {}


def _lay_over(given: Given, over: Given) -> None:
    given.leaves |= over.leaves
    given.notes += over.notes
