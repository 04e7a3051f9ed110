"""TCP ports of this machine: free ones, and those that are kept from start to start."""

import random
import socket
from pathlib import Path

# Below the range that Linux gives to outgoing connections: a kept port is not taken while Labsite is down.
KEPT_RANGE = range(15_000, 30_000)


def is_free(host: str, port: int) -> bool:
    """Whether a server may listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens."""
    while True:
        port = random.choice(KEPT_RANGE)  # noqa: S311 - not a secret
        if is_free(host, port):
            return port


def kept(path: Path, host: str = "127.0.0.1") -> int:
    """The port written in this file; a free one is chosen and written the first time."""
    if path.exists():
        return int(path.read_text(encoding="ascii"))
    port = free(host)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{port}\n", encoding="ascii")
    return port
