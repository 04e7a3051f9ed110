"""The bot's process: follows the homeserver and the database at once, until it is told to end."""

import asyncio
import itertools
import logging
from collections.abc import Coroutine
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import psycopg
from django.db import connections
from django.utils import timezone

from alerts.matrix import hearing
from alerts.matrix.database import DATABASE_AWAY, changes, database
from alerts.matrix.following import Follower
from alerts.matrix.homeserver import Homeserver
from alerts.matrix.rooms import Rooms
from alerts.matrix.session import Session
from alerts.matrix.settings import Account
from alerts.matrix.situation import RETRY_MOST_S, Situation, set_within
from alerts.matrix.telling import Teller
from devices.models import Heartbeat
from devices.processes import until_ended

PROCESS = "matrix"
BEAT_S = 5.0
FORGET_EVERY = 720  # beats
KEPT = timedelta(days=90)  # of commands

logger = logging.getLogger(__name__)


class Bot:
    """One login, one loop."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.session = Session(account)
        self.situation = Situation()
        self.homeserver = Homeserver(self.session.client())
        self.rooms = Rooms(self.homeserver)
        self.group = asyncio.TaskGroup()
        self.teller = Teller(account, self.homeserver, self.rooms, self.situation, self._spawn)
        self.follower = Follower(
            self.session, self.homeserver, self.rooms, self.situation, self.teller.answer
        )

    async def run(self) -> None:
        """Runs until it is cancelled."""
        try:
            async with self.group:
                for loop in (self.follower.run, self.teller.run, self._listen, self._beat):
                    self._spawn(loop())
        finally:
            await self.homeserver.client.close()
            await database(connections.close_all)
            self.session.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return self.group.create_task(work)

    async def _listen(self) -> None:
        """Wake up when something changes; a look each second stands behind it."""
        while True:
            try:
                async with aclosing(changes()) as news:
                    async for _change in news:
                        self.situation.wake.set()
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
            await set_within(self.situation.changed, BEAT_S)

    def _said(self) -> dict[str, Any]:
        is_in = self.homeserver.client.olm is not None
        return {
            "state": self.situation.state,
            "user": self.homeserver.client.user_id or self.account.user,
            "device": self.account.device,
            "fingerprint": self.homeserver.fingerprint if is_in else "",
            "rooms": len(self.rooms.joined),
        }


def _note_heartbeat(said: dict[str, Any]) -> None:
    Heartbeat.objects.update_or_create(process=PROCESS, defaults={"at": timezone.now(), "fields": said})


async def _serve(account: Account) -> None:
    await until_ended(Bot(account).run())
    logger.info("ended")


def serve(account: Account) -> None:
    """Run the bot until SIGTERM or SIGINT. Raises files.Held if one runs already."""
    asyncio.run(_serve(account))
