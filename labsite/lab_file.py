"""The lab file with the tables of all apps."""

from pathlib import Path

from alerts.lab_file import ALARMS
from devices import lab_file
from devices.lab_file import Lab, Section, apply
from telemetry.lab_file.computed import DEFINITIONS
from telemetry.lab_file.replaced import INTERFACES
from telemetry.lab_file.sinks import SINKS

__all__ = ["SECTIONS", "apply", "export", "parse", "read"]

SECTIONS: tuple[Section, ...] = (*lab_file.OWN, DEFINITIONS, ALARMS, INTERFACES, SINKS)


def read(path: Path) -> Lab:
    """The lab in a file. Raises LabFileError, with every fault that was found."""
    return lab_file.read(path, SECTIONS)


def parse(text: str, path: str) -> Lab:
    """The lab in a text; `path` is for messages. Raises LabFileError."""
    return lab_file.parse(text, path, SECTIONS)


def export() -> str:
    """All there is as a lab file."""
    return lab_file.export(SECTIONS)
