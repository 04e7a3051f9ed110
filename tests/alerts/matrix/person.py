"""Somebody in a Matrix room: a client of its own, with its own keys, that knows nothing of Labsite's code."""

import asyncio
import json
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import nio
from nio.crypto.attachments import decrypt_attachment

from tests.waiting import until

Found = TypeVar("Found")


class Loop:
    """The one loop of all people, in a thread of its own: nio's store is for one thread at a time."""

    def __init__(self) -> None:
        self.people = 0

    def enter(self) -> asyncio.AbstractEventLoop:
        if not self.people:
            self.loop = asyncio.new_event_loop()
            self.thread = threading.Thread(target=self.loop.run_forever, name="people", daemon=True)
            self.thread.start()
        self.people += 1
        return self.loop

    def leave(self) -> None:
        self.people -= 1
        if not self.people:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(5)
            self.loop.close()


LOOP = Loop()


@dataclass(frozen=True)
class Said:
    """An event as the person sees it."""

    event_id: str
    room_id: str
    sender: str
    body: str
    content: dict[str, Any]
    is_encrypted: bool
    at: float = field(default_factory=time.monotonic)

    @property
    def replaces(self) -> str:
        related = self.content.get("m.relates_to", {})
        return str(related.get("event_id", "")) if related.get("rel_type") == "m.replace" else ""

    @property
    def thread(self) -> str:
        related = self.content.get("m.relates_to", {})
        return str(related.get("event_id", "")) if related.get("rel_type") == "m.thread" else ""

    @property
    def answers(self) -> str:
        related = self.content.get("m.relates_to", {}).get("m.in_reply_to", {})
        return str(related.get("event_id", ""))


class Person:
    """Logs in at once and follows; `heard` is all that came, decrypted. Calls wait until they are done."""

    def __init__(self, url: str, matrix_id: str, folder: Path) -> None:
        self.matrix_id = matrix_id
        self.name = matrix_id[1:].partition(":")[0]
        self.heard: list[Said] = []
        self.unread: list[str] = []
        self.following: asyncio.Task[None] | None = None
        self._loop = LOOP.enter()
        folder.mkdir(parents=True)
        config = nio.AsyncClientConfig(max_timeout_retry_wait_time=1)
        self.client = nio.AsyncClient(url, matrix_id, store_path=str(folder), config=config)
        self.client.add_event_callback(self._hear, (nio.RoomMessage, nio.ReactionEvent))
        self.client.add_event_callback(self._miss, nio.MegolmEvent)
        self.do(self._begin())

    def do(self, work: Coroutine[Any, Any, Found], within: float = 30.0) -> Found:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within)

    async def _begin(self) -> None:
        answer = await self.client.login(self.name, device_name="phone")
        assert isinstance(answer, nio.LoginResponse), answer
        await self.client.sync(timeout=0, full_state=True)
        if self.client.should_upload_keys:
            await self.client.keys_upload()
        self.following = asyncio.ensure_future(self.client.sync_forever(timeout=10_000))

    def close(self) -> None:
        async def end() -> None:
            if self.following is not None:
                self.following.cancel()
                await asyncio.gather(self.following, return_exceptions=True)
            await self.client.close()

        self.do(end())
        LOOP.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- hearing

    async def _hear(self, room: nio.MatrixRoom, event: Any) -> None:
        content = event.source["content"]
        body = event.key if isinstance(event, nio.ReactionEvent) else event.body
        self.heard.append(
            Said(event.event_id, room.room_id, event.sender, body, content, bool(event.decrypted))
        )

    async def _miss(self, _room: nio.MatrixRoom, event: nio.MegolmEvent) -> None:
        self.unread.append(event.event_id)

    def of(self, sender: str, room: str, words: str = "") -> list[Said]:
        """What somebody said in a room, in order; edits are not among it."""
        return [
            said
            for said in list(self.heard)
            if said.sender == sender and said.room_id == room and words in said.body and not said.replaces
        ]

    def edits(self, event_id: str) -> list[Said]:
        return [said for said in list(self.heard) if said.replaces == event_id]

    def shown(self, said: Said) -> str:
        """The message as it stands now."""
        edits = self.edits(said.event_id)
        return str(edits[-1].content["m.new_content"]["body"]) if edits else said.body

    def keys_of(self, matrix_id: str) -> dict[str, Any]:
        """What the homeserver knows of somebody's keys, by kind."""

        async def ask() -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {self.client.access_token}"}
            form = json.dumps({"device_keys": {matrix_id: []}})
            answer = await self.client.send("POST", "/_matrix/client/v3/keys/query", form, headers)
            return {kind: of[matrix_id] for kind, of in (await answer.json()).items() if matrix_id in of}

        return self.do(ask())

    def picture(self, said: Said) -> bytes:
        """The file of an encrypted picture."""
        file = said.content["file"]

        async def download() -> bytes:
            answer = await self.client.download(mxc=file["url"])
            assert isinstance(answer, nio.DownloadResponse | nio.MemoryDownloadResponse), answer
            plain = decrypt_attachment(answer.body, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
            return bytes(plain)

        return self.do(download())

    # ---- speaking

    def make_room(self, *invited: str, encrypted: bool = True, alias: str = "") -> str:
        """A private room; its id."""
        state = [nio.EnableEncryptionBuilder().as_dict()] if encrypted else []

        async def make() -> str:
            answer = await self.client.room_create(invite=invited, initial_state=state, alias=alias or None)
            assert isinstance(answer, nio.RoomCreateResponse), answer
            return str(answer.room_id)

        room = self.do(make())
        until(lambda: room in self.client.rooms, 10, "the new room is known")
        return room

    def join(self, room: str) -> None:
        async def join() -> None:
            answer = await self.client.join(room)
            assert isinstance(answer, nio.JoinResponse), answer

        self.do(join())
        until(lambda: room in self.client.rooms, 10, "the room is known")

    def invite(self, room: str, other: str) -> None:
        answer = self.do(self.client.room_invite(room, other))
        assert isinstance(answer, nio.RoomInviteResponse), answer

    def put_out(self, room: str, other: str) -> None:
        answer = self.do(self.client.room_kick(room, other))
        assert isinstance(answer, nio.RoomKickResponse), answer
        until(lambda: other not in self.client.rooms[room].users, 10, "the other one is out")

    def has_joined(self, room: str, other: str) -> bool:
        known = self.client.rooms[room].users.get(other)
        return known is not None and not known.invited

    def say(self, room: str, body: str, about: dict[str, Any] | None = None, kind: str = "m.text") -> str:
        """Write something; the event's id."""
        content = {"msgtype": kind, "body": body, **({"m.relates_to": about} if about else {})}
        return self.send(room, "m.room.message", content)

    def reply(self, to: Said, body: str) -> str:
        return self.say(to.room_id, body, {"m.in_reply_to": {"event_id": to.event_id}})

    def say_in_thread(self, root: Said, body: str) -> str:
        relation = {
            "rel_type": "m.thread",
            "event_id": root.event_id,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": root.event_id},
        }
        return self.say(root.room_id, body, relation)

    def react(self, to: Said, key: str) -> str:
        relation = {"rel_type": "m.annotation", "event_id": to.event_id, "key": key}
        return self.send(to.room_id, "m.reaction", {"m.relates_to": relation})

    def send(self, room: str, kind: str, content: dict[str, Any]) -> str:
        async def send() -> str:
            answer = await self.client.room_send(room, kind, content, ignore_unverified_devices=True)
            assert isinstance(answer, nio.RoomSendResponse), answer
            return str(answer.event_id)

        return self.do(send())
