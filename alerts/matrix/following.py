"""What comes from the homeserver: one sync after the other, through outages and lost logins."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import nio
from django.utils import timezone

from alerts.matrix import content, hearing, sending
from alerts.matrix.database import database, until_it_works
from alerts.matrix.hearing import Heard, Owed
from alerts.matrix.homeserver import Away, Homeserver, LoginLost, Rejected, age_since
from alerts.matrix.identity import Identity
from alerts.matrix.rooms import Rooms
from alerts.matrix.session import Session
from alerts.matrix.situation import CONNECTED, RETRY_MOST_S, RETRY_S, Situation
from alerts.matrix.verification import Verification
from alerts.models import MatrixPerson

LOGIN_AGAIN_S = 60.0

logger = logging.getLogger(__name__)


class Unread(NamedTuple):
    """A message whose key has not come yet."""

    event: nio.MegolmEvent
    room_id: str
    said_at: float


class Follower:
    """`answer` is given what is owed for a command."""

    def __init__(
        self,
        session: Session,
        homeserver: Homeserver,
        rooms: Rooms,
        situation: Situation,
        answer: Callable[[Owed], object],
    ) -> None:
        self.session = session
        self.homeserver = homeserver
        self.client = homeserver.client
        self.rooms = rooms
        self.situation = situation
        self.answer = answer
        self.unread: dict[str, Unread] = {}
        account = session.account
        self.identity = Identity(account.folder, account.password)
        self.is_signed = False
        self.verification = Verification(homeserver, self._knows) if account.allow_verification else None

    async def run(self) -> None:
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
                self.situation.note(f"away: {error}")
                await asyncio.sleep(getattr(error, "retry_after", pause))
                pause = min(2 * pause, RETRY_MOST_S)

    async def _log_in(self, *, anew: bool = False) -> None:
        while True:
            try:
                await self.session.log_in(self.client, anew=anew)
                self.is_signed = False
            except Away as error:
                self.situation.note(f"away: {error}")
                await asyncio.sleep(getattr(error, "retry_after", RETRY_MOST_S))
            except Rejected as error:
                self.situation.note(f"cannot log in: {error}")
                await asyncio.sleep(LOGIN_AGAIN_S)
            else:
                logger.info("device %s, fingerprint %s", self.client.device_id, self.homeserver.fingerprint)
                return

    async def _sync(self) -> None:
        is_first, since = not self.situation.synced.is_set(), self.session.position
        try:
            wait = self.situation.is_connected and not is_first  # whether it is there is to be known at once
            news = await self.homeserver.sync(since, whole=is_first, wait=wait)
        except Rejected as error:
            logger.warning("the homeserver does not know where we were, we begin anew: %s", error)
            self.session.forget_position()
            raise Away(str(error)) from None
        if not self.situation.is_connected:
            await until_it_works(sending.release, timezone.now())
            self.situation.note(CONNECTED)
        if since is not None:  # what was said before the bot came was not said to it
            for heard in self._heard(news):
                await self._hear(heard)
        self.session.keep(news.next_batch)
        for room_id in news.rooms.leave:  # nio forgets no room that it was put out of
            self.client.rooms.pop(room_id, None)
        await self.homeserver.keep_keys()
        await self.rooms.look_if_due(is_news=bool(news.rooms.join or news.rooms.invite))
        self.situation.note_sync()
        if not self.is_signed:
            await self._sign()
        if self.verification:
            await self.verification.take(news.to_device_events)

    async def _knows(self, matrix_id: str) -> bool:
        """Whether somebody may verify the device: one of Labsite's people, or the account itself."""
        people = MatrixPerson.objects.filter(matrix_id=matrix_id, user__is_active=True)
        return bool(matrix_id == self.client.user_id) or await database(people.exists)

    async def _sign(self) -> None:
        """Let the account say that this is its device; where it cannot, a person has to."""
        try:
            await self.identity.sign(self.client)
            self.is_signed = True
        except Away as error:
            logger.info("the device is cross-signed after the next sync: %s", error)
        except Rejected as error:
            logger.warning("the device is not cross-signed: %s", error)
            self.is_signed = True  # as far as that goes

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
        owed = await until_it_works(hearing.take, heard, timezone.now())
        if owed is not None:
            self.answer(owed)


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
