"""The link to what runs in the edge itself: nothing to open, nothing that breaks."""

from devices.errors import ConfigurationError
from devices.links.base import Address, Link


class LocalLink(Link):
    """`edge://local`, the address of the edge's own health."""

    schemes = ("edge",)

    @classmethod
    def check(cls, address: Address) -> None:
        if address.url != "edge://local":
            raise ConfigurationError(f"address {address.url!r}: the edge itself is edge://local")
