"""Putting a lab file in force: all of it, or nothing."""

from collections.abc import Callable
from typing import TypeVar

from django.core.exceptions import ValidationError
from django.db import transaction

from devices.errors import ConfigurationError, Refused
from devices.lab_file.changes import Change
from devices.lab_file.tables import Entry, Lab, LabFileError
from devices.services import Person

T = TypeVar("T")


def apply(lab: Lab, by: Person, *, prune: bool = False, dry_run: bool = False) -> list[Change]:
    """Make the database as the file says, in one transaction; the changes made, or that would be made.

    A dry run does the same and takes it back, so that it finds every error. `prune` retires or deletes what
    the file does not name. An instrument of one's own retires the demo lab's that it leaves out.
    Raises LabFileError, and then nothing has changed.
    """
    with transaction.atomic():
        changes = [change for section in lab.sections for change in section.apply(lab, by, prune=prune)]
        transaction.set_rollback(dry_run)
    return changes


def said(entry: Entry, key_of: Callable[[str, str], str], act: Callable[[], T]) -> T:
    """Do it; what the services refuse is told with its place in the file.

    `key_of(field, message)` is the file's key that a message speaks of; `field` is "" where it names none.
    """
    try:
        return act()
    except ValidationError as error:
        raise LabFileError("\n".join(_faults(entry, key_of, error))) from None
    except (ConfigurationError, Refused) as error:
        message = str(error)
        raise LabFileError(entry.error(message, key_of("", message))) from None


def _faults(entry: Entry, key_of: Callable[[str, str], str], error: ValidationError) -> list[str]:
    if not hasattr(error, "error_dict"):
        return [entry.error(message) for message in error.messages]
    return [
        entry.error(message if name == "__all__" else f"{name}: {message}", key_of(name, message))
        for name, messages in error.message_dict.items()
        for message in messages
    ]
