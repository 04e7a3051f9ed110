"""How people are told: one module each. Matrix is the bot's own business (alerts.matrix)."""

from collections.abc import Mapping

from alerts.notices.transports import apprise, email, webhook
from alerts.notices.transports.base import Transport, TransportError

TABLE: Mapping[str, Transport] = {"apprise": apprise, "email": email, "webhook": webhook}
MATRIX = "matrix"
NAMES = (*TABLE, MATRIX)

__all__ = ["MATRIX", "NAMES", "TABLE", "Transport", "TransportError"]
