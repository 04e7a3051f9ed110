"""The spool: what was read waits here, on disk, until the centre has it, and then while there is room.

SQLite in WAL mode, one row per batch with a checksum, one commit a second. A file that cannot be trusted is
set aside, whole rows are taken over from it, and the edge starts whatever happened.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import msgspec

from devices import files
from devices.edge.clock import SECOND
from devices.edge.settings import BadSetting
from devices.readings import GapReason
from devices.wire import Gap

logger = logging.getLogger(__name__)

FREE_MIN = 64 << 20  # bytes of the disk that the spool leaves to others
ROW_OVERHEAD = 100  # bytes a row takes beside its batch, nearly
FREED_AT_ONCE = 256  # rows
CHECK_STEPS = 2_000_000  # of SQLite's machine, about a second, given to checking the file at the start
SPAN_MAX = 60 * SECOND  # longer than any batch can be: the row's own times are broken too
OF_THE_DISK = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
    | {sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM}
)
SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    sequence INTEGER PRIMARY KEY,
    acked INTEGER,  -- its own sequence once the centre has it; no flipped bit turns NULL into that
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    boot TEXT NOT NULL,
    anchor INTEGER NOT NULL,
    sure INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    packed BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS state (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
"""
PENDING = (
    "SELECT sequence, first, last, boot, anchor, sure, checksum, packed FROM batch"
    " WHERE sequence > ? AND sequence < ? AND acked IS NOT sequence ORDER BY sequence"
)
ALL_ROWS = (
    "SELECT sequence, first, last, boot, anchor, sure, checksum, packed, acked FROM batch ORDER BY sequence"
)

END = 1 << 62  # beyond every sequence

T = TypeVar("T")


class DiskTrouble(Exception):
    """The disk is full or fails; the file is not at fault. Keep what was to be written and try again."""


class Torn(Exception):
    """The file is not what was written."""


BROKEN = (Torn, sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, OverflowError)


class Row(NamedTuple):
    """A packed batch: times of its first and last reading, and the time base they were stamped under."""

    packed: bytes
    first: int
    last: int
    boot: str
    anchor: int
    sure: bool

    def checksum(self, sequence: int) -> int:
        head = f"{sequence} {self.first} {self.last} {self.boot} {self.anchor} {int(self.sure)} "
        return zlib.crc32(self.packed, zlib.crc32(head.encode()))


class Numbered(NamedTuple):
    """A row in its place in the spool."""

    sequence: int
    row: Row


class State(msgspec.Struct):
    """What the spool knows of itself, written with each commit."""

    spool: str
    instance: str = ""  # the process that last had it
    boot: str = ""
    covered: int = 0  # everything read until then is in the spool, in UTC ...
    covered_mono: int = 0  # ... and by the boot's monotonic clock
    clean: bool = True  # the process stopped in order
    acked_through: int = 0  # every row up to here is at the centre, or gone
    told_through: int = 0  # the greatest such mark that the centre told of
    next: int = 1


