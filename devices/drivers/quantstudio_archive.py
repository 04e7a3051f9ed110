"""QuantStudio, what the machine keeps: the logs of runs and the files of their points (protocol notes §4)."""

import asyncio
import re
from collections.abc import Callable

from devices.drivers.quantstudio_files import (
    FILTER_FILE,
    conditions,
    filter_data,
    fluorescence,
    last_quants,
    samples,
)
from devices.drivers.quantstudio_log import SECOND, LogReader, Point, number, stamped
from devices.drivers.quantstudio_wire import (
    Conversation,
    Decoder,
    Framer,
    Refusal,
    block_of,
    options_of,
    quoted,
)
from devices.errors import ReplyError
from devices.readings import Event, Said

FIRST_REPLY = 30.0  # seconds
WHOLE_FILE = 600.0
NOTHING = {"NoMatch", "IOError"}
FILES_OF_A_POINT_MAX = 100
FILE_BYTES_MAX = 1 << 20  # of one that is held as a whole
RUNS_MAX = 20  # that ended while nobody listened
TOLD_AT_ONCE = 500

Tell = Callable[[list[Said]], None]


class Archive:
    """Asks for files, one after the other. Raises ReplyError for what cannot be had, LinkError."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    async def runs(self, since: int) -> list[str]:
        """The names of runs whose log was written to since then (µs of UTC), the oldest first."""
        found: list[tuple[float, str]] = []
        for glob in ("*/apldbio/sds/messages.log", "*"):
            lines = await self._listed(glob, "-verbose ")
            for line in lines:
                options, words = options_of(line)
                changed = number(options.get("mtime"))
                if words and changed is not None and changed * SECOND >= since:
                    found.append((changed, re.sub(r"^[A-Za-z_]+:", "", words[0]).split("/")[0]))
            if lines:
                break
        return [name for _, name in sorted(found)[-RUNS_MAX:]]

    async def log(self, run: str, reader: LogReader, since: int, tell: Tell) -> None:
        """Have `reader` take a run's log, telling what it says of the time after `since`."""
        said: list[Said] = []

        def hear(line: bytes) -> None:
            topic, _, text = line.decode("utf-8", "replace").partition(" ")
            time, text = stamped(text)
            if time is None or (time <= since and topic != "Run"):
                return  # a log's line always has a time; others are the rest of a text of many lines
            heard = reader.hear(topic, time, text)
            if time > since:
                said.extend(heard)
            if len(said) >= TOLD_AT_ONCE:
                tell(list(said))
                said.clear()

        framer = Framer(hear, asyncio.get_running_loop().time)
        decoder = Decoder(framer.feed)
        try:
            decoder.end(await self._read(f"{quoted(run)}/apldbio/sds/messages.log", decoder.feed))
        finally:
            tell(said)

    async def point(self, point: Point) -> list[Said]:
        """The fluorescence of a point, of all its filter sets."""
        folder = f"{point.run}/apldbio/sds"
        filters = await self._listed(f"{folder}/filter/{point.stem}_*_filterdata.xml")
        quants = last_quants(await self._listed(f"{folder}/quant/{point.stem}_*.quant"))
        said: list[Said] = []
        for path in filters[:FILES_OF_A_POINT_MAX]:
            if not FILTER_FILE.search(path):
                continue
            stem = path.rpartition("/")[2].removesuffix("_filterdata.xml")
            plates = filter_data(await self._text(path))
            exposure = conditions(await self._text(quants[stem])) if stem in quants else {}
            for plate in plates:
                said += fluorescence(point, plate, exposure)
        if not said:
            raise ReplyError(f"no filter data of {point.run} {point.stem} yet")
        return said

    async def plate(self, run: str, time: int | None) -> Event:
        """What is in the wells of a run."""
        return samples(run, await self._text(f"{run}/apldbio/sds/plate_setup.xml"), time)

    async def _listed(self, glob: str, option: str = "") -> list[str]:
        try:
            reply = await self._ask(f"EXP:LIST? {option}{quoted(glob)}")
        except Refusal as refusal:
            if refusal.kind in NOTHING:
                return []
            raise
        return [line.strip() for line in block_of(reply).splitlines() if line.strip()]

    async def _text(self, path: str) -> str:
        held = bytearray()

        def hold(piece: bytes) -> None:
            if len(held) <= FILE_BYTES_MAX:
                held.extend(piece)

        decoder = Decoder(hold)
        decoder.end(await self._read(quoted(path), decoder.feed))
        if len(held) > FILE_BYTES_MAX:
            raise ReplyError(f"{path:.200}: more than {FILE_BYTES_MAX} bytes")
        return held.decode("utf-8", "replace")

    async def _read(self, path: str, piece: Callable[[bytes], None]) -> str:
        return await self._ask(f"EXP:READ? -encoding=base64 {path}", piece, WHOLE_FILE)

    async def _ask(
        self, command: str, piece: Callable[[bytes], None] | None = None, within: float = FIRST_REPLY
    ) -> str:
        try:
            async with asyncio.timeout(within):
                return await self._conversation.ask(command, piece)
        except TimeoutError:
            raise ReplyError(f"{command:.80}: no answer within {within:g} s") from None
