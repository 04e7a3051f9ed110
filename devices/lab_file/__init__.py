"""A lab as a file: tables in TOML, compared with what there is, and put in force.

    [[edge]]
    name = "bench"

    [[instrument]]
    name = "Bath 1"
    driver = "thermostat"
    address = "tcp://192.168.1.26:23"
    edge = "bench"          # `local` if a new instrument names none
    interval = 1.0
    in_service = true
    tags = ["room-214"]

    [instrument.options]
    target = true
    password = { secret = "BATH" }      # of drivers that ask for one: its name, which the edge looks up

    [[instrument.options.channels]]     # of drivers whose channels a lab declares itself
    key = "level"

Names tell which is which. What the file leaves out stays as it is: whole tables (unless they are to be
pruned) and single keys of what there is already. Edges and instruments are here; an app above adds kinds of
tables of its own as a `Section`.
"""

from pathlib import Path

from devices.lab_file import reading, writing
from devices.lab_file.changes import Change
from devices.lab_file.force import apply
from devices.lab_file.inventory import INVENTORY
from devices.lab_file.tables import Entry, Kind, Lab, LabFileError, Section

__all__ = [
    "OWN",
    "Change",
    "Entry",
    "Kind",
    "Lab",
    "LabFileError",
    "Section",
    "apply",
    "export",
    "parse",
    "read",
]

OWN: tuple[Section, ...] = (INVENTORY,)


def read(path: Path, sections: tuple[Section, ...] = OWN) -> Lab:
    """The lab in a file. Raises LabFileError, with every fault that was found."""
    return reading.read(path, sections)


def parse(text: str, path: str, sections: tuple[Section, ...] = OWN) -> Lab:
    """The lab in a text; `path` is for messages. Raises LabFileError."""
    return reading.parse(text, path, sections)


def export(sections: tuple[Section, ...] = OWN) -> str:
    """All there is as a lab file."""
    return writing.written(sections)
