"""The thread that looks after alarms beside the central worker's tasks: clocks, and notices on their way.

It is woken by PostgreSQL when ingest or a person has changed an alarm, and looks by itself once a second. It
needs no broker, so that people can be told when that is away. Of several central workers one does it, which
holds an advisory lock; when it is gone the next one goes on where the database is.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.db import Error, close_old_connections, connection
from django.utils import timezone

from alerts.changes import CHANNEL
from alerts.judging.listening import Listening
from alerts.judging.timers import Timers
from alerts.notices import deadman, routing, sending
from devices.listener import RETRY_S, Follower
from devices.models import Heartbeat

LOCK = 7_201_100_002  # of the one process that does it
EVERY_S = 1.0
HEARTBEAT = timedelta(seconds=5)
PROCESS = "alarms"

logger = logging.getLogger(__name__)


class Watch(Follower):
    """Start it, and stop it with `stop`, which waits for what is under way."""

    def __init__(self) -> None:
        super().__init__("alarms", CHANNEL)
        self.timers = Timers()
        self.listening = Listening()
        self.looked_at = self.beat_at = datetime.min.replace(tzinfo=timezone.get_default_timezone())

    def follow(self, connection: psycopg.Connection[Any]) -> None:
        """If this process is the one: look at once and again and again, as long as the connection lives."""
        if not is_the_one(connection):
            self.ended.wait(RETRY_S)
            return
        logger.info("this process looks after the alarms")
        while not self.ended.is_set():
            self.look(timezone.now())
            for _ in connection.notifies(timeout=EVERY_S, stop_after=1):
                pass
            connection.execute("SELECT 1")

    def look(self, now: datetime) -> None:
        """Tell what there is to tell; and once a second do what clocks do."""
        close_old_connections()
        self._try(lambda: self._tell(now), "notices")
        if now - self.looked_at >= timedelta(seconds=EVERY_S) or now < self.looked_at:
            self.looked_at = now
            since = self.listening.look(now)
            self._try(lambda: self.timers.round(now, since), "timers")  # what it changes wakes this again
            self._try(lambda: self._beat(now, is_well=since is not None), "heartbeat")

    def _tell(self, now: datetime) -> None:
        routing.dispatch(now)
        sending.deliver_due(now)

    def _beat(self, now: datetime, *, is_well: bool) -> None:
        deadman.ping(now, healthy=is_well)
        if now - self.beat_at >= HEARTBEAT or now < self.beat_at:
            self.beat_at = now
            since = self.listening.since
            said = {"listening_since": since.isoformat() if since else None}
            Heartbeat.objects.update_or_create(process=PROCESS, defaults={"at": now, "fields": said})

    def _try(self, act: Callable[[], object], what: str) -> None:
        """One of them that fails does not keep the others; if the database is away, all are."""
        try:
            act()
        except Error:
            if not connection.is_usable():
                raise
            logger.exception("%s: it is tried again", what)
        except Exception:
            logger.exception("%s: it is tried again", what)


def is_the_one(connection: psycopg.Connection[Any]) -> bool:
    """Whether this connection holds the lock, now if not before. Raises psycopg.Error."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
    return bool(row and row[0])
