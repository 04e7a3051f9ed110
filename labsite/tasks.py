"""Tasks that put the steps of more than one app together."""

import logging
from typing import Any

from celery import shared_task
from django.utils import timezone

from devices import edges, wire
from devices.edge_keys import key_of
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
    except wire.WireError as error:
        logger.warning("a hello is dropped: %s: %s", type(error).__name__, error)
