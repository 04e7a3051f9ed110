"""What a link is: bytes to one port, bus or host, opened with a time-out and closed for good."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from devices.errors import ConfigurationError

BUSES = {"i2c", "i2c+tcp"}  # the path is a chip's address, and the bus is shared


@dataclass(frozen=True, slots=True)
class Address:
    """An instrument's address, a URL taken apart: `tcp://host:port`, `serial:///dev/ttyUSB0?baudrate=19200`."""

    url: str
    scheme: str
    host: str
    port: int | None
    path: str
    query: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises ConfigurationError if it is no URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"address {url!r}: {error}") from None
        if not parts.scheme or "://" not in url:
            raise ConfigurationError(f"address {url!r} is no URL; write it like tcp://192.168.1.26:23")
        if parts.username or parts.password:
            raise ConfigurationError("an address carries no user or password; name a secret in the options")
        return cls(url, parts.scheme, parts.hostname or "", port, parts.path, dict(parse_qsl(parts.query)))

    @property
    def lane(self) -> str:
        """What instruments that must take turns have in common: port, bus or host and port."""
        path = "" if self.scheme in BUSES else self.path
        return f"{self.scheme}://{self.host}:{self.port or ''}{path}"


class Link:
    """The base of all links. `deadline` in seconds bounds each exchange; `settings` are what the driver wants
    of its link (`Driver.link_settings`)."""

    schemes: ClassVar[tuple[str, ...]]

    def __init__(self, address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> None:
        self.address = address
        self.deadline = deadline
        self.settings = settings or {}

    @property
    def listens(self) -> bool:
        """Whether its driver hears what comes unasked: nobody else can use it in between."""
        return False

    @classmethod
    def check(cls, address: Address) -> None:
        """Raises ConfigurationError for an address this link cannot open."""

    async def open(self) -> None:
        """Raises LinkError."""

    async def close(self) -> None:
        """Never raises; closing twice does no harm."""


class LineLink(Link):
    """A link over which a request is answered by one line."""

    async def ask(self, request: bytes) -> bytes:
        """Send `request` as it is, terminator included; the line that answers it, without its terminator.

        What came unasked before is dropped. Raises LinkError, after which the link is closed: a late answer
        must never be taken for the next request's.
        """
        raise NotImplementedError
