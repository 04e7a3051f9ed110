"""The table of links: which class opens an address, by the scheme of its URL."""

from collections.abc import Mapping
from typing import Any

from devices.errors import ConfigurationError
from devices.links.base import Address, Link
from devices.links.local import LocalLink
from devices.links.tcp import TcpLink, TlsLink

LINKS: tuple[type[Link], ...] = (TcpLink, TlsLink, LocalLink)
BY_SCHEME = {scheme: link for link in LINKS for scheme in link.schemes}


def check(url: str) -> Address:
    """Take an address apart. Raises ConfigurationError, for people, if no link can open it."""
    address = Address.parse(url)
    _link_class(address).check(address)
    return address


async def connect(address: Address, deadline: float, settings: Mapping[str, Any] | None = None) -> Link:
    """Open the link to an address; `deadline` in seconds bounds this and each exchange afterwards.
    `settings`: what its driver wants of it.

    Raises ConfigurationError if no link can open such an address, LinkError if it does not open now.
    """
    link_class = _link_class(address)
    link_class.check(address)
    link = link_class(address, deadline, settings)
    await link.open()
    return link


def _link_class(address: Address) -> type[Link]:
    try:
        return BY_SCHEME[address.scheme]
    except KeyError:
        known = ", ".join(f"{scheme}://" for scheme in BY_SCHEME)
        raise ConfigurationError(
            f"address {address.url!r}: no link for {address.scheme}://, only for {known}"
        ) from None
