"""Verification by emoji, with another side that is written from the specification alone.

nio talks to nio whatever both do wrong; this one computes what 11.12.2.2 says out of the primitives.
"""

import base64
import json
from hashlib import sha256
from typing import Any

import nio
import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nio.crypto.sas import Sas

from alerts.matrix.homeserver import Homeserver
from alerts.matrix.verification import Verification, emoji

BOT, BOT_DEVICE = "@labsite:lab.test", "labsite"
ANNA, PHONE = "@anna:lab.test", "PHONE"
TRANSACTION = "t1"


def unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def canonical(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


class Phone:
    """The client that begins, by the specification."""

    def __init__(self, own_key: str) -> None:
        self.secret = X25519PrivateKey.generate()
        public = self.secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public, self.own_key = unpadded(public), own_key
        self.start = {
            "from_device": PHONE,
            "method": "m.sas.v1",
            "transaction_id": TRANSACTION,
            "key_agreement_protocols": ["curve25519-hkdf-sha256"],
            "hashes": ["sha256"],
            "message_authentication_codes": ["hkdf-hmac-sha256.v2", "hkdf-hmac-sha256"],
            "short_authentication_string": ["decimal", "emoji"],
        }

    def take_key(self, key: str, commitment: str) -> None:
        assert commitment == unpadded(sha256(key.encode() + canonical(self.start)).digest())
        other = X25519PublicKey.from_public_bytes(base64.b64decode(key + "="))
        self.shared, self.other = self.secret.exchange(other), key

    def derive(self, info: str, length: int) -> bytes:
        return HKDF(hashes.SHA256(), length, None, info.encode()).derive(self.shared)

    def emoji(self) -> list[int]:
        info = "|".join(
            (
                "MATRIX_KEY_VERIFICATION_SAS",
                ANNA,
                PHONE,
                self.public,
                BOT,
                BOT_DEVICE,
                self.other,
                TRANSACTION,
            )
        )
        bits = int.from_bytes(self.derive(info, 6), "big")
        return [bits >> (48 - 6 * (place + 1)) & 63 for place in range(7)]

    def mac(self, sender: str, what: str, key_id: str) -> str:
        parties = ANNA + PHONE + BOT + BOT_DEVICE if sender == ANNA else BOT + BOT_DEVICE + ANNA + PHONE
        info = f"MATRIX_KEY_VERIFICATION_MAC{parties}{TRANSACTION}{key_id}"
        code = hmac.HMAC(self.derive(info, 32), hashes.SHA256())
        code.update(what.encode())
        return unpadded(code.finalize())

    def macs(self) -> dict[str, Any]:
        name = f"ed25519:{PHONE}"
        keys = {name: self.mac(ANNA, self.own_key, name)}
        return {"transaction_id": TRANSACTION, "mac": keys, "keys": self.mac(ANNA, name, "KEY_IDS")}


class Sent(Homeserver):
    """Keeps what would be sent: nothing of this needs a network."""

    def __init__(self, client: nio.AsyncClient) -> None:
        super().__init__(client)
        self.messages: list[nio.ToDeviceMessage] = []

    async def ask(self, question: object, *args: Any, **named: Any) -> None:
        self.messages += args


class World:
    """The bot's real client, what it sends, and a phone."""

    def __init__(self, tmp_path: Any) -> None:
        self.client = nio.AsyncClient("http://127.0.0.1:1", BOT, BOT_DEVICE, str(tmp_path))
        self.client.restore_login(BOT, BOT_DEVICE, "token")
        own_key = unpadded(b"k" * 32)
        device = nio.crypto.OlmDevice(ANNA, PHONE, {"ed25519": own_key, "curve25519": unpadded(b"c" * 32)})
        self.client.device_store.add(device)
        self.client.store.save_device_keys({ANNA: {PHONE: device}})
        self.device = device
        self.phone = Phone(own_key)
        homeserver = Sent(self.client)
        self.sent = homeserver.messages
        self.verification = Verification(homeserver, self.knows)

    async def knows(self, matrix_id: str) -> bool:
        return matrix_id == ANNA

    async def hear(self, kind: str, content: dict[str, Any], sender: str = ANNA) -> None:
        """As a sync does it: nio first, then what it has to send, then we."""
        event = nio.ToDeviceEvent.parse_event(
            {"type": f"m.key.verification.{kind}", "sender": sender, "content": content}
        )
        self.client.olm.handle_to_device_event(event)
        self.sent.extend(self.client.outgoing_to_device_messages)
        self.client.outgoing_to_device_messages.clear()
        await self.verification.take([event])

    def last(self, kind: str) -> dict[str, Any]:
        assert self.sent[-1].type == f"m.key.verification.{kind}", self.sent
        content: dict[str, Any] = self.sent[-1].content
        return content


@pytest.fixture
def world(tmp_path: Any) -> World:
    return World(tmp_path)


async def up_to_the_emoji(world: World) -> None:
    request = {
        "from_device": PHONE,
        "methods": ["m.sas.v1", "m.qr_code.show.v1"],
        "transaction_id": TRANSACTION,
        "timestamp": 1,
    }
    await world.hear("request", request)
    assert world.last("ready")["methods"] == ["m.sas.v1"]
    await world.hear("start", world.phone.start)
    accept = world.last("accept")
    assert accept["message_authentication_code"] == "hkdf-hmac-sha256.v2"
    await world.hear("key", {"transaction_id": TRANSACTION, "key": world.phone.public})
    (key,) = [each.content for each in world.sent if each.type == "m.key.verification.key"]
    world.phone.take_key(key["key"], accept["commitment"])


async def test_both_sides_show_the_same_emoji_and_verify_each_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await up_to_the_emoji(world)
    shown = [Sas.emoji[index] for index in world.phone.emoji()]
    assert emoji(world.client.key_verifications[TRANSACTION]) == shown
    assert " ".join(f"{sign} {word}" for sign, word in shown) in caplog.text
    mac, own = world.last("mac"), f"ed25519:{BOT_DEVICE}"
    fingerprint = world.client.olm.account.identity_keys["ed25519"]
    assert mac["mac"] == {own: world.phone.mac(BOT, fingerprint, own)}
    assert mac["keys"] == world.phone.mac(BOT, own, "KEY_IDS")
    await world.hear("mac", world.phone.macs())
    assert world.last("done") == {"transaction_id": TRANSACTION}
    assert world.client.olm.is_device_verified(world.device)


async def test_a_key_that_is_another_is_not_verified(world: World) -> None:
    await up_to_the_emoji(world)
    world.phone.own_key = unpadded(b"x" * 32)
    await world.hear("mac", world.phone.macs())
    assert world.last("cancel")["code"] == "m.key_mismatch"
    assert not world.client.olm.is_device_verified(world.device)


async def test_strangers_and_who_comes_too_late_are_not_answered(world: World) -> None:
    await world.hear("start", world.phone.start, sender="@eve:lab.test")
    assert world.sent == []
    world.verification.ends_at = 0.0
    await world.hear("start", world.phone.start)
    assert world.sent == []
