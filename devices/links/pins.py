"""Pins: the SHA-256 of the one certificate that a TLS link is to accept, in hexadecimal, colons or not."""

import hashlib

from devices.errors import ConfigurationError


def check(pin: str) -> None:
    """Raises ConfigurationError for what can be no pin; an empty one is none."""
    plain = bare(pin)
    if plain and (len(plain) != 64 or set(plain) - set("0123456789abcdef")):
        raise ConfigurationError("option pin: a SHA-256 has 64 hexadecimal digits")


def bare(pin: str) -> str:
    return pin.replace(":", "").lower()


def of(certificate: bytes) -> str:
    """Of a certificate in DER."""
    return hashlib.sha256(certificate).hexdigest()


def mismatch(found: str, pin: str) -> str:
    """What to tell a person."""
    return f"its certificate is {found}, pinned is {pin}: is it another machine?"
