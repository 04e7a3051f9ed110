"""The homeserver, through matrix-nio: one sync after the other, and messages that all devices can read."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import nio
from aiohttp import ClientConnectorError, ClientError
from nio.responses import Response

from alerts.matrix.content import Content

SYNC_S = 30.0  # how long the homeserver waits for news
FIRST_SYNC_S = 120.0
SEND_S = 20.0
UPLOAD_S = 60.0
SHARE_TRIES = 3
FILTER = {
    "presence": {"not_types": ["*"]},
    "account_data": {"not_types": ["*"]},
    "room": {
        "ephemeral": {"not_types": ["*"]},
        "account_data": {"not_types": ["*"]},
        "timeline": {"limit": 50},
    },
}
LOGIN_LOST = ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN")
PASSING = ("M_LIMIT_EXCEEDED", *LOGIN_LOST, "M_UNKNOWN", None)


class Away(Exception):
    """It cannot be reached or does not answer as it should: try again later."""

    is_passing = True
    is_away = True

    def __init__(self, words: str, *, is_unsure: bool = False) -> None:
        super().__init__(words)
        self.is_unsure = is_unsure  # it may have taken what was sent


class Limited(Away):
    """It takes no more for now."""

    is_away = False

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the homeserver takes no more for {retry_after:.1f} s")
        self.retry_after = retry_after


class LoginLost(Away):
    """The access token is not taken any more."""


class Rejected(Exception):
    """It refuses, and would the next time, too."""

    is_passing = False


class Client(nio.AsyncClient):
    """nio's client, which also keeps what decryption drops: how old each event was when it came."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.said_at: dict[str, float] = {}
        self.asked_at = 0.0
        self.patience = 0.0
        self.add_response_callback(_stop_if_limited, nio.RoomSendError)

    async def receive_response(self, response: Response) -> None:
        if isinstance(response, nio.SyncResponse):
            self._note_ages(response)
        await super().receive_response(response)

    def _note_ages(self, response: nio.SyncResponse) -> None:
        """An answer that took longer than the homeserver was to wait has been under way: that is age, too."""
        late = max(0.0, now() - self.asked_at - self.patience)
        events = [event for room in response.rooms.join.values() for event in room.timeline.events]
        self.said_at = {event.event_id: now() - late - _age(event) for event in events}


def now() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def age_since(said_at: float) -> float:
    """Seconds since an event was sent, by the homeserver's clock."""
    return max(0.0, now() - said_at)


def _age(event: Any) -> float:
    """By the homeserver; where it does not tell, by the times of the event and of our own clock."""
    unsigned = event.source.get("unsigned")
    age = unsigned.get("age") if isinstance(unsigned, dict) else None
    if isinstance(age, int | float):
        return float(age) / 1000
    return time.time() - float(event.server_timestamp) / 1000


async def _stop_if_limited(response: Any) -> None:
    """nio itself would wait, and send the same again; but what waits here may be old news by then."""
    if response.status_code == "M_LIMIT_EXCEEDED":
        raise Limited((response.retry_after_ms or 5000) / 1000)


