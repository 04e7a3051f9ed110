"""What goes to the homeserver: notices as soon as they are due, how their alarms stand, answers."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from django.utils import timezone

from alerts.matrix import content, drawing, hearing, sending
from alerts.matrix.asking import Series
from alerts.matrix.content import Answer, Content
from alerts.matrix.database import DATABASE_AWAY, database, until_it_works
from alerts.matrix.hearing import Owed
from alerts.matrix.homeserver import Away, Homeserver, Limited, Rejected
from alerts.matrix.rooms import Rooms
from alerts.matrix.settings import Account
from alerts.matrix.situation import RETRY_S, Situation, set_within
from alerts.models import Notice

LOOK_S = 1.0  # without a word from the database
GAP_S = 0.05  # between two looks
ARRIVE_S = 5.0
ANSWER_TRIES = 6
LIMITED_TRIES = 4
PATIENCE_S = 15.0
EDIT_GAP_S = 3.0
REST_S = 60.0  # after a mistake of our own
OWED = timedelta(minutes=10)  # an answer that a killed bot owes is still given within it

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

logger = logging.getLogger(__name__)


class Teller:
    """`spawn` starts what goes on by itself."""

    def __init__(
        self, account: Account, homeserver: Homeserver, rooms: Rooms, situation: Situation, spawn: Spawn
    ) -> None:
        self.account = account
        self.homeserver = homeserver
        self.rooms = rooms
        self.situation = situation
        self.spawn = spawn
        self.wait_until = 0.0  # the homeserver takes nothing before
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._rest_until: dict[int, float] = {}
        self._edited_at: dict[int, float] = {}
        self._edits_rest_until = 0.0

    async def run(self) -> None:
        """Notices as soon as they are due, and how their alarms stand."""
        await self.situation.synced.wait()
        await self._give_owed_answers()
        while True:
            await set_within(self.situation.wake, LOOK_S)
            try:
                await self._look()
            except DATABASE_AWAY as error:
                logger.warning("notices wait for the database: %s", str(error).strip())
                await asyncio.sleep(LOOK_S)
            await asyncio.sleep(GAP_S)

    async def _look(self) -> None:
        waiting: dict[int, list[Notice]] = {}
        for notice in await database(sending.due, timezone.now()):
            waiting.setdefault(notice.contact_id, []).append(notice)
        for contact, notices in waiting.items():
            if contact not in self._busy and time.monotonic() > self._rest_until.get(contact, 0.0):
                task = self._busy[contact] = self.spawn(self._post(notices))
                task.add_done_callback(partial(self._rest, contact))
        if self.situation.is_connected and self._keeping is None:
            self._keeping = self.spawn(self._keep_up())
            self._keeping.add_done_callback(self._kept_up)

    def _kept_up(self, _task: asyncio.Task[None]) -> None:
        self._keeping = None

    def _rest(self, contact: int, _task: asyncio.Task[None]) -> None:
        del self._busy[contact]

    async def _post(self, notices: list[Notice]) -> None:
        """Those of one contact, one after the other; what goes wrong with one would with the next."""
        try:
            await self._arrive(notices[0].contact.address)
            for notice in notices:
                letter = await database(sending.begin, notice, timezone.now())
                if letter and not await self._posted(letter):
                    return
        except DATABASE_AWAY as error:
            logger.warning("a notice waits for the database: %s", str(error).strip())
        except Exception:  # a mistake with one contact must not keep the others from being told
            logger.exception("notices to contact %d wait for a minute", notices[0].contact_id)
            self._rest_until[notices[0].contact_id] = time.monotonic() + REST_S

    async def _arrive(self, address: str) -> None:
        """Into the room of a contact that was added just now."""
        if self.rooms.is_in(address) or not self.situation.is_connected:
            return
        with suppress(Away, TimeoutError):
            await self.rooms.look()
            async with asyncio.timeout(ARRIVE_S):
                while self.rooms.is_let_in(address) and not self.rooms.is_in(address):
                    await self.situation.next_sync.wait()

    async def _posted(self, letter: sending.Letter) -> bool:
        """Whether it is in the room: then it is written down, whatever it takes."""
        began = time.monotonic()
        try:
            event = await self._send(letter.room_id, letter.content, str(letter.notice.pk))
        except (Away, Rejected) as error:
            seconds = time.monotonic() - began
            await until_it_works(sending.failed, letter, error, seconds, timezone.now())
            return False
        await until_it_works(sending.sent, letter, event, time.monotonic() - began, timezone.now())
        return True

    async def _keep_up(self) -> None:
        """Let messages say how their alarms stand by now, beside the notices, which do not wait for it."""
        if time.monotonic() < self._edits_rest_until:
            return
        try:
            for edit in await database(sending.edits, timezone.now()):
                await self._edit(edit)
            with suppress(Away):
                await self.rooms.look_if_due()
        except DATABASE_AWAY as error:
            logger.warning("messages wait for the database: %s", str(error).strip())
        except Exception:
            logger.exception("messages are not kept up to date for a minute")
            self._edits_rest_until = time.monotonic() + REST_S

    async def _edit(self, edit: sending.Edit) -> None:
        """Let a message say how things are, not too often; what is left out now comes with the next look."""
        key = edit.message.pk
        if edit.content is not None:
            if time.monotonic() - self._edited_at.get(key, float("-inf")) < EDIT_GAP_S:
                return
            digest = hashlib.sha256(f"{edit.message.event_id} {edit.shown}".encode()).hexdigest()[:32]
            try:
                await self._send(edit.message.room_id, edit.content, digest)
            except Away:
                return
            except Rejected as error:
                logger.warning("a message cannot be edited: %s", error)
            self._edited_at[key] = time.monotonic()
        await database(sending.edited, edit)
        if edit.is_over:
            self._edited_at.pop(key, None)

    # ---- answers

    async def _give_owed_answers(self) -> None:
        """What a bot that was killed has not said any more."""
        owed = await until_it_works(hearing.owed, timezone.now() - OWED)
        for each in owed:
            self.answer(Owed(each))

    def answer(self, owed: Owed) -> None:
        self.spawn(self._answer(owed))

    async def _answer(self, owed: Owed) -> None:
        """Say what came of a command, once, whatever it takes within a minute or so."""
        command = owed.command
        transaction = hashlib.sha256(f"{command.event_id} answer".encode()).hexdigest()[:32]
        answer = Answer(command.answer, command.html)
        said = await self._drawn(answer, owed.series, command.room_id)
        said = content.replying(said, command.event_id, command.sender, command.thread)
        pause = RETRY_S
        for _try in range(ANSWER_TRIES):
            try:
                await self._send(command.room_id, said, transaction)
            except Rejected as error:
                logger.warning("an answer to %s is not taken: %s", command.sender, error)
                break
            except Away as error:
                pause = getattr(error, "retry_after", 2 * pause)
                await asyncio.sleep(pause)
            else:
                break
        else:
            return  # given at the next start, if that is soon
        await until_it_works(hearing.answered, command, timezone.now())

    async def _drawn(self, answer: Answer, series: Series | None, room_id: str) -> Content:
        """The answer as a picture; in words where there is none to be had."""
        said = content.text(answer.text, answer.html, kind="m.notice")
        if series is None:
            return said
        try:
            picture = await drawing.draw(series, self.account.folder)
            file = await self.homeserver.upload(picture, "plot.png", room_id)
        except (Away, Rejected, OSError, TimeoutError) as error:
            logger.warning("no picture of %s: %s", series.title, error)
            words = f"{answer.text} (the picture could not be made)"
            return content.text(words, kind="m.notice")
        size = {**drawing.SIZE, "size": len(picture)}
        return content.picture("plot.png", answer, file, size)

    # ---- both

    async def _send(self, room_id: str, said: Content, transaction: str) -> str:
        """Send a message; when the homeserver wants to be left alone for moments only, after them."""
        for tries_left in reversed(range(LIMITED_TRIES)):
            wait = self.wait_until - time.monotonic()
            if wait > PATIENCE_S:
                raise Limited(wait)
            await asyncio.sleep(max(0.0, wait))
            try:
                return await self.homeserver.send(room_id, "m.room.message", said, transaction)
            except Limited as error:
                logger.info("%s", error)
                self.wait_until = time.monotonic() + error.retry_after
                if not tries_left:
                    raise
        raise AssertionError("it returns or raises")
