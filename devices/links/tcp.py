"""TCP, bare and under TLS."""

import asyncio
import contextlib
import hashlib
import socket
import ssl

from devices.errors import ConfigurationError, LinkError
from devices.links.base import Address
from devices.links.stream import Connection, StreamLink

# Seconds until a silent peer is asked, between askings, and how many go unanswered before the link is lost.
KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class TcpLink(StreamLink):
    """`tcp://host:port`."""

    schemes = ("tcp",)

    @classmethod
    def check(cls, address: Address) -> None:
        scheme = address.scheme
        if not address.host or not address.port:
            raise ConfigurationError(
                f"address {address.url!r} needs a host and a port: {scheme}://192.168.1.26:23"
            )
        if address.path.strip("/") or address.query:
            raise ConfigurationError(f"address {address.url!r}: nothing belongs behind the port")

    async def _connect(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: connection, self.address.host, self.address.port or 0)
        keep_alive(connection.transport.get_extra_info("socket"))


class TlsLink(TcpLink):
    """`tls://host:port`. Settings: `pin`, the SHA-256 of the one certificate to be accepted, in hexadecimal;
    `verify`, whether it must be signed by an authority this host knows, for this host name, where there is no
    pin; `old_protocols`, whether TLS 1.0 and the ciphers of its time are taken."""

    schemes = ("tls",)

    async def _connect(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(
            lambda: connection, self.address.host, self.address.port or 0, ssl=self._context()
        )
        keep_alive(connection.transport.get_extra_info("socket"))
        self._check_pin(connection)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.settings.get("pin") or not self.settings.get("verify", True):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.settings.get("old_protocols"):
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        return context

    def _check_pin(self, connection: Connection) -> None:
        pin = str(self.settings.get("pin") or "").replace(":", "").lower()
        if not pin:
            return
        certificate = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        found = hashlib.sha256(certificate or b"").hexdigest()
        if found != pin:
            connection.give_up("another certificate than the one pinned")
            raise LinkError(
                f"{self.address.url}: its certificate is {found}, pinned is {pin}: is it another machine?"
            )


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out that a silent peer is gone."""
    with contextlib.suppress(OSError):  # a helpful extra, not every system has it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
