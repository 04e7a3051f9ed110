"""How much room what is stored takes, how fast it grows, and when the disk will be full: from statistics that
PostgreSQL keeps anyway, nothing is counted."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Min
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _, ngettext

from devices.models import Edge
from telemetry import partitions
from telemetry.families import FAMILIES, SAMPLES, VECTORS
from telemetry.models import RollupMark
from telemetry.partitions import Partition, Span

DAY = timedelta(days=1)

# Every table, a partition under its parent's name. A table that was never analysed has no estimate but that
# of what was inserted.
TABLES = """
SELECT coalesce(parent.relname, c.relname), c.relname, pg_total_relation_size(c.oid),
    CASE WHEN c.reltuples >= 0 THEN c.reltuples ELSE coalesce(s.n_live_tup, 0) END::int8
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
"""


class Table(NamedTuple):
    """A table, or a partition of one (`parent`). `rows` is an estimate."""

    parent: str
    name: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Kind:
    """Tables that hold one kind of thing. `days`: how long it is kept; None for ever."""

    name: str
    label: str | Promise
    tables: Sequence[str]
    days: int | None
    grows: bool = True


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one kind: bytes and (about) rows now, and how many are added a day.

    `full_bytes`: what it will take once it is kept as long as it is to be; None if nothing ever goes.
    `grows_for`: days until then.
    """

    kind: Kind
    bytes: int
    rows: int
    bytes_per_day: float
    rows_per_day: float

    @property
    def full_bytes(self) -> float | None:
        if not self.bytes_per_day:
            return float(self.bytes)
        if self.kind.days is None:
            return None
        # Rows go a whole partition at a time.
        return max(float(self.bytes), self.bytes_per_day * (self.kind.days + span_days(self.kind)))

    @property
    def grows_for(self) -> float | None:
        full = self.full_bytes
        if full is None:
            return None
        return (full - self.bytes) / self.bytes_per_day if self.bytes_per_day else 0.0


class Disk(NamedTuple):
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Storage:
    """Everything at one moment. `disk` None: the database lies elsewhere."""

    at: datetime
    kinds: Sequence[Figures]
    database_bytes: int
    disk: Disk | None
    rolled_up_to: datetime | None

    @property
    def bytes_per_day(self) -> float:
        """What is added now and not yet balanced by what goes."""
        return sum(each.bytes_per_day for each in self.kinds if each.grows_for != 0.0)

    @property
    def full_bytes(self) -> float | None:
        """The database once everything is kept as long as it is to be; None if something is kept for ever."""
        more = [None if each.full_bytes is None else each.full_bytes - each.bytes for each in self.kinds]
        return None if None in more else self.database_bytes + sum(each or 0.0 for each in more)

    @property
    def full_in_days(self) -> float | None:
        """Days until the disk is full, if all goes on as now; None: never, or not known (no `disk`)."""
        if self.disk is None:
            return None
        growths = [(each.bytes_per_day, each.grows_for) for each in self.kinds]
        return days_until(self.disk.free, growths)

    @property
    def outlook(self) -> str | Promise:
        """The same in words."""
        if self.disk is None:
            return _("The database lies elsewhere: its disk is not seen from here.")
        days = self.full_in_days
        if days is None:
            return _("Never at this rate.")
        if days < 1:
            return _("In less than a day at this rate.")
        return ngettext("In %(days)d day at this rate.", "In %(days)d days at this rate.", int(days)) % {
            "days": int(days)
        }


def now(at: datetime) -> Storage:
    """All figures."""
    tables = _tables()
    mark = RollupMark.objects.filter(width="minute").first()
    return Storage(
        at,
        [figures(kind, tables, at) for kind in kinds({table.parent for table in tables})],
        _database_bytes(),
        disk(),
        mark.published if mark else None,
    )


