"""Who the bot knows and which rooms it joins: what people may change of that."""

import logging
from typing import TypeVar

from django.db import transaction

from alerts.models import MatrixPerson, MatrixRoom, MatrixStranger
from alerts.services import require
from devices.services import Operator, Person

Row = TypeVar("Row", MatrixPerson, MatrixRoom)

logger = logging.getLogger(__name__)


def save_person(person: MatrixPerson, by: Person) -> MatrixPerson:
    """Give somebody in Matrix the rights of a user. Raises ValidationError."""
    saved = _save(person, by)
    logger.warning("%s has the rights of %s from now on, by %s", person, person.user, _name(by))
    return saved


def save_room(room: MatrixRoom, by: Person) -> MatrixRoom:
    """Let the bot join a room. Raises ValidationError."""
    if not room.allow_commands:
        room.allow_control = False
    return _save(room, by)


@transaction.atomic
def _save(row: Row, by: Person) -> Row:
    require(by, _right("change" if row.pk else "add", row))
    row.full_clean()
    row.save()
    if isinstance(row, MatrixPerson):  # no stranger any more; if it is one again, it is told again
        MatrixStranger.objects.filter(matrix_id=row.matrix_id).delete()
    return row


def delete(row: Row, by: Person) -> None:
    """Forget a person, or a room: the bot stays in there, but neither tells nor listens."""
    require(by, _right("delete", row))
    logger.warning("%s is deleted by %s", row, _name(by))
    row.delete()


def _right(what: str, row: MatrixPerson | MatrixRoom) -> str:
    return f"alerts.{what}_{type(row).__name__.lower()}"


def _name(by: Person) -> str:
    return by.name if isinstance(by, Operator) else by.get_username()
