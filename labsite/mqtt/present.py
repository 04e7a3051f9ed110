"""What is so now: instruments, latest readings, runs, alarms; read again as the database tells news."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg

from alerts.lifecycle import STANDING
from labsite.pages.standing import Normal, Now, Standing
from labsite.replaced.ups_fields import TOPIC

QUESTION_DEADLINE = 10.0
OVERLAP = timedelta(seconds=10)  # a transaction may commit after one that began later
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
EVENTS_OF = 60.0  # seconds: what comes later than that, or from a clock that far ahead, is not of the present
ALARMS_MOST = 1000
EVENTS_MOST = 1000

_REVISION = """
SELECT (SELECT (count(*), sum(revision), count(retired_at))::text FROM devices_instrument),
       (SELECT (count(*), max(id))::text FROM devices_channel)
"""
_INSTRUMENTS = """
SELECT i.id::text, i.name, e.name, i.driver, i.interval, i.in_service
FROM devices_instrument i JOIN devices_edge e ON e.id = i.edge_id WHERE i.retired_at IS NULL ORDER BY i.name
"""
_CHANNELS = """
SELECT c.instrument_id::text, c.id, c.key, c.label, c.unit, c.kind, c.low, c.high, c.digits
FROM devices_channel c JOIN devices_instrument i ON i.id = c.instrument_id
WHERE i.retired_at IS NULL ORDER BY c.position, c.id
"""
_LATEST = """
SELECT channel_id, (extract(epoch FROM time) * 1000)::int8, value, quality, text,
       (extract(epoch FROM seen_at) * 1000)::int8, stored_at
FROM devices_latest WHERE stored_at > %s
"""
_RUNS = """
SELECT DISTINCT ON (instrument_id)
    instrument_id::text, key, kind, title, state, progress, start, "end", fields, told_at
FROM devices_run WHERE instrument_id IN (SELECT instrument_id FROM devices_run WHERE told_at > %s)
ORDER BY instrument_id, state IN ('running', 'paused', 'pending') DESC, told_at DESC, id DESC
"""
_ALARMS = f"""
SELECT a.id, a.instrument_id::text, e.name, r.name, c.key, a.state, a.priority, a.text, a.value, a.raised_at,
       a.since, r.guidance
