"""What beat sends to edges, and when: each instrument's standing order, renewed; each change, at once.

    celery -A labsite beat -S devices.schedule.OrderScheduler

Beat keeps no orders. What it sends it has just read, through the connection that holds the advisory lock:
a beat that has lost the lock cannot read, and so has nothing to send.
"""

import json
import logging
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from celery.beat import Scheduler, SchedulingError
from celery.schedules import crontab
from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from devices import orders, wire
from devices.epoch import IDENTITY, digest
from devices.listener import own_connection
from devices.outgoing import WAITING_MAX, Recipient, publish, signing_version, waiting

LOCK = 7_201_100_001  # of the one beat that issues orders
ROUND_S = 0.25  # short, so that an edge gets its renewals a few at a time
PAUSE_S = 0.05  # at least, between two rounds, however fast changes come
PERIOD_S = 30.0
PER_EDGE = 50.0  # renewals a second
IN_ALL = 1000.0
NAMES_S = 180.0
HEARTBEAT_S = 5.0
RETRY_S = 1.0  # grows to RETRY_MAX_S
RETRY_MAX_S = 5.0
SINGLY = 50  # changes of one edge; more go as a whole book

FIRST = UUID(int=0)

# A retired edge is told of its empty book, as long as it may still listen.
EDGES = """
SELECT id, name, revision, key_version, key_heard, coalesce(heard_at > now() - interval '30 s', false)
FROM devices_edge WHERE retired_at IS NULL OR retired_at > now() - interval '1 min'
"""
HEARTBEAT = """
INSERT INTO devices_heartbeat (process, at, fields) VALUES ('beat', now(), %s)
ON CONFLICT (process) DO UPDATE SET at = excluded.at, fields = excluded.fields
"""
logger = logging.getLogger(__name__)


class EdgeRow(NamedTuple):
    """A row of EDGES."""

    id: int
    name: str
    revision: int
    key_version: int
    key_heard: int
    heard: bool

    @property
    def recipient(self) -> Recipient:
        return Recipient(self.name, signing_version(self.key_version, self.key_heard))


@dataclass
class Standing:
    """How far one edge has been told."""

    told: int  # revision
    counted: int = -1  # the revision at which `orders` was counted
    orders: int = 0
    after: UUID = FIRST  # the last order renewed
    credit: float = 0.0  # renewals due
    names_at: float = 0.0


