"""TLS for paho-mqtt, which has no pins, and leaves a socket open behind a handshake that fails."""

import socket
import ssl
from typing import Any

from devices.links import pins


class WrongCertificate(Exception):
    """Another machine than the one that was pinned. No ValueError: paho would try again."""


class Handshake(ssl.SSLContext):
    """Makes the handshake at once, and looks at the certificate before anything is sent."""

    pin: str = ""

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        named["do_handshake_on_connect"] = False
        wrapped = super().wrap_socket(sock, *arguments, **named)
        try:
            wrapped.do_handshake()
            self._check_pin(wrapped.getpeercert(binary_form=True) or b"")
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def _check_pin(self, certificate: bytes) -> None:
        if self.pin and (found := pins.of(certificate)) != self.pin:
            raise WrongCertificate(pins.mismatch(found, self.pin))


def handshake(pin: str, *, verify: bool) -> Handshake:
    """`pin`: SHA-256 of the one certificate to be accepted; else, if `verify`, one that is signed for this
    host by an authority that the machine knows."""
    context = Handshake(ssl.PROTOCOL_TLS_CLIENT)
    context.pin = pins.bare(pin)
    if context.pin or not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_default_certs()
    return context
