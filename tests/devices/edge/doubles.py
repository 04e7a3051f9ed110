"""The other ends of an edge, for its tests: small instruments on real TCP, and a centre on a real broker."""

import asyncio
import base64
import json
import threading
import time
import uuid
from typing import Any, Self

import redis

from devices import wire
from devices.edge.settings import Settings
from devices.wire import Ack, Batch, Hello, Order, Parcel, Tried, Welcome

KEY = bytes(range(32))
EPOCH = "0123456789abcdef"


def order(
    instrument: str = "", address: str = "tcp://127.0.0.1:1", interval: float = 0.1, **changes: Any
) -> Order:
    fields: dict[str, Any] = {
        "instrument": instrument or str(uuid.uuid4()),
        "name": "one",
        "driver": "thermostat",
        "address": address,
        "options": {},
        "interval": interval,
        "phase": 0.0,
        "revision": 1,
    }
    return Order(**{**fields, **changes})


def now() -> int:
    return time.time_ns() // 1000


class Thermostats:
    """Servers in a thread of their own, each answering `report` with its own count of answers."""

    def __init__(self, count: int = 1) -> None:
        self.answers: list[tuple[int, int]] = []  # (server, number), as they were sent
        self.silent = False
        self.ports: list[int] = []
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for number in range(count):
            self._call(self._serve(number, 0))

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, number: int, port: int) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while line := await reader.readline():
                    if self.silent:
                        continue
                    writer.write(self.reply(line.strip(), number))
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", port)
        self._servers.append(server)
        if not port:
            self.ports.append(server.sockets[0].getsockname()[1])

    def reply(self, line: bytes, number: int) -> bytes:
        if line == b"report":
            count = len(self.answers)
            self.answers.append((number, count))
            channels = [
                {
                    "channel": channel,
                    "time": count,
                    "interval": 0.1,
                    "adc": 0.5,
                    "sens": 10000.0,
                    "temperature": float(count),
                    "pid_engaged": True,
                    "i_set": 0.0,
                    "dac_value": 1.0,
                    "dac_feedback": 1.0,
                    "i_tec": 1.0,
                    "tec_i": 0.0,
                    "tec_u_meas": 0.0,
                    "pid_output": 0.0,
                }
                for channel in (0, 1)
            ]
            return json.dumps(channels, separators=(",", ":")).encode() + b"\n"
        return b'[{"channel":0,"i_set":0.0,"max_v":0.0},{"channel":1,"i_set":0.0,"max_v":0.0}]\n'

    def address(self, number: int = 0) -> str:
        return f"tcp://127.0.0.1:{self.ports[number]}"

    def close(self) -> None:
        async def close() -> None:
            for server in self._servers:
                server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._call(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Centre:
    """Answers hellos and parcels as the centre does, and keeps what came: `batches` by (spool, sequence)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.batches: dict[tuple[str, int], Batch] = {}
        self.hellos: list[Hello] = []
        self.parcels: list[Parcel] = []
        self.tried: list[Tried] = []
        self.answering = True
        self.holder = ""  # the only instance that has the name; "": whoever asks
        self.fails: list[str] = []
        self._client = redis.Redis.from_url(settings.broker_url, socket_timeout=5)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(10)
        self._client.close()
        assert self.fails == []

    def send(self, task: str, message: wire.Message) -> None:
        settings = self.settings
        envelope = wire.seal(message, settings.name, settings.key_version, settings.key)
        self._client.lpush(settings.queue, json.dumps(celery_message(settings.queue, task, envelope)))

    def order(self, *orders: Order, revision: int = 1, epoch: str = EPOCH) -> None:
        self.send("edge.book", wire.Book(epoch, revision, [one.instrument for one in orders], list(orders)))

    def values(self, instrument: str, key: str) -> list[float | None]:
        """Of one channel, in order of time."""
        found = [
            (time, value)
            for batch in list(self.batches.values())
            for name, time, readings in rows(batch)
            for channel, value in readings.items()
            if (name, channel) == (instrument, key)
        ]
        return [value for _, value in sorted(found, key=lambda pair: pair[0])]

    def gaps(self) -> list[wire.Gap]:
        return [gap for batch in list(self.batches.values()) for gap in batch.gaps]

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                taken = self._client.brpop(["ingest"], timeout=1) if self.answering else None
            except redis.RedisError:
                taken = None
            if taken is None:
                self._ended.wait(0.1)
                continue
            try:
                self._take(json.loads(taken[1]))
            except redis.RedisError:
                continue
            except Exception as error:  # noqa: BLE001 - told when the test ends
                self.fails.append(repr(error))

    def _take(self, message: dict[str, Any]) -> None:
        came = now()
        ((envelope,), _, _) = json.loads(base64.b64decode(message["body"]))
        if message["headers"]["task"] == "labsite.hello":
            _, hello = wire.open_envelope(envelope, Hello, self.settings.key_of)
            self.hellos.append(hello)
            self.send("edge.welcome", self._welcome(hello, came))
        elif message["headers"]["task"] == "labsite.tested":
            self.tried.append(wire.open_envelope(envelope, Tried, self.settings.key_of)[1])
        else:
            _, parcel = wire.open_envelope(envelope, Parcel, self.settings.key_of)
            self.parcels.append(parcel)
            for sequence, text in zip(parcel.sequences, parcel.batches, strict=True):
                self.batches[parcel.spool, sequence] = wire.unpack(wire.as_bytes(text))
            through = self.through(parcel.spool)
            ack = Ack(parcel.spool, parcel.sequences, "stored", "", through, came, now(), parcel.sent_mono)
            self.send("edge.ack", ack)

    def through(self, spool: str) -> int:
        through = 0
        while (spool, through + 1) in self.batches:
            through += 1
        return through

    def _welcome(self, hello: Hello, came: int) -> Welcome:
        through = self.through(hello.spool)
        holder = self.holder in ("", hello.instance)
        reason = "" if holder else "another process has the name"
        return Welcome(
            hello.instance, holder, reason, EPOCH, 1, hello.spool, through, came, now(), hello.sent_mono
        )


def rows(batch: Batch) -> list[tuple[str, int, dict[str, float | None]]]:
    """A batch's rows: instrument, time, values by channel key."""
    found, at, time_now = [], 0, 0
    flat = iter(batch.rows)
    for instrument, keyset, step in zip(flat, flat, flat, strict=True):
        time_now += step
        keys = batch.keysets[keyset]
        values = batch.values[at : at + len(keys)]
        at += len(keys)
        found.append((batch.instruments[instrument], time_now, dict(zip(keys, values, strict=True))))
    return found


def celery_message(queue: str, task: str, envelope: dict[str, Any]) -> dict[str, Any]:
    """A task as Celery puts it into a Redis list (task protocol 2)."""
    number = str(uuid.uuid4())
    body = json.dumps([[envelope], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    headers = {
        "lang": "py", "task": task, "id": number, "root_id": number, "parent_id": None, "group": None,
        "retries": 0, "eta": None, "expires": None, "timelimit": [None, None], "argsrepr": "",
        "kwargsrepr": "", "origin": "test", "ignore_result": True,
    }  # fmt: skip
    properties = {
        "correlation_id": number, "reply_to": "", "delivery_mode": 2, "priority": 0,
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": queue}, "delivery_tag": str(uuid.uuid4()),
    }  # fmt: skip
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