@dataclass
class Issuer:
    """One round after the other: changes, then renewals."""

    epoch: str
    standings: dict[int, Standing] = field(default_factory=dict)
    renewed: int = 0
    last: float = 0.0

    def round(self, cursor: orders.Cursor, producer: Producer, now: float) -> None:
        """Send what is due to the edges that read their queues. Raises database and broker errors."""
        edges = self._edges(cursor)
        self._accrue(edges, now)
        wanting = [edge for edge in edges if edge.heard and self._wants(edge, now)]
        if not wanting:
            return
        depths = waiting(producer, [edge.recipient.queue for edge in wanting])
        reading = [edge for edge in wanting if depths[edge.recipient.queue] <= WAITING_MAX]
        with producer.batch():
            for edge in reading:
                self._tell(cursor, producer, edge, now)
            self._renew(cursor, producer, reading)
        for edge in reading:  # only now are they in the broker
            self.standings[edge.id].told = edge.revision

    def _edges(self, cursor: orders.Cursor) -> list[EdgeRow]:
        cursor.execute(EDGES)
        edges = [EdgeRow(*row) for row in cursor.fetchall()]
        known = self.standings
        self.standings = {edge.id: known.get(edge.id) or Standing(told=edge.revision) for edge in edges}
        changed = [edge for edge in edges if self.standings[edge.id].counted != edge.revision]
        if changed:
            counts = orders.count(cursor, [edge.id for edge in changed])
            for edge in changed:
                self.standings[edge.id].orders = counts[edge.id]
                self.standings[edge.id].counted = edge.revision
        return edges

    def _accrue(self, edges: list[EdgeRow], now: float) -> None:
        """Let renewals fall due. An edge that is not heard gets nothing: its next hello brings its book."""
        elapsed, self.last = min(now - self.last, 1.0), now
        rates = {
            edge.id: min(self.standings[edge.id].orders / PERIOD_S, PER_EDGE) for edge in edges if edge.heard
        }
        stretch = max(1.0, sum(rates.values()) / IN_ALL)
        for edge in edges:
            standing = self.standings[edge.id]
            if edge.heard:
                rate = rates[edge.id] / stretch
                standing.credit = min(standing.credit + rate * elapsed, max(rate, 1.0))
            else:
                standing.told = edge.revision

    def _wants(self, edge: EdgeRow, now: float) -> bool:
        standing = self.standings[edge.id]
        return standing.told != edge.revision or standing.credit >= 1 or standing.names_at <= now

    def _tell(self, cursor: orders.Cursor, producer: Producer, edge: EdgeRow, now: float) -> None:
        """Send an edge its changes, and the names of all it polls after them and every few minutes."""
        standing = self.standings[edge.id]
        to = edge.recipient
        if standing.told != edge.revision:
            changes = orders.changed_since(cursor, edge.id, standing.told)
            if len(changes) > SINGLY:
                publish(producer, to, "edge.book", orders.whole_book(cursor, edge.id, self.epoch))
                standing.names_at = now + NAMES_S
                return
            for order, stands in changes:
                if stands:
                    publish(producer, to, "edge.poll", wire.Poll(self.epoch, order))
                else:
                    stop = wire.Stop(self.epoch, order.instrument, order.revision)
                    publish(producer, to, "edge.stop", stop)
        elif standing.names_at > now:
            return
        publish(producer, to, "edge.book", orders.names_only(cursor, edge.id, self.epoch))
        standing.names_at = now + NAMES_S

    def _renew(self, cursor: orders.Cursor, producer: Producer, edges: list[EdgeRow]) -> None:
        """Send each edge the next of its orders, round and round."""
        due = {edge.id: edge.recipient for edge in edges if self.standings[edge.id].credit >= 1}
        self._renew_next(cursor, producer, due)
        for pk in due:  # who has not got all that is due is at the end of its orders
            if self.standings[pk].credit >= 1:
                self.standings[pk].after = FIRST
        self._renew_next(cursor, producer, due)

    def _renew_next(self, cursor: orders.Cursor, producer: Producer, due: dict[int, Recipient]) -> None:
        standings = [(pk, self.standings[pk]) for pk in due]
        places = [(pk, at.after, int(at.credit)) for pk, at in standings if at.credit >= 1]
        if not places:
            return
        for pk, instrument, order in orders.next_after(cursor, places):
            publish(producer, due[pk], "edge.poll", wire.Poll(self.epoch, order))
            self.renewed += 1
            self.standings[pk].after = instrument
            self.standings[pk].credit -= 1


class Watch:
    """The database as beat uses it: one connection of its own that holds the lock, listens and reads."""

    def __init__(self) -> None:
        self.connection: psycopg.Connection[Any] | None = None
        self.holds = False
        self.waits = False

    def hold(self) -> bool:
        """Whether this beat holds the lock; takes it if it is free. Raises psycopg.Error."""
        if self.connection is None:
            self.connection = own_connection("beat", "labsite_orders")
        if not self.holds:
            row = self.connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
            self.holds = bool(row and row[0])
            if self.holds:
                logger.info("this beat issues the orders")
            elif not self.waits:
                logger.info("another beat issues the orders; this one waits")
            self.waits = not self.holds
        return self.holds

    @property
    def cursor(self) -> psycopg.Cursor[Any]:
        """Raises psycopg.Error without a connection."""
        if self.connection is None:
            raise psycopg.InterfaceError("not connected")
        return self.connection.cursor()

    def epoch(self) -> str:
        cursor = self.cursor
        cursor.execute(IDENTITY)
        return digest(cursor.fetchone())

    def wait(self, seconds: float) -> None:
        """Until an instrument is changed, at most so long."""
        for _ in self.cursor.connection.notifies(timeout=seconds, stop_after=1):
            pass

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        self.holds = False


