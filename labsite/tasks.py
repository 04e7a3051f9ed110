"""Tasks that put the steps of more than one app together."""

import logging
from datetime import datetime
from typing import Any

from celery import shared_task
from django.db import DataError, InterfaceError, OperationalError
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerAway

from devices import edges, trials, wire
from devices.edge_keys import key_of
from devices.models import Edge
from labsite import acks, pipeline
from labsite.pulse import pulse
from telemetry.models import SpoolMark

logger = logging.getLogger(__name__)


@shared_task(name="labsite.hello", acks_late=True, ignore_result=True)
def hello(message: dict[str, Any]) -> None:
    """Answer an edge's word of itself: lease its name, compare clocks and books, say what has arrived."""
    now = timezone.now()
    try:
        envelope, said = wire.open_envelope(message, wire.Hello, key_of)
        spool = edges.identity(said.spool)
        mark = SpoolMark.objects.filter(edge__name=envelope.edge, spool=spool).first()
        edges.answer(said, envelope, mark.through if mark else 0, now)
        pulse.beat(now)
    except wire.UnknownVersion as error:
        pulse.count("refused")
        acks.refuse(wire.envelope_of(message), str(error), now)
    except wire.WireError as error:
        pulse.count("dropped")
        logger.warning("a hello is dropped: %s: %s", type(error).__name__, error)
    except (OperationalError, InterfaceError, BrokerAway) as error:
        logger.error("a hello cannot be answered now: %s", str(error).strip())  # noqa: TRY400


@shared_task(name="labsite.tested", acks_late=True, ignore_result=True)
def tested(message: dict[str, Any]) -> None:
    """What came of a test of a connection, for whoever waits for it. Twice, or late, it does no harm."""
    try:
        envelope, tried = wire.open_envelope(message, wire.Tried, key_of)
        if not trials.take(tried, envelope.edge):
            logger.info("a test's answer of edge %s is not asked for (any more)", envelope.edge)
    except wire.WireError as error:
        pulse.count("dropped")
        logger.warning("a test's answer is dropped: %s: %s", type(error).__name__, error)
    except (DataError, OperationalError, InterfaceError) as error:
        logger.error("a test's answer cannot be noted: %s", str(error).strip())  # noqa: TRY400


@shared_task(name="labsite.ingest", acks_late=True, ignore_result=True)
def ingest(message: dict[str, Any]) -> None:
    """Store one parcel and answer its edge. Twice does no harm; unanswered, the edge sends it again."""
    now = timezone.now()
    try:
        _ingest(message, now)
        pulse.beat(now)
    except (OperationalError, InterfaceError) as error:
        logger.error("a parcel cannot be stored now: %s", str(error).strip())  # noqa: TRY400


def _ingest(message: dict[str, Any], now: datetime) -> None:
    try:
        envelope, parcel = wire.open_envelope(message, wire.Parcel, key_of)
    except (wire.UnknownVersion, wire.UnknownKey) as error:
        pulse.count("refused")
        acks.refuse(wire.envelope_of(message), str(error), now)
    except wire.WireError as error:
        pulse.count("dropped")
        logger.warning("a parcel is dropped: %s: %s", type(error).__name__, error)
    else:
        _take(envelope, parcel, now)


def _take(envelope: wire.Envelope, parcel: wire.Parcel, now: datetime) -> None:
    edge = Edge.objects.get(name=envelope.edge)
    try:
        outcome = pipeline.ingest(edge, parcel, now)
    except wire.Malformed as error:
        pulse.count("refused")
        acks.refuse(envelope, str(error), now)
    else:
        pulse.count("batches", len(parcel.sequences))
        pulse.count("readings", outcome.readings)
        acks.answer(edge, envelope, parcel, outcome, now)
