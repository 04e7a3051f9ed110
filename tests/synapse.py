"""A real Matrix homeserver for tests: Synapse on SQLite, on a free loopback port. It dies with pytest."""

import hashlib
import hmac
import json
import sys
from pathlib import Path
from typing import Any, Self

import httpx

from labsite.onebox import ports
from tests.servers import Process, dying_with_tests
from tests.waiting import until

NAME = "lab.test"
STARTED_S = 60
PLENTY = {"per_second": 10_000, "burst_count": 10_000}
LIMITS = ("rc_message", "rc_registration", "rc_room_creation", "rc_admin_redaction", "rc_key_requests")
LOG = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"error": {"class": "logging.StreamHandler"}},
    "root": {"level": "WARNING", "handlers": ["error"]},
}


class Synapse(Process):
    """`url`, `make_user`, `start`, `stop`; `limit` makes it take few messages of a user, as others do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ports.free()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True)
        self._write("log.yaml", LOG)
        self._write("homeserver.yaml", self._settings())
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "synapse.app.homeserver",
            "-c",
            folder / "homeserver.yaml",
        ]
        super().__init__(dying_with_tests(command), folder / "log")
        keys = Process([*command, "--generate-keys"], folder / "keys.log")
        assert keys.start().wait(STARTED_S) == 0, keys.output
        self._admin = ""

    def _write(self, name: str, content: dict[str, Any]) -> None:
        """JSON is YAML."""
        (self.folder / name).write_text(json.dumps(content))

    def _settings(self) -> dict[str, Any]:
        listener = {
            "port": self.port,
            "type": "http",
            "bind_addresses": ["127.0.0.1"],
            "resources": [{"names": ["client"], "compress": False}],
        }
        plenty_of_each = {
            "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), PLENTY),
            "rc_joins": dict.fromkeys(("local", "remote"), PLENTY),
            "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), PLENTY),
        }
        return {
            "server_name": NAME,
            "listeners": [listener],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "homeserver.db")}},
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "log_config": str(self.folder / "log.yaml"),
            "registration_shared_secret": "of the tests",
            "macaroon_secret_key": "of the tests",
            "form_secret": "of the tests",
            "report_stats": False,
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "bcrypt_rounds": 4,
            **dict.fromkeys(LIMITS, PLENTY),
            **plenty_of_each,
        }

    def start(self) -> Self:
        super().start()
        until(self.answers, STARTED_S, "Synapse answers", every=0.1)
        return self

    def answers(self) -> bool:
        assert self.running is not None, "not started"
        assert self.running.poll() is None, f"it ended: {self.output[-2000:]}"
        try:
            return httpx.get(f"{self.url}/_matrix/client/versions", timeout=2).is_success
        except httpx.TransportError:
            return False

    # ---- what its administrator does

    def make_user(self, name: str, *, admin: bool = False) -> str:
        """A user with his name as his password; his Matrix id."""
        address = f"{self.url}/_synapse/admin/v1/register"
        nonce = httpx.get(address).json()["nonce"]
        rights = "admin" if admin else "notadmin"
        words = "\0".join((nonce, name, name, rights))
        mac = hmac.new(b"of the tests", words.encode(), hashlib.sha1).hexdigest()
        form = {"nonce": nonce, "username": name, "password": name, "admin": admin, "mac": mac}
        made = httpx.post(address, json=form, timeout=20)
        assert made.is_success, made.text
        if admin:
            self._admin = str(made.json()["access_token"])
        return str(made.json()["user_id"])

    def limit(self, user: str, per_second: float, burst: int) -> None:
        """From now on it takes no more messages of this user than so many."""
        limits = {"messages_per_second": max(1, round(per_second)), "burst_count": burst}
        self._ask("POST", f"v1/users/{user}/override_ratelimit", limits)

    def unlimit(self, user: str) -> None:
        self._ask("DELETE", f"v1/users/{user}/override_ratelimit")

    def log_out(self, user: str) -> None:
        """Every device of this user: what they hold is worth nothing any more."""
        devices = self._ask("GET", f"v2/users/{user}/devices")["devices"]
        ids = [device["device_id"] for device in devices]
        self._ask("POST", f"v2/users/{user}/delete_devices", {"devices": ids})

    def _ask(self, method: str, path: str, form: dict[str, Any] | None = None) -> dict[str, Any]:
        if not self._admin:
            self.make_user("warden", admin=True)
        answer = httpx.request(
            method,
            f"{self.url}/_synapse/admin/{path}",
            json=form,
            headers={"Authorization": f"Bearer {self._admin}"},
            timeout=20,
        )
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found
