"""A real mosquitto, somebody who listens to it, and the bridge, in a thread of the test's own."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from devices.links.base import Address
from labsite.mqtt.bridge import Bridge
from labsite.mqtt.record import Record
from labsite.mqtt.settings import Told
from tests.devices.mosquitto import PROGRAM, free_port
from tests.servers import Process, dying_with_tests
from tests.waiting import until

OPEN = "allow_anonymous true"


class Mosquitto(Process):
    """Debian's, on a port of its own; it keeps what is retained while it is stopped."""

    def __init__(self, folder: Path, more: str = OPEN) -> None:
        assert PROGRAM is not None, "install Debian's package mosquitto"
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\n{more}\npersistence true\npersistence_location {folder}/\n"
            "autosave_interval 1\nuser root\nlog_dest stderr\n"
        )
        super().__init__(dying_with_tests([PROGRAM, "-c", config]), folder / "mosquitto.log")

    def start(self) -> Self:
        super().start()
        until(lambda: self.output.count(" running") > self.output.count("terminating"), 5, "mosquitto runs")
        return self


def add_user(passwords: Path, user: str, password: str) -> None:
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, user, password], check=True)


class Ear:
    """A client that hears everything; `last` is what it would be told now."""

    def __init__(self, port: int, *topics: str) -> None:
        self.heard: list[tuple[str, str, bool]] = []
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._hear
        self._topics = topics or ("#",)
        self._ready = threading.Event()
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(5), "the ear cannot subscribe"

    def _subscribe(self, client: Client, *_: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._topics])

    def _hear(self, _: Client, __: Any, message: MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload.decode(), message.retain))

    @property
    def last(self) -> dict[str, str]:
        return {topic: payload for topic, payload, _retain in self.heard}

    def of(self, topic: str) -> list[str]:
        return [payload for where, payload, _retain in list(self.heard) if where == topic]

    def until(self, topic: str, payload: str | Callable[[str], object], within: float = 5.0) -> str:
        """Wait until this is what is said there last."""
        wanted = payload if callable(payload) else lambda said: said == payload

        def is_so() -> bool:
            return topic in self.last and bool(wanted(self.last[topic]))

        until(is_so, within, f"{topic} says {payload}; it said {self.of(topic)[-5:]} of {len(self.heard)}")
        return self.last[topic]

    def json(self, topic: str) -> Any:
        return json.loads(self.until(topic, lambda said: said))

    def say(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def retained(port: int, topic: str = "#") -> dict[str, str]:
    """What the broker holds for whoever comes new."""
    with Ear(port, topic, "test/end") as ear:
        ear.say("test/end", "now")  # comes after all that is retained
        ear.until("test/end", "now")
        return {where: payload for where, payload, retain in ear.heard if retain}


class Running:
    """The bridge with a loop in a thread; it takes its leave at the end, as on SIGTERM."""

    def __init__(self, port: int, folder: Path, scheme: str = "mqtt", **fields: Any) -> None:
        address = Address.parse(f"{scheme}://127.0.0.1:{port}")
        words = {"user": "", "password": "", "authority": "", "version": "5"}
        words |= {"prefix": "labsite", "discovery": "homeassistant"}
        self.told = Told(address=address, folder=folder, **{**words, **fields})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)
        self._started = threading.Event()
        self.error: BaseException | None = None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with Record(self.told.folder, self.told.address.url) as record:
            self.bridge = Bridge(self.told, record)
            self._task = self._loop.create_task(self.bridge.run())
            self._started.set()
            try:
                self._loop.run_until_complete(self._task)
            except asyncio.CancelledError:
                pass
            except BaseException as error:  # noqa: BLE001 - the test tells it
                self.error = error
            finally:
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.close()

    def start(self) -> Self:
        self._thread.start()
        assert self._started.wait(5), "the bridge does not start"
        return self

    def beat(self) -> None:
        """Have the next look write its heartbeat."""
        self.call(lambda: setattr(self.bridge, "_beat_at", float("-inf")))

    def call(self, function: Callable[[], None]) -> None:
        """Run it on the bridge's loop; it is done when this returns."""

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(10)
        assert self.error is None, self.error
        assert not self._thread.is_alive(), "the bridge does not end"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()
