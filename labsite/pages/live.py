"""The live stream: one listener per process reads what ingest stored and hands it to every open page.

PostgreSQL's NOTIFY `labsite_live` says that there is something new, `labsite_alarms` that alarms changed.
One question then reads all of it, however many pages are open. A page that is slow to take it gets the
newest state of each channel, not all states there were.
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import psycopg
from django.db import connections

from alerts.changes import CHANNEL as ALARMS
from labsite.pages.beside import CURRENT_RUNS, Course, course
from labsite.pages.cards import ROWS_ON_A_CARD
from labsite.pages.standing import Normal, Now, Standing
from labsite.pages.tally import QUESTION as _TALLY, Tally

logger = logging.getLogger(__name__)

CHANNEL = "labsite_live"
APPLICATION = "labsite live"  # what PostgreSQL calls the listener
DEBOUNCE = 0.2  # seconds in which notifications become one question
FALLBACK = 3.0  # and without any, for the case that one is lost
OVERLAP = timedelta(seconds=10)  # a transaction may commit after one that began later
WHOLE_EVERY = 60.0  # seconds between questions for everything
QUESTION_DEADLINE = 10.0
BACKOFF_MAX = 15.0
BEAT = 15.0  # seconds between signs of life to a page
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

_LATEST = """
SELECT channel_id, (extract(epoch FROM time) * 1000)::int8, value, quality, text,
       (extract(epoch FROM seen_at) * 1000)::int8, stored_at
FROM devices_latest WHERE stored_at > %s
"""
_PLACES = """
SELECT id, instrument_id::text,
       row_number() OVER (PARTITION BY instrument_id ORDER BY position, id) - 1, low, high, kind
FROM devices_channel
"""
_REVISION = "SELECT count(*), sum(revision), count(retired_at) FROM devices_instrument"


class Place(NamedTuple):
    """Where a channel's readings are shown."""

    instrument: str
    rank: int
    normal: Normal
    kind: str


class Client:
    """One open page. What it has not taken yet is at most one reading for each channel it shows."""

    def __init__(self, instrument: str | None, *, only_alarms: bool = False) -> None:
        self.instrument = instrument
        self.only_alarms = only_alarms
        self.readings: dict[int, Now] = {}
        self.standings: dict[str, Standing] = {}
        self.runs: dict[str, Course | None] = {}
        self.tally: Tally | None = None
        self.changed = False
        self.ended = False
        self.started = False
        self.wake = asyncio.Event()

    def put(self, readings: Mapping[int, Now], standings: Mapping[str, Standing]) -> None:
        """Add what is new; what was waiting for the same channel is forgotten."""
        if self.instrument is not None:
            standings = {key: value for key, value in standings.items() if key == self.instrument}
        self.readings.update(readings)
        self.standings.update(standings)
        if readings or standings:
            self.wake.set()

    def put_runs(self, runs: Mapping[str, Course | None]) -> None:
        """Add how runs under way stand now; None: there is none any more. A page of one asks otherwise."""
        if self.instrument is None and not self.only_alarms and runs:
            self.runs.update(runs)
            self.wake.set()

    def put_tally(self, tally: Tally) -> None:
        """Tell how many alarms stand; readings, which come first, wake a page that has just opened."""
        self.tally = tally
        if self.started:
            self.wake.set()

    def tell_changed(self) -> None:
        """Instruments were added, edited or taken away."""
        self.changed = True
        self.wake.set()

    def end(self) -> None:
        """The server stops: the stream closes after what waits."""
        self.ended = True
        self.wake.set()

    async def take(self) -> bytes:
        """The next events, or a sign of life when there are none for a while; empty at the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT):
                await self.wake.wait()
        self.wake.clear()
        if self.ended:
            return b""
        return b"".join(self._events())

    def _events(self) -> Iterable[bytes]:
        now = time.time_ns() // 1_000_000
        if self.changed:
            self.changed = False
            yield event("changed", {"now": now})
        if not self.started or self.readings or self.standings or self.runs:
            yield self._readings(now)
        elif self.tally is None:
            yield event("beat", {"now": now})
        if self.tally is not None:
            tally, self.tally = self.tally, None
            counts = {"counts": tally.counts, "standing": tally.standing, "revision": tally.revision}
            yield event("alarms", {"now": now, "unacknowledged": tally.unacknowledged, **counts})

    def _readings(self, now: int) -> bytes:
        standings = {
            instrument: (each.read, each.bad, each.outside, each.seen, each.reason)
            for instrument, each in self.standings.items()
        }
        kind = "readings" if self.started else "snapshot"
        self.started = True
        latest = list(self.readings.values())
        runs = self.runs
        self.readings, self.standings, self.runs = {}, {}, {}
        return event(kind, {"now": now, "latest": latest, "standings": standings, "runs": runs})


def event(kind: str, content: object) -> bytes:
    """One server-sent event (HTML Living Standard, 9.2)."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(content))


