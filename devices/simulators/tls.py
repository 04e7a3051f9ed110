"""Simulated instruments under TLS, with a certificate made at the start unless they bring their own."""

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from devices.simulators.base import Simulator
from devices.simulators.client import Record
from devices.simulators.tcp import Door

LIFE = timedelta(days=3650)


class TlsDoor(Door):
    """A door behind which each connection begins with a handshake, by the simulator's own settings."""

    def __init__(self, simulator: Simulator, host: str, port: int, record: Record | None) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(certificate_and_key())
            file.flush()
            self.tls.load_cert_chain(file.name)
        simulator.adjust_tls(self.tls)
        super().__init__(simulator, host, port, record)


@cache
def certificate_and_key() -> bytes:
    """Self-signed, as PEM; one for all simulators of a process."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated instrument")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFE)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    )


def fingerprint(certificate: bytes | None = None) -> str:
    """SHA-256 of a certificate (PEM; None: the one made at the start), as a pin is written."""
    read = x509.load_pem_x509_certificate(certificate or certificate_and_key())
    return read.fingerprint(hashes.SHA256()).hex()
