"""The bot's process: follows the homeserver and the database at once, until it is told to end."""

import asyncio
import hashlib
import itertools
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import nio
import psycopg
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from alerts.matrix import content, hearing, sending
from alerts.matrix.asking import Series
from alerts.matrix.content import Answer, Content
from alerts.matrix.database import changes, database
from alerts.matrix.hearing import Heard, Owed
from alerts.matrix.homeserver import Away, Homeserver, Limited, LoginLost, Rejected, age_since
from alerts.matrix.identity import Identity
from alerts.matrix.rooms import Rooms
from alerts.matrix.session import Session
from alerts.matrix.settings import Account
from alerts.matrix.verification import Verification
from alerts.models import MatrixPerson, Notice
from devices.models import Heartbeat

LOOK_S = 1.0  # without a word from the database
GAP_S = 0.05  # between two looks
ROOMS_S = 5.0
ARRIVE_S = 5.0
BEAT_S = 5.0
FORGET_EVERY = 720  # beats
RETRY_S, RETRY_MOST_S = 0.5, 5.0
LOGIN_AGAIN_S = 60.0
ANSWER_TRIES = 6
LIMITED_TRIES = 4
PATIENCE_S = 15.0
EDIT_GAP_S = 3.0
REST_S = 60.0  # after a mistake of our own
OWED = timedelta(minutes=10)  # an answer that a killed bot owes is still given within it
KEPT = timedelta(days=90)  # of commands
DRAW_S = 30.0
PROCESS = "matrix"
CONNECTED = "connected"

DATABASE_AWAY = (DatabaseError, InterfaceError, psycopg.Error)

logger = logging.getLogger(__name__)


class Unread(NamedTuple):
    """A message whose key has not come yet."""

    event: nio.MegolmEvent
    room_id: str
    said_at: float