class Hub:
    """The process's listener and the pages it serves. It listens only while a page is open."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.stopping = False
        self._listener: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        """Know nothing: the next question is for everything."""
        self._latest: dict[int, Now] = {}
        self._places: dict[int, Place] = {}
        self._members: dict[str, list[int]] = {}
        self._runs: dict[str, Course] = {}
        self._tally: Tally | None = None
        self._revision: object = None
        self._newest = BEGINNING
        self._whole_at = 0.0
        self._loaded = False

    def join(self, instrument: str | None, *, only_alarms: bool = False) -> Client:
        """A page opens; it gets the present state first, as soon as that is known."""
        client = Client(instrument, only_alarms=only_alarms)
        if self.stopping:
            client.end()
            return client
        self.clients.add(client)
        if self._loaded:
            self._show([client], self._latest)
            client.put_runs(self._runs)
        if self._tally is not None:
            client.put_tally(self._tally)
        if self._listener is None or self._listener.done():
            self._listener = asyncio.get_running_loop().create_task(self._listen())
        return client

    def leave(self, client: Client) -> None:
        """A page is gone; with the last one the listener ends."""
        self.clients.discard(client)
        if not self.clients and self._listener is not None:
            self._listener.cancel()
            self._listener = None
            self._forget()

    def stop(self) -> None:
        """The server stops: all streams end, no new one begins."""
        self.stopping = True
        for client in self.clients:
            client.end()

    async def _listen(self) -> None:
        """Follow the database, connecting again for as long as it takes."""
        pause = 0.5
        while True:
            try:
                async with await _connect() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    await connection.execute(f"LISTEN {ALARMS}")
                    await self._count(connection)
                    await self._read(connection, whole=True)
                    pause = 0.5
                    await self._follow(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                logger.warning("live stream: database lost, again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, BACKOFF_MAX)

    async def _follow(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            notices = connection.notifies(timeout=FALLBACK, stop_after=1)
            told = {notice.channel async for notice in notices}
            if told:
                await asyncio.sleep(DEBOUNCE)
            whole = time.monotonic() - self._whole_at > WHOLE_EVERY
            if whole or ALARMS in told:
                await self._count(connection)
            await self._read(connection, whole=whole)

    async def _count(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Ask how many alarms stand, and tell it if that is news."""
        async with asyncio.timeout(QUESTION_DEADLINE):
            row = await (await connection.execute(_TALLY)).fetchone()
        before, self._tally = self._tally, Tally(*row or ([], 0, 0, []))
        if self._tally != before:
            for client in self.clients:
                client.put_tally(self._tally)

    async def _read(self, connection: psycopg.AsyncConnection[Any], *, whole: bool) -> None:
        """Ask once for what is new and hand it on."""
        async with asyncio.timeout(QUESTION_DEADLINE):
            since = BEGINNING if whole else self._newest - OVERLAP
            rows = await (await connection.execute(_LATEST, (since,))).fetchall()
            revision = await (await connection.execute(_REVISION)).fetchone()
            runs = await (await connection.execute(CURRENT_RUNS)).fetchall()
            if whole:
                self._latest = {number: self._latest[number] for number, *_ in rows if number in self._latest}
            fresh = self._remember(rows)
            if revision != self._revision or not fresh.keys() <= self._places.keys():
                self._place(await (await connection.execute(_PLACES)).fetchall())
        if whole:
            self._whole_at = time.monotonic()
        self._tell_changed(revision)
        self._loaded = True
        self._show(self.clients, fresh)
        self._show_runs({instrument: course(*run) for instrument, *run in runs})

    def _remember(self, rows: list[tuple[Any, ...]]) -> dict[int, Now]:
        """Keep the rows; those that were not known yet are returned."""
        fresh = {}
        for *reading, stored_at in rows:
            now = Now(*reading)
            self._newest = max(self._newest, stored_at)
            if self._latest.get(now.channel) != now:
                fresh[now.channel] = self._latest[now.channel] = now
        return fresh

    def _place(self, rows: list[tuple[Any, ...]]) -> None:
        members = defaultdict(list)
        for channel, instrument, *_ in rows:
            members[instrument].append(channel)
        self._members = members
        self._places = {
            channel: Place(instrument, rank, Normal(low, high), kind)
            for channel, instrument, rank, low, high, kind in rows
        }

    def _tell_changed(self, revision: object) -> None:
        if self._revision not in (None, revision):
            for client in self.clients:
                client.tell_changed()
        self._revision = revision

    def _show(self, clients: Iterable[Client], fresh: Mapping[int, Now]) -> None:
        """Hand readings to the pages that show them, and to all how their instruments stand now."""
        by_instrument: dict[str, dict[int, Now]] = defaultdict(dict)
        on_cards: dict[int, Now] = {}
        in_alarm: dict[int, Now] = {}
        alarmed = set(self._tally.channels if self._tally else ())
        for channel, now in fresh.items():
            place = self._places.get(channel)
            if place is None:
                continue
            by_instrument[place.instrument][channel] = now
            if place.rank < ROWS_ON_A_CARD:
                on_cards[channel] = now
            if channel in alarmed:
                in_alarm[channel] = now
        standings = {instrument: self._standing(instrument) for instrument in by_instrument}
        in_trouble = {self._places[channel].instrument for channel in alarmed & self._places.keys()}
        of_alarms = {each: standings[each] for each in in_trouble & standings.keys()}
        for client in clients:
            if client.only_alarms:
                client.put(in_alarm, of_alarms)
            elif client.instrument is None:
                client.put(on_cards | in_alarm, standings)
            else:
                client.put(by_instrument.get(client.instrument, {}), standings)
            if not client.started:
                client.wake.set()

    def _show_runs(self, runs: dict[str, Course]) -> None:
        """Tell the overviews which began, moved on or ended."""
        before, self._runs = self._runs, runs
        news = {
            each: runs.get(each) for each in before.keys() | runs.keys() if before.get(each) != runs.get(each)
        }
        for client in self.clients:
            client.put_runs(news)

    def _standing(self, instrument: str) -> Standing:
        return Standing.of(
            (self._places[channel].normal, self._places[channel].kind, self._latest.get(channel))
            for channel in self._members[instrument]
        )


async def _connect() -> psycopg.AsyncConnection[Any]:
    """A connection of the listener's own, with Django's parameters."""
    known = connections["default"].get_connection_params()
    own = ("context", "cursor_factory", "prepare_threshold")
    parameters = {name: value for name, value in known.items() if name not in own}
    parameters["application_name"] = APPLICATION
    return await psycopg.AsyncConnection.connect(**parameters, autocommit=True)


hub = Hub()