def kinds(names: Iterable[str]) -> list[Kind]:
    """What there is, of the tables of these names; each is in one kind."""
    kept = {table: each.days for table, each in partitions.tables().items()}
    found = []
    for family, sample, vector in zip(FAMILIES, SAMPLES, VECTORS, strict=True):
        found.append(Kind(f"readings_{family}", READINGS[family], [sample], kept[sample]))
        found.append(Kind(f"vectors_{family}", VECTORS_OF[family], [vector], kept[vector]))
    found += [
        Kind("minutes", _("Minutes"), ["rollup_minute"], kept["rollup_minute"]),
        Kind("hours", _("Hours"), ["rollup_hour"], kept["rollup_hour"]),
        Kind("outbox", _("Outbox of the sinks"), ["outbox"], kept["outbox"]),
        Kind("far", _("Readings of impossible times"), ["sample_far", "vector_sample_far"], None),
        Kind("events", _("Events"), ["event"], settings.EVENT_RETENTION_DAYS),
        Kind("gaps", _("Gaps"), ["gap"], None),
    ]
    journal = sorted(name for name in names if name.startswith("alerts_"))
    found.append(Kind("journal", _("Alarms and their journal"), journal, settings.EVENT_RETENTION_DAYS))
    named = {table for kind in found for table in kind.tables}
    others = sorted(set(names) - named)
    return [*found, Kind("others", _("Everything else"), others, None, grows=False)]


READINGS = {
    "standard": _("Readings, class standard"),
    "demo": _("Readings, class demo"),
    "long": _("Readings, class long"),
}
VECTORS_OF = {
    "standard": _("Vectors, class standard"),
    "demo": _("Vectors, class demo"),
    "long": _("Vectors, class long"),
}


def figures(kind: Kind, tables: Iterable[Table], at: datetime) -> Figures:
    """A kind's sums; what is added a day as the newest full partition has it, else on average so far."""
    own = [table for table in tables if table.parent in kind.tables]
    size, rows = sum(table.bytes for table in own), sum(table.rows for table in own)
    if not kind.grows:
        return Figures(kind, size, rows, 0.0, 0.0)
    if kind.tables and kind.tables[0] in partitions.tables():
        return Figures(kind, size, rows, *_of_partitions(kind.tables[0], own, at))
    days = _age(at, kind.days)
    return Figures(kind, size, rows, size / days if rows else 0.0, rows / days)


def _of_partitions(name: str, parts: Iterable[Table], at: datetime) -> tuple[float, float]:
    """Bytes and rows a day: of yesterday's partition; of a longer span of what has passed of the present one,
    or, on its first day, of the one before."""
    span = partitions.tables()[name].span
    yesterday = (at - DAY).date()
    partition = Partition(name, span.start(yesterday))
    days = max((at - partitions.midnight(partition.day)) / DAY, 1.0)
    days = min(days, (partition.end - partition.day).days)
    for part in parts:
        if part.name == partition.name and part.rows:
            return part.bytes / days, part.rows / days
    return 0.0, 0.0


def _age(at: datetime, kept: int | None) -> float:
    """Days that what is there was gathered in."""
    began = Edge.objects.aggregate(began=Min("created_at"))["began"] or at
    return max(min((at - began) / DAY, kept or 36_500), 1.0)


def span_days(kind: Kind) -> int:
    """How many days go at once."""
    spans = {Span.DAY: 1, Span.WEEK: 7, Span.MONTH: 31}
    tables = partitions.tables()
    return max((spans[tables[name].span] for name in kind.tables if name in tables), default=0)


def days_until(free: float, growths: Iterable[tuple[float, float | None]]) -> float | None:
    """Days until so many bytes are used up; None: never. Each growth: bytes a day, and for how many days."""
    standing = [(per_day, float("inf") if days is None else days) for per_day, days in growths]
    passed = 0.0
    while rate := sum(per_day for per_day, days in standing if days > passed):
        until = min(days for per_day, days in standing if days > passed and per_day)
        if free <= rate * (until - passed):
            return passed + free / rate
        free -= rate * (until - passed)
        passed = until
    return None


def disk() -> Disk | None:
    """Where the database lies, if that is in the data folder."""
    if not settings.DATABASE_IS_EMBEDDED:
        return None
    usage = shutil.disk_usage(settings.DATA_DIR)
    return Disk(usage.total, usage.free)


def _tables() -> list[Table]:
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        return [Table(*row) for row in cursor.fetchall()]


def _database_bytes() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])
