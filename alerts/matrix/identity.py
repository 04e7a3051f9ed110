"""Cross-signing: the account's own word that the bot's device is its device.

Without it newer clients give the bot's device no keys and do not show what it sends (MSC4153, "exclude
non-cross-signed devices"). nio does not know cross-signing. Source: client-server specification, 11.12.2.3;
the keys are Ed25519, the signatures are of canonical JSON.
"""

import json
import logging
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import nio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from alerts.matrix.homeserver import Away, Client, Rejected, in_time
from devices import files

USAGES = ("master", "self_signing", "user_signing")
PATH = "/_matrix/client/v3/keys/"
SECONDS = 20.0

Json = dict[str, Any]

logger = logging.getLogger(__name__)


class Key:
    """One of the account's three keys."""

    def __init__(self, seed: bytes) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = _text(self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def name(self) -> str:
        return f"ed25519:{self.public}"

    def signed(self, of: Json, user: str) -> Json:
        """The same object with this key's signature, and only this."""
        plain = {name: value for name, value in of.items() if name not in ("signatures", "unsigned")}
        signature = self.private.sign(nio.Api.to_canonical_json(plain).encode())
        return {**plain, "signatures": {user: {self.name: _text(signature)}}}


class Identity:
    """The keys, made once and kept in the bot's folder, and what the homeserver is told with them."""

    def __init__(self, folder: Path, password: str) -> None:
        self.password = password
        seeds = _kept(folder / "identity.json")
        self.keys = {usage: Key(b64decode(seeds[usage])) for usage in USAGES}

    async def sign(self, client: Client) -> None:
        """Make sure that the device is signed; an account without keys gets them. Raises Away, Rejected."""
        user = client.user_id
        known = await self._ask(client, "query", {"device_keys": {user: [client.device_id]}})
        device = known.get("device_keys", {}).get(user, {}).get(client.device_id)
        if device is None:
            raise Away("the device's keys are not at the homeserver yet")
        master = known.get("master_keys", {}).get(user)
        if master is None:
            await self._upload(client)
        elif self.keys["master"].name not in master["keys"]:
            logger.warning(
                "the account %s has been given its keys by another client: verify the device %s from there",
                user, client.device_id,
            )  # fmt: skip
            return
        signing = self.keys["self_signing"]
        if signing.name in device.get("signatures", {}).get(user, {}):
            return
        signed = {user: {client.device_id: signing.signed(device, user)}}
        answer = await self._ask(client, "signatures/upload", signed)
        if failures := answer.get("failures"):
            raise Rejected(f"the device's signature is not taken: {failures}")
        logger.info("the account has signed its device %s", client.device_id)

    async def _upload(self, client: Client) -> None:
        """The homeserver may want the password for it."""
        user, master = client.user_id, self.keys["master"]
        keys = {usage: self._public(usage, user) for usage in USAGES}
        for usage in USAGES[1:]:
            keys[usage] = master.signed(keys[usage], user)
        form = {f"{usage}_key": key for usage, key in keys.items()}
        answer = await self._ask(client, "device_signing/upload", form)
        if session := answer.get("session"):
            identifier = {"type": "m.id.user", "user": user}
            login = {"type": "m.login.password", "identifier": identifier, "password": self.password}
            auth = {**login, "session": session}
            await self._ask(client, "device_signing/upload", {**form, "auth": auth})

    def _public(self, usage: str, user: str) -> Json:
        key = self.keys[usage]
        return {"user_id": user, "usage": [usage], "keys": {key.name: key.public}}

    async def _ask(self, client: Client, what: str, form: Json) -> Json:
        """What the homeserver answers; that it wants the password is an answer, too."""
        headers = {"Authorization": f"Bearer {client.access_token}", "Content-Type": "application/json"}
        async with in_time(SECONDS):
            response = await client.send("POST", PATH + what, json.dumps(form), headers)
            answer: Json = await client.parse_body(response)
        if response.status == 200 or (response.status == 401 and "flows" in answer and "auth" not in form):
            return answer
        words = f"{answer.get('error', 'no reason')} ({response.status})"
        if response.status == 429 or response.status >= 500:
            raise Away(f"the homeserver answers: {words}")
        raise Rejected(f"the homeserver refuses: {words}")


def _kept(path: Path) -> dict[str, str]:
    """The seeds of the keys, made if there are none."""
    if not path.exists():
        made = {usage: b64encode(os.urandom(32)).decode() for usage in USAGES}
        files.replace(path, json.dumps(made).encode())
    seeds: dict[str, str] = json.loads(path.read_text(encoding="ascii"))
    return seeds


def _text(data: bytes) -> str:
    """Unpadded base64, as Matrix writes keys and signatures."""
    return b64encode(data).decode().rstrip("=")
