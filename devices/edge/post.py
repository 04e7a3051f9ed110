"""How messages leave the edge: as tasks into the centre's queue, over a connection of the uplink's own."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import ChannelError, OperationalError
from kombu.messaging import Producer

from devices import broker
from devices.edge.settings import Settings
from devices.edge.uplink import BrokerAway

QUEUE = "ingest"
LIFETIME_S = 86_400  # housekeeping only: what must be judged by age carries its own time

_encoder = msgspec.json.Encoder()


class BrokerPost:
    """Through kombu; a connection that fails once is given up, the next call makes another."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._connection: Connection | None = None

    def send(self, task: str, envelope: dict[str, Any]) -> None:
        """Raises BrokerAway; the message may have been sent all the same."""
        message = self._app.amqp.as_task_v2(
            str(uuid.uuid4()),
            task,
            args=[envelope],
            argsrepr="-",
            kwargsrepr="-",
            ignore_result=True,
            expires=LIFETIME_S,
        )
        with self._errors() as connection:
            # The default exchange reaches a queue by its name, without a binding that a wiped broker lost.
            Producer(connection.default_channel, auto_declare=False).publish(
                _encoder.encode(message.body),  # kombu's own would keep the polling loop waiting for longer
                exchange="",
                routing_key=QUEUE,
                content_type="application/json",
                content_encoding="utf-8",
                headers=message.headers,
                delivery_mode=2,
                **message.properties,
            )

    def waiting(self) -> int:
        """Raises BrokerAway."""
        with self._errors() as connection:
            try:
                return int(connection.default_channel.queue_declare(QUEUE, passive=True).message_count)
            except ChannelError:  # an empty queue is none in Redis
                return 0

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.release()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[Connection]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection
        except Exception as error:
            known = (
                self._connection.connection_errors + self._connection.channel_errors
                if self._connection
                else ()
            )
            self.close()
            if isinstance(error, (*known, OSError, OperationalError)):
                raise BrokerAway(type(error).__name__) from error
            raise

    def _connect(self) -> Connection:
        settings = self._settings
        return Connection(
            settings.broker_url,
            connect_timeout=broker.SILENCE_S,
            transport_options=broker.transport_options(settings.broker_url, settings.queue),
        )
