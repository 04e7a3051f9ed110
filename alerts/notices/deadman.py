"""A dead man's switch: while all is well, a service elsewhere is asked once a minute.

When it hears no more, it tells people that the centre is gone, which the centre itself cannot.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Thread

import requests
from django.conf import settings

EVERY = timedelta(minutes=1)
PATIENCE = (3.0, 5.0)

logger = logging.getLogger(__name__)


@dataclass
class Switch:
    """The address to ask, and when that was done last."""

    url: str
    asked_at: datetime | None = None
    asking: Thread | None = None
    failed: bool = field(default=False)

    def ping(self, now: datetime, *, healthy: bool) -> bool:
        """Ask, if all is well and it is time, without waiting for the answer; whether it was asked."""
        if not self.url or not healthy:
            return False
        if self.asked_at is not None and timedelta(0) <= now - self.asked_at < EVERY:
            return False
        if self.asking is not None and self.asking.is_alive():
            return False
        self.asked_at = now
        self.asking = Thread(target=self._ask, name="deadman", daemon=True)
        self.asking.start()
        return True

    def _ask(self) -> None:
        # The address is the service's password: it stays out of the log, and so do the library's own words.
        try:
            with requests.get(self.url, timeout=PATIENCE, allow_redirects=False, stream=True) as answer:
                words = "" if answer.status_code < 400 else f"it answered {answer.status_code}"
        except requests.RequestException as error:
            words = type(error).__name__
        if words and not self.failed:
            logger.warning("the dead man's switch cannot be reached: %s", words)
        self.failed = bool(words)


_switch: Switch | None = None


def ping(now: datetime, healthy: bool) -> bool:
    """Tell the service of LABSITE_DEADMAN_URL that all is well, once a minute at most."""
    global _switch  # noqa: PLW0603 - one of this process
    if _switch is None or _switch.url != settings.DEADMAN_URL:
        _switch = Switch(settings.DEADMAN_URL)
    return _switch.ping(now, healthy=healthy)
