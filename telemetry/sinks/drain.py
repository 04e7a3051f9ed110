"""One sink is fed: rows of the outbox after its position, in order, as points into its server.

Nothing is locked while the server is waited for. The position moves in one short transaction with what became
of the batch, and only from where it was: of two that feed one sink, one is too late and looks again.
"""

import logging
import random
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from devices.errors import ConfigurationError
from telemetry import outbox
from telemetry.models import SetAside, Sink
from telemetry.outbox import Position, Row
from telemetry.sinks import told
from telemetry.sinks.client import Client
from telemetry.sinks.delivery import BadPoint, Delivery, Kept
from telemetry.sinks.directory import Directory
from telemetry.sinks.outcome import wait_after
from telemetry.sinks.schemas import form

ROWS = 500  # of the outbox, read at once
BYTES = 2_000_000  # compressed
ASIDE_OF_A_BATCH = 100
ASIDE_MOST = 1_000  # of a sink; the oldest go
DESCRIBED = ("api", "url", "org", "bucket", "user", "secret", "gzip", "batch_size")
LINE_MOST = 2_000  # characters of a point that are kept
LOST = (
    "the outbox no longer has what follows: `manage.py rebuild_sink %(name)s` fills the sink from "
    "PostgreSQL; or start it at the present"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Next:
    """When to look at the sink again: at once, at a time, or when there is news."""

    at_once: bool = False
    at: datetime | None = None


class Drain:
    """Feeds one sink, step by step. Of one thread."""

    def __init__(self, sink: int) -> None:
        self._sink = sink
        self._directory = Directory()
        self._ahead: deque[Row] = deque()  # read, and still to be written
        self._at: Position | None = None  # where `_ahead` begins
        self._client: Client | None = None
        self._described: tuple[object, ...] = ()
        self._most = 0

    def step(self, now: datetime) -> Next | None:
        """Write what there is, one batch at the most. None: there is nothing (any more) to be fed here."""
        sink = Sink.objects.filter(pk=self._sink, enabled=True, must_rebuild=False).first()
        if sink is None:
            return None
        if sink.retry_at is not None and sink.retry_at > now:
            return Next(at=sink.retry_at)
        batch = self._batch(sink)
        if batch is None:
            return None
        if not batch.rows:
            return Next()
        try:
            self._write(sink, batch)
        except Kept as kept:
            return Next(at=_failed(sink, kept, timezone.now()))
        if _passed(sink, batch):
            self._at = batch.end
        return Next(at_once=bool(self._ahead), at=now + timedelta(seconds=sink.flush_interval))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    # ---- reading

    def _batch(self, sink: Sink) -> "Batch | None":
        """The next rows as points; None if they are gone."""
        position = Position(int(sink.at_xid), sink.at_id)
        if not self._ahead or self._at != position:
            self._ahead = deque(outbox.following(position, ROWS, BYTES))
        self._at = None  # until what is taken now has gone: whatever happens to it, it is read again
        if outbox.is_lost(position):
            _lost(sink)
            return None
        batch = Batch([], [], [])
        while self._ahead and len(batch.lines) < sink.batch_size:
            row = self._ahead.popleft()
            points = form(told.of_payload(row.payload, row.stored_at), sink, self._directory)
            batch.rows.append(row)
            batch.lines += points.lines
            batch.refused += points.refused
        return batch

    # ---- writing

    def _write(self, sink: Sink, batch: "Batch") -> None:
        """Raises Kept."""
        if not batch.lines:
            return
        try:
            client = self._client_of(sink)
        except ConfigurationError as error:
            raise Kept(str(error)) from None
        delivery = Delivery(client.write, client.make_database, min(self._most, sink.batch_size))
        try:
            batch.taken = delivery.deliver(batch.lines)
        finally:
            self._most = max(delivery.most, 1)
        batch.refused += delivery.refused

    def _client_of(self, sink: Sink) -> Client:
        """The client, made anew when the sink is described otherwise. Raises ConfigurationError."""
        described = tuple(getattr(sink, name) for name in DESCRIBED)
        if self._client is None or described != self._described:
            self.close()
            self._client = None
            self._client = Client(sink)
            self._described, self._most = described, sink.batch_size
            if sink.api == Sink.Api.V1:
                self._client.make_database()  # it may be there, and this user may not: what comes of it shows
        return self._client


@dataclass(slots=True)
class Batch:
    """Rows of the outbox as points. `taken`: how many the server took; `refused`: those it did not."""

    rows: list[Row]
    lines: list[str]
    refused: list[BadPoint]
    taken: int = 0

    @property
    def end(self) -> Position:
        return self.rows[-1].position


# ---- what came of it


@transaction.atomic
def _passed(sink: Sink, batch: Batch) -> bool:
    """Move on; False if somebody else has done that meanwhile."""
    moved = Sink.objects.filter(pk=sink.pk, at_xid=sink.at_xid, at_id=sink.at_id).update(
        at_xid=batch.end.xid,
        at_id=batch.end.id,
        at_time=batch.rows[-1].stored_at,
        points=F("points") + batch.taken,
        failures=0,
        retry_at=None,
        error="",
    )
    if not moved:
        return False
    set_aside(sink, batch.refused)
    if sink.failures >= sink.alert_threshold:
        logger.info("sink %s is fed again", sink)
    return True


def set_aside(sink: Sink, refused: list[BadPoint]) -> None:
    """Keep some of what was refused, for people to look at."""
    if not refused:
        return
    count = sum(each.count for each in refused)
    logger.warning("sink %s refused %d points, such as this: %s", sink, count, refused[0].words)
    SetAside.objects.bulk_create(
        SetAside(sink=sink, line=each.line[:LINE_MOST], reason=each.words)
        for each in refused[:ASIDE_OF_A_BATCH]
    )
    kept = SetAside.objects.filter(sink=sink).order_by("-id")
    if oldest := kept.values_list("id", flat=True)[ASIDE_MOST : ASIDE_MOST + 1].first():
        SetAside.objects.filter(sink=sink, id__lte=oldest).delete()


def _failed(sink: Sink, kept: Kept, now: datetime) -> datetime:
    """Note it; returns when to try again."""
    failures = sink.failures + 1
    at = now + timedelta(seconds=wait_after(failures, kept.wait, random.random()))  # noqa: S311 - no secret
    Sink.objects.filter(pk=sink.pk).update(failures=failures, retry_at=at, error=kept.words)
    if failures == sink.alert_threshold:
        logger.error("sink %s takes nothing, %d times in a row: %s", sink, failures, kept.words)
    else:
        logger.info("sink %s takes nothing: %s", sink, kept.words)
    return at


def _lost(sink: Sink) -> None:
    words = LOST % {"name": sink.name}
    Sink.objects.filter(pk=sink.pk).update(must_rebuild=True, error=words)
    logger.error("sink %s stops: %s", sink, words)
