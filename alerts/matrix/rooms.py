"""The rooms that the bot is in: those that are configured and those of contacts, and no others."""

import asyncio
import logging
import time
from datetime import datetime

import nio
from django.db.models import QuerySet
from django.utils import timezone

from alerts.matrix.database import DATABASE_AWAY, database
from alerts.matrix.homeserver import Homeserver, Limited, Rejected
from alerts.models import Contact, MatrixRoom

TRANSPORT = "matrix"
EVERY_S = 5.0
AGAIN_S = 30.0  # after a failed try
ENTERED_S = 10.0  # until the next sync has told of a room that was joined

logger = logging.getLogger(__name__)


def wanted() -> list[MatrixRoom]:
    """Enabled rooms. That of a contact is added here, for telling only."""
    addresses = set(_contacts().values_list("address", flat=True))
    known = set(MatrixRoom.objects.filter(address__in=addresses).values_list("address", flat=True))
    for address in addresses - known:
        MatrixRoom.objects.get_or_create(address=address, defaults={"allow_commands": False})
    return list(MatrixRoom.objects.filter(enabled=True))


def _contacts() -> QuerySet[Contact]:
    return Contact.objects.filter(transport=TRANSPORT, enabled=True).exclude(address="")


def _note(room: MatrixRoom, **found: object) -> None:
    MatrixRoom.objects.filter(pk=room.pk).update(**found)


class Rooms:
    """Joins them, and says why where it cannot."""

    def __init__(self, homeserver: Homeserver) -> None:
        self.homeserver = homeserver
        self.joined: set[str] = set()  # ids of those that are wanted and that we are in
        self._resolved: dict[str, str] = {}
        self._again_at: dict[str, float] = {}
        self._looked_at = 0.0
        self._turn = asyncio.Lock()  # two who look at once would make two rooms for one person

    def is_let_in(self, address: str) -> bool:
        """Whether the homeserver let us in, of which the next sync may be the first to tell."""
        return address in self._resolved

    def is_in(self, address: str) -> bool:
        return self._resolved.get(address) in self.homeserver.client.rooms

    async def look_if_due(self, *, is_news: bool = False) -> None:
        """Look every few seconds for what was configured meanwhile, and when rooms come up. Raises Away."""
        if not is_news and time.monotonic() - self._looked_at < EVERY_S:
            return
        self._looked_at = time.monotonic()
        try:
            await self.look()
        except DATABASE_AWAY as error:
            logger.warning("rooms are not looked after: %s", str(error).strip())

    async def look(self) -> None:
        """Join what is wanted and not joined yet. Raises Away."""
        now = timezone.now()
        async with self._turn:
            rows = await database(wanted)
            self.joined = {room_id for row in rows if (room_id := await self._join(row, now))}

    async def _join(self, row: MatrixRoom, now: datetime) -> str:
        """The id of the room, if we are in it."""
        client = self.homeserver.client
        room_id = self._resolved.get(row.address) or (row.address if row.address[0] == "!" else "")
        if row.address[0] == "@" and row.room_id in client.rooms:
            room_id = row.room_id
        if room_id not in client.rooms:
            if not self._may_try(row, room_id, now):
                return ""
            self._again_at[row.address] = now.timestamp() + ENTERED_S
            try:
                room_id = await self._enter(row)
            except Rejected as error:
                self._again_at[row.address] = now.timestamp() + AGAIN_S
                await self._fail(row, str(error))
                return ""
            except Limited as error:
                self._again_at[row.address] = now.timestamp() + error.retry_after
                return ""
        self._resolved[row.address] = room_id
        if row.room_id != room_id or row.problem:
            logger.info("in room %s (%s)", row.address, room_id)
            await database(_note, row, room_id=room_id, problem="", joined_at=now)
        return room_id if room_id in client.rooms else ""

    def _may_try(self, row: MatrixRoom, room_id: str, now: datetime) -> bool:
        """An invitation is a reason not to wait."""
        is_invited = room_id in self.homeserver.client.invited_rooms
        return is_invited or now.timestamp() >= self._again_at.get(row.address, 0.0)

    async def _enter(self, row: MatrixRoom) -> str:
        client, ask = self.homeserver.client, self.homeserver.ask
        if row.address[0] == "@":
            return await self._open_for_two(row.address)
        if row.address[0] == "#":
            found = (await ask(client.room_resolve_alias, row.address)).room_id
            if found in client.rooms:
                return str(found)
        return str((await ask(client.join, row.address)).room_id)

    async def _open_for_two(self, person: str) -> str:
        """An encrypted room with one person."""
        encryption = nio.EnableEncryptionBuilder().as_dict()
        made = await self.homeserver.ask(
            self.homeserver.client.room_create,
            name="Labsite",
            is_direct=True,
            invite=[person],
            preset=nio.RoomPreset.trusted_private_chat,
            initial_state=[encryption],
        )
        return str(made.room_id)

    async def _fail(self, row: MatrixRoom, problem: str) -> None:
        if row.problem != problem:
            logger.warning("cannot join %s: %s", row.address, problem)
            await database(_note, row, problem=problem[:300])
