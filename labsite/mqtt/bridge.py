"""The bridge's process: follows the database and tells the broker, until it is told to end."""

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.db import connections
from paho.mqtt.client import MQTTMessage

from alerts.changes import CHANNEL as ALARMS
from devices.processes import until_ended
from labsite.mqtt import topics as payloads
from labsite.mqtt.home_assistant import Discovery
from labsite.mqtt.names import identifier
from labsite.mqtt.outlet import Outlet
from labsite.mqtt.present import Database, News, Present
from labsite.mqtt.record import Record
from labsite.mqtt.settings import Told
from labsite.mqtt.topics import Topics
from labsite.mqtt.ups import AllUps
from labsite.pages.live import CHANNEL as READINGS

PROCESS = "mqtt"
APPLICATION = "labsite mqtt"  # what PostgreSQL calls the listener
DEBOUNCE = 0.2  # seconds in which notifications become one look, and a channel is told once
LOOK_EVERY = 1.0  # without any
WHOLE_EVERY = 60.0
BEAT_EVERY = 5.0
CLOCK_EVERY = 1.0
BLIND_AFTER = 10.0  # seconds without the database, after which nobody should trust what the broker holds
BACKOFF_MAX = 15.0
DJANGO_ONLY = ("context", "cursor_factory", "prepare_threshold")

_BEAT = """
INSERT INTO devices_heartbeat (process, at, fields) VALUES (%s, now(), %s)
ON CONFLICT (process) DO UPDATE SET at = EXCLUDED.at, fields = EXCLUDED.fields
"""

logger = logging.getLogger(__name__)


