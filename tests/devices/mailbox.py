"""An edge's queue, read by a test as the edge would read it."""

import base64
import json
import zlib
from typing import Any

import redis

from devices import edge_keys, wire

KINDS: dict[str, type[wire.Message]] = {
    "edge.poll": wire.Poll,
    "edge.stop": wire.Stop,
    "edge.book": wire.Book,
    "edge.ack": wire.Ack,
    "edge.welcome": wire.Welcome,
}


class Mailbox:
    """The queue of one edge at a broker."""

    def __init__(self, url: str, edge: str, key_of: wire.KeyOf = edge_keys.key_of) -> None:
        self.client = redis.Redis.from_url(url)
        self.queue = f"edge.{edge}"
        self.key_of = key_of

    def __len__(self) -> int:
        return int(self.client.llen(self.queue))

    def take(self) -> list[Any]:
        """All messages there are, the oldest first, each with its signature checked."""
        found = []
        while isinstance(raw := self.client.rpop(self.queue), bytes):
            found.append(self.opened(json.loads(raw)))
        return found

    def take_kind(self, kind: type[wire.T]) -> list[wire.T]:
        return [message for message in self.take() if isinstance(message, kind)]

    def opened(self, message: dict[str, Any]) -> Any:
        body = base64.b64decode(message["body"])
        if "compression" in message["headers"]:
            body = zlib.decompress(body)
        (envelope,), _kwargs, _embedded = json.loads(body)
        return wire.open_envelope(envelope, KINDS[message["headers"]["task"]], self.key_of)[1]

    def fill(self, count: int) -> None:
        """What an edge has left lying."""
        self.client.lpush(self.queue, *["{}"] * count)

    def close(self) -> None:
        self.client.close()