class Spool:
    """One process has it. Methods are for any thread but the polling loop's: they wait for the disk.

    With a disk that is full or fails at the start, each use tries the file again and raises DiskTrouble until
    it opens, and then goes on with what is in it.

    `gaps` collects what the spool itself lost (full or torn); whoever writes takes it with `take_gaps`.
    """

    def __init__(self, folder: Path, bytes_max: int, now: int) -> None:
        """Raises BadSetting if another process has the folder, or it cannot be used at all."""
        self.folder = folder
        self.bytes_max = bytes_max
        self._lock = threading.RLock()
        self._held = _hold(folder / "spool.lock")
        self._gaps: list[Gap] = []
        self._now = self._started = now
        self._begun = ("", "")  # the instance and boot that have it, while the file could not be told
        self._is_open = False
        self.state = State(str(uuid.uuid4()))
        try:
            self._open_or_set_aside()
        except DiskTrouble as trouble:
            logger.warning("the spool cannot be opened (%s); readings are kept in memory", trouble)

    # ---- writing

    def save(
        self, rows: Iterable[Row], *, covered: int = 0, covered_mono: int = 0, acked: Iterable[int] = ()
    ) -> list[int]:
        """Commit rows, what is acked and how far the readings go (0: not told). Returns the rows' sequences.

        Raises DiskTrouble; then nothing was saved.
        """
        rows, acked = list(rows), list(acked)
        self._now = max(self._now, covered)

        def write() -> list[int]:
            self._make_room(sum(len(row.packed) + ROW_OVERHEAD for row in rows))
            with self._transaction() as state:
                sequences = list(range(state.next, state.next + len(rows)))
                self._insert(zip(sequences, rows, strict=True))
                self._mark(acked, state)
                state.next += len(rows)
                if covered:
                    state.covered, state.covered_mono, state.clean = covered, covered_mono, False
            return sequences

        return self._safely(write)

    def begin(self, instance: str, boot: str) -> State:
        """Note who has the spool from now on. Returns what the process before left; what it left uncovered
        stays so until something is saved that covers it."""

        def write() -> State:
            before = msgspec.structs.replace(self.state)
            with self._transaction() as state:
                state.instance, state.boot = instance, boot
            return before

        self._begun = (instance, boot)
        return self._safely(write)

    def close(self, *, clean: bool = True) -> None:
        """Let go of the file and the folder."""
        with self._lock:
            if clean and self._is_open:
                with contextlib.suppress(sqlite3.Error, DiskTrouble), self._transaction() as state:
                    state.clean = True
            self._let_go()
            self._held.close()

    # ---- the centre's words

    def told(self, through: int) -> bool:
        """The centre has everything up to `through`. If that is less than it once told, its database was
        restored: what was acked beyond is pending again. Returns whether it was."""

        def write() -> bool:
            if through >= self.state.told_through:
                self.state.told_through = through  # to disk with the next commit
                return False
            with self._transaction() as state:
                state.told_through = through
                state.acked_through = min(state.acked_through, through)
                self._database.execute("UPDATE batch SET acked = NULL WHERE sequence > ?", (through,))
            return True

        return self._safely(write)

    def renew(self) -> None:
        """Take another name, and keep what is pending: the centre has rows under the present one that this
        file does not know, so their numbers would be given twice."""

        def write() -> None:
            with self._transaction() as state:
                self._database.execute("DELETE FROM batch WHERE acked IS sequence")
                state.spool, state.told_through = str(uuid.uuid4()), 0

        self._safely(write)

    def note_delivered(self, until: int) -> None:
        """Beside the file, for the gap if the file should be torn: what was read until then is delivered."""
        with contextlib.suppress(OSError):
            os.pwrite(self._held.fileno(), b"%-20d\n" % until, 0)

    # ---- reading

    def pending(
        self, after: int, before: int, bytes_max: int, skip: Collection[int] = frozenset()
    ) -> list[Numbered]:
        """Rows not acked, `after` < sequence < `before`, oldest first, up to so many bytes (at least one)."""

        def read() -> list[Numbered]:
            found: list[Numbered] = []
            broken: list[int] = []
            size = 0
            start = max(after, self.state.acked_through)
            for sequence, *fields, checksum, packed in self._database.execute(PENDING, (start, before)):
                if sequence in skip:
                    continue
                row = _row(packed, fields)
                if checksum != row.checksum(sequence):
                    broken.append(sequence)
                    self._gaps.append(_torn_gap(row, self._now))
                    continue
                size += len(packed) * 4 // 3
                if found and size > bytes_max:
                    break
                found.append(Numbered(sequence, row))
            if broken:
                logger.error("%d broken rows in the spool; each leaves a gap", len(broken))
                with self._transaction():
                    self._database.executemany("DELETE FROM batch WHERE sequence = ?", [(n,) for n in broken])
            return found

        return self._safely(read)

    def oldest(self) -> int | None:
        """Time of the oldest reading that waits; None if nothing does."""
        query = (
            "SELECT first FROM batch WHERE sequence > ? AND acked IS NOT sequence ORDER BY sequence LIMIT 1"
        )

        def read() -> int | None:
            found = self._database.execute(query, (self.state.acked_through,)).fetchone()
            return found and int(found[0])

        return self._safely(read)

    def kept_from(self) -> int:
        """The lowest sequence still in the file, acked or not."""

        def read() -> int:
            lowest = self._database.execute("SELECT min(sequence) FROM batch").fetchone()[0]
            return int(lowest or self.state.next)

        return self._safely(read)

    def waiting(self) -> int:
        """How many rows wait, counted as if none in between were acked."""
        return self.state.next - 1 - self.state.acked_through

    def size(self) -> int:
        """Bytes in use in the file."""
        with self._lock:
            if not self._is_open:
                return 0
            return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def take_gaps(self) -> list[Gap]:
        with self._lock:
            gaps, self._gaps = self._gaps, []
            return gaps

    # ---- the file

    @property
    def _file(self) -> Path:
        return self.folder / "spool.sqlite"

    def _open(self) -> None:
        """Raises Torn, ValueError or sqlite3.Error for a file that cannot be used."""
        self._database = _connect(self._file)
        self._database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + SCHEMA)
        self._database.set_progress_handler(_Patience(), 10_000)
        try:
            verdict = self._database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            verdict = ("ok",)  # a large spool: looked at for long enough
        finally:
            self._database.set_progress_handler(None, 0)
        if verdict != ("ok",):
            raise Torn(str(verdict))
        self.state = self._load_state()

    def _load_state(self) -> State:
        found = self._database.execute("SELECT body, checksum FROM state WHERE id = 1").fetchone()
        newest = self._database.execute("SELECT coalesce(max(sequence), 0) FROM batch").fetchone()[0]
        if found is None:
            if newest:
                raise Torn("rows, but no state")
            state = State(str(uuid.uuid4()))
            self._store_state(state)
            self._database.commit()
            return state
        if zlib.crc32(found[0]) != found[1]:
            raise Torn("the state's checksum is wrong")
        state = msgspec.json.decode(found[0], type=State)
        if newest >= state.next:
            raise Torn("rows beyond the state")
        return state

    def _store_state(self, state: State) -> None:
        body = msgspec.json.encode(state)
        self._database.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", (body, zlib.crc32(body)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[State]:
        """The state to change; it counts once all is committed."""
        state = msgspec.structs.replace(self.state)
        with self._database:
            yield state
            self._store_state(state)
        self.state = state

    def _insert(self, rows: Iterable[tuple[int, Row]]) -> None:
        self._database.executemany(
            "INSERT INTO batch VALUES (?, NULL, ?, ?, ?, ?, ?, ?, ?)",
            (
                (sequence, *row[1:5], int(row.sure), row.checksum(sequence), row.packed)
                for sequence, row in rows
            ),
        )

    def _mark(self, acked: list[int], state: State) -> None:
        if not acked:
            return
        self._database.executemany(
            "UPDATE batch SET acked = sequence WHERE sequence = ?", [(number,) for number in acked]
        )
        query = "SELECT min(sequence) FROM batch WHERE sequence > ? AND acked IS NOT sequence"
        first = self._database.execute(query, (state.acked_through,)).fetchone()[0]
        state.acked_through = (first or state.next) - 1

    def _make_room(self, wanted: int) -> None:
        """Delete the oldest until `wanted` more bytes fit: what is acked also for a full disk's sake, what
        the centre does not have only at the spool's own bound."""
        disk = os.statvfs(self.folder)
        short_of_disk = disk.f_bavail * disk.f_frsize < FREE_MIN
        limit = min(self.bytes_max, self.size()) if short_of_disk else self.bytes_max
        while (size := self.size() + wanted) > limit:
            with self._transaction() as state:
                freed = self._delete_acked() or (size > self.bytes_max and self._delete_pending(state))
            if not freed:
                return

    def _delete_acked(self) -> bool:
        gone = self._database.execute(
            "DELETE FROM batch WHERE sequence IN (SELECT sequence FROM batch"
            " WHERE acked IS sequence ORDER BY sequence LIMIT ?)",
            (FREED_AT_ONCE,),
        )
        return gone.rowcount > 0

    def _delete_pending(self, state: State) -> bool:
        """The spool is full of what the centre does not have: the oldest goes, and a gap says so."""
        oldest = self._database.execute(
            "SELECT sequence, first, last FROM batch ORDER BY sequence LIMIT ?", (FREED_AT_ONCE // 8,)
        ).fetchall()
        if not oldest:
            return False
        self._database.execute("DELETE FROM batch WHERE sequence <= ?", (oldest[-1][0],))
        state.acked_through = max(state.acked_through, oldest[-1][0])
        start, end = min(row[1] for row in oldest), max(row[2] for row in oldest)
        self._gaps.append(Gap("", "", start, end, GapReason.OVERFLOW))
        logger.error("the spool is full; its oldest %d rows are lost", len(oldest))
        return True

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])

    # ---- when the file is not to be trusted, or not to be had

    def _open_or_set_aside(self) -> None:
        """Raises DiskTrouble."""
        try:
            self._open()
        except BROKEN as error:
            try:
                self._disk_or(error)
            except DiskTrouble:
                self._let_go()
                raise
            self._set_aside(error)
        self._is_open = True

    def _let_go(self) -> None:
        with contextlib.suppress(sqlite3.Error, AttributeError):
            self._database.close()

    def _open_late(self) -> None:
        """The disk was at fault when the process began. Raises DiskTrouble while it still is."""
        self._open_or_set_aside()
        logger.warning("the spool can be opened")
        if self.state.covered:
            end = max(self._started, self.state.covered)
            self._gaps.append(Gap("", "", self.state.covered, end, GapReason.NOT_RUNNING))
        with self._transaction() as state:
            state.instance, state.boot = self._begun

    def _safely(self, act: Callable[[], T]) -> T:
        with self._lock:
            if not self._is_open:
                self._open_late()
            try:
                return act()
            except BROKEN as error:
                self._disk_or(error)
                self._set_aside(error)
            try:
                return act()
            except BROKEN as error:
                raise DiskTrouble(str(error)) from error

    def _disk_or(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error):
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
            if code & 0xFF in OF_THE_DISK:
                raise DiskTrouble(str(error)) from error

    def _set_aside(self, error: Exception) -> None:
        """Begin a new file, under a new name, with the whole rows of the one that is torn."""
        logger.error("the spool is torn (%s); set aside, whole rows are taken over", error)
        self._let_go()
        aside = self._rename()
        started = self._delivered(aside)
        try:
            self._open()
            known = _known(aside)
            with self._transaction() as state:
                if known is not None:
                    state.instance, state.boot, state.clean = known.instance, known.boot, known.clean
                    state.covered, state.covered_mono = known.covered, known.covered_mono
                for row in _whole_rows(aside):
                    self._insert([(state.next, row)])
                    state.next += 1
        except BROKEN as failure:
            raise DiskTrouble(str(failure)) from failure
        self._gaps.append(Gap("", "", started, max(started, self._now), GapReason.TORN))
        logger.error("%d whole rows taken over from %s", self.state.next - 1, aside)

    def _rename(self) -> Path:
        """The newest torn file is kept for whoever wants to look; older ones would fill the disk."""
        for old in self.folder.glob("torn*"):
            old.unlink()
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._file.with_name(self._file.name + suffix).rename(self.folder / f"torn.sqlite{suffix}")
        return self.folder / "torn.sqlite"

    def _delivered(self, aside: Path) -> int:
        """From when on readings may be missing: what was delivered last, as noted beside the file."""
        try:
            return int(os.pread(self._held.fileno(), 20, 0))
        except ValueError:
            changed = int(aside.stat().st_mtime * SECOND) if aside.exists() else self._now
            return min(changed, self._now)


