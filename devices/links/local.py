"""The link to what is on no wire: nothing to open, nothing that breaks."""

from devices.errors import ConfigurationError
from devices.links.base import Address, Link

ADDRESSES = ("edge://local", "push://readings", "simulated://local")


class LocalLink(Link):
    """`edge://local`, the address of the edge's own health; `push://readings`, of what nobody polls;
    `simulated://local`, of what is made up."""

    schemes = ("edge", "push", "simulated")

    @classmethod
    def check(cls, address: Address) -> None:
        if address.url not in ADDRESSES:
            raise ConfigurationError(
                f"address {address.url!r}: the edge itself is edge://local, what is pushed push://readings, "
                "what is made up simulated://local"
            )
