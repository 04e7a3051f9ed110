"""TCP ports of this machine: free ones, and those that are kept from start to start."""

import errno
import random
import socket
from pathlib import Path

from labsite import keys

# Below the range that Linux gives to outgoing connections: a kept port is not taken while Labsite is down.
KEPT_RANGE = range(15_000, 30_000)
REASONS = {
    errno.EADDRINUSE: "it is in use by another program",
    errno.EACCES: "this account may not use a port below 1024",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def obstacle(host: str, port: int) -> str:
    """Why no server can listen there now, in words; "" if one can."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except socket.gaierror:
        return "this machine knows no such name"
    except OSError as error:
        return REASONS.get(error.errno or 0, str(error.strerror))
    return ""


def is_free(host: str, port: int) -> bool:
    """Whether a server may listen there now."""
    return not obstacle(host, port)


def free(host: str = "127.0.0.1", run: int = 1) -> int:
    """A port on which nobody listens, nor on those after it if a run of several is wanted."""
    while True:
        port = random.choice(KEPT_RANGE)  # noqa: S311 - not a secret
        if all(is_free(host, each) for each in range(port, port + run)):
            return port


def kept(path: Path, host: str = "127.0.0.1", run: int = 1) -> int:
    """The port written in this file; a free one is chosen and written the first time."""
    return int(keys.kept(path, lambda: str(free(host, run))))
