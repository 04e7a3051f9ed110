"""Verification by emoji (SAS), for a while after the start if the switch allows it.

Source: Matrix client-server specification 1.13, 11.12.2.2. The person compares the emoji that their client
shows with those in the bot's log, and confirms there. The bot confirms by itself: nobody gains a right by it.

nio 0.26 sends the commitment in hexadecimal, names a MAC that it does not calculate, and shows other emoji
than were agreed on (matrix-nio issue 570 and pull request 573); these three are put right here.
"""

import logging
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import nio
from nio.crypto.sas import Sas

from alerts.matrix.homeserver import Homeserver, Rejected

OPEN_S = 600.0
METHOD = "m.sas.v1"
MAC = "hkdf-hmac-sha256.v2"  # what vodozemac calculates
PREFIX = "m.key.verification."

logger = logging.getLogger(__name__)


class Verification:
    """The bot's side. `knows`: whether a Matrix id is one of Labsite's people."""

    def __init__(self, homeserver: Homeserver, knows: Callable[[str], Awaitable[bool]]) -> None:
        self.homeserver = homeserver
        self.knows = knows
        self.ends_at = time.monotonic() + OPEN_S

    async def take(self, events: list[Any]) -> None:
        """Go on with what came for this device. Raises Away."""
        for event in events:
            if not self._is_ours(event):
                continue
            if time.monotonic() > self.ends_at or not await self.knows(event.sender):
                logger.warning("%s wants to verify this device: not open to them (now)", event.sender)
                continue
            try:
                await self._go_on(event)
            except (Rejected, nio.LocalProtocolError) as error:
                logger.warning("verification with %s: %s", event.sender, error)

    async def _go_on(self, event: Any) -> None:
        if isinstance(event, nio.UnknownToDeviceEvent):
            await self._get_ready(event)
        elif isinstance(event, nio.KeyVerificationStart):
            await self._accept(event)
        elif isinstance(event, nio.KeyVerificationKey):
            await self._confirm(event)
        elif isinstance(event, nio.KeyVerificationMac):
            await self._finish(event)

    @staticmethod
    def _is_ours(event: Any) -> bool:
        is_request = isinstance(event, nio.UnknownToDeviceEvent) and event.type == f"{PREFIX}request"
        return is_request or isinstance(event, nio.KeyVerificationEvent)

    async def _get_ready(self, event: nio.UnknownToDeviceEvent) -> None:
        """Answer the question that newer clients begin with."""
        asked = event.source["content"]
        if METHOD not in asked.get("methods", []):
            return
        ready = {
            "from_device": self.homeserver.client.device_id,
            "methods": [METHOD],
            "transaction_id": asked.get("transaction_id"),
        }
        await self._send("ready", event.sender, str(asked.get("from_device")), ready)

    async def _accept(self, event: nio.KeyVerificationStart) -> None:
        sas = self._sas(event)
        if sas is None or sas.canceled:
            return
        content = nio.Api.to_canonical_json(event.source["content"])
        digest = sha256(sas.pubkey.encode() + content.encode()).digest()
        sas.commitment = b64encode(digest).decode().rstrip("=")
        accept = sas.accept_verification()
        if MAC in event.message_authentication_codes:
            accept.content["message_authentication_code"] = MAC
        await self.homeserver.ask(self.homeserver.client.to_device, accept)

    async def _confirm(self, event: nio.KeyVerificationKey) -> None:
        """nio has sent our key by now; both sides show their emoji."""
        sas = self._sas(event)
        if sas is None or sas.canceled or sas.established_sas is None:
            return
        shown = " ".join(f"{sign} {word}" for sign, word in emoji(sas))
        logger.warning("%s verifies this device. Compare before you confirm: %s", event.sender, shown)
        sas.accept_sas()
        await self.homeserver.ask(self.homeserver.client.to_device, sas.get_mac())

    async def _finish(self, event: nio.KeyVerificationMac) -> None:
        sas = self._sas(event)
        if sas is None or not sas.verified:
            return
        logger.warning("%s has verified this device, and is verified", event.sender)
        done = {"transaction_id": sas.transaction_id}
        await self._send("done", event.sender, sas.other_olm_device.id, done)

    def _sas(self, event: Any) -> Any:
        return self.homeserver.client.key_verifications.get(event.transaction_id)

    async def _send(self, kind: str, person: str, device: str, content: dict[str, Any]) -> None:
        message = nio.ToDeviceMessage(PREFIX + kind, person, device, content)
        await self.homeserver.ask(self.homeserver.client.to_device, message)


def emoji(sas: Sas) -> list[tuple[str, str]]:
    """The seven that both sides show."""
    indices = sas.established_sas.bytes(sas._extra_info).emoji_indices  # noqa: SLF001 - nothing else tells it
    return [Sas.emoji[index] for index in indices]
