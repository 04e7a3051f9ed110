"""What somebody said in a room: whether it is run, by whose rights, and once only.

Everything that comes of an event, its answer included, is written in one transaction with the event's id.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F

from alerts.changes import Conflict
from alerts.matrix import commands, parsing
from alerts.matrix.asking import Picture, Series
from alerts.matrix.commands import Asked
from alerts.matrix.content import Answer
from alerts.models import (
    Alarm,
    CommandOutcome,
    MatrixCommand,
    MatrixMessage,
    MatrixPerson,
    MatrixRoom,
    MatrixStranger,
)
from devices import numbers
from devices.errors import Refused

OLD_S = 15.0
MOST = 10  # commands of a person
WITHIN = timedelta(minutes=1)
TRIES = 3
THUMBS_UP = "👍"
MUTE = "🔕"
SKIN = "\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # variants of one and the same hand

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heard:
    """One event, decrypted. `age`: seconds since it was sent, by the homeserver's clock."""

    event_id: str
    room_id: str
    sender: str
    body: str
    age: float
    target: str = ""  # the message it answers or reacts to
    thread: str = ""
    is_reaction: bool = False


@dataclass(frozen=True)
class Owed:
    """An answer that is to be given, with what is to be drawn for it."""

    command: MatrixCommand
    series: Series | None = None


Act = Callable[[Asked], Answer]


def take(heard: Heard, now: datetime) -> Owed | None:
    """Do what was said, if it is for us; the answer that is owed, if one is."""
    act = _meant(heard)
    if act is None:
        return None
    for tried in range(TRIES):
        try:
            with transaction.atomic():
                return _take(heard, act, now)
        except Conflict:
            if tried == TRIES - 1:
                raise
    return None


def _take(heard: Heard, act: Act, now: datetime) -> Owed | None:
    known = MatrixCommand.objects.filter(event_id=heard.event_id).first()
    if known is not None:
        return None if known.answered_at else Owed(known)
    room = MatrixRoom.objects.filter(room_id=heard.room_id, enabled=True, allow_commands=True).first()
    if room is None:
        return None
    person = MatrixPerson.objects.select_related("user").filter(matrix_id=heard.sender).first()
    if person is None or not person.user.is_active:
        return _refuse_stranger(heard, now)
    if heard.age > OLD_S:
        said = f"too old, not run: it was said {numbers.duration(heard.age)} ago"
        return _note(heard, person, CommandOutcome.TOO_OLD, Answer(said), now)
    if _is_too_much(heard.sender, now):
        return _limit(heard, person, now)
    asked = Asked(person.user, heard.sender, room, heard.event_id, alarms_of(heard.target), now)
    outcome, answer = _run(act, asked)
    logger.info("%s (%s) said %r: %s", heard.sender, person.user, heard.body, outcome)
    owed = _note(heard, person, outcome, answer, now)
    return replace(owed, series=answer.series) if isinstance(answer, Picture) else owed


def _run(act: Act, asked: Asked) -> tuple[CommandOutcome, Answer]:
    try:
        with transaction.atomic():
            return CommandOutcome.DONE, act(asked)
    except (Refused, PermissionDenied) as error:
        return CommandOutcome.REFUSED, Answer.of(str(error))
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # a mistake in one command must not end the bot, which people are told by
        logger.exception("a command of %s went wrong", asked.matrix_id)
        return CommandOutcome.FAILED, Answer("that went wrong, and nothing was done; the bot's log says why")


def _note(
    heard: Heard, person: MatrixPerson | None, outcome: CommandOutcome, answer: Answer, now: datetime
) -> Owed:
    noted = MatrixCommand.objects.create(
        event_id=heard.event_id,
        room_id=heard.room_id,
        sender=heard.sender,
        user=person.user if person else None,
        text=heard.body[:1000],
        thread=heard.thread,
        outcome=outcome,
        answer=answer.text,
        html=answer.html,
        seen_at=now,
    )
    return Owed(noted)


def _refuse_stranger(heard: Heard, now: datetime) -> Owed | None:
    """Once, for ever: whoever is in the room could make the bot talk without end."""
    _stranger, is_new = MatrixStranger.objects.get_or_create(
        matrix_id=heard.sender, defaults={"told_at": now}
    )
    if not is_new:
        return None
    logger.warning("%s is not known to Labsite and was told so, once", heard.sender)
    answer = "Sorry, I do not know you: somebody of the staff has to enter your Matrix id in Labsite first."
    return _note(heard, None, CommandOutcome.REFUSED, Answer(answer), now)


def _is_too_much(sender: str, now: datetime) -> bool:
    lately = MatrixCommand.objects.filter(sender=sender, seen_at__gt=now - WITHIN)
    return lately.exclude(outcome=CommandOutcome.LIMITED).count() >= MOST


def _limit(heard: Heard, person: MatrixPerson, now: datetime) -> Owed | None:
    """Said once; what else comes of the same person in this minute is not answered."""
    lately = MatrixCommand.objects.filter(sender=heard.sender, seen_at__gt=now - WITHIN)
    if lately.filter(outcome=CommandOutcome.LIMITED).exists():
        return None
    answer = Answer(f"not run: at most {MOST} commands a minute, please")
    return _note(heard, person, CommandOutcome.LIMITED, answer, now)


def _meant(heard: Heard) -> Act | None:
    """What an event asks for; None if it is not for us."""
    if heard.is_reaction:
        return _meant_by_reaction(heard) if _is_ours(heard.target) else None
    body = parsing.without_quotation(heard.body)
    if heard.target and (comment := parsing.acknowledgement_in(body)) is not None:
        is_command = body.lstrip().startswith("!")
        if not (is_command and parsing.number_in(comment)):
            # A plain "ack" answers many things: it is meant for us only if it answers an alarm.
            is_meant = is_command or _is_ours(heard.target)
            return partial(commands.acknowledge_shown, comment=comment) if is_meant else None
    command = parsing.command_in(body)
    return partial(commands.run, command=command) if command else None


def _is_ours(event_id: str) -> bool:
    return MatrixMessage.objects.filter(event_id=event_id).exists()


def _meant_by_reaction(heard: Heard) -> Act | None:
    key = heard.body.strip(SKIN)
    if key == THUMBS_UP:
        return partial(commands.acknowledge_shown, comment="")
    return commands.shelve_shown if key == MUTE else None


def alarms_of(event_id: str) -> list[Alarm]:
    """The alarms that a message of ours tells of."""
    if not event_id:
        return []
    lines = Alarm.objects.filter(lines__notice__matrix_message__event_id=event_id)
    return list(lines.distinct().order_by("priority", "id"))


def owed(since: datetime) -> list[MatrixCommand]:
    """Commands whose answer was not given, of since then; older ones would come as a riddle."""
    open_ = MatrixCommand.objects.filter(answered_at=None)
    open_.filter(seen_at__lt=since).update(answered_at=F("seen_at"))
    return list(open_.order_by("id"))


def answered(command: MatrixCommand, now: datetime) -> None:
    MatrixCommand.objects.filter(pk=command.pk).update(answered_at=now)


def forget(before: datetime) -> None:
    """Commands are kept for a while, for who wants to know who did what."""
    MatrixCommand.objects.filter(seen_at__lt=before).delete()