class Homeserver:
    """What the bot does there. Everything raises Away and Rejected."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def fingerprint(self) -> str:
        """The device's key as people compare it: in groups of four."""
        key = self.client.olm.account.identity_keys["ed25519"]
        return " ".join(key[place : place + 4] for place in range(0, len(key), 4))

    async def sync(self, since: str | None, *, whole: bool, wait: bool) -> nio.SyncResponse:
        """What is new since a position; `whole`: and the state of all rooms; `wait`: until something is."""
        patience = SYNC_S if wait else 0.0
        self.client.asked_at, self.client.patience = now(), patience + 5.0
        async with in_time(FIRST_SYNC_S if whole else patience + SEND_S):
            answer = await self.client.sync(
                timeout=int(patience * 1000),
                sync_filter=FILTER,
                since=since,
                full_state=whole or None,
            )
        if not isinstance(answer, nio.SyncResponse):
            raise refusal(answer)
        return answer

    async def keep_keys(self) -> None:
        """Give out what others need to write to us, learn what we need to write to them."""
        client = self.client
        async with in_time(SEND_S):
            await client.send_to_device_messages()
            if client.should_upload_keys:
                await client.keys_upload()
            if client.should_query_keys:
                await client.keys_query()
            if client.should_claim_keys:
                await client.keys_claim(client.get_users_for_key_claiming())

    async def send(self, room_id: str, kind: str, content: Content, transaction: str) -> str:
        """Send an event, encrypted if the room is; its id. The same transaction is the same event."""
        async with self._turns[room_id], in_time(SEND_S):
            if room_id not in self.client.rooms:
                raise Away("the bot is not in the room (yet)")
            if self.client.rooms[room_id].encrypted and kind != "m.reaction":
                await self._share_key(room_id)
            answer = await self.client.room_send(
                room_id, kind, content, tx_id=transaction, ignore_unverified_devices=True
            )
        if not isinstance(answer, nio.RoomSendResponse):
            raise refusal(answer)
        return str(answer.event_id)

    async def _share_key(self, room_id: str) -> None:
        """Make sure that every device in the room has the key: nio drops what fails in it without a word."""
        client = self.client
        if not client.rooms[room_id].members_synced:
            await client.joined_members(room_id)
        if client.should_query_keys:
            await client.keys_query()
        for _try in range(SHARE_TRIES):
            if client.olm.should_share_group_session(room_id):
                await client.share_group_session(room_id, ignore_unverified_devices=True)
            session = client.olm.outbound_group_sessions[room_id]
            if not self._without_key(room_id, session):
                return
            session.shared = False
        raise Away("the room's key could not be given to every device")

    def _without_key(self, room_id: str, session: Any) -> bool:
        """Whether a device that could have the key has not got it."""
        client = self.client
        return any(
            (user, device.id) not in session.users_shared_with
            and (user, device.id) not in session.users_ignored
            and client.olm.session_store.get(device.curve25519) is not None
            for user in client.rooms[room_id].users
            for device in client.device_store.active_user_devices(user)
        )

    async def upload(self, picture: bytes, name: str, room_id: str) -> Content:
        """Upload a PNG for a room; how a message there refers to it."""
        is_encrypted = self.client.rooms[room_id].encrypted
        async with in_time(UPLOAD_S):
            answer, keys = await self.client.upload(
                BytesIO(picture), "image/png", name, encrypt=is_encrypted, filesize=len(picture)
            )
        if not isinstance(answer, nio.UploadResponse):
            raise refusal(answer)
        if not is_encrypted:
            return {"url": answer.content_uri}
        return {"file": {**keys, "url": answer.content_uri, "mimetype": "image/png"}}

    async def ask(self, question: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Any other request of nio's."""
        async with in_time(SEND_S):
            answer = await question(*args, **named)
        if isinstance(answer, nio.ErrorResponse):
            raise refusal(answer)
        return answer


def refusal(answer: Any) -> Exception:
    """What an error of nio's means for us."""
    words = f"{answer.message} ({answer.status_code})" if answer.status_code else str(answer.message)
    status = getattr(answer.transport_response, "status", 500)
    if answer.status_code == "M_LIMIT_EXCEEDED":
        return Limited((answer.retry_after_ms or 5000) / 1000)
    if answer.status_code in LOGIN_LOST:
        return LoginLost(words)
    if status >= 500 or answer.status_code in PASSING:
        return Away(f"the homeserver answers: {words}", is_unsure=True)
    return Rejected(f"the homeserver refuses: {words}")


@asynccontextmanager
async def in_time(seconds: float) -> AsyncIterator[None]:
    """What nio, its HTTP client and the network make of an absent homeserver is one thing to us."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Away(f"the homeserver does not answer within {seconds:.0f} s", is_unsure=True) from None
    except ClientConnectorError as error:
        raise Away(f"the homeserver cannot be reached: {error}") from None
    except (ClientError, OSError) as error:
        raise Away(f"the homeserver was lost: {error or type(error).__name__}", is_unsure=True) from None
    except (nio.LocalProtocolError, nio.EncryptionError) as error:
        raise Away(f"it cannot be sent now: {error}") from None
