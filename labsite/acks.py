"""What an edge is told of its parcels. If the broker does not take it, the edge sends again."""

import logging
import time
from datetime import datetime

import msgspec
from django.utils import timezone
from kombu.exceptions import OperationalError

from devices import wire
from devices.edges import microseconds
from devices.models import Edge
from devices.outgoing import send_to_edge
from labsite.pipeline import Outcome

REFUSAL_S = 1.0  # between refusals to one edge: some of them anybody can call forth
REASON_LENGTH = 500

logger = logging.getLogger(__name__)
_refused: dict[str, float] = {}


class Sent(wire.Message, frozen=True):
    """What an answer needs of a parcel, whatever its version."""

    spool: str = ""
    sequences: list[int] = []
    sent_mono: int = 0


def answer(edge: Edge, envelope: wire.Envelope, parcel: wire.Parcel, outcome: Outcome, now: datetime) -> None:
    """Tell an edge what became of its batches; after the commit. `now`: when the parcel came."""
    if outcome.stored:
        sent = Sent(parcel.spool, outcome.stored, parcel.sent_mono)
        _send(edge, _ack(sent, "stored", "", outcome.through, now), envelope.key)
    if outcome.rejected:
        sent = Sent(parcel.spool, sorted(outcome.rejected), parcel.sent_mono)
        reason = "; ".join(sorted(set(outcome.rejected.values())))
        _send(edge, _ack(sent, "rejected", reason, outcome.through, now), envelope.key)


def refuse(envelope: wire.Envelope, reason: str, now: datetime) -> None:
    """A nack: neither stored nor forgotten. Signed with a key that the edge should have."""
    logger.error("a %s of edge %s is refused: %s", envelope.kind.lower(), envelope.edge, reason)
    edge = Edge.objects.filter(name=envelope.edge, retired_at=None).first()
    if edge is None or _lately(edge):
        return
    try:
        sent = msgspec.json.decode(envelope.body, type=Sent)
    except msgspec.MsgspecError:
        sent = Sent()
    _send(edge, _ack(sent, "refused", reason, 0, now))


def forget() -> None:
    """Whom this process refused lately."""
    _refused.clear()


def _ack(sent: Sent, outcome: str, reason: str, through: int, now: datetime) -> wire.Ack:
    return wire.Ack(
        spool=sent.spool,
        sequences=sent.sequences,
        outcome=outcome,
        reason=reason[:REASON_LENGTH],
        through=through,
        received=microseconds(now),
        replied=microseconds(timezone.now()),
        sent_mono=sent.sent_mono,
    )


def _send(edge: Edge, ack: wire.Ack, key_version: int | None = None) -> None:
    try:
        send_to_edge(edge, "edge.ack", ack, key_version)
    except (OperationalError, OSError) as error:
        logger.warning("edge %s is not told that its parcel is %s: %s", edge.name, ack.outcome, error)


def _lately(edge: Edge) -> bool:
    now = time.monotonic()
    lately = now - _refused.get(edge.name, float("-inf")) < REFUSAL_S
    if not lately:
        _refused[edge.name] = now
    return lately
