"""The thread that feeds sinks beside the central worker's tasks, with one thread more for each sink.

It is woken by PostgreSQL when something was stored for sinks, and needs no broker. Of several central workers
each sink is fed by the one that holds its advisory lock; another goes on where that one is gone.
"""

import logging
import threading
import time
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.db import Error, close_old_connections, connection
from django.utils import timezone

from devices.listener import RETRY_S, Follower
from devices.models import Heartbeat
from telemetry import outbox
from telemetry.models import Sink
from telemetry.sinks import standing
from telemetry.sinks.drain import Drain, Next

LOCK = 0x1AF  # advisory, with a sink's id
EVERY_S = 1.0
HEARTBEAT_S = 5.0
PAUSE_S = 0.05  # between two wakings
PROCESS = "sinks"

logger = logging.getLogger(__name__)


class Lane(threading.Thread):
    """Feeds one sink until it is stopped, or there is nothing to be fed any more. It holds up no other."""

    def __init__(self, sink: int) -> None:
        super().__init__(name=f"sink {sink}", daemon=True)
        self.sink = sink
        self.ended = threading.Event()
        self.news = threading.Event()

    def run(self) -> None:
        drain = Drain(self.sink)
        try:
            while not self.ended.is_set():
                self.news.clear()
                following = self._step(drain)
                if following is None:
                    return
                self._wait(following)
        finally:
            drain.close()
            connection.close()

    def stop(self) -> None:
        self.ended.set()
        self.news.set()

    def _step(self, drain: Drain) -> Next | None:
        try:
            close_old_connections()
            return drain.step(timezone.now())
        except Error as error:
            logger.warning("sink %d: the database is away: %s", self.sink, str(error).strip())
        except Exception:
            logger.exception("sink %d: it is tried again", self.sink)
        return Next(at=timezone.now() + timedelta(seconds=RETRY_S))

    def _wait(self, following: Next) -> None:
        """Until it is time; but a second at most, for then it may be described otherwise."""
        if following.at_once:
            return
        if following.at is not None:
            self.ended.wait(min(max((following.at - timezone.now()).total_seconds(), 0.0), EVERY_S))
        else:
            self.news.wait(EVERY_S)


class Feeder(Follower):
    """Start it, and stop it with `stop`, which waits a little for what is under way."""

    def __init__(self) -> None:
        super().__init__("sinks", outbox.CHANNEL)
        self.lanes: dict[int, Lane] = {}
        self._looked_at = self._beat_at = float("-inf")

    def stop(self, within: float = 1.5) -> None:
        """What hangs for longer than that is given up: what it has written is written again."""
        self.ended.set()
        for lane in list(self.lanes.values()):
            lane.stop()
        end = time.monotonic() + within
        for thread in (self, *self.lanes.values()):
            thread.join(max(end - time.monotonic(), 0.0))

    def follow(self, connection: psycopg.Connection[Any]) -> None:
        """See to it that each sink is fed by somebody, and wake those that are fed here."""
        while not self.ended.is_set():
            close_old_connections()
            self._look(connection, timezone.now())
            told = False
            for _ in connection.notifies(timeout=EVERY_S, stop_after=1):
                told = True
            if told:
                for lane in self.lanes.values():
                    lane.news.set()
                self.ended.wait(PAUSE_S)

    def let_go(self) -> None:
        """With the connection go the locks: another may feed these sinks now."""
        for lane in self.lanes.values():
            lane.stop()
        self.lanes = {sink: lane for sink, lane in self.lanes.items() if lane.is_alive()}
        super().let_go()

    def _look(self, connection: psycopg.Connection[Any], now: datetime) -> None:
        if time.monotonic() - self._looked_at < EVERY_S:
            return
        self._looked_at = time.monotonic()
        wanted = set(Sink.objects.filter(enabled=True, must_rebuild=False).values_list("pk", flat=True))
        for sink, lane in list(self.lanes.items()):
            if sink not in wanted:
                lane.stop()
            if not lane.is_alive():
                del self.lanes[sink]
                ask(connection, "SELECT pg_advisory_unlock(%s, %s)", sink)
        for sink in sorted(wanted - self.lanes.keys()):
            if ask(connection, "SELECT pg_try_advisory_lock(%s, %s)", sink):
                self.lanes[sink] = Lane(sink)
                self.lanes[sink].start()
        if time.monotonic() - self._beat_at >= HEARTBEAT_S:
            self._beat_at = time.monotonic()
            self._beat(now)

    def _beat(self, now: datetime) -> None:
        """How all sinks do, whoever feeds them."""
        sinks = list(Sink.objects.filter(enabled=True))
        if sinks:
            said = {"sinks": standing.said(sinks, now)}
            Heartbeat.objects.update_or_create(process=PROCESS, defaults={"at": now, "fields": said})
        else:
            Heartbeat.objects.filter(process=PROCESS).delete()


def ask(connection: psycopg.Connection[Any], question: str, sink: int) -> bool:
    """Of a sink's lock."""
    row = connection.execute(question, [LOCK, sink]).fetchone()
    return bool(row and row[0])