FROM alerts_alarm a JOIN alerts_rule r ON r.id = a.rule_id
LEFT JOIN devices_channel c ON c.id = a.channel_id LEFT JOIN devices_edge e ON e.id = a.edge_id
WHERE a.state IN ({", ".join(f"'{state}'" for state in STANDING)})
ORDER BY a.priority, a.raised_at, a.id LIMIT {ALARMS_MOST}
"""  # noqa: S608 - of constants
_EVENTS = f"""
SELECT id, instrument_id::text, time, kind, text, fields FROM event
WHERE time BETWEEN now() - interval '{EVENTS_OF} s' AND now() + interval '{EVENTS_OF} s'
ORDER BY time DESC, id DESC LIMIT {EVENTS_MOST}
"""  # noqa: S608 - of constants
_VECTOR = """
SELECT "values", labels FROM vector_samples
WHERE channel_id = %s AND time >= %s AND time < %s::timestamptz + interval '1 ms' ORDER BY time DESC LIMIT 1
"""

_UPS = f"""
SELECT instrument_id::text, options->>'{TOPIC}' FROM replaced_interface
WHERE kind = 'ups' AND enabled AND options->>'{TOPIC}' <> '' ORDER BY id
"""  # noqa: S608 - of constants

Database = psycopg.AsyncConnection[Any]


class Channel(NamedTuple):
    number: int
    key: str
    label: str
    unit: str
    kind: str
    low: float | None
    high: float | None
    digits: int | None


@dataclass(frozen=True)
class Instrument:
    id: str
    name: str
    edge: str
    driver: str
    interval: float
    in_service: bool
    channels: tuple[Channel, ...]


class Run(NamedTuple):
    """The one that goes on, or the last there was."""

    instrument: str
    key: str
    kind: str
    title: str
    state: str
    progress: float | None
    start: datetime | None
    end: datetime | None
    fields: Mapping[str, Any]
    told_at: datetime


class Alarm(NamedTuple):
    """One that stands. `instrument`, `edge`: None where it is of neither."""

    number: int
    instrument: str | None
    edge: str | None
    rule: str
    channel: str | None
    state: str
    priority: int
    text: str
    value: float | None
    raised_at: datetime | None
    since: datetime
    guidance: str


class Event(NamedTuple):
    number: int
    instrument: str
    time: datetime
    kind: str
    text: str
    fields: Mapping[str, Any]


class Vector(NamedTuple):
    values: list[float | None]
    labels: list[str] | None


@dataclass
class News:
    """What is other than it was. `plan`: there are other instruments or channels."""

    plan: bool = False
    fresh: dict[int, Now] = field(default_factory=dict)
    vectors: dict[int, Vector] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)  # of these instruments
    alarms: bool = False
    events: list[Event] = field(default_factory=list)


class Present:
    """All of it, in memory; `look` brings it up to date."""

    def __init__(self) -> None:
        self.instruments: dict[str, Instrument] = {}
        self.owners: dict[int, str] = {}  # channel → instrument
        self.channels: dict[int, Channel] = {}
        self.latest: dict[int, Now] = {}
        self.vectors: dict[int, Vector] = {}
        self.runs: dict[str, Run] = {}
        self.alarms: list[Alarm] = []
        self.ups: dict[str, str] = {}  # instruments that are told as the replaced program did → the topic
        self._revision: object = None
        self._newest = self._newest_run = BEGINNING
        self._events: set[int] | None = None  # of the last minute; None: what there is now is not news

    def forget_events(self) -> None:
        """What happened while nobody looked is past."""
        self._events = None

    async def look(self, database: Database, *, whole: bool) -> News:
        """Read what is new; `whole`: everything. Raises psycopg.Error and TimeoutError."""
        news = News()
        async with asyncio.timeout(QUESTION_DEADLINE):
            await self._plan(database, news, whole=whole)
            await self._readings(database, news, whole=whole)
            await self._read_runs(database, news, whole=whole)
            await self._read_alarms(database, news)
            self.ups = dict(await _rows(database, _UPS))
            await self._happenings(database, news)
        return news

    def standing(self, instrument: Instrument) -> Standing:
        """How its channels are, taken together."""
        return Standing.of(
            (Normal(channel.low, channel.high), channel.kind, self.latest.get(channel.number))
            for channel in instrument.channels
        )

    async def _plan(self, database: Database, news: News, *, whole: bool) -> None:
        [revision] = await _rows(database, _REVISION)
        if revision == self._revision and not whole:
            return
        self._revision = revision
        channels: dict[str, list[Channel]] = {}
        for instrument, *columns in await _rows(database, _CHANNELS):
            channels.setdefault(instrument, []).append(Channel(*columns))
        instruments = {
            key: Instrument(key, name, edge, driver, interval, in_service, tuple(channels.get(key, ())))
            for key, name, edge, driver, interval, in_service in await _rows(database, _INSTRUMENTS)
        }
        news.plan = instruments != self.instruments
        self.instruments = instruments
        all_channels = [(each.id, channel) for each in instruments.values() for channel in each.channels]
        self.owners = {channel.number: instrument for instrument, channel in all_channels}
        self.channels = {channel.number: channel for _instrument, channel in all_channels}
        self.latest = {number: now for number, now in self.latest.items() if number in self.channels}
        if news.plan:
            self._newest = self._newest_run = BEGINNING  # there may be some of what has just come

    async def _readings(self, database: Database, news: News, *, whole: bool) -> None:
        since = BEGINNING if whole or self._newest == BEGINNING else self._newest - OVERLAP
        for *reading, stored_at in await _rows(database, _LATEST, since):
            now = Now(*reading)
            self._newest = max(self._newest, stored_at)
            if now.channel in self.channels and self.latest.get(now.channel) != now:
                news.fresh[now.channel] = self.latest[now.channel] = now
        for number, now in news.fresh.items():
            if self.channels[number].kind == "vector":
                at = datetime.fromtimestamp(now.time / 1000, UTC)
                for row in await _rows(database, _VECTOR, number, at - timedelta(milliseconds=1), at):
                    news.vectors[number] = self.vectors[number] = Vector(*row)

    async def _read_runs(self, database: Database, news: News, *, whole: bool) -> None:
        since = BEGINNING if whole or self._newest_run == BEGINNING else self._newest_run - OVERLAP
        found = {row[0]: Run(*row) for row in await _rows(database, _RUNS, since)}
        news.runs = {each for each, run in found.items() if self.runs.get(each) != run}
        self.runs.update(found)
        self._newest_run = max((run.told_at for run in found.values()), default=self._newest_run)

    async def _read_alarms(self, database: Database, news: News) -> None:
        alarms = [Alarm(*row) for row in await _rows(database, _ALARMS)]
        news.alarms = alarms != self.alarms
        self.alarms = alarms

    async def _happenings(self, database: Database, news: News) -> None:
        events = [Event(*row) for row in await _rows(database, _EVENTS)][::-1]
        known, self._events = self._events, {event.number for event in events}
        if known is not None:
            news.events = [event for event in events if event.number not in known]


async def _rows(database: Database, question: str, *values: object) -> Iterable[tuple[Any, ...]]:
    return await (await database.execute(question, values or None)).fetchall()
