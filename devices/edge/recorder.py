"""Between the polling loop and the spool: readings become columns as they come, and are saved once a second.

The loop only appends to lists. A thread of its own packs batches and waits for the disk, so that neither
holds up a poll; batches are small enough that encoding one does not keep the loop from running.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from devices import wire
from devices.edge.clock import SECOND, Clock, mono
from devices.edge.spool import DiskTrouble, Row, Spool
from devices.readings import Flag, Quality, Reading
from devices.wire import Batch, Gap

logger = logging.getLogger(__name__)

VALUES_PER_BATCH = 5_000
HELD_BYTES_MAX = 8 << 20  # kept in memory while the disk takes nothing
TEXT_MAX = 4_000
IDLE_COMMIT = 5 * SECOND  # how often it is noted that there was nothing to note
NUMBERS = frozenset({float, int, bool})

Job = Callable[[], None]


class Draft:
    """A batch in the making, stamped under one anchor of the clock."""

    def __init__(self, boot: str, anchor: int, *, sure: bool) -> None:
        self.boot, self.anchor, self.sure = boot, anchor, sure
        self.instruments: dict[str, int] = {}
        self.keysets: dict[tuple[str, ...], int] = {}
        self.rows: list[int] = []
        self.values: list[float | None] = []
        self.qualities: list[int] | None = None
        self.texts: dict[str, str] = {}
        self.seen: list[int] = []
        self.gaps: list[Gap] = []
        self.first = self.last = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.seen or self.gaps)

    def row(self, instrument: str, keys: tuple[str, ...], time: int) -> None:
        """Begin one row; its values and qualities follow."""
        rows = self.rows
        rows.append(self.instruments.setdefault(instrument, len(self.instruments)))
        rows.append(self.keysets.setdefault(keys, len(self.keysets)))
        rows.append(time - self.last if self.last else time)
        if not self.last or time < self.first:
            self.first = time
        self.last = time

    def see(self, instrument: str, time: int) -> None:
        self.seen.append(self.instruments.setdefault(instrument, len(self.instruments)))
        self.seen.append(time)

    def flag(self, qualities: Sequence[int], flags: int) -> None:
        """Qualities of the row whose values were just added."""
        if self.qualities is None:
            self.qualities = [0] * (len(self.values) - len(qualities))
        self.qualities.extend([quality | flags for quality in qualities] if flags else map(int, qualities))

    def packed(self) -> Row:
        times = [*self.seen[1::2], *(gap.end for gap in self.gaps)]
        first, last = (self.first, self.last) if self.rows else (min(times), max(times))
        batch = Batch(
            list(self.instruments),
            [list(keys) for keys in self.keysets],
            self.rows,
            self.values,
            self.qualities,
            self.texts,
            self.seen,
            self.gaps,
        )
        return Row(wire.pack(batch), first, last, self.boot, self.anchor, self.sure)


class Recorder:
    """`add`, `see`, `gap` and `flush` are the polling loop's; the rest happens in the recorder's thread.

    `saved(sequences)` is called there after each commit that brought rows.
    """

    def __init__(self, spool: Spool, clock: Clock, boot: str, saved: Callable[[list[int]], None]) -> None:
        self.trouble = ""  # why the disk takes nothing; "" when all is well
        self.readings = 0
        self._spool, self._clock, self._boot, self._saved = spool, clock, boot, saved
        self._draft = self._new_draft()
        self._inbox: queue.SimpleQueue[Draft | Job | None] = queue.SimpleQueue()
        self._held: deque[Row] = deque()
        self._held_bytes = 0
        self._acked: list[int] = []
        self._lost: Gap | None = None
        self._saved_at = 0
        self._before_first: Callable[[int], list[Gap]] | None = None
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)

    def start(self, before_first: Callable[[int], list[Gap]]) -> None:
        """`before_first(time)` tells the gaps up to the first reading; they are saved together with it."""
        self._before_first = before_first
        self._thread.start()

    # ---- on the polling loop

    def add(self, instrument: str, readings: Sequence[Reading], time: int) -> None:
        """Readings of one poll, stamped `time` where they bring no time of their own."""
        self.readings += len(readings)
        keys, values, qualities, times = zip(*readings, strict=True)
        if times.count(None) == len(times):
            self._row(instrument, keys, values, qualities, time, 0)
        else:
            self._add_by_time(instrument, readings, time)
        if len(self._draft.values) >= VALUES_PER_BATCH:
            self.cut()

    def see(self, instrument: str, time: int) -> None:
        """A poll that was answered and brought nothing new."""
        self._draft.see(instrument, time)

    def gap(self, gap: Gap) -> None:
        self._draft.gaps.append(gap)

    def cut(self) -> None:
        """Close the batch in the making; the clock's anchor is about to change, or it is full."""
        draft, self._draft = self._draft, self._new_draft()
        if self._before_first is not None and draft.rows:
            draft.gaps.extend(self._before_first(draft.first))
            self._before_first = None
        if draft:
            self._inbox.put(draft)

    def flush(self) -> None:
        """Once a second: have everything up to now saved."""
        self.cut()
        covered, covered_mono = (self._clock.now(), mono()) if self._before_first is None else (0, 0)
        self._inbox.put(lambda: self._save(covered, covered_mono))

    def do(self, job: Job) -> None:
        """Have something else that waits for the disk done in the recorder's thread; from any thread."""
        self._inbox.put(job)

    def finish(self, within: float) -> bool:
        """Save what there is and end the thread; whether it did so in time."""
        self.flush()
        self._inbox.put(None)
        self._thread.join(within)
        return not self._thread.is_alive()

    def _new_draft(self) -> Draft:
        return Draft(self._boot, self._clock.anchor, sure=self._clock.sure)

    def _add_by_time(self, instrument: str, readings: Sequence[Reading], time: int) -> None:
        """Readings that the instrument stamped itself: a row for each time."""
        groups: dict[int | None, list[Reading]] = {}
        for reading in readings:
            groups.setdefault(reading.time, []).append(reading)
        for stamp, group in groups.items():
            keys, values, qualities, _ = zip(*group, strict=True)
            if stamp is None:
                self._row(instrument, keys, values, qualities, time, 0)
            else:
                self._row(instrument, keys, values, qualities, stamp, Flag.INSTRUMENT_TIME)

    def _row(
        self,
        instrument: str,
        keys: tuple[str, ...],
        values: tuple[Any, ...],
        qualities: tuple[int, ...],
        time: int,
        flags: int,
    ) -> None:
        draft = self._draft
        start = len(draft.values)
        if set(map(type, values)) <= NUMBERS and isfinite(sum(values)):
            numbers: list[float | None] = list(map(float, values))
        else:
            numbers, qualities = _odd(values, qualities)
            for index, value in enumerate(values):
                if isinstance(value, str):
                    draft.texts[str(start + index)] = value[:TEXT_MAX]
        draft.row(instrument, keys, time)
        draft.values.extend(numbers)
        if not self._clock.sure:
            flags |= Flag.CLOCK_UNSURE
        if flags or draft.qualities is not None or any(qualities):
            draft.flag(qualities, flags)

    # ---- from the uplink's thread

    def acked(self, sequences: Sequence[int]) -> None:
        """The centre has these; saved with the next commit."""
        self._inbox.put(lambda: self._acked.extend(sequences))

    # ---- in the recorder's thread

    def _write(self) -> None:
        while (item := self._inbox.get()) is not None:
            try:
                if isinstance(item, Draft):
                    self._hold(item.packed())
                else:
                    item()
            except Exception:
                logger.exception("the recorder goes on after an error of its own")

    def _hold(self, row: Row) -> None:
        self._held.append(row)
        self._held_bytes += len(row.packed)
        while self._held_bytes > HELD_BYTES_MAX:
            lost = self._held.popleft()
            self._held_bytes -= len(lost.packed)
            start = self._lost.start if self._lost else lost.first
            self._lost = Gap("", "", start, lost.last, "overflow")

    def _save(self, covered: int, covered_mono: int) -> None:
        gaps = [*self._spool.take_gaps(), *([self._lost] if self._lost else [])]
        if gaps:
            draft = Draft(self._boot, self._clock.anchor, sure=self._clock.sure)
            draft.gaps, self._lost = gaps, None
            self._hold(draft.packed())
        rows = list(self._held)
        if not rows and not self._acked and covered_mono - self._saved_at < IDLE_COMMIT:
            return
        try:
            sequences = self._spool.save(rows, covered=covered, covered_mono=covered_mono, acked=self._acked)
        except DiskTrouble as trouble:
            if not self.trouble:
                logger.warning("the spool cannot be written (%s); readings are kept in memory", trouble)
            self.trouble = str(trouble)
            return
        if self.trouble:
            logger.warning("the spool can be written again")
        self.trouble = ""
        self._acked = []
        self._saved_at = covered_mono
        for row in rows:
            self._held.popleft()
            self._held_bytes -= len(row.packed)
        if sequences:
            self._saved(sequences)


def _odd(values: Sequence[Any], qualities: Sequence[int]) -> tuple[list[float | None], tuple[int, ...]]:
    """Values of which some are no finite numbers. Raises TypeError for what is no reading's value at all."""
    numbers: list[float | None] = []
    checked: list[int] = []
    for value, quality in zip(values, qualities, strict=True):
        number = None if value is None or isinstance(value, str) else float(value)
        usable = number is None or isfinite(number)
        numbers.append(number if usable else None)
        checked.append(quality if usable else Quality.BAD)
    return numbers, tuple(checked)
