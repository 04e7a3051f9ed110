"""QuantStudio, catching up: what was missed is read from what the machine keeps, in a task of its own."""

import asyncio
import contextlib
import logging
import time as clock
from typing import Any, Protocol

from devices.drivers.quantstudio_archive import Archive
from devices.drivers.quantstudio_log import SECOND, LogReader, Point, number
from devices.drivers.quantstudio_queries import PROGRESS, START, STATE
from devices.drivers.quantstudio_wire import Conversation, block_of, words_of
from devices.errors import LinkError, ReplyError
from devices.readings import Event, Reading, Said

logger = logging.getLogger(__name__)

MARGIN = 5 * SECOND  # lines of several topics are not strictly in order
HOLE = 10 * SECOND  # without a line, in a run: something was missed
HELD_LINES_MAX = 5_000
POINTS_DONE_MAX = 10_000
POINTS_WAITING_MAX = 5_000
TRIES = 4
PAUSE = 2.0  # seconds between tries
ODD_FOR = 5.0  # seconds; polls tell of a run up to two seconds before the log does, at its beginning


class Listener(Protocol):
    """Who is told, and whose reader of the log it is."""

    settings: dict[str, Any]
    memory: dict[str, Any]

    @property
    def reader(self) -> LogReader: ...

    def take(self, said: list[Said]) -> None: ...

    def go_on_with(self, reader: LogReader) -> None: ...


