"""What the broker is to hold, and the way there: of each topic the newest word, however slow the way is.

Nothing waits for a broker that is away: when it is back it is told what is so then, once.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress

from paho.mqtt.client import MQTTMessage

from devices.errors import LinkError
from labsite.mqtt.connection import Connection, Message
from labsite.mqtt.record import Record
from labsite.mqtt.settings import Told

PAUSE_LEAST, PAUSE_MOST = 0.5, 15.0  # seconds between attempts to connect
STEADY_S = 30.0  # a connection that lasts so long begins the pauses anew
HAPPENINGS_MOST = 500  # that wait for a slow broker; the oldest go
LEAVE_S = 2.0  # for the last words

logger = logging.getLogger(__name__)

Hear = Callable[[MQTTMessage], None]


class Outlet:
    """A connection that is made again whenever it is lost. All of it runs on one event loop.

    `status` is the topic of the last will. `record`: what it retains beside that is written down there.
    `listen`: topics to hear, told to `hear`.
    """

    def __init__(
        self,
        told: Told,
        client_id: str,
        status: str,
        record: Record | None = None,
        listen: tuple[str, ...] = (),
        hear: Hear = lambda _message: None,
    ) -> None:
        self.state = "away"
        self.reason = ""
        self.published = self.dropped = 0
        self._told, self._client_id, self._status = told, client_id, status
        self._record, self._listen, self._hear = record, listen, hear
        self._kept: dict[str, Message] = {}  # what the broker is to retain
        self._new: set[str] = set()  # of them those that are not recorded yet
        self._due: dict[str, None] = {}  # topics that it has not been told the newest of
        self._happened: deque[Message] = deque(maxlen=HAPPENINGS_MOST)
        self._under_way: dict[int, Message] = {}
        self._complained: set[str] = set()  # topics
        self._connection: Connection | None = None
        self._pumping = False

    # ---- what is to be told

    def keep(self, topic: str, payload: str, qos: int = 1, *, anew: bool = False) -> None:
        """Have this retained. `anew`: tell it also if it is what was told last."""
        message = Message(topic, payload.encode("utf-8", "replace"), qos)
        if anew or self._kept.get(topic) != message:
            self._kept[topic] = message
            if self._record is not None and topic not in self._record.topics:
                self._new.add(topic)
            self._owe(topic)

    def keep_only(self, topics: Collection[str]) -> None:
        """Take back all others."""
        for topic in self._kept.keys() - topics - {self._status}:
            del self._kept[topic]
            self._new.discard(topic)
            self._owe(topic)

    def again(self, topics: Collection[str]) -> None:
        """Tell what is kept there once more."""
        for topic in self._kept.keys() & topics:
            self._owe(topic)

    def happen(self, topic: str, payload: str) -> None:
        """Tell something of this moment; nobody hears of it later."""
        if self._connection is None:
            return
        self.dropped += len(self._happened) == HAPPENINGS_MOST
        self._happened.append(Message(topic, payload.encode("utf-8", "replace"), retain=False))
        self._pump_soon()

    @property
    def waiting(self) -> int:
        """Messages that the broker has not taken."""
        return len(self._due) + len(self._happened) + len(self._under_way)

    def _owe(self, topic: str) -> None:
        if self._connection is not None:
            self._due[topic] = None
            self._pump_soon()

    # ---- sending

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Hand over as much as the broker has room for."""
        self._pumping = False
        connection = self._connection
        if connection is None:
            return
        if self._record is not None and self._new:
            self._record.note(self._new)
            self._new.clear()
        while len(self._under_way) < connection.window and (message := self._next()):
            if len(message.topic) + len(message.payload) > connection.bytes_max - 64:
                self._complain(message, f"of {len(message.payload)} bytes, more than the broker takes")
            elif (number := connection.publish(message)) is not None:
                self._under_way[number] = message

    def _next(self) -> Message | None:
        if self._happened:
            return self._happened.popleft()
        if not self._due:
            return None
        topic = next(iter(self._due))
        del self._due[topic]
        return self._kept.get(topic) or Message(topic, b"")

    def _sent(self, number: int, reason: str) -> None:
        message = self._under_way.pop(number, None)
        if message is None:
            return
        self.published += 1
        if reason:
            self._complain(message, f"refused by the broker: {reason}")
        elif message.retain and message.topic not in self._kept and self._record is not None:
            self._record.strike(message.topic)
        if self._due or self._happened:
            self._pump_soon()

    def _complain(self, message: Message, reason: str) -> None:
        self.dropped += 1
        if message.topic not in self._complained:  # there are as many topics as there are channels
            self._complained.add(message.topic)
            logger.warning("MQTT: a message on %s is %s", message.topic, reason)

    # ---- the connection

    async def run(self) -> None:
        """Runs until it is cancelled; then says on the status topic that it is away, and leaves."""
        pause = PAUSE_LEAST
        while True:
            since = time.monotonic()
            await self._connected()
            pause = PAUSE_LEAST if time.monotonic() - since > STEADY_S else min(2 * pause, PAUSE_MOST)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - nobody is to guess it

    async def _connected(self) -> None:
        """One connection, from its beginning to its end."""
        will = Message(self._status, b"offline")
        connection = Connection(self._told, self._client_id, will)
        connection.sent = self._sent
        try:
            await connection.log_in(self._told.password, self._hear)
            await self._subscribe(connection)
            self._begin(connection)
            await connection.ended
            self._over(f"{self._told.address.url}: {connection.lost}")
        except LinkError as error:
            self._over(str(error))
        except asyncio.CancelledError:
            await self._take_leave()
            raise
        finally:
            self._connection = None
            await connection.close()

    async def _subscribe(self, connection: Connection) -> None:
        if self._listen:
            for topic, reason in (await connection.subscribe(self._listen)).items():
                logger.warning("MQTT: the broker does not let us hear %s: %s", topic, reason)

    def _begin(self, connection: Connection) -> None:
        """Tell all that is so now, and take back what was so when we were here last."""
        logger.info("MQTT: connected to %s", self._told.address.url)
        self._connection, self.state, self.reason = connection, "connected", ""
        self._under_way.clear()
        self._complained.clear()
        gone = self._record.topics - self._kept.keys() if self._record else ()
        self._due = dict.fromkeys([self._status, *sorted(gone), *self._kept])
        self._pump_soon()

    def _over(self, reason: str) -> None:
        if reason != self.reason:
            logger.warning("MQTT: not connected, it is tried again: %s", reason)
        self._connection, self.state, self.reason = None, "away", reason
        self._due.clear()
        self._happened.clear()
        self._under_way.clear()

    async def _take_leave(self) -> None:
        """A clean good-bye keeps the broker from telling the will."""
        if self._connection is None:
            return
        self._happened.clear()
        self._due = dict.fromkeys([topic for topic in self._due if topic not in self._kept])
        self.keep(self._status, "offline", anew=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                while self.waiting and self._connection.lost is None:  # noqa: ASYNC110 - told by counting
                    await asyncio.sleep(0.01)
