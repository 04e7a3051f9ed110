"""Requests on the old ports, moved to where the interface of that program and instrument is."""

from collections.abc import Mapping
from typing import Any

from labsite.replaced.doors import slug
from labsite.replaced.ports import Port

FILES = "/static/"  # of the pages: they are at the same path on every port


def root(port: Port) -> str:
    return f"/replaced/{slug(port.instrument)}/{port.kind}"


def moved(scope: dict[str, Any], ports: Mapping[int, Port], *, https: bool) -> dict[str, Any]:
    """A request that came on such a port as one for `/replaced/…`; any other as it is (ASGI 3.0, HTTP)."""
    port = ports.get((scope.get("server") or ("", 0))[1] or 0)
    if port is None or scope["type"] != "http" or scope["path"].startswith(FILES):
        return scope
    changed = {**scope, "path": root(port) + scope["path"]}
    # Clients of these ports know no TLS, and are not to be sent to where it is.
    return {**changed, "scheme": "https"} if https else changed