class Recall:
    """Its memory outlives the link: `since` (µs): up to when nothing is missing; `course`: the run;
    `waiting` and `done`: points of it whose files are still to be read, or are."""

    def __init__(self, conversation: Conversation, listener: Listener) -> None:
        self._conversation, self._listener = conversation, listener
        self._archive = Archive(conversation)
        self._memory = memory = listener.memory
        self._waiting: dict[tuple[str, str], Point] = memory.setdefault("waiting", {})
        self._done: dict[tuple[str, str], None] = memory.setdefault("done", {})
        self._is_behind = True
        self._held: list[tuple[int | None, str]] = []
        self._odd_since: float | None = None  # polls and log do not agree
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        listener.reader.course = memory.get("course")

    def start(self) -> None:
        self._work.set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # ---- what is heard and read meanwhile

    def holds_back(self, topic: str, time: int | None, text: str) -> bool:
        """Whether a line has to wait until what came before it has been read."""
        since = self._memory.get("since")
        if time is not None and not self._is_behind:
            if since is not None and time - since > HOLE and self._listener.reader.run:
                self._fall_behind()
            else:
                self._memory["since"] = max(since or 0, time)
        if topic != "Run" or not self._is_behind:
            self._memory["course"] = self._listener.reader.course
            return False
        if len(self._held) < HELD_LINES_MAX:
            self._held.append((time, text))
        return True

    def collect(self, points: list[Point]) -> None:
        """Points whose files can be read now."""
        for point in points:
            key = (point.run_id, point.stem)
            if key not in self._done and len(self._waiting) < POINTS_WAITING_MAX:
                self._waiting[key] = point
        self._work.set()

    def compare(self, readings: list[Reading]) -> None:
        """Look whether polls and log agree on the run; in the long run they must."""
        found = {reading.key: reading.value for reading in readings}
        title, state = found.get(PROGRESS.keys[1]), found.get(STATE.keys[0])
        if not isinstance(title, str) or self._is_behind:
            return
        reader = self._listener.reader
        running = title if title not in {"-", ""} else ""
        is_odd = running != reader.run if running else bool(reader.run) and state == "Idle"
        now = asyncio.get_running_loop().time()
        self._odd_since = (self._odd_since or now) if is_odd else None
        if self._odd_since is not None and now - self._odd_since > ODD_FOR:
            self._odd_since = None
            self._fall_behind()
        course = reader.course
        if course is not None and course.name == running:
            names = {f"progress.{name}": name for name in ("mode", "protocol", "volume", "stages", "cycles")}
            course.more |= {names[key]: found[key] for key in names if found.get(key) not in {None, "-"}}

    def _fall_behind(self) -> None:
        self._is_behind = True
        self._work.set()

    # ---- the task

    async def _run(self) -> None:
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                if self._is_behind:
                    await self._catch_up()
                await self._read_points()
        except LinkError:
            pass  # the next poll meets it too

    async def _catch_up(self) -> None:
        listener, memory = self._listener, self._memory
        hours: float = listener.settings["fill_hours"]
        known = memory.get("since")  # None: the edge has just started
        since = (known or clock.time_ns() // 1000 - round(hours * 3600 * SECOND)) - MARGIN
        try:
            title = _title(await self._conversation.ask("RUNTitle?"))
            if listener.settings["own_time"]:
                await self._recall_ended(title, since)
        except ReplyError as error:
            logger.warning("what was missed cannot be read: %s", error)
            title = ""
        if title:
            await self._recall_running(title, since if known else 0)
        self._settle()

    async def _recall_ended(self, running: str, since: int) -> None:
        """Runs that ended meanwhile."""
        listener = self._listener
        names = await self._archive.runs(since)
        known = listener.reader.run
        if known and known != running and known not in names:
            names.insert(0, known)
        for name in names:
            if name == running:
                continue
            reader = await self._recall_log(name, since)
            if reader is not None and reader.course is not None:
                listener.take([reader.course.told(reader.heard)])
                if name == known:
                    listener.go_on_with(reader)
        if listener.reader.run and listener.reader.run != running:
            listener.take(listener.reader.give_up(None))

    async def _recall_running(self, title: str, since: int) -> None:
        """The run under way; its log may not have begun yet, though polls tell of it."""
        listener = self._listener
        for attempt in range(TRIES):
            if listener.settings["own_time"]:
                reader = await self._recall_log(title, since)
                if reader is not None and reader.course is not None and reader.course.name == title:
                    listener.go_on_with(reader)
                    listener.take([reader.course.told(reader.heard)])
                    return
            if listener.reader.run == title or any(text.startswith("Starting ") for _, text in self._held):
                return
            if attempt + 1 < TRIES:
                await asyncio.sleep(PAUSE)
        listener.take(listener.reader.adopt(title, await self._start_time(), None))

    async def _start_time(self) -> int | None:
        try:
            answer = words_of(await self._conversation.ask(START.command))
        except ReplyError:
            return None
        seconds = number(answer[0]) if answer else None
        return round(seconds * SECOND) if seconds else None

    async def _recall_log(self, name: str, since: int) -> LogReader | None:
        known = self._listener.reader
        reader = LogReader(known.zones, known.topics)
        try:
            await self._archive.log(name, reader, since, self._listener.take)
        except ReplyError as error:
            logger.info("the log of run %.60s: %s", name, error)
        if reader.course is None:
            return None
        self.collect(reader.points)
        reader.points = []
        return reader

    def _settle(self) -> None:
        """All is known now; what was held back goes on, but what the log of the run told already."""
        self._is_behind = False
        held, self._held = self._held, []
        heard = self._listener.reader.heard
        for time, text in held:
            if time is None or heard is None or time >= heard:
                self._listener.take(self._listener.reader.hear("Run", time, text))

    async def _read_points(self) -> None:
        while self._waiting and not self._is_behind:
            key, point = next(iter(self._waiting.items()))
            said = await self._point(point)
            self._listener.take(said)
            self._done[key] = None
            self._waiting.pop(key, None)
            if len(self._done) > POINTS_DONE_MAX:
                del self._done[next(iter(self._done))]

    async def _point(self, point: Point) -> list[Said]:
        said: list[Said] = []
        plate = (point.run_id, "plate")
        for attempt in range(1, TRIES + 1):
            try:
                if plate not in self._done:
                    with contextlib.suppress(ReplyError):
                        said.append(await self._archive.plate(point.run, point.start))
                    self._done[plate] = None
                return [*said, *await self._archive.point(point)]
            except ReplyError as error:
                if attempt == TRIES:
                    text = f"{point.run} {point.stem}"
                    logger.warning("the filter data of %s cannot be read: %s", text, error)
                    return [
                        *said,
                        Event("filterdata_missing", text, {"reason": str(error)[:300]}, point.time),
                    ]
            await asyncio.sleep(PAUSE)
        return said


def _title(answer: str) -> str:
    """The name of the run under way, bare, quoted or tagged; "" if there is none."""
    if answer.lstrip().startswith("<"):
        return block_of(answer).strip()
    words = words_of(answer)
    return words[0] if words and words[0] != "-" else ""