class _Patience:
    """Ends a check of the file that takes too long."""

    def __init__(self) -> None:
        self.left = CHECK_STEPS // 10_000

    def __call__(self) -> int:
        self.left -= 1
        return int(self.left < 0)


def _hold(path: Path) -> IO[bytes]:
    try:
        return files.hold(path)
    except OSError as error:
        raise BadSetting(f"LABSITE_SPOOL: {path} cannot be opened: {error.strerror}") from None
    except files.Held:
        raise BadSetting(f"LABSITE_SPOOL: another process has the spool in {path.parent}") from None


def _connect(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=5, check_same_thread=False)
    try:
        database.execute("PRAGMA cache_size = -512")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _row(packed: Any, fields: list[Any]) -> Row:
    first, last, boot, anchor, sure = fields
    return Row(bytes(packed), first, last, boot, anchor, bool(sure))


def _torn_gap(row: Row, now: int) -> Gap:
    """What a broken row stood for, as far as its times can be believed."""
    if 0 < row.first <= row.last <= row.first + SPAN_MAX and row.last <= now + SPAN_MAX:
        return Gap("", "", row.first, row.last, GapReason.TORN)
    return Gap("", "", now, now, GapReason.TORN)


def _known(file: Path) -> State | None:
    """What a torn file knew of itself, if that part is whole."""
    with contextlib.suppress(*BROKEN), contextlib.closing(_connect(file)) as database:
        body, checksum = database.execute("SELECT body, checksum FROM state WHERE id = 1").fetchone()
        if zlib.crc32(body) == checksum:
            return msgspec.json.decode(body, type=State)
    return None


def _whole_rows(file: Path) -> Iterator[Row]:
    """Rows of a torn file that can be read and whose checksum is right: from both ends inwards."""
    seen: set[int] = set()
    with contextlib.suppress(*BROKEN), contextlib.closing(_connect(file)) as database:
        for query in (ALL_ROWS, ALL_ROWS + " DESC"):
            yield from _readable_rows(database, query, seen)


def _readable_rows(database: sqlite3.Connection, query: str, seen: set[int]) -> Iterator[Row]:
    with contextlib.suppress(*BROKEN):
        for sequence, *fields, checksum, packed, acked in database.execute(query):
            if sequence in seen:
                continue
            seen.add(sequence)
            if acked == sequence or not isinstance(packed, bytes):
                continue
            row = _row(packed, fields)
            if row.checksum(sequence) == checksum:
                yield row
