"""`python -m labsite.web`: the web process, on its own port and on those of replaced programs.

The same as `uvicorn labsite.asgi:application`, where LABSITE_REPLACED_PORTS names further ports.
"""

import logging
import socket
from collections.abc import Iterable

import uvicorn

from labsite import settings
from labsite.replaced.ports import Port

logger = logging.getLogger("uvicorn.error")


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        "labsite.asgi:application",
        host=settings.HOST,
        port=settings.PORT,
        timeout_graceful_shutdown=2,
        proxy_headers=False,
        access_log=False,
        server_header=False,
    )
    listening = [
        config.bind_socket(),
        *old_addresses(settings.REPLACED_HOST, settings.REPLACED_PORTS.values()),
    ]
    uvicorn.Server(config).run(sockets=listening)


def old_addresses(host: str, ports: Iterable[Port]) -> list[socket.socket]:
    """A socket for each port of a replaced program. One that is taken is told and left: the rest must run."""
    sockets = []
    for port in ports:
        try:
            sockets.append(listener(host, port.number))
        except OSError as error:
            logger.warning(
                "LABSITE_REPLACED_PORTS: cannot listen on port %d of %s for %s: %s; "
                "is the replaced program still running?",
                port.number,
                host,
                port.instrument,
                error.strerror or error,
            )
        else:
            logger.info("%s answers as %s on port %d of %s", port.instrument, port.kind, port.number, host)
    return sockets


def listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    bound.set_inheritable(True)
    return bound


if __name__ == "__main__":
    main()
