"""Between the polling loop and the spool: readings become columns as they come, and are saved once a second.

The loop only appends to lists. A thread of its own packs batches and waits for the disk, so that neither
holds up a poll; batches are small enough that encoding one does not keep the loop from running.
"""

import json
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from devices import wire
from devices.edge.clock import SECOND, Clock, mono
from devices.edge.spool import DiskTrouble, Row, Spool
from devices.readings import Event, Flag, GapReason, Quality, Reading, Run, Said, Vector
from devices.wire import Batch, EventRow, Gap, RunRow, VectorRow

logger = logging.getLogger(__name__)

VALUES_PER_BATCH = 5_000
HELD_BYTES_MAX = 8 << 20  # kept in memory while the disk takes nothing
TEXT_MAX = 4_000
VECTOR_MAX = 100_000
FIELDS_BYTES_MAX = 64_000
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
        self.vectors: list[VectorRow] = []
        self.labelsets: dict[tuple[str, ...], int] = {}
        self.events: list[EventRow] = []
        self.runs: list[RunRow] = []
        self.first = self.last = 0
        self.beside = 0  # how much there is beside the rows, in values

    def __bool__(self) -> bool:
        return bool(self.rows or self.seen or self.gaps or self.vectors or self.events or self.runs)

    @property
    def size(self) -> int:
        return len(self.values) + self.beside

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

    def vector(self, instrument: str, key: str, vector: Vector, quality: int, time: int) -> None:
        """Raises TypeError or ValueError for what is no vector."""
        if len(vector.values) > VECTOR_MAX or (vector.labels and len(vector.labels) != len(vector.values)):
            raise ValueError(f"{key}: {len(vector.values)} values with {len(vector.labels)} labels")
        values = [_finite(value) for value in vector.values]
        labels = -1
        if vector.labels:
            labels = self.labelsets.setdefault(tuple(map(str, vector.labels)), len(self.labelsets))
        number = self.instruments.setdefault(instrument, len(self.instruments))
        self.vectors.append(VectorRow(number, key, time, values, labels, quality))
        self.beside += len(values)

    def event(self, instrument: str, event: Event, time: int, flags: int) -> None:
        number = self.instruments.setdefault(instrument, len(self.instruments))
        fields = _plain(event.fields)
        self.events.append(EventRow(number, time, event.kind[:60], event.text[:TEXT_MAX], fields, flags))
        self.beside += 10

    def run(self, instrument: str, run: Run, time: int) -> None:
        number = self.instruments.setdefault(instrument, len(self.instruments))
        self.runs.append(
            RunRow(
                number, time, run.id[:200], run.kind[:60], run.state, run.title[:300], run.progress,
                run.start, run.end, _plain(run.fields), own_time=run.time is not None, unsure=not self.sure,
            )
        )  # fmt: skip
        self.beside += 10

    def flag(self, qualities: Sequence[int], flags: int) -> None:
        """Qualities of the row whose values were just added."""
        if self.qualities is None:
            self.qualities = [0] * (len(self.values) - len(qualities))
        self.qualities.extend([quality | flags for quality in qualities] if flags else map(int, qualities))

    def packed(self) -> Row:
        first, last = self._span()
        batch = Batch(
            list(self.instruments),
            [list(keys) for keys in self.keysets],
            self.rows,
            self.values,
            self.qualities,
            self.texts,
            self.seen,
            self.gaps,
            self.vectors,
            [list(labels) for labels in self.labelsets],
            self.events,
            self.runs,
        )
        return Row(wire.pack(batch), first, last, self.boot, self.anchor, self.sure)

    def _span(self) -> tuple[int, int]:
        """From when to when, for the gap if it should be lost; of readings, if there are any."""
        if self.rows:
            return self.first, self.last
        beside = [row.time for rows in (self.vectors, self.events, self.runs) for row in rows]
        times = beside or [*self.seen[1::2], *(gap.end for gap in self.gaps)]
        return min(times), max(times)


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

    def add(self, instrument: str, readings: Sequence[Reading], time: int) -> str:
        """Readings of one poll, stamped `time` where they bring no time of their own.

        Returns what of it could not be noted, and why; "" if all could. It costs the others nothing.
        """
        self.readings += len(readings)
        keys, values, qualities, times = zip(*readings, strict=True)
        if times.count(None) == len(times):
            wrong = self._row(instrument, keys, values, qualities, time, 0)
        else:
            wrong = self._add_by_time(instrument, readings, time)
        if self._draft.size >= VALUES_PER_BATCH:
            self.cut()
        return wrong

    def tell(self, instrument: str, said: Iterable[Said], time: int) -> str:
        """Readings, events and runs as a driver tells them. Returns as `add`."""
        readings: list[Reading] = []
        wrong = ""
        for one in said:
            try:
                if isinstance(one, Reading):
                    readings.append(one)
                else:
                    self._tell_one(instrument, one, time)
            except (TypeError, ValueError, AttributeError, RecursionError) as error:
                wrong = wrong or f"{one!r:.60}: {error}"
        if readings:
            wrong = self.add(instrument, readings, time) or wrong
        elif self._draft.size >= VALUES_PER_BATCH:
            self.cut()
        return wrong

    def _tell_one(self, instrument: str, one: object, time: int) -> None:
        if isinstance(one, Event):
            flags = self._flags(own_time=one.time is not None)
            self._draft.event(instrument, one, time if one.time is None else one.time, flags)
        elif isinstance(one, Run):
            self._draft.run(instrument, one, time if one.time is None else one.time)
        else:
            raise TypeError("no reading, event or run")

    def _flags(self, *, own_time: bool) -> int:
        return (Flag.INSTRUMENT_TIME if own_time else 0) | (0 if self._clock.sure else Flag.CLOCK_UNSURE)

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

    def _add_by_time(self, instrument: str, readings: Sequence[Reading], time: int) -> str:
        """Readings that the instrument stamped itself: a row for each time."""
        groups: dict[int | None, list[Reading]] = {}
        for reading in readings:
            groups.setdefault(reading.time, []).append(reading)
        wrong = ""
        for stamp, group in groups.items():
            keys, values, qualities, _ = zip(*group, strict=True)
            at, flags = (time, 0) if stamp is None else (stamp, Flag.INSTRUMENT_TIME)
            wrong = self._row(instrument, keys, values, qualities, at, flags) or wrong
        return wrong

    def _row(
        self,
        instrument: str,
        keys: tuple[str, ...],
        values: tuple[Any, ...],
        qualities: tuple[int, ...],
        time: int,
        flags: int,
    ) -> str:
        kinds = set(map(type, values))
        wrong = ""
        if Vector in kinds:
            rest, wrong = self._take_vectors(instrument, keys, values, qualities, time, flags)
            if not rest:
                return wrong
            keys, values, qualities = zip(*rest, strict=True)
            kinds = set(map(type, values))
        draft = self._draft
        if kinds <= NUMBERS and _finite_sum(values):
            numbers: list[float | None] = list(map(float, values))
        else:
            numbers, qualities, odd = _odd(values, qualities)
            wrong = odd or wrong
            start = len(draft.values)
            for index, value in enumerate(values):
                if isinstance(value, str):
                    draft.texts[str(start + index)] = value[:TEXT_MAX]
        draft.row(instrument, keys, time)
        draft.values.extend(numbers)
        if not self._clock.sure:
            flags |= Flag.CLOCK_UNSURE
        if flags or draft.qualities is not None or any(qualities):
            draft.flag(qualities, flags)
        return wrong

    def _take_vectors(
        self,
        instrument: str,
        keys: tuple[str, ...],
        values: tuple[Any, ...],
        qualities: tuple[int, ...],
        time: int,
        flags: int,
    ) -> tuple[list[tuple[str, Any, int]], str]:
        """Note the vectors of a row; what of it is none, and what of it could not be noted."""
        flags |= self._flags(own_time=False)
        rest, wrong = [], ""
        for key, value, quality in zip(keys, values, qualities, strict=True):
            if isinstance(value, Vector):
                try:
                    self._draft.vector(instrument, key, value, quality | flags, time)
                except (TypeError, ValueError, OverflowError) as error:
                    wrong = f"{key}: {error}"
            else:
                rest.append((key, value, quality))
        return rest, wrong

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
            self._lost = Gap("", "", start, lost.last, GapReason.OVERFLOW)

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


