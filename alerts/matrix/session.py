"""The bot's login, kept from start to start: one device, one store of keys, one place among the events."""

import json
import logging
from typing import Any

import nio

from alerts.matrix.homeserver import Away, Client, Rejected, refusal
from alerts.matrix.settings import Account
from devices import files

NAME = "Labsite"  # of the device, as people see it in their clients
CONFIG = nio.AsyncClientConfig(max_timeouts=0, request_timeout=30, store_sync_tokens=False)

logger = logging.getLogger(__name__)


class Session:
    """`session.json` and nio's store, in a folder that only its owner may look into. Raises files.Held.

    The position is our own and not nio's, which keeps it before what came with it is worked off.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        account.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        account.folder.chmod(0o700)
        self._lock = files.hold(account.folder / "lock")
        self.path = account.folder / "session.json"
        self.kept: dict[str, Any] = self._read()

    def _read(self) -> dict[str, Any]:
        """Nothing, if it was the session of another account."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        asked = (self.account.homeserver, self.account.user, self.account.device)
        return found if (found.get("homeserver"), found.get("user"), found.get("device")) == asked else {}

    @property
    def position(self) -> str | None:
        return self.kept.get("position")

    def client(self) -> Client:
        return Client(
            self.account.homeserver,
            self.account.user,
            device_id=self.account.device,
            store_path=str(self.account.folder),
            config=CONFIG,
        )

    async def log_in(self, client: Client, *, anew: bool = False) -> None:
        """Go on with the kept login, or log in with the password. Raises Away and Rejected."""
        if self.kept.get("token") and not anew:
            client.restore_login(self.kept["user_id"], self.account.device, self.kept["token"])
            return
        try:
            answer = await client.login(self.account.password, device_name=NAME)
        except (OSError, nio.LocalProtocolError, TimeoutError) as error:
            raise Away(f"the homeserver cannot be reached: {error}") from None
        if not isinstance(answer, nio.LoginResponse):
            raise refusal(answer)
        if self.kept.get("user_id", answer.user_id) != answer.user_id:
            raise Rejected(f"this is {answer.user_id} now, and was {self.kept['user_id']}")
        # The homeserver may have forgotten the device and its keys together with the login.
        client.olm.account.shared = False
        logger.info("logged in as %s, device %s", answer.user_id, answer.device_id)
        self._write(
            homeserver=self.account.homeserver,
            user=self.account.user,
            device=self.account.device,
            user_id=answer.user_id,
            token=answer.access_token,
        )

    def keep(self, position: str) -> None:
        """All that came up to here is worked off."""
        if position != self.position:
            self._write(position=position)

    def forget_position(self) -> None:
        self._write(position=None)

    def _write(self, **news: Any) -> None:
        self.kept |= news
        files.replace(self.path, json.dumps(self.kept).encode())

    def close(self) -> None:
        self._lock.close()
