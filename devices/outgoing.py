"""The centre's messages to its edges: sealed, put into a task message, and only into queues that are read."""

import logging
import socket
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from celery import current_app
from kombu.connection import Connection
from kombu.exceptions import ChannelError
from kombu.messaging import Producer

from devices import edge_keys, wire
from devices.models import Edge

WAITING_MAX = 5  # messages in an edge's queue; with more it gets no orders until it has read them
ANSWERS_MAX = 100  # answers come one by one, and beside a second's orders: with more it does not read at all
COMPRESSED_FROM = 5_000  # bytes of a task's body
RETRY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}

logger = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()
_origin = f"centre@{socket.gethostname()}"
_nothing_follows = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Recipient(NamedTuple):
    """An edge as a message's addressee, and the version of its key to sign with."""

    name: str
    key_version: int

    @property
    def queue(self) -> str:
        return f"edge.{self.name}"


def signing_version(current: int, heard: int) -> int:
    """The version an edge can check: that which it last signed with itself, if it is still taken."""
    return heard if heard in (current, current - 1) else current


def send_to_edge(
    edge: Edge,
    task: str,
    message: wire.Message,
    key_version: int | None = None,
    waiting_max: int = ANSWERS_MAX,
) -> bool:
    """Send one message to an edge as this task; after the commit of what it tells of.

    `key_version`: of the envelope that is answered; else that which the edge last signed with.
    False if it was not sent, because the edge does not read its queue.
    Raises kombu's OperationalError if the broker cannot be reached within seconds.
    """
    to = Recipient(edge.name, key_version or signing_version(edge.key_version, edge.key_heard))
    with current_app.producer_or_acquire() as producer:
        depth = producer.connection.ensure(producer, waiting, **RETRY)(producer, [to.queue])[to.queue]
        if depth > waiting_max:
            logger.warning(
                "edge %s does not read its queue: %d messages; %s is not sent", to.name, depth, task
            )
            return False
        publish(producer, to, task, message, retry=True, retry_policy=RETRY)
    return True


def publish(producer: Producer, to: Recipient, task: str, message: wire.Message, **options: Any) -> None:
    """Celery's own `send_task` in what an edge needs of it (task protocol 2), at a fifth of its cost.

    No `expires`: it is judged by the receiver's clock, and an edge's clock may be a day off.
    """
    key = edge_keys.derive(to.name, to.key_version)
    body = _encoder.encode(([wire.seal(message, to.name, to.key_version, key)], {}, _nothing_follows))
    task_id = str(uuid4())
    producer.publish(
        body,
        exchange="",
        routing_key=to.queue,
        content_type="application/json",
        content_encoding="utf-8",
        compression="zlib" if len(body) >= COMPRESSED_FROM else None,
        headers={
            "lang": "py",
            "task": task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "argsrepr": "",
            "kwargsrepr": "",
            "origin": _origin,
            "ignore_result": True,
        },
        correlation_id=task_id,
        reply_to="",
        **options,
    )


def waiting(producer: Producer, queues: Iterable[str]) -> dict[str, int]:
    """How many messages wait in each of these queues; one round trip with Redis."""
    if hasattr(producer.channel, "conn_or_acquire"):
        return _lengths(producer.channel, list(queues))
    return {queue: _depth(producer.connection, queue) for queue in queues}


def _lengths(channel: Any, queues: list[str]) -> dict[str, int]:
    with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.llen(queue)
        return dict(zip(queues, pipeline.execute(), strict=True))


def _depth(connection: Connection, queue: str) -> int:
    """With any other broker. Full, if its edge has not declared it: what is sent there would be lost."""
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except ChannelError:
            return WAITING_MAX + 1
