"""What every transport is."""

from typing import Protocol

from alerts.models import Contact
from alerts.notices.words import Message


class TransportError(Exception):
    """A notice was not taken; the message is for people and holds no secret.

    `retry_after`: seconds for which the other side asked for patience. `final`: it will never take this.
    `unsure`: it may have taken it all the same. `away`: nothing of it was reached; others would fare alike.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        final: bool = False,
        unsure: bool = False,
        away: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.final = final
        self.unsure = unsure
        self.away = away


class Transport(Protocol):
    """A way to tell somebody something. Neither function asks the database."""

    def check(self, contact: Contact) -> None:
        """Raises ConfigurationError if nothing can be sent to this contact as things are set up."""

    def send(self, contact: Contact, message: Message) -> str:
        """Hand a message over; returns the other side's own name for it. Raises TransportError."""