class Post:
    """The broker as beat uses it: tried again after a gap, never waited for."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.errors: tuple[type[Exception], ...] = (KombuError, OSError)
        self.gap = 0.0
        self.again_at = 0.0
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def producer(self) -> Producer:
        """Raises `errors` if the broker does not answer in time."""
        if self._producer is None:
            self._connection = connection = self.app.connection_for_write()
            self.errors = (KombuError, OSError, *connection.connection_errors, *connection.channel_errors)
            connection.ensure_connection(max_retries=0)
            self._producer = Producer(connection.channel(), auto_declare=False)
        return self._producer

    def answered(self) -> None:
        if self.gap:
            logger.info("the broker is back")
        self.gap = 0.0

    def failed(self, error: Exception, now: float) -> None:
        if not self.gap:
            logger.warning("broker away: %s: %s", type(error).__name__, error)
        self.gap = min(self.gap + RETRY_S, RETRY_MAX_S)
        self.again_at = now + self.gap
        self.close()

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()


class OrderScheduler(Scheduler):
    """Celery's scheduler for a handful of entries, and standing orders beside them. Keeps no file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.watch = Watch()
        self.post = Post(kwargs.get("app") or args[0])
        self.issuer: Issuer | None = None
        self.heartbeat_at = 0.0
        self.database_away = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Entries with an interval are due at the start: nothing remembers when they last ran."""
        super().setup_schedule()
        for entry in self.schedule.values():
            entry.options["retry"] = False  # `apply_entry` does, and a dead broker holds up nothing
            if not isinstance(entry.schedule, crontab):
                entry.last_run_at -= entry.schedule.run_every

    @property
    def producer(self) -> Producer:
        """Celery's own would wait for the broker for ever."""
        return self.post.producer()

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send an entry's task. Raises SchedulingError if the broker does not take it: it is due still."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError:
            self.schedule[entry.name] = entry
            self._heap = None
            raise

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """One round; how long to sleep after it (it waits for changes itself)."""
        try:
            if not self.watch.hold():
                return RETRY_S
            self._round()
        except psycopg.Error as error:
            if not self.database_away:
                logger.warning("database away: %s", error)
            self.database_away = True
            self.watch.close()
            return RETRY_S
        return 0.0

    def _round(self) -> None:
        epoch = self.issuer.epoch if self.issuer and not self.database_away else self.watch.epoch()
        if self.issuer is None or self.issuer.epoch != epoch:
            self.issuer = Issuer(epoch)
        if self.database_away:
            logger.info("the database is back")
        self.database_away = False
        now = time.monotonic()
        if now >= self.post.again_at:
            self._issue(self.issuer, now)
        self._heartbeat(self.issuer, now)
        time.sleep(PAUSE_S)
        self.watch.wait(max(0.0, now + ROUND_S - time.monotonic()))

    def _issue(self, issuer: Issuer, now: float) -> None:
        try:
            issuer.round(self.watch.cursor, self.post.producer(), now)
            while super().tick() == 0:
                pass
        except (SchedulingError, *self.post.errors) as error:
            self.post.failed(error, time.monotonic())
        else:
            self.post.answered()

    def _heartbeat(self, issuer: Issuer, now: float) -> None:
        if now < self.heartbeat_at:
            return
        self.heartbeat_at = now + HEARTBEAT_S
        fields = {
            "edges": len(issuer.standings),
            "orders": sum(standing.orders for standing in issuer.standings.values()),
            "renewed": issuer.renewed,
            "broker": not self.post.gap,
        }
        self.watch.cursor.execute(HEARTBEAT, [json.dumps(fields)])

    def close(self) -> None:
        """Let go of the lock and the broker."""
        super().close()
        self.watch.close()
        self.post.close()
