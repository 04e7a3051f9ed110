"""Tests of connections: a single poll at an instrument's edge, asked for and awaited by a person.

The question goes through the broker, the answer comes back through ingest into a row of `Trial`; PostgreSQL's
NOTIFY wakes who waits for it, in whatever process.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from django.db import connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerAway

from devices import drivers, wire
from devices.edges import LEASE, microseconds
from devices.epoch import epoch
from devices.errors import ConfigurationError, Refused
from devices.models import Instrument, Trial
from devices.outgoing import WAITING_MAX, send_to_edge
from devices.readings import Quality

ANSWER_WITHIN_S = 12.0  # an edge takes 4 s to give it a turn, 5 s to read, 2 s to take leave, at most
AT_ONCE_MAX = 10
KEPT = timedelta(hours=1)
CHANNEL = "labsite_trials"
DJANGO_ONLY = ("context", "cursor_factory", "prepare_threshold")

logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """A channel as a test found it; `value` is None and `quality` empty where nothing was said of it."""

    key: str
    label: str
    unit: str
    value: float | int | bool | str | list[float | None] | None
    quality: str
    time: datetime | None
    length: int

    @property
    def shown(self) -> str:
        """The value as text."""
        value = self.value
        if isinstance(value, list):
            numbers = ", ".join("–" if number is None else f"{number:.6g}" for number in value[:8])
            return f"{numbers}{', …' if self.length > 8 else ''} ({self.length})"
        if isinstance(value, float):
            return f"{value:.10g}"
        return "–" if value is None else str(value)


@dataclass(frozen=True)
class Verdict:
    """What came of a test. `silence`: why there is no answer of the edge; "" if there is one."""

    instrument: Instrument
    silence: str = ""
    tried: wire.Tried | None = None

    @property
    def error(self) -> str:
        return self.silence or (self.tried.error if self.tried else "")

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def summary(self) -> str:
        """In one line."""
        if self.tried is None or self.error:
            return self.error
        way = "connected already" if self.tried.shared else f"connected in {milliseconds(self.tried.connect)}"
        return f"{way}, read in {milliseconds(self.tried.read)}: {self.said} of {len(self.rows())} channels"

    @property
    def said(self) -> int:
        """Of how many channels something was said."""
        return len(self.tried.readings) if self.tried else 0

    @property
    def told(self) -> list[str]:
        return self.tried.told if self.tried else []

    def rows(self) -> list[Row]:
        """All that was said, in the order of the channels that the driver declares."""
        readings = {reading.key: reading for reading in self.tried.readings} if self.tried else {}
        declared = {channel.key: channel for channel in _channels(self.instrument)} if readings else {}
        rows = []
        for key in (*declared, *(key for key in readings if key not in declared)):
            label, unit = (declared[key].label, declared[key].unit) if key in declared else (key, "")
            said = readings.get(key) or wire.TriedReading(key, None, -1)
            quality = Quality(said.quality).name.lower() if said.quality in set(Quality) else ""
            rows.append(Row(key, label, unit, said.value, quality, _moment(said.time), said.length))
        return rows


def run(instruments: Sequence[Instrument]) -> list[Verdict]:
    """Have each polled once by its edge, all at the same time; comes back once all have answered, or late.

    Raises Refused if so many cannot be tested at once.
    """
    trials = _begin(instruments)
    with _listener() as listener:
        sent = {
            trial.pk: _send(trial, instrument) for trial, instrument in zip(trials, instruments, strict=True)
        }
        answers = _answers(listener, [pk for pk, trouble in sent.items() if not trouble])
    return [
        _verdict(instrument, sent[trial.pk], answers.get(trial.pk))
        for trial, instrument in zip(trials, instruments, strict=True)
    ]


def take(tried: wire.Tried, edge: str) -> bool:
    """Note an edge's answer and wake who waits for it; whether this edge was asked and had not answered.

    Raises wire.Malformed.
    """
    try:
        pk = UUID(tried.trial)
    except ValueError:
        raise wire.Malformed(f"{tried.trial[:60]!r} is no UUID") from None
    with transaction.atomic(), connection.cursor() as cursor:
        asked = Trial.objects.filter(pk=pk, edge__name=edge, tried__isnull=True)
        noted = asked.update(tried=msgspec.to_builtins(tried))
        if noted:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(pk)])
    return bool(noted)


def forget_old(now: datetime) -> None:
    """Nobody asks for a test's result twice."""
    Trial.objects.filter(asked_at__lt=now - KEPT).delete()


