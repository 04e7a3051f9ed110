"""The old addresses: ports on which the web process answers as one program of one instrument.

    LABSITE_REPLACED_PORTS="thermostat=8001:Bath 1,ups=8080:UPS rack A"

No process of its own: the web server listens on further sockets, and a request says on which it came.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.text import slugify

from labsite.env import BadSetting

KINDS = ("thermostat", "ups", "metatron")
FILES = "/static/"  # of the pages: they are at the same path on every port


@dataclass(frozen=True, slots=True)
class Port:
    """Which program of which instrument answers on it."""

    number: int
    kind: str
    instrument: str  # its name or its id

    @property
    def root(self) -> str:
        return f"/replaced/{slugify(self.instrument, allow_unicode=True)}/{self.kind}"


def parse(text: str) -> dict[int, Port]:
    """The ports by their numbers. Raises BadSetting."""
    ports: dict[int, Port] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        kind, _, place = entry.partition("=")
        number, _, instrument = place.partition(":")
        if kind.strip() not in KINDS:
            raise BadSetting(f"LABSITE_REPLACED_PORTS: {entry!r} must begin with one of {', '.join(KINDS)}")
        if not (number.strip().isdecimal() and 0 < int(number) < 65_536 and instrument.strip()):
            raise BadSetting(
                f"LABSITE_REPLACED_PORTS: {entry!r} must be like {kind}=8001:Name of the instrument"
            )
        port = Port(int(number), kind.strip(), instrument.strip())
        if port.number in ports:
            raise BadSetting(f"LABSITE_REPLACED_PORTS names port {port.number} twice")
        ports[port.number] = port
    return ports


def moved(scope: dict[str, Any], ports: Mapping[int, Port], *, https: bool) -> dict[str, Any]:
    """A request that came on such a port as one for `/replaced/…`; any other as it is (ASGI 3.0, HTTP)."""
    port = ports.get((scope.get("server") or ("", 0))[1] or 0)
    if port is None or scope["type"] != "http" or scope["path"].startswith(FILES):
        return scope
    changed = {**scope, "path": port.root + scope["path"]}
    # Clients of these ports know no TLS, and are not to be sent to where it is.
    return {**changed, "scheme": "https"} if https else changed
