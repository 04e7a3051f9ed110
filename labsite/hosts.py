"""Under which names and addresses browsers reach this machine."""

import socket

ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
# An address reserved for documentation: connecting a UDP socket sends nothing, but shows which of this
# machine's own addresses other hosts would see.
ELSEWHERE = "192.0.2.1"


def answering_to(host: str) -> list[str]:
    """What a request's Host header may say to a server that listens on `host`."""
    local = ["localhost", "127.0.0.1", "[::1]"]
    if host not in ANYWHERE:
        return [*local, f"[{host}]" if ":" in host else host]
    name = socket.gethostname().lower()
    return [
        *local,
        *dict.fromkeys([name, name.partition(".")[0], f"{name.partition('.')[0]}.local", own_address()]),
    ]


def seen_as(listen: str) -> str:
    """The address at which other hosts find a server that listens on this one."""
    return own_address() if listen in ANYWHERE else listen


def own_address() -> str:
    """The address that other hosts see of this one; 127.0.0.1 if it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ELSEWHERE, 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