class Bridge:
    """One loop: the database on one side, the broker on the other."""

    def __init__(self, told: Told, record: Record) -> None:
        self.told, self.record = told, record
        self.topics = Topics(told.prefix)
        self.present = Present()
        self.discovery = (
            Discovery(told.discovery, self.topics, identifier(told.prefix)) if told.discovery else None
        )
        listen = (self.discovery.birth,) if self.discovery else ()
        self.outlet = Outlet(told, told.client_id, self.topics.status, record, listen, self._hear)
        self.ups: AllUps | None = None
        self._documents: set[str] = set()  # topics of Home Assistant
        self._seen_at = time.monotonic()  # when the database was last there
        self._knows = asyncio.Event()  # what there is: before that, nothing can be taken back
        self._whole_at = self._beat_at = float("-inf")

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            self.ups = AllUps(self.told, group)
            for work in (self._follow(), self._clock(), self._tell()):
                group.create_task(work)

    async def _tell(self) -> None:
        await self._knows.wait()
        await self.outlet.run()

    # ---- the database

    async def _follow(self) -> None:
        """Look whenever there is news, connecting again for as long as it takes."""
        pause = 0.5
        while True:
            try:
                async with await _connect() as database:
                    await database.execute(f"LISTEN {READINGS}; LISTEN {ALARMS}")
                    self.present.forget_events()
                    self._whole_at = float("-inf")
                    while True:
                        await self._look(database)
                        pause = 0.5
                        notices = database.notifies(timeout=LOOK_EVERY, stop_after=1)
                        if [notice async for notice in notices]:
                            await asyncio.sleep(DEBOUNCE)
            except (psycopg.Error, OSError, TimeoutError) as error:
                logger.warning(
                    "MQTT: database lost, again in %.1f s: %s",
                    pause,
                    str(error).strip() or "no answer in time",
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, BACKOFF_MAX)

    async def _look(self, database: Database) -> None:
        begun = time.monotonic()
        whole = begun - self._whole_at > WHOLE_EVERY
        news = await self.present.look(database, whole=whole)
        if whole:
            self._whole_at = begun
        self._seen_at = time.monotonic()
        self._show(news, datetime.now(UTC))
        self._knows.set()
        if begun - self._beat_at >= BEAT_EVERY:
            self._beat_at = begun
            await database.execute(_BEAT, (PROCESS, json.dumps(self.said())))

    def said(self) -> dict[str, Any]:
        """What there is to say of this process."""
        return {
            "state": self.outlet.state,
            "broker": self.told.address.url,
            "reason": self.outlet.reason,
            "topics": len(self.record.topics),
            "waiting": self.outlet.waiting,
            "published": self.outlet.published,
            "dropped": self.outlet.dropped,
            "ups": self.ups.said() if self.ups else {},
        }

    # ---- the broker

    def _show(self, news: News, now: datetime) -> None:
        """Hand over what is other than it was."""
        if news.plan or news.runs:
            self._describe()
        if news.plan:
            self.outlet.keep_only(set(self._wanted()))
        present, everything = self.present, news.plan
        touched = present.instruments if everything else {present.owners[number] for number in news.fresh}
        self._show_values(present.latest if everything else news.fresh)
        self._show_states(touched)
        for number in present.vectors if everything else news.vectors:
            self._show_vector(number)
        for instrument in present.runs if everything else news.runs:
            self._show_run(instrument)
        if news.alarms or everything:
            self._show_alarms()
        self._judge(touched, now)
        self._judge_ourselves(now)
        for event in news.events:
            if place := self.present.instruments.get(event.instrument):
                self.outlet.happen(self.topics.of(place, "event"), payloads.event(event))

    def _show_values(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            channel = self.present.channels[number]
            if channel.kind != "vector":
                place = self.present.instruments[self.present.owners[number]]
                value = payloads.plain(channel, self.present.latest[number])
                self.outlet.keep(self.topics.value(place, channel), value, qos=0)

    def _show_states(self, instruments: Iterable[str]) -> None:
        for key in instruments:
            place = self.present.instruments[key]
            self.outlet.keep(self.topics.of(place, "state"), payloads.state(self.present, place), qos=0)

    def _show_vector(self, number: int) -> None:
        if channel := self.present.channels.get(number):
            place = self.present.instruments[self.present.owners[number]]
            told = payloads.vector(channel, self.present.vectors[number])
            self.outlet.keep(self.topics.value(place, channel), told)

    def _show_run(self, instrument: str) -> None:
        if place := self.present.instruments.get(instrument):
            self.outlet.keep(self.topics.of(place, "run"), payloads.run(self.present.runs[instrument]))

    def _show_alarms(self) -> None:
        self.outlet.keep(self.topics.alarms, payloads.alarms(self.present.alarms))
        own = defaultdict(list)
        for alarm in self.present.alarms:
            own[alarm.instrument].append(alarm)
        for key, place in self.present.instruments.items():
            self.outlet.keep(self.topics.of(place, "alarms"), payloads.alarms(own[key]))

    def _judge(self, instruments: Iterable[str], now: datetime) -> None:
        """Who is there, by the clock."""
        for key in instruments:
            place = self.present.instruments[key]
            is_there = payloads.is_available(self.present, place, now)
            self.outlet.keep(self.topics.of(place, "availability"), "online" if is_there else "offline")

    def _judge_ourselves(self, now: datetime) -> None:
        """Whether we know how things are."""
        sees = time.monotonic() - self._seen_at < BLIND_AFTER
        self.outlet.keep(self.topics.status, "online" if sees else "offline")
        if self.ups is not None:
            self.ups.show(self.present, now) if sees else self.ups.blind()

    async def _clock(self) -> None:
        await self._knows.wait()
        while True:
            await asyncio.sleep(CLOCK_EVERY)
            now = datetime.now(UTC)
            self._judge(self.present.instruments, now)
            self._judge_ourselves(now)
            self.record.save()

    def _wanted(self) -> Iterable[str]:
        """All topics that are to be retained."""
        yield self.topics.alarms
        yield from self._documents
        for place in self.present.instruments.values():
            yield from (self.topics.of(place, what) for what in ("state", "availability", "alarms", "run"))
            yield from (self.topics.value(place, channel) for channel in place.channels)

    def _describe(self) -> None:
        """Home Assistant's documents."""
        if self.discovery is None:
            return
        documents = dict(self.discovery.hub())
        for key, place in self.present.instruments.items():
            documents |= self.discovery.of(place, has_runs=key in self.present.runs)
        self._documents = set(documents)
        for topic, text in documents.items():
            self.outlet.keep(topic, text)

    def _hear(self, message: MQTTMessage) -> None:
        """Home Assistant has started: it may have forgotten us. What was retained of it we have just met."""
        if message.payload == b"online" and not message.retain:
            self.outlet.again(self._documents)


async def _connect() -> Database:
    """A connection of the bridge's own, with Django's parameters."""
    known = connections["default"].get_connection_params()
    parameters: dict[str, Any] = {name: value for name, value in known.items() if name not in DJANGO_ONLY}
    parameters["application_name"] = APPLICATION
    return await psycopg.AsyncConnection.connect(**parameters, autocommit=True)


async def _serve(told: Told) -> None:
    with Record(told.folder, told.address.url) as record:
        await until_ended(Bridge(told, record).run())
        logger.info("MQTT: ended")


def serve(told: Told) -> None:
    """Run the bridge until SIGTERM or SIGINT. Raises record.Taken if one runs already."""
    asyncio.run(_serve(told))
