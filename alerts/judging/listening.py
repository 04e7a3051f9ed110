"""Whether the centre hears its edges: since when the broker answers and ingest keeps up with it."""

import logging
from datetime import datetime, timedelta

from celery import current_app
from kombu.exceptions import KombuError

from devices.outgoing import waiting

QUEUE = "ingest"
WAITING_MAX = 20  # messages; with more, what edges said is still unread
EVERY = timedelta(seconds=2)
LOOKED_AT_LEAST_EVERY = timedelta(seconds=15)  # else nobody knows what was between two looks

logger = logging.getLogger(__name__)


class Listening:
    """After an outage of the centre itself edges are given time to be heard before one is called silent."""

    def __init__(self) -> None:
        self.since: datetime | None = None
        self.looked_at: datetime | None = None

    def look(self, now: datetime) -> datetime | None:
        """Since when edges would have been heard; None if they would not."""
        if self.looked_at is not None and timedelta(0) <= now - self.looked_at < EVERY:
            return self.since
        is_late = self.looked_at is None or not timedelta(0) <= now - self.looked_at < LOOKED_AT_LEAST_EVERY
        self.looked_at = now
        if not keeps_up():
            self.since = None
        elif self.since is None or is_late:
            self.since = now
        return self.since


def keeps_up() -> bool:
    """Whether nothing much waits for ingest."""
    try:
        with current_app.producer_or_acquire() as producer:
            return waiting(producer, [QUEUE])[QUEUE] <= WAITING_MAX
    except (KombuError, OSError, *current_app.connection_for_write().connection_errors) as error:
        logger.warning("broker away: %s", error)
        return False
