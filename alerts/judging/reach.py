"""Up to when an edge's readings are at the centre."""

from datetime import datetime, timedelta

from alerts.models import Reach
from devices.models import PUSH_EDGE, Edge

PUSH_LATE = timedelta(seconds=5)  # pushed readings of before this have come


def complete(edge: int, now: datetime) -> datetime | None:
    """Up to when all readings of an edge have come; None: nobody knows."""
    reach = Reach.objects.filter(edge=edge).first()
    if reach is not None:
        return reach.complete_at
    return now - PUSH_LATE if Edge.objects.filter(pk=edge, name=PUSH_EDGE).exists() else None
