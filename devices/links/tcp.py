"""TCP, bare and under TLS."""

import asyncio
import contextlib
import socket
import ssl
from functools import cache

from devices.errors import ConfigurationError, LinkError
from devices.links import pins
from devices.links.base import Address
from devices.links.stream import Connection, StreamLink, words

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


# What OpenSSL says of a peer that is too old for it.
TOO_OLD = {
    "UNSUPPORTED_PROTOCOL",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "DH_KEY_TOO_SMALL",
    "CA_MD_TOO_WEAK",
    "EE_KEY_TOO_SMALL",
    "WRONG_SIGNATURE_TYPE",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
}
OP_LEGACY_SERVER_CONNECT = getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)  # named only since Python 3.12


class TlsLink(TcpLink):
    """`tls://host:port`. Settings: `pin`, the SHA-256 of the one certificate to be accepted, in hexadecimal;
    `verify`, whether it must be signed by an authority this host knows, for this host name, where there is no
    pin; `old_protocols`, whether TLS 1.0 and the ciphers of its time are taken."""

    schemes = ("tls",)

    async def _connect(self, connection: Connection) -> None:
        pin = pins.bare(str(self.settings.get("pin") or ""))
        verify = not pin and bool(self.settings.get("verify", True))
        try:
            await self._shake_hands(connection, verify=verify)
        except ssl.SSLCertVerificationError as error:
            raise LinkError(await self._unknown(error)) from None
        except (ssl.SSLError, ConnectionResetError) as error:
            if self.settings.get("old_protocols") or not _may_be_old(error):
                raise
            raise LinkError(
                f"{self.address.url}: {_in_handshake(error)}; if it is a machine of before 2020, option "
                "old_protocols takes TLS 1.0 and its ciphers"
            ) from None
        if pin and (found := fingerprint(connection)) != pin:
            connection.give_up("another certificate than the one pinned")
            raise LinkError(f"{self.address.url}: {pins.mismatch(found, pin)}")

    async def _shake_hands(self, connection: Connection, *, verify: bool) -> None:
        loop = asyncio.get_running_loop()
        host, port = self.address.host, self.address.port or 0
        await loop.create_connection(lambda: connection, host, port, ssl=self._context(verify=verify))
        keep_alive(connection.transport.get_extra_info("socket"))

    def _context(self, *, verify: bool) -> ssl.SSLContext:
        return _context(verify=verify, old_protocols=bool(self.settings.get("old_protocols")))

    async def _unknown(self, error: ssl.SSLCertVerificationError) -> str:
        """What to do about a certificate that no authority vouches for: instruments sign their own."""
        connection = Connection(asyncio.get_running_loop())
        await self._shake_hands(connection, verify=False)
        found = fingerprint(connection)
        connection.give_up("only its certificate was wanted")
        return (
            f"{self.address.url}: its certificate cannot be verified ({error.verify_message}), as is usual "
            f"for instruments, which sign their own. If you trust this connection, set option pin to {found}"
        )


@cache
def _context(*, verify: bool, old_protocols: bool) -> ssl.SSLContext:
    """Kept: to read all authorities anew for each connection would hold up the polls of others."""
    if verify:
        context = ssl.create_default_context()
    else:  # without reading all authorities first
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if old_protocols:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.options |= OP_LEGACY_SERVER_CONNECT
    return context


def _may_be_old(error: Exception) -> bool:
    """A machine that knows no newer protocol says so, or just hangs up."""
    return isinstance(error, ConnectionResetError) or getattr(error, "reason", None) in TOO_OLD


def _in_handshake(error: Exception) -> str:
    return words(error) if isinstance(error, ssl.SSLError) else "it hung up in the TLS handshake"


def fingerprint(connection: Connection) -> str:
    """SHA-256 of the certificate that the other side has shown."""
    certificate = connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return pins.of(certificate or b"")


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out that a silent peer is gone."""
    with contextlib.suppress(OSError):  # a helpful extra, not every system has it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
