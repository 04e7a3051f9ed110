"""The thread that looks after alarms beside the central worker's tasks: clocks, and notices on their way.

It is woken by PostgreSQL when ingest or a person has changed an alarm, and looks by itself once a second. It
needs no broker, so that people can be told when that is away. Of several central workers one does it, which
holds an advisory lock; when it is gone the next one goes on where the database is.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import psycopg
from django.db import Error, close_old_connections, connection
from django.utils import timezone

from alerts.changes import CHANNEL
from alerts.judging.listening import Listening
from alerts.judging.timers import Timers
from alerts.notices import deadman, routing, sending
from devices.listener import own_connection
from devices.models import Heartbeat

LOCK = 7_201_100_002  # of the one process that does it
EVERY_S = 1.0
RETRY_S = 2.0
HEARTBEAT = timedelta(seconds=5)
PROCESS = "alarms"

logger = logging.getLogger(__name__)


class Watch(threading.Thread):
    """Start it, and stop it with `stop`, which waits for what is under way."""

    def __init__(self) -> None:
        super().__init__(name="alarms", daemon=True)
        self.timers = Timers()
        self.listening = Listening()
        self.ended = threading.Event()
        self.looked_at = self.beat_at = datetime.min.replace(tzinfo=timezone.get_default_timezone())
        self._connection: psycopg.Connection[object] | None = None

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                if self._holds():
                    self._follow()
                else:
                    self.ended.wait(RETRY_S)
            except (psycopg.Error, Error, OSError) as error:
                logger.warning("the database is away: %s", str(error).strip())
                self._let_go()
                self.ended.wait(RETRY_S)
        self._let_go()
        connection.close()

    def stop(self, within: float = 5.0) -> None:
        self.ended.set()
        self.join(within)

    def _holds(self) -> bool:
        """Whether this process is the one. Raises psycopg.Error."""
        if self._connection is None:
            self._connection = own_connection("alarms", CHANNEL)
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        return bool(row and row[0])  # type: ignore[index]

    def _follow(self) -> None:
        """Look at once and again and again, as long as the connection that holds the lock lives."""
        logger.info("this process looks after the alarms")
        while not self.ended.is_set() and self._connection is not None:
            self.look(timezone.now())
            for _ in self._connection.notifies(timeout=EVERY_S, stop_after=1):
                pass
            self._connection.execute("SELECT 1")

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

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