def _finite(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else float(value)


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as JSON can carry them. Raises TypeError or ValueError for what it cannot."""
    text = json.dumps(dict(fields), allow_nan=False)
    if len(text) > FIELDS_BYTES_MAX:
        raise ValueError(f"fields of {len(text)} bytes")
    plain: dict[str, Any] = json.loads(text)
    return plain


def _finite_sum(values: Sequence[Any]) -> bool:
    """Whether all these numbers are finite, and can be floats."""
    try:
        return isfinite(sum(values))
    except OverflowError:
        return False


def _odd(values: Sequence[Any], qualities: Sequence[int]) -> tuple[list[float | None], tuple[int, ...], str]:
    """Values of which some are no finite numbers, and which of them is no reading's value at all."""
    numbers: list[float | None] = []
    checked: list[int] = []
    wrong = ""
    for value, quality in zip(values, qualities, strict=True):
        try:
            number = None if value is None or isinstance(value, str) else float(value)
            usable = number is None or isfinite(number)
        except OverflowError:
            number, usable = None, False
        except (TypeError, ValueError):
            number, usable, wrong = None, False, f"{value!r:.60} is no reading's value"
        numbers.append(number if usable else None)
        checked.append(quality if usable else Quality.BAD)
    return numbers, tuple(checked), wrong