class Bot:
    """One login, one loop."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.session = Session(account)
        self.client = self.session.client()
        self.homeserver = Homeserver(self.client)
        self.rooms = Rooms(self.homeserver)
        self.identity = Identity(account.folder, account.password)
        self.is_signed = False
        self.verification = Verification(self.homeserver, self._knows) if account.allow_verification else None
        self.wake = asyncio.Event()  # something may be due
        self.changed = asyncio.Event()  # there is something new to say of this process
        self.synced = asyncio.Event()
        self.next_sync = asyncio.Event()
        self.state = "starting"
        self.wait_until = 0.0  # the homeserver takes nothing before
        self.unread: dict[str, Unread] = {}
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._rest_until: dict[int, float] = {}
        self._edited_at: dict[int, float] = {}
        self._edits_rest_until = 0.0
        self._rooms_at = 0.0
        self._drawing = asyncio.Semaphore(1)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as self.group:
                for loop in (self._follow, self._tell, self._listen, self._beat):
                    self.group.create_task(loop())
        finally:
            await self.client.close()
            await database(connections.close_all)
            self.session.close()

    # ---- what comes from the homeserver

    async def _follow(self) -> None:
        """One sync after the other, through outages and lost logins."""
        await self._log_in()
        pause = RETRY_S
        while True:
            try:
                await self._sync()
                pause = RETRY_S
            except LoginLost as error:
                logger.warning("the login was lost (%s): logging in again", error)
                await self._log_in(anew=True)
            except Away as error:
                self._note_state(f"away: {error}")
                await asyncio.sleep(getattr(error, "retry_after", pause))
                pause = min(2 * pause, RETRY_MOST_S)

    async def _log_in(self, *, anew: bool = False) -> None:
        while True:
            try:
                await self.session.log_in(self.client, anew=anew)
                self.is_signed = False
            except Away as error:
                self._note_state(f"away: {error}")
                await asyncio.sleep(getattr(error, "retry_after", RETRY_MOST_S))
            except Rejected as error:
                self._note_state(f"cannot log in: {error}")
                await asyncio.sleep(LOGIN_AGAIN_S)
            else:
                logger.info("device %s, fingerprint %s", self.client.device_id, self.homeserver.fingerprint)
                return

    async def _sync(self) -> None:
        is_first, since = not self.synced.is_set(), self.session.position
        try:
            wait = self.state == CONNECTED and not is_first  # whether it is there is to be known at once
            news = await self.homeserver.sync(since, whole=is_first, wait=wait)
        except Rejected as error:
            logger.warning("the homeserver does not know where we were, we begin anew: %s", error)
            self.session.forget_position()
            raise Away(str(error)) from None
        if self.state != CONNECTED:
            await self._until_it_works(sending.release, timezone.now())
            self._note_state(CONNECTED)
        if since is not None:  # what was said before the bot came was not said to it
            for heard in self._heard(news):
                await self._hear(heard)
        self.session.keep(news.next_batch)
        for room_id in news.rooms.leave:  # nio forgets no room that it was put out of
            self.client.rooms.pop(room_id, None)
        await self.homeserver.keep_keys()
        if not self.is_signed:
            await self._sign()
        if self.verification:
            await self.verification.take(news.to_device_events)
        await self._look_after_rooms(news)
        self.synced.set()
        self.wake.set()
        self.next_sync.set()
        self.next_sync = asyncio.Event()

    async def _knows(self, matrix_id: str) -> bool:
        """Whether somebody may verify the device: one of Labsite's people, or the account itself."""
        people = MatrixPerson.objects.filter(matrix_id=matrix_id, user__is_active=True)
        return bool(matrix_id == self.client.user_id) or await database(people.exists)

    async def _sign(self) -> None:
        """Let the account say that this is its device; where it cannot, a person has to."""
        try:
            await self.identity.sign(self.client)
        except Rejected as error:
            logger.warning("the device is not cross-signed: %s", error)
        self.is_signed = True

    def _note_state(self, state: str) -> None:
        if state != self.state:
            level = logging.INFO if state == CONNECTED else logging.WARNING
            logger.log(level, "homeserver %s: %s", self.account.homeserver, state)
            self.changed.set()
        self.state = state

    def _heard(self, news: nio.SyncResponse) -> list[Heard]:
        """What people said in rooms, in the order of the homeserver; and what can be read only now."""
        found = [
            self._heard_event(read, unread.room_id, unread.said_at)
            for unread in list(self.unread.values())
            if (read := self._read_now(unread))
        ]
        for room_id, room in news.rooms.join.items():
            events = room.timeline.events
            for event in events[_joined_at(events, self.client.user_id) :]:
                said_at = self.client.said_at[event.event_id]
                if isinstance(event, nio.MegolmEvent):
                    logger.warning("cannot read a message of %s (yet): its key is missing", event.sender)
                    self.unread[event.event_id] = Unread(event, room_id, said_at)
                found.append(self._heard_event(event, room_id, said_at))
        return [heard for heard in found if heard is not None]

    def _read_now(self, unread: Unread) -> Any:
        """A message whose key came after it; it is waited for no longer than a command may be old."""
        try:
            read = self.client.decrypt_event(unread.event)
        except nio.EncryptionError:
            if age_since(unread.said_at) > hearing.OLD_S:
                del self.unread[unread.event.event_id]
            return None
        del self.unread[unread.event.event_id]
        return read

    def _heard_event(self, event: Any, room_id: str, said_at: float) -> Heard | None:
        """An event of a person that could be for us."""
        if event.sender == self.client.user_id:
            return None
        common, age = (event.event_id, room_id, event.sender), age_since(said_at)
        if isinstance(event, nio.ReactionEvent):
            return Heard(*common, _storable(event.key), age, target=event.reacts_to, is_reaction=True)
        if not isinstance(event, nio.RoomMessageText):  # not the notices of other bots
            return None
        relation = content.relation_of(event.source.get("content"))
        if relation.is_edit:
            return None
        return Heard(*common, _storable(event.body), age, target=relation.target, thread=relation.thread)

    async def _hear(self, heard: Heard) -> None:
        """Nothing that was said is passed over because the database is away."""
        owed = await self._until_it_works(hearing.take, heard, timezone.now())
        if owed is not None:
            self.group.create_task(self._answer(owed))

    async def _until_it_works(self, act: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                return await database(act, *args)
            except DATABASE_AWAY as error:
                logger.warning("database lost, again in %.0f s: %s", RETRY_MOST_S, str(error).strip())
                await asyncio.sleep(RETRY_MOST_S)

    async def _look_after_rooms(self, news: nio.SyncResponse | None = None) -> None:
        """When rooms come up, and every few seconds for what was configured meanwhile."""
        is_news = news is not None and (news.rooms.join or news.rooms.invite)
        if is_news or time.monotonic() - self._rooms_at > ROOMS_S:
            self._rooms_at = time.monotonic()
            try:
                await self.rooms.look(timezone.now())
            except DATABASE_AWAY as error:
                logger.warning("rooms are not looked after: %s", str(error).strip())

    # ---- what goes to the homeserver

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
        await self._until_it_works(hearing.answered, command, timezone.now())

    async def _drawn(self, answer: Answer, series: Series | None, room_id: str) -> Content:
        """The answer as a picture; in words where there is none to be had."""
        said = content.text(answer.text, answer.html, kind="m.notice")
        if series is None:
            return said
        try:
            async with self._drawing:
                picture = await draw(series, self.account)
            file = await self.homeserver.upload(picture, "plot.png", room_id)
        except (Away, Rejected, OSError, TimeoutError) as error:
            logger.warning("no picture of %s: %s", series.title, error)
            words = f"{answer.text} (the picture could not be made)"
            return content.text(words, kind="m.notice")
        size = {"w": 900, "h": 450, "size": len(picture)}
        return content.picture("plot.png", answer, file, size)

    async def _tell(self) -> None:
        """Notices as soon as they are due, and how their alarms stand."""
        await self.synced.wait()
        await self._give_owed_answers()
        while True:
            await _set_within(self.wake, LOOK_S)
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
                task = self._busy[contact] = self.group.create_task(self._post(notices))
                task.add_done_callback(partial(self._rest, contact))
        if self.state != CONNECTED:
            return
        await self._keep_up()
        if time.monotonic() - self._rooms_at > ROOMS_S:
            try:
                await self._look_after_rooms()
            except Away as error:
                logger.info("rooms are not looked after: %s", error)

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
        if self.rooms.is_in(address) or self.state != CONNECTED:
            return
        with suppress(Away, TimeoutError):
            await self.rooms.look(timezone.now())
            async with asyncio.timeout(ARRIVE_S):
                while self.rooms.is_let_in(address) and not self.rooms.is_in(address):
                    await self.next_sync.wait()

    async def _posted(self, letter: sending.Letter) -> bool:
        """Whether it is in the room: then it is written down, whatever it takes."""
        began = time.monotonic()
        try:
            event = await self._send(letter.room_id, letter.content, str(letter.notice.pk))
        except (Away, Rejected) as error:
            seconds = time.monotonic() - began
            await self._until_it_works(sending.failed, letter, error, seconds, timezone.now())
            return False
        await self._until_it_works(sending.sent, letter, event, time.monotonic() - began, timezone.now())
        return True

    async def _keep_up(self) -> None:
        """Let messages say how their alarms stand by now; what goes wrong in this keeps no notice waiting."""
        if time.monotonic() < self._edits_rest_until:
            return
        try:
            for edit in await database(sending.edits, timezone.now()):
                await self._edit(edit)
        except DATABASE_AWAY:
            raise
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

    async def _give_owed_answers(self) -> None:
        """What a bot that was killed has not said any more."""
        owed = await self._until_it_works(hearing.owed, timezone.now() - OWED)
        for each in owed:
            self.group.create_task(self._answer(Owed(each)))

    # ---- the database's side

    async def _listen(self) -> None:
        """Wake up when something changes; a look each second stands behind it."""
        while True:
            try:
                async with aclosing(changes()) as news:
                    async for _change in news:
                        self.wake.set()
            except (psycopg.Error, OSError) as error:
                logger.warning("not woken by the database, again in 5 s: %s", str(error).strip())
            await asyncio.sleep(RETRY_MOST_S)

    async def _beat(self) -> None:
        """Say what there is to say of this process, and now and then forget old commands."""
        for count in itertools.count():
            try:
                await database(_note_heartbeat, self._said())
                if count % FORGET_EVERY == 0:
                    await database(hearing.forget, timezone.now() - KEPT)
            except DATABASE_AWAY as error:
                logger.warning("no heartbeat: %s", str(error).strip())
            await _set_within(self.changed, BEAT_S)

    def _said(self) -> dict[str, Any]:
        is_in = self.client.olm is not None
        return {
            "state": self.state,
            "user": self.client.user_id or self.account.user,
            "device": self.account.device,
            "fingerprint": self.homeserver.fingerprint if is_in else "",
            "rooms": len(self.rooms.joined),
        }


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, no longer than this, and clear it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()


def _storable(text: str) -> str:
    """PostgreSQL stores no NUL."""
    return text.replace("\0", "")


def _joined_at(events: list[Any], own: str) -> int:
    """Where in a room's events we came in: what was said before was not said to us."""
    places = [
        place
        for place, event in enumerate(events)
        if isinstance(event, nio.RoomMemberEvent)
        and event.state_key == own
        and event.membership == "join"
        and event.prev_membership != "join"
    ]
    return places[-1] if places else 0


def _note_heartbeat(said: dict[str, Any]) -> None:
    Heartbeat.objects.update_or_create(process=PROCESS, defaults={"at": timezone.now(), "fields": said})


async def draw(series: Series, account: Account) -> bytes:
    """A PNG, made by a process of its own. Raises OSError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "alerts.matrix.plot",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=settings.BASE_DIR, env={**os.environ, "MPLCONFIGDIR": str(account.folder / "matplotlib")},
    )  # fmt: skip
    try:
        async with asyncio.timeout(DRAW_S):
            png, complaint = await process.communicate(json.dumps(asdict(series)).encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise OSError(complaint.decode(errors="replace").strip().rsplit("\n", 1)[-1])
    return png


async def _until_ended(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logger.info("ended")


async def _serve(account: Account) -> None:
    await _until_ended(Bot(account).run())


def serve(account: Account) -> None:
    """Run the bot until SIGTERM or SIGINT. Raises session.Taken if one runs already."""
    asyncio.run(_serve(account))