# ---- asking


def _begin(instruments: Sequence[Instrument]) -> list[Trial]:
    now = timezone.now()
    recent = Trial.objects.filter(
        tried__isnull=True, asked_at__gt=now - timedelta(seconds=ANSWER_WITHIN_S)
    ).count()
    if recent + len(instruments) > AT_ONCE_MAX:
        raise Refused(f"at most {AT_ONCE_MAX} connections are tested at once; wait for those under way")
    return Trial.objects.bulk_create(
        Trial(edge=instrument.edge, instrument=instrument.pk, asked_at=now) for instrument in instruments
    )


def _send(trial: Trial, instrument: Instrument) -> str:
    """Why the edge cannot be asked; "" if it is."""
    order = wire.Order(
        instrument=str(instrument.pk),
        name=instrument.name,
        driver=instrument.driver,
        address=instrument.address,
        options=instrument.options,
        interval=instrument.interval,
        phase=0.0,
        revision=-1,
    )
    once = wire.Once(str(trial.pk), microseconds(timezone.now()))
    edge = instrument.edge
    try:
        sent = send_to_edge(edge, "edge.poll", wire.Poll(epoch(), order, once), waiting_max=WAITING_MAX)
    except (BrokerAway, OSError) as error:
        return f"The message broker cannot be reached ({type(error).__name__}): edge {edge} cannot be asked."
    return "" if sent else f"Edge {edge} does not read its messages; {_heard(instrument)}"


# ---- waiting


def _listener() -> psycopg.Connection[Any]:
    """A connection that hears of answers from now on."""
    known = connection.get_connection_params()
    parameters = {name: value for name, value in known.items() if name not in DJANGO_ONLY}
    listener = psycopg.connect(**{**parameters, "application_name": "labsite trial"}, autocommit=True)
    try:
        listener.execute(f"LISTEN {CHANNEL}")
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(listener: psycopg.Connection[Any], asked: Sequence[UUID]) -> Mapping[UUID, wire.Tried]:
    end = time.monotonic() + ANSWER_WITHIN_S
    found: dict[UUID, wire.Tried] = {}
    while True:
        for trial in Trial.objects.filter(pk__in=set(asked) - found.keys(), tried__isnull=False):
            found[trial.pk] = msgspec.convert(trial.tried, wire.Tried)
        left = end - time.monotonic()
        if len(found) == len(asked) or left <= 0:
            return found
        _await_news(listener, left)


def _await_news(listener: psycopg.Connection[Any], within: float) -> None:
    for _ in listener.notifies(timeout=within, stop_after=1):
        pass


# ---- telling


def _verdict(instrument: Instrument, trouble: str, tried: wire.Tried | None) -> Verdict:
    if not trouble and tried is None:
        trouble = (
            f"Edge {instrument.edge} did not answer within {ANSWER_WITHIN_S:.0f} s; {_heard(instrument)}"
        )
    return Verdict(instrument, trouble, tried)


def _heard(instrument: Instrument) -> str:
    """What a person does about an edge that does not answer."""
    heard = instrument.edge.heard_at
    if heard is None:
        return "it has never been heard of. Is its process running, with the key that `enrol_edge` printed?"
    ago = timezone.now() - heard
    if ago > LEASE:
        return f"it was last heard {heard:%Y-%m-%d %H:%M:%S} UTC. Is its process running, and its network up?"
    return f"it was heard {max(ago.total_seconds(), 0):.0f} s ago. Try again; is the centre's ingest busy?"


def _channels(instrument: Instrument) -> Iterator[drivers.base.Channel]:
    try:
        driver = drivers.load(instrument.driver)
        yield from driver.channels_for(driver.checked_options(instrument.options))
    except ConfigurationError:
        return


def milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"


def _moment(time: int | None) -> datetime | None:
    try:
        return None if time is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    except OverflowError:
        return None
